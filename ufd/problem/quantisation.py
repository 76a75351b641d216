"""Optimal quantisation as an ultra-fast diffusion: the teacher and the unit of time.

For a weight rho of mass 1 and an exponent r > 0, Iacobelli (arXiv 1602.08125) and Iacobelli,
Patacchini and Santambrogio (ARMA 2019) let a density f of points flow down int rho f^(-r) dx,

    d_tau f = -r div(f grad(rho f^(-r-1))).

With g0 = int rho^(1/(r+1)) dx it is the flow of this package towards nu = rho^(1/(r+1))/g0 for
p = r + 1, in the time t = r (r + 1) g0^(r+1) tau (derived in docs/theory.md, section 1). dx is
the surface measure: 2 pi on the circle and 4 pi on the sphere, not 1. To quantise S^n with
errors in the power s of the distance, r = s/n.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ufd.exceptions import InputError
from ufd.problem.callables import log_integral
from ufd.problem.checks import number, shown
from ufd.problem.densities import Density, Uniform, VonMisesFisher
from ufd.problem.manifolds import Sphere

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RootDensity:
    """rho^power/g0; build it with `quantisation_teacher`."""

    rho: Density
    power: float
    log_constant: float

    @property
    def manifold(self) -> Sphere:
        """The sphere of rho."""
        return self.rho.manifold

    def log_density(self, points: Array) -> Array:
        """See `Density`."""
        return self.power * self.rho.log_density(points) - self.log_constant

    def axes(self) -> Array | None:
        """See `Density`."""
        return self.rho.axes()

    def moments(self, degree: int) -> None:
        """See `Density`: not known in closed form."""
        return None

    def describe(self) -> None:
        """No table of a case file builds a root."""
        return None


def _root(owner: str, rho: Density, r: float) -> tuple[Density, float, float]:
    """The teacher, log g0, and r as a number."""
    if not isinstance(getattr(rho, "manifold", None), Sphere):
        raise InputError(f"{owner}: rho = {shown(rho)} is no density; build one with ufd.density")
    r = number(owner, "r", r, 0.0)
    if r == 0:
        raise InputError(f"{owner}: r = 0 must be positive: nothing moves for r = 0")
    power = 1 / (r + 1)
    if isinstance(rho, Uniform):
        return rho, r * power * rho.manifold.log_area, r
    if isinstance(rho, VonMisesFisher):
        nu = VonMisesFisher(rho.mean, power * rho.kappa)
        # rho^power = g0 nu everywhere; at the mean no large numbers cancel.
        top = np.asarray(rho.mean)[None]
        return nu, float(power * rho.log_density(top)[0] - nu.log_density(top)[0]), r
    log_g0 = log_integral(rho.manifold, lambda x: power * rho.log_density(x))
    if log_g0 is None:
        raise InputError(
            f"{owner}: the integral of rho^(1/(r+1)) does not settle to 1e-12 for r = {r:g}; "
            "give a smoother rho"
        )
    return RootDensity(rho, power, log_g0), log_g0, r


def quantisation_teacher(rho: Density, r: float) -> Density:
    """nu = rho^(1/(r+1))/g0, the density of points that quantises rho best.

    Computed from the logarithm of rho, in closed form for uniform and von Mises-Fisher weights.
    Solve with ``ufd.PowerDivergence(r + 1)``.

    Args:
        rho: The weight, of mass 1 with respect to the surface measure.
        r: Exponent, positive.

    Raises:
        InputError: If rho is no density, r is not positive and finite, or the integral g0 does
            not settle.
    """
    return _root("quantisation_teacher", rho, r)[0]


def quantisation_time_scale(rho: Density, r: float) -> float:
    """t/tau = r (r + 1) g0^(r+1), g0 = int rho^(1/(r+1)) dx.

    t is the time of this package and tau that of d_tau f = -r div(f grad(rho f^(-r-1))).

    Args:
        rho: The weight, of mass 1 with respect to the surface measure.
        r: Exponent, positive.

    Raises:
        InputError: As `quantisation_teacher`, or if the factor leaves double precision.
    """
    owner = "quantisation_time_scale"
    _, log_g0, r = _root(owner, rho, r)
    exponent = math.log(r) + math.log1p(r) + (r + 1) * log_g0
    if abs(exponent) > 700:
        raise InputError(
            f"{owner}: t/tau = exp({exponent:.6g}) leaves double precision for r = {r:g}; "
            "give an r nearer to 1"
        )
    return math.exp(exponent)

"""Population kernels kappa(omega, omega') = E phi(omega, x) phi(omega', x).

On spheres they are zonal: kappa(t), t = omega.omega', for inputs from a rotation-invariant law.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ufd.exceptions import InputError
from ufd.problem.checks import shown
from ufd.problem.features import Activation, Feature, KernelSpectrum, Ramps
from ufd.problem.harmonics import (
    funk_hecke,
    multiplicities,
    zonal_sum,
    zonal_sum_slope,
)
from ufd.problem.manifolds import Manifold, Sphere

Array = NDArray[np.float64]
LAWS = ("gaussian", "sphere")
# Terms of a series below this share of the largest are left out, and how many there are.
_ENOUGH, _SMOOTH_DEGREES = 1e-17, 200
# Relative error of the series of a smooth activation that is accepted.
_RESOLVED = 1e-8


def checked_law(law: Any) -> str:
    """The law of the inputs: "gaussian", N(0, I), or "sphere", uniform on the unit sphere."""
    if law not in LAWS:
        raise InputError(f"inputs = {shown(law)} must be 'gaussian' or 'sphere'")
    return str(law)


def draw_inputs(law: str, count: int, dim: int, rng: np.random.Generator) -> Array:
    """Independent inputs, (count, dim)."""
    x = rng.standard_normal((count, dim))
    return x if law == "gaussian" else x / np.linalg.norm(x, axis=1, keepdims=True)


def _length_moment(law: str, dim: int, power: int) -> float:
    """E |x|^power in R^dim."""
    if law == "sphere":
        return 1.0
    return 2 ** (power / 2) * math.exp(math.lgamma((dim + power) / 2) - math.lgamma(dim / 2))


def _plane_moment(law: str, dim: int, power: int) -> float:
    """E r^power for the projection of x in R^dim on a plane."""
    value = math.gamma(1 + power / 2)
    if law == "gaussian":
        return 2 ** (power / 2) * value
    return value * math.exp(math.lgamma(dim / 2) - math.lgamma((dim + power) / 2))


class ZonalKernel(Protocol):
    """kappa(t) on S^dim with its derivative and its eigenvalues."""

    @property
    def sphere(self) -> Sphere:
        """Where omega lives."""

    def values(self, t: Array) -> tuple[Array, Array]:
        """kappa(t) and kappa'(t), shape of t."""

    def eigenvalues(self, degree: int) -> Array:
        """kappa_0 to kappa_degree with respect to the uniform probability, (degree + 1,)."""


def _arc_cosine(a: int, b: int, c: Array, s: Array, rest: Array) -> tuple[Array, Array]:
    """J_ab and dJ_ab/dt for angles phi: c = cos phi = t, s = sin phi, rest = pi - phi; a <= b.

    J_ab = (1/2pi) int of cos^a beta cos^b (beta - phi) over the angles at which both are positive
    (derived in docs/theory.md; a = b are the arc-cosine kernels of orders 0, 1, 2).
    """
    if (a, b) == (0, 0):
        # On the diagonal the kernel has a kink; zero is the mean of its slopes there.
        return rest / (2 * np.pi), np.where(s > 0, 1 / (2 * np.pi * np.where(s > 0, s, 1)), 0)
    if (a, b) == (0, 1):
        return (1 + c) / (2 * np.pi), np.full_like(c, 1 / (2 * np.pi))
    if (a, b) == (0, 2):
        return (rest + s * c) / (4 * np.pi), s / (2 * np.pi)
    if (a, b) == (1, 1):
        return (rest * c + s) / (4 * np.pi), rest / (4 * np.pi)
    if (a, b) == (1, 2):
        return (1 + c) ** 2 / (6 * np.pi), (1 + c) / (3 * np.pi)
    return (3 * s * c + rest * (1 + 2 * c * c)) / (16 * np.pi), (s + c * rest) / (4 * np.pi)


@dataclass(frozen=True)
class RampKernel:
    """The population kernel of `Ramps` in closed form, on spheres of any dimension.

    Args:
        feature: Sum of powers of max(t, 0).
        sphere: Where omega lives; inputs live in its ambient space.
        law: Of the inputs, "gaussian" or "sphere".
    """

    feature: Ramps
    sphere: Sphere
    law: str

    def values(self, t: Array) -> tuple[Array, Array]:
        """See `ZonalKernel`."""
        c = np.clip(t, -1, 1)
        rest, s = np.pi - np.arccos(c), np.sqrt((1 - c) * (1 + c))
        value, slope = np.zeros_like(c), np.zeros_like(c)
        terms = sorted(self.feature.terms, key=lambda term: term[1])
        for i, (ci, a) in enumerate(terms):
            for j, (cj, b) in enumerate(terms[i:]):
                factor = ci * cj * _plane_moment(self.law, self.sphere.ambient_dim, a + b)
                kernel, change = _arc_cosine(a, b, c, s, rest)
                twice = factor * (2 if j else 1)
                value += twice * kernel
                slope += twice * change
        return value, slope

    def eigenvalues(self, degree: int) -> Array:
        """See `ZonalKernel`."""
        found = self.feature.coefficients(self.sphere.dim, degree)
        total = np.zeros(degree + 1)
        for ci, a in self.feature.terms:
            for cj, b in self.feature.terms:
                moment = _length_moment(self.law, self.sphere.ambient_dim, a + b)
                total += ci * cj * moment * found[a] * found[b]
        return total


class SeriesKernel:
    """The population kernel of a smooth activation, as a series.

    For inputs on the sphere in zonal harmonics with the squared Funk-Hecke coefficients, for
    Gaussian inputs in powers of t with the squared Hermite coefficients of sigma (Mehler).

    Args:
        feature: The activation.
        sphere: Where omega lives.
        law: Of the inputs, "gaussian" or "sphere".
    """

    def __init__(self, feature: Activation, sphere: Sphere, law: str) -> None:
        self._sphere, self._law = sphere, law
        if law == "sphere":
            lam = feature.coefficients(sphere.dim, _SMOOTH_DEGREES)
            self._series = trimmed(lam**2 * multiplicities(sphere.dim, _SMOOTH_DEGREES))
        else:
            self._series = trimmed(_hermite_squares(feature))
        _check_series(feature, sphere, law, float(self.values(np.ones(1))[0][0]))

    @property
    def sphere(self) -> Sphere:
        """See `ZonalKernel`."""
        return self._sphere

    def values(self, t: Array) -> tuple[Array, Array]:
        """See `ZonalKernel`."""
        c = np.clip(t, -1, 1)
        if self._law == "sphere":
            dim = self._sphere.dim
            return zonal_sum(dim, self._series, c), zonal_sum_slope(dim, self._series, c)
        polynomial = np.polynomial.Polynomial(self._series)
        return polynomial(c), polynomial.deriv()(c)

    def eigenvalues(self, degree: int) -> Array:
        """See `ZonalKernel`."""
        return funk_hecke(self._sphere.dim, lambda t: self.values(t)[0], degree)


def _check_series(feature: Activation, sphere: Sphere, law: str, found: float) -> None:
    """Compare kappa(1) with E sigma^2 by a rule that does not mind kinks.

    Raises:
        InputError: If the activation is too steep for the series.
    """
    middles = (np.arange(200_000) + 0.5) / 200_000
    if law == "gaussian":
        t = 40 * (2 * middles - 1)
        weights = np.exp(-t * t / 2)
    else:
        # Over the angle: on the circle the law of t is singular at the ends.
        t, weights = np.cos(np.pi * middles), np.sin(np.pi * middles) ** (sphere.dim - 1)
    exact = float(weights @ feature.activation(t) ** 2 / weights.sum())
    if not abs(found - exact) <= _RESOLVED * abs(exact):
        raise InputError(
            f"Activation: its series gives kappa(1) = {found:.9g} for E sigma^2 = {exact:.9g}; it "
            "is too steep for a series, so train it on samples (data=4096)"
        )


def _hermite_squares(feature: Activation) -> Array:
    """Squares of E sigma(Z) He_n(Z)/sqrt(n!), by Gauss-Hermite quadrature."""
    from scipy.special import roots_hermitenorm

    z, w = roots_hermitenorm(_SMOOTH_DEGREES)
    w = w / w.sum()
    sigma, before, here = feature.activation(z), np.zeros_like(z), np.ones_like(z)
    squares = []
    for n in range(_SMOOTH_DEGREES // 2):
        squares.append(float(w @ (sigma * here)) ** 2)
        before, here = here, (z * here - math.sqrt(n) * before) / math.sqrt(n + 1)
    return np.array(squares)


def trimmed(series: Array) -> Array:
    """The series without the end that is below round-off."""
    above = np.flatnonzero(np.abs(series) > _ENOUGH * np.abs(series).max())
    return series[: above[-1] + 1]


class SpectrumKernel:
    """The kernel of a `KernelSpectrum`: sum_l kappa_l N_l P_l.

    Args:
        feature: The spectrum.
        sphere: Where omega lives.
    """

    def __init__(self, feature: KernelSpectrum, sphere: Sphere) -> None:
        self._feature, self._sphere = feature, sphere
        kappa = feature.spectrum(feature.degrees)
        self._series = trimmed(kappa * multiplicities(sphere.dim, feature.degrees))

    @property
    def sphere(self) -> Sphere:
        """See `ZonalKernel`."""
        return self._sphere

    def values(self, t: Array) -> tuple[Array, Array]:
        """See `ZonalKernel`."""
        c, dim = np.clip(t, -1, 1), self._sphere.dim
        return zonal_sum(dim, self._series, c), zonal_sum_slope(dim, self._series, c)

    def eigenvalues(self, degree: int) -> Array:
        """See `ZonalKernel`."""
        return self._feature.spectrum(degree)


def population_kernel(feature: Feature, manifold: Manifold, law: str) -> ZonalKernel:
    """The kernel of a feature for inputs of a law.

    Raises:
        InputError: If the feature does not live on the manifold, or has no zonal kernel.
    """
    feature.check(manifold)
    if isinstance(manifold, Sphere) and isinstance(feature, Ramps):
        return RampKernel(feature, manifold, law)
    if isinstance(manifold, Sphere) and isinstance(feature, Activation):
        return SeriesKernel(feature, manifold, law)
    if isinstance(manifold, Sphere) and isinstance(feature, KernelSpectrum):
        return SpectrumKernel(feature, manifold)
    raise InputError("data = None: features on a torus need samples; give data=4096 or an array")

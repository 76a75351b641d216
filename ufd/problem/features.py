"""Features phi(omega, x) of a two-layer network: activations on spheres, radial bumps on tori."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ufd.exceptions import InputError
from ufd.problem.checks import number, shown
from ufd.problem.euclidean import Euclidean
from ufd.problem.harmonics import funk_hecke
from ufd.problem.manifolds import Manifold, Sphere, Torus

Array = NDArray[np.float64]
# Given weights (n,) of the inputs, the gradients sum_i weight_i grad phi(omega_j, x_i), (M, d).
Pullback = Callable[[Array], Array]


class Feature(Protocol):
    """A feature: a function of an inner weight omega on a manifold and of an input x."""

    def check(self, manifold: Manifold) -> None:
        """Refuse a manifold on which the feature is not defined."""

    def evaluate(self, omega: Array, inputs: Array) -> tuple[Array, Pullback]:
        """phi(omega_j, x_i), (n, M), and what turns input weights into gradients in omega."""

    def describe(self) -> dict[str, Any] | None:
        """The table of a case file that builds this feature; None for a function."""


def _powers(t: Array, power: int) -> Array:
    """max(t, 0)^power, with the step 1 on t > 0 for power 0."""
    if power == 0:
        return (t > 0).astype(float)
    return np.maximum(t, 0.0) ** power if power > 1 else np.maximum(t, 0.0)


@dataclass(frozen=True)
class Ramps:
    """sigma(omega.x) on a sphere, sigma(t) = sum of c max(t, 0)^k; see `ReLU` and `Step`.

    Features add, and scale with numbers: ``ReLU() + 0.5 * ReLU(power=2)``.

    Args:
        terms: Pairs (c, k), c finite and not zero, k = 0, 1 or 2, each k once.
    """

    terms: tuple[tuple[float, int], ...]

    def __add__(self, other: object) -> Ramps:
        if not isinstance(other, Ramps):
            return NotImplemented
        merged: dict[int, float] = {}
        for c, k in (*self.terms, *other.terms):
            merged[k] = merged.get(k, 0.0) + c
        terms = tuple((c, k) for k, c in sorted(merged.items()) if c != 0)
        if not terms:
            raise InputError("features: the sum is zero; a network needs a feature")
        return Ramps(terms)

    def __rmul__(self, factor: float) -> Ramps:
        scale = number("features", "factor", factor)
        if scale == 0:
            raise InputError("features: factor = 0 leaves no feature")
        return Ramps(tuple((scale * c, k) for c, k in self.terms))

    __mul__ = __rmul__

    @property
    def powers(self) -> tuple[int, ...]:
        """The exponents that occur."""
        return tuple(k for _, k in self.terms)

    def check(self, manifold: Manifold) -> None:
        """See `Feature`."""
        _need(manifold, Sphere | Euclidean, self)

    def activation(self, t: Array) -> Array:
        """sigma(t), shape of t."""
        return sum((c * _powers(t, k) for c, k in self.terms), np.zeros(()))

    def slope(self, t: Array) -> Array:
        """sigma'(t) wherever it exists, shape of t."""
        parts = [c * k * _powers(t, k - 1) for c, k in self.terms if k]
        return sum(parts, np.zeros(()))

    def evaluate(self, omega: Array, inputs: Array) -> tuple[Array, Pullback]:
        """See `Feature`."""
        if 0 in self.powers:
            raise InputError(
                "features: a step has no gradient in omega on samples; train it on the "
                "population (data=None), where it has one"
            )
        return _ridge_features(self, omega, inputs)

    def coefficients(self, dim: int, degree: int) -> dict[int, Array]:
        """Funk-Hecke coefficients of max(t, 0)^k on S^dim for each k; (degree + 1,) each.

        Gamma(d/2) k! / (2^(k+1) Gamma((k-l)/2 + 1) Gamma((k+l+d)/2)), d = dim + 1, which is zero
        where k - l is a negative even number (derived in docs/theory.md).
        """
        from scipy.special import gammaln, gammasgn

        l, half = np.arange(degree + 1.0), (dim + 1) / 2
        found = {}
        for k in self.powers:
            z = (k - l) / 2 + 1
            logs = math.lgamma(half) + math.lgamma(k + 1) - (k + 1) * math.log(2)
            # gammaln is infinite at the poles of Gamma: the coefficient is then exactly zero.
            sizes = np.exp(logs - gammaln(z) - gammaln((k + l) / 2 + half))
            found[k] = np.where(sizes > 0, gammasgn(z), 0.0) * sizes
        return found

    def describe(self) -> dict[str, Any]:
        """See `Feature`."""
        names = {0: "step", 1: "relu", 2: "relu2"}
        return {"kind": "activation", "terms": {names[k]: c for c, k in self.terms}}


def ReLU(power: int = 1) -> Ramps:
    """The feature max(omega.x, 0)^power on a sphere.

    Args:
        power: 1 or 2. Plain ReLU does not see odd harmonics of degree 3 and more of a feature
            distribution, its square no even ones of degree 4 and more; their sums see all.

    Raises:
        InputError: For another power.
    """
    if isinstance(power, bool) or not isinstance(power, Integral) or power not in (1, 2):
        raise InputError(f"ReLU: power = {shown(power)} must be 1 or 2; Step() is power 0")
    return Ramps(((1.0, int(power)),))


def Step() -> Ramps:
    """The feature 1 where omega.x > 0 on a sphere; it does not see even harmonics from degree 2."""
    return Ramps(((1.0, 0),))


@dataclass(frozen=True, eq=False)
class Activation:
    """sigma(omega.x) on a sphere for a smooth function sigma.

    Args:
        function: sigma, of an array, returning its shape.
        slope: Its derivative, likewise.
    """

    function: Callable[[Array], Array]
    derivative: Callable[[Array], Array]

    def __post_init__(self) -> None:
        for name in ("function", "derivative"):
            if not callable(getattr(self, name)):
                raise InputError(
                    f"Activation: {name} = {shown(getattr(self, name))} is no function"
                )

    def check(self, manifold: Manifold) -> None:
        """See `Feature`."""
        _need(manifold, Sphere | Euclidean, self)

    def activation(self, t: Array) -> Array:
        """sigma(t), shape of t."""
        return np.asarray(self.function(t), dtype=float)

    def slope(self, t: Array) -> Array:
        """sigma'(t), shape of t."""
        return np.asarray(self.derivative(t), dtype=float)

    def evaluate(self, omega: Array, inputs: Array) -> tuple[Array, Pullback]:
        """See `Feature`."""
        return _ridge_features(self, omega, inputs)

    def coefficients(self, dim: int, degree: int) -> Array:
        """Funk-Hecke coefficients of sigma on S^dim by Gauss-Gegenbauer quadrature."""
        return funk_hecke(dim, self.activation, degree)

    def describe(self) -> None:
        """See `Feature`: a function cannot be written to a case file."""
        return None


@dataclass(frozen=True, eq=False)
class KernelSpectrum:
    """A feature known by the eigenvalues of its population kernel on a sphere.

    sigma = sum_l sqrt(kappa_l) N_l P_l for inputs uniform on the sphere; other laws are not asked.

    Args:
        eigenvalues: kappa_l for an array of degrees l = 0, 1, ..., not negative and summable.
        degrees: Highest degree of the sum where values of the kernel are needed.
    """

    eigenvalues: Callable[[Array], Array]
    degrees: int = 512

    def check(self, manifold: Manifold) -> None:
        """See `Feature`."""
        _need(manifold, Sphere, self)

    def spectrum(self, degree: int) -> Array:
        """kappa_0 to kappa_degree, (degree + 1,).

        Raises:
            InputError: If one is negative or not finite.
        """
        kappa = np.asarray(self.eigenvalues(np.arange(degree + 1.0)), dtype=float)
        if kappa.shape != (degree + 1,) or not np.all((kappa >= 0) & np.isfinite(kappa)):
            raise InputError(
                f"KernelSpectrum: eigenvalues must give {degree + 1} finite numbers >= 0 for the "
                f"degrees 0 to {degree}"
            )
        return kappa

    def evaluate(self, omega: Array, inputs: Array) -> tuple[Array, Pullback]:
        """See `Feature`: a spectrum knows no samples."""
        raise InputError("features: a KernelSpectrum knows its population only; leave data out")

    def describe(self) -> None:
        """See `Feature`: a function cannot be written to a case file."""
        return None


def _ridge_features(
    feature: Ramps | Activation, omega: Array, inputs: Array
) -> tuple[Array, Pullback]:
    t = inputs @ omega.T

    def pullback(weights: Array) -> Array:
        return feature.slope(t).T @ (weights[:, None] * inputs)

    return feature.activation(t), pullback


@dataclass(frozen=True)
class RadialBump:
    """amplitude exp(-r/scale) or amplitude exp(-r^2/(2 scale^2)) on a flat torus.

    r is the distance of omega and x on the torus. Build it with `LaplaceRBF` or `GaussianRBF`.
    """

    kind: str
    scale: float
    amplitude: float

    def __post_init__(self) -> None:
        name = type(self).__name__
        for key in ("scale", "amplitude"):
            value = number(name, key, getattr(self, key))
            if not value > 0:
                raise InputError(f"{self.kind}: {key} = {value!r} must be positive")
            object.__setattr__(self, key, value)

    def check(self, manifold: Manifold) -> None:
        """See `Feature`."""
        _need(manifold, Torus, self)

    def on(self, torus: Torus) -> PeriodicBump:
        """The feature on a torus of known period."""
        return PeriodicBump(self, torus)

    def describe(self) -> dict[str, Any]:
        """See `Feature`."""
        return {"kind": self.kind, "scale": self.scale, "amplitude": self.amplitude}


@dataclass(frozen=True)
class PeriodicBump:
    """A `RadialBump` that knows its torus."""

    bump: RadialBump
    torus: Torus

    def check(self, manifold: Manifold) -> None:
        """See `Feature`."""
        self.bump.check(manifold)

    def describe(self) -> dict[str, Any]:
        """See `Feature`."""
        return self.bump.describe()

    def evaluate(self, omega: Array, inputs: Array) -> tuple[Array, Pullback]:
        """See `Feature`."""
        period, s = self.torus.period, self.bump.scale
        steps = []
        for k in range(self.torus.dim):
            step = omega[None, :, k] - inputs[:, None, k]
            step -= period * np.rint(step / period)
            steps.append(step)
        squared = sum(step * step for step in steps)
        if self.bump.kind == "laplace":
            r = np.sqrt(squared)
            values = self.bump.amplitude * np.exp(-r / s)
            # The cone's tip has no gradient; zero is its mean.
            pull = values / (s * np.maximum(r, 1e-300))
        else:
            values = self.bump.amplitude * np.exp(-squared / (2 * s * s))
            pull = values / (s * s)

        def pullback(weights: Array) -> Array:
            return -np.stack([weights @ (pull * step) for step in steps], axis=1)

        return values, pullback


def LaplaceRBF(scale: float = 0.5, amplitude: float = 1.0) -> RadialBump:
    """amplitude exp(-r/scale), r the distance of omega and x on a flat torus."""
    return RadialBump("laplace", scale, amplitude)


def GaussianRBF(scale: float = 0.5, amplitude: float = 1.0) -> RadialBump:
    """amplitude exp(-r^2/(2 scale^2)), r the distance of omega and x on a flat torus."""
    return RadialBump("gaussian", scale, amplitude)


def _need(manifold: Manifold, kind: Any, feature: object) -> None:
    if not isinstance(manifold, kind):
        home = getattr(kind, "__name__", "Sphere, or on Euclidean space")
        raise InputError(
            f"features: {shown(feature)} lives on a {home}, and the problem on {manifold}"
        )

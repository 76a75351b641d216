"""Probability densities with respect to the surface measure, computed from their logarithm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ufd.exceptions import InputError
from ufd.problem.checks import direction, number
from ufd.problem.manifolds import Sphere

Array = NDArray[np.float64]


class Density(Protocol):
    """A positive density of total mass 1 on a sphere."""

    @property
    def manifold(self) -> Sphere:
        """The sphere on which the density lives."""

    def log_density(self, points: Array) -> Array:
        """Logarithm of the density at (n, ambient_dim) points on the sphere; shape (n,)."""

    def axes(self) -> Array | None:
        """The directions that the density singles out: (k, ambient_dim) unit vectors.

        It is invariant under every orthogonal map that fixes all of them. None where nothing is
        known, as for a function.
        """

    def moments(self, degree: int) -> list[tuple[Array, Array]] | None:
        """The density as a sum of zonal parts, by their harmonic moments.

        Returns:
            Pairs of an axis a, (ambient_dim,), and the integrals of P_l(a.x) over the part for
            l = 0 to ``degree``, (degree + 1,); None where they are not known in closed form.
        """

    def describe(self) -> dict[str, Any] | None:
        """The table of a case file that builds this density; None for a callable."""


def density_at(density: Density, points: ArrayLike) -> Array:
    """Evaluate a density at (n, ambient_dim) points; shape (n,)."""
    return np.exp(density.log_density(density.manifold.points(points)))


@dataclass(frozen=True)
class Uniform:
    """The uniform density on a sphere."""

    manifold: Sphere

    def log_density(self, points: Array) -> Array:
        """See `Density`."""
        return np.full(len(points), -self.manifold.log_area)

    def axes(self) -> Array:
        """See `Density`."""
        return np.empty((0, self.manifold.ambient_dim))

    def moments(self, degree: int) -> list[tuple[Array, Array]]:
        """See `Density`."""
        return [(np.eye(self.manifold.ambient_dim)[0], np.eye(degree + 1)[0])]

    def describe(self) -> dict[str, Any]:
        """See `Density`."""
        return {"kind": "uniform"}


def _log_bessel(order: float, x: float) -> float:
    """log(exp(-x) I_order(x)), x > 0, also where the Bessel function underflows."""
    from scipy.special import ive

    direct = float(ive(order, x))
    if direct > 0:
        return math.log(direct)
    # Debye's expansion (DLMF 10.41.3) for large orders or, beyond the reach of ``ive``, large x;
    # its error is of size root^-4.
    root = math.hypot(order, x)
    q, u = (order / root) ** 2, 1 / root
    series = (
        1
        + (3 - 5 * q) / 24 * u
        + (81 - 462 * q + 385 * q**2) / 1152 * u**2
        + (30375 - 369603 * q + 765765 * q**2 - 425425 * q**3) / 414720 * u**3
    )
    # root - x without cancellation, then the logarithm.
    exponent = order * (order / (root + x)) + order * math.log(x / (order + root))
    return exponent - 0.5 * math.log(2 * math.pi * root) + math.log(series)


@dataclass(frozen=True, eq=False)
class VonMisesFisher:
    """The von Mises-Fisher density, proportional to exp(kappa mean.x).

    Args:
        mean: Direction of concentration, (ambient_dim,); normalised.
        kappa: Concentration, at least 0.

    Raises:
        InputError: If the direction is zero or not finite, or kappa is negative or not finite.
    """

    mean: ArrayLike
    kappa: float
    manifold: Sphere = field(init=False)
    _log_constant: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        mean = direction("VonMisesFisher", "mean", self.mean)
        kappa = number("VonMisesFisher", "kappa", self.kappa, 0.0)
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "kappa", kappa)
        object.__setattr__(self, "manifold", Sphere(mean.size - 1))
        object.__setattr__(self, "_log_constant", self._normaliser(kappa))

    def _normaliser(self, kappa: float) -> float:
        """log c of c exp(kappa (mean.x - 1)): no overflow for any kappa."""
        if kappa <= 1e-6:
            return -self.manifold.log_area + kappa - kappa**2 / (2 * self.manifold.ambient_dim)
        order = self.manifold.ambient_dim / 2 - 1
        log_bessel = _log_bessel(order, kappa)
        return order * math.log(kappa) - (order + 1) * math.log(2 * math.pi) - log_bessel

    def log_density(self, points: Array) -> Array:
        """See `Density`."""
        return self._log_constant + self.kappa * (points @ np.asarray(self.mean) - 1)

    def axes(self) -> Array:
        """See `Density`."""
        return np.asarray(self.mean)[None][: self.kappa > 0]

    def moments(self, degree: int) -> list[tuple[Array, Array]]:
        """See `Density`: ratios of Bessel functions of neighbouring orders."""
        moments = np.eye(degree + 1)[0]
        if self.kappa > 1e-300:
            order = self.manifold.ambient_dim / 2 - 1
            logs = [_log_bessel(order + l, self.kappa) for l in range(degree + 1)]
            moments = np.exp(np.array(logs) - logs[0])
        return [(np.asarray(self.mean), moments)]

    def describe(self) -> dict[str, Any]:
        """See `Density`."""
        return {
            "kind": "von_mises_fisher",
            "mean": np.asarray(self.mean).tolist(),
            "kappa": self.kappa,
        }


@dataclass(frozen=True)
class AngularCauchy:
    """The wrapped Cauchy density on the circle, ∝ 1/(1 + gamma sin²((x - centre)/2)).

    Its normaliser is sqrt(1 + gamma)/(2 pi) (derived in docs/theory.md).

    Args:
        gamma: Concentration, at least 0; sup/inf of the density is 1 + gamma.
        centre: Angle of the mode, in radians from the first ambient axis.
    """

    gamma: float
    centre: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "gamma", number("AngularCauchy", "gamma", self.gamma, 0.0))
        object.__setattr__(self, "centre", number("AngularCauchy", "centre", self.centre))

    @property
    def manifold(self) -> Sphere:
        """The circle."""
        return Sphere(1)

    def log_density(self, points: Array) -> Array:
        """See `Density`."""
        cosine = points @ np.array([math.cos(self.centre), math.sin(self.centre)])
        constant = 0.5 * math.log1p(self.gamma) - math.log(2 * math.pi)
        return constant - np.log1p(self.gamma * (1 - cosine) / 2)

    def axes(self) -> Array:
        """See `Density`."""
        return np.array([[math.cos(self.centre), math.sin(self.centre)]])[: self.gamma > 0]

    def moments(self, degree: int) -> list[tuple[Array, Array]]:
        """See `Density`: powers of (sqrt(1 + gamma) - 1)/(sqrt(1 + gamma) + 1)."""
        root = math.sqrt(1 + self.gamma)
        # root - 1 without cancellation.
        ratio = self.gamma / (root + 1) ** 2
        axis = np.array([math.cos(self.centre), math.sin(self.centre)])
        return [(axis, ratio ** np.arange(degree + 1.0))]

    def describe(self) -> dict[str, Any]:
        """See `Density`."""
        return {"kind": "angular_cauchy", "gamma": self.gamma, "centre": self.centre}


@dataclass(frozen=True, eq=False)
class Mixture:
    """A convex combination of densities on one sphere.

    Args:
        components: The densities.
        weights: Positive weights, one per component, of sum 1.

    Raises:
        InputError: If the weights are not positive, do not sum to 1 within 1e-12, or the
            components live on different spheres.
    """

    components: Sequence[Density]
    weights: Sequence[float]

    def __post_init__(self) -> None:
        components = tuple(self.components)
        weights = tuple(number("Mixture", "weights", w) for w in self.weights)
        if not components or len(components) != len(weights):
            raise InputError(
                f"Mixture: {len(components)} components and {len(weights)} weights; "
                "give one weight for each component"
            )
        if min(weights) <= 0:
            raise InputError(f"Mixture: weights = {list(weights)} must all be positive")
        if abs(math.fsum(weights) - 1) > 1e-12:
            raise InputError(
                f"Mixture: weights = {list(weights)} sum to {math.fsum(weights):.15g}, not 1"
            )
        if len({c.manifold for c in components}) != 1:
            dims = [c.manifold.dim for c in components]
            raise InputError(f"Mixture: components live on spheres of dimensions {dims}")
        object.__setattr__(self, "components", components)
        object.__setattr__(self, "weights", weights)

    @property
    def manifold(self) -> Sphere:
        """The sphere of the components."""
        return self.components[0].manifold

    def log_density(self, points: Array) -> Array:
        """See `Density`."""
        terms = [
            math.log(w) + c.log_density(points)
            for w, c in zip(self.weights, self.components, strict=True)
        ]
        return np.logaddexp.reduce(terms, axis=0)

    def axes(self) -> Array | None:
        """See `Density`."""
        known = [axes for c in self.components if (axes := c.axes()) is not None]
        return np.concatenate(known) if len(known) == len(self.components) else None

    def moments(self, degree: int) -> list[tuple[Array, Array]] | None:
        """See `Density`."""
        parts: list[tuple[Array, Array]] = []
        for weight, component in zip(self.weights, self.components, strict=True):
            known = component.moments(degree)
            if known is None:
                return None
            parts += [(axis, weight * moments) for axis, moments in known]
        return parts

    def describe(self) -> dict[str, Any] | None:
        """See `Density`."""
        tables = [c.describe() for c in self.components]
        if None in tables:
            return None
        return {"kind": "mixture", "weights": list(self.weights), "components": tables}

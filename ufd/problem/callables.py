"""Densities from functions: positive values, and an integral that is refined until it settles."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ufd.exceptions import InputError
from ufd.problem.checks import shown
from ufd.problem.manifolds import Sphere

Array = NDArray[np.float64]
_SETTLED, _MAX_NODES = 1e-12, 4_000_000
# Points between the nodes of a rule that are looked at, and how the highest are climbed from.
_LOOKS, _AT_ONCE, _CLIMBERS, _CLIMBS = 400_000, 20_000, 4, 40


@dataclass(frozen=True, eq=False)
class CallableDensity:
    """A density from a positive function; build it with `density`."""

    manifold: Sphere
    function: Callable[[Array], ArrayLike]
    log_constant: float

    def log_density(self, points: Array) -> Array:
        """See `Density`."""
        return np.log(_positive(self.function, points)) - self.log_constant

    def axes(self) -> None:
        """Nothing is known about a function."""
        return None

    def moments(self, degree: int) -> None:
        """See `Density`: not known in closed form."""
        return None

    def describe(self) -> None:
        """A function cannot be written to a case file."""
        return None


def _positive(function: Callable[[Array], ArrayLike], points: Array) -> Array:
    returned = function(points)
    try:
        values = np.asarray(returned)
        if values.dtype.kind not in "iuf":
            raise TypeError
    except (TypeError, ValueError):
        raise InputError(
            f"density: the function returned {type(returned).__name__} for {len(points)} points; "
            f"real numbers of shape ({len(points)},) needed"
        ) from None
    values = values.astype(float, copy=False)
    if values.shape != (len(points),):
        raise InputError(
            f"density: the function returned shape {values.shape} for {len(points)} points; "
            f"({len(points)},) needed"
        )
    bad = ~(np.isfinite(values) & (values > 0))
    if bad.any():
        first = int(np.argmax(bad))
        raise InputError(
            f"density: value {values[first]:g} at {np.round(points[first], 6).tolist()}; "
            "densities must be positive and finite everywhere"
        )
    return values


def log_integral(manifold: Sphere, log_function: Callable[[Array], Array]) -> float | None:
    """Logarithm of the integral of exp(log_function) with respect to the surface measure.

    The product rule is refined until two of them agree to 1e-12 relatively. Values count
    relative to the largest, so that none overflows and those that underflow do not matter.

    Args:
        manifold: Where to integrate.
        log_function: Logarithm of the integrand at (n, ambient_dim) points; shape (n,).

    Returns:
        None if the rules do not settle within some 10^6 nodes, or settle beside a peak.
    """
    previous = math.nan
    order = 32 if manifold.dim <= 3 else 8
    peak = None
    while order * ((order + 1) // 2) ** (manifold.dim - 1) <= _MAX_NODES:
        x, weights = manifold.quadrature(order)
        logs = log_function(x)
        top = float(logs.max())
        value = top + math.log(float(weights @ np.exp(logs - top)))
        # A logarithm of size 1e4 has no digit of 1e-12 to compare.
        if abs(value - previous) <= max(_SETTLED, 2e-16 * abs(value)):
            # Rules whose nodes all lie beside a peak agree on what is left without it. Nodes that
            # resolve a peak come near its top.
            peak = _highest(manifold, log_function) if peak is None else peak
            if peak <= top + math.log(4) + 0.25 * manifold.dim:
                return value
        previous, order = value, 2 * order
    return None


def _highest(manifold: Sphere, log_function: Callable[[Array], Array]) -> float:
    """The largest value that is found at scattered points and uphill from the best of them."""
    rng = np.random.default_rng(0)
    # On a torus many turns of a normal law are uniform; lengths do not matter on a sphere.
    scale = getattr(manifold, "period", 1.0)
    x, top = np.empty((0, manifold.ambient_dim)), np.empty(0)
    for _ in range(_LOOKS // _AT_ONCE):
        more = manifold.retract(scale * rng.normal(size=(_AT_ONCE, manifold.ambient_dim)))
        x, top = np.vstack([x, more]), np.append(top, log_function(more))
        best = np.argsort(top)[-_CLIMBERS:]
        x, top = x[best], top[best]
    # The distance of neighbours among as many points, and less and less.
    width = 4 * scale * _LOOKS ** (-1 / manifold.dim)
    for step in width * 0.7 ** np.arange(_CLIMBS):
        moves = rng.normal(size=(8, *x.shape))
        tried = manifold.retract((x + step * moves).reshape(-1, manifold.ambient_dim))
        values = log_function(tried).reshape(8, -1)
        winner, columns = values.argmax(axis=0), np.arange(len(x))
        better = values[winner, columns] > top
        chosen = tried.reshape(8, *x.shape)[winner, columns]
        x = np.where(better[:, None], chosen, x)
        top = np.where(better, values[winner, columns], top)
    return float(top.max())


def density(manifold: Sphere, function: Callable[[Array], ArrayLike]) -> CallableDensity:
    """Build a density from a positive function on (n, ambient_dim) points, and normalise it.

    The integral is refined until two product rules agree to 1e-12.

    Raises:
        InputError: If a value is not positive and finite, or the integral does not settle.
    """
    if not callable(function):
        raise InputError(f"density: {shown(function)} is not a function of points")
    log_constant = log_integral(manifold, lambda x: np.log(_positive(function, x)))
    if log_constant is None:
        raise InputError(
            "density: the integral of the function does not settle to 1e-12 (it is rough, or "
            "a peak lies between the nodes); give a smoother function, or a Mixture of closed forms"
        )
    return CallableDensity(manifold, function, log_constant)

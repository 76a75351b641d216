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
        None if the rules do not settle within some 10^6 nodes.
    """
    previous = math.nan
    order = 32 if manifold.dim <= 3 else 8
    while order * ((order + 1) // 2) ** (manifold.dim - 1) <= _MAX_NODES:
        x, weights = manifold.quadrature(order)
        logs = log_function(x)
        top = float(logs.max())
        value = top + math.log(float(weights @ np.exp(logs - top)))
        # A logarithm of size 1e4 has no digit of 1e-12 to compare.
        if abs(value - previous) <= max(_SETTLED, 2e-16 * abs(value)):
            return value
        previous, order = value, 2 * order
    return None


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
            "density: the integral of the function does not settle to 1e-12; "
            "give a smoother function, or a Mixture of closed forms"
        )
    return CallableDensity(manifold, function, log_constant)

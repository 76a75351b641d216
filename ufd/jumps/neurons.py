"""Neurons on [0, 1] with their loss: integrals of piecewise polynomials, exact to rounding.

f(x) = a_0 + sum_j a_j s(x - u_j), L = int_0^1 (f* - f)^2 dx. s is the smoothed step
sigma(x/eta) (arXiv 2304.09576: sigma = 4(z + 1/2)^3 and 1 - 4(1/2 - z)^3) or a ramp. Between
neighbouring knots all integrands are polynomials of degree 6 at most: four Gauss points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ufd.problem.knots import Knots

Array = NDArray[np.float64]
_POINTS, _WEIGHTS = np.polynomial.legendre.leggauss(4)


class Activation(Protocol):
    """s, and where it is no polynomial."""

    @property
    def breaks(self) -> Array:
        """Points z where s changes its formula."""

    def value(self, z: Array) -> Array:
        """s(z)."""

    def slope(self, z: Array) -> Array:
        """s'(z)."""

    def curvature(self, z: Array) -> Array:
        """s''(z) without its point masses."""

    @property
    def kink(self) -> float:
        """Point mass of s'' at 0."""


@dataclass(frozen=True)
class SmoothStep:
    """sigma(z/eta): from 0 to 1 over a width eta."""

    eta: float
    kink: float = 0.0

    @property
    def breaks(self) -> Array:
        """See `Activation`."""
        return self.eta * np.array([-0.5, 0.0, 0.5])

    def value(self, z: Array) -> Array:
        """See `Activation`."""
        x = np.clip(z / self.eta, -0.5, 0.5)
        tail = 4 * (0.5 - np.abs(x)) ** 3
        return np.where(x < 0, tail, 1 - tail)

    def slope(self, z: Array) -> Array:
        """See `Activation`."""
        return 12 * np.maximum(0.5 - np.abs(z) / self.eta, 0.0) ** 2 / self.eta

    def curvature(self, z: Array) -> Array:
        """See `Activation`."""
        return -24 * np.sign(z) * np.maximum(0.5 - np.abs(z) / self.eta, 0.0) / self.eta**2


@dataclass(frozen=True)
class Ramp:
    """max(z, 0)."""

    kink: float = 1.0

    @property
    def breaks(self) -> Array:
        """See `Activation`."""
        return np.zeros(1)

    def value(self, z: Array) -> Array:
        """See `Activation`."""
        return np.maximum(z, 0.0)

    def slope(self, z: Array) -> Array:
        """See `Activation`."""
        return (z > 0).astype(float)

    def curvature(self, z: Array) -> Array:
        """See `Activation`."""
        return np.zeros_like(z)


class Neurons:
    """The loss of neurons that fit one target.

    Args:
        target: f*.
        activation: s.
    """

    def __init__(self, target: Knots, activation: Activation) -> None:
        self.target, self.activation = target, activation
        self._fixed = np.array([0.0, *target.positions, 1.0])

    def error(self, a: Array, u: Array) -> tuple[Array, Array, Array]:
        """f - f*, at the points of a rule with its weights: (points, weights, values).

        Args:
            a: a_0 and the weights, (m + 1,).
            u: Positions, (m,).
        """
        moving = (u[:, None] + self.activation.breaks).ravel()
        knots = np.sort(np.concatenate([self._fixed, np.clip(moving, 0, 1)]))
        half = np.diff(knots)[:, None] / 2
        x = (knots[:-1, None] + half + half * _POINTS).ravel()
        weights = (half * _WEIGHTS).ravel()
        values = a[0] + self.activation.value(x[:, None] - u) @ a[1:] - self.target(x)
        return x, weights, values

    def loss(self, a: Array, u: Array) -> float:
        """L."""
        _, weights, values = self.error(a, u)
        return float(weights @ values**2)

    def gradient(self, a: Array, u: Array) -> Array:
        """dL/d(a_0, a, u), (2m + 1,)."""
        x, weights, r = self.error(a, u)
        return 2 * self._columns(x, a, u).T @ (weights * r)

    def _columns(self, x: Array, a: Array, u: Array) -> Array:
        """Derivatives of f at points in a_0, in a, in u, (points, 2m + 1)."""
        z, s = x[:, None] - u, self.activation
        return np.column_stack([np.ones_like(x), s.value(z), -s.slope(z) * a[1:]])

    def derivatives(self, a: Array, u: Array) -> tuple[Array, Array]:
        """Gradient (2m + 1,) and Hessian of the loss in (a_0, a, u)."""
        x, weights, r = self.error(a, u)
        z, s = x[:, None] - u, self.activation
        each, J = a[1:], self._columns(x, a, u)
        gradient = 2 * J.T @ (weights * r)
        hessian = 2 * J.T @ (weights[:, None] * J)
        m = len(u)
        ia, iu = np.arange(1, m + 1), np.arange(m + 1, 2 * m + 1)
        mixed = -2 * s.slope(z).T @ (weights * r)
        hessian[ia, iu] += mixed
        hessian[iu, ia] += mixed
        bend = s.curvature(z).T @ (weights * r)
        if s.kink:
            inside = (u > 0) & (u < 1)
            there = a[0] + s.value(u[:, None] - u) @ each - self.target(u)
            bend = bend + s.kink * np.where(inside, there, 0.0)
        hessian[iu, iu] += 2 * each * bend
        return gradient, hessian


def additive_loss(neurons: list[Neurons], a: Array, u: Array) -> float:
    """Loss of a sum of functions of one coordinate each, on the unit cube.

    Args:
        neurons: One for each coordinate.
        a: The constant and all weights, (1 + axes m,).
        u: Positions, (axes, m).
    """
    mean = variance = 0.0
    for d, (own, there) in enumerate(zip(neurons, u, strict=True)):
        constant = a[0] if d == 0 else 0.0
        each = np.concatenate([[constant], a[1 + d * len(there) :][: len(there)]])
        _, weights, values = own.error(each, there)
        middle = float(weights @ values)
        mean += middle
        variance += float(weights @ (values - middle) ** 2)
    return variance + mean**2

"""The manifolds on which features live: spheres of any dimension, and flat tori."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ufd.exceptions import InputError
from ufd.problem.checks import form, number, real_array

Array = NDArray[np.float64]


class Manifold(Protocol):
    """A manifold in coordinates of ``ambient_dim`` numbers."""

    @property
    def dim(self) -> int:
        """Dimension."""

    @property
    def ambient_dim(self) -> int:
        """Numbers that name a point."""

    @property
    def log_area(self) -> float:
        """Logarithm of the surface measure of the whole."""

    def points(self, points: ArrayLike) -> Array:
        """Checked points, (n, ambient_dim)."""

    def retract(self, points: Array) -> Array:
        """The points of the manifold that coordinates near it stand for."""

    def tangent(self, points: Array, vectors: Array) -> Array:
        """Tangential part of vectors at points, (n, ambient_dim)."""

    def exponential(self, points: Array, vectors: Array) -> Array:
        """Ends of the geodesics that leave points with tangent vectors, (n, ambient_dim)."""

    def quadrature(self, order: int) -> tuple[Array, Array]:
        """Nodes and weights of a rule."""


def as_points(points: ArrayLike, ambient_dim: int) -> Array:
    """Points as an (n, ambient_dim) array, or refused in one line."""
    try:
        x = np.atleast_2d(real_array(points))
    except (TypeError, ValueError):
        raise InputError(
            f"points: {form(points)} given, real numbers of shape (n, {ambient_dim}) needed"
        ) from None
    if x.ndim != 2 or x.shape[1] != ambient_dim:
        raise InputError(f"points: shape {np.shape(points)} given, (n, {ambient_dim}) needed")
    return x


def checked_dim(owner: str, dim: Any) -> int:
    """A dimension, or refused in one line."""
    if isinstance(dim, bool) or not isinstance(dim, Integral) or dim < 1:
        raise InputError(f"{owner}: dim = {dim!r} is not a positive integer")
    return int(dim)


@dataclass(frozen=True)
class Sphere:
    """The unit sphere S^dim in R^(dim+1); ``Sphere(1)`` is the circle.

    Args:
        dim: Dimension of the surface, at least 1.

    Raises:
        InputError: If ``dim`` is not a positive integer.
    """

    dim: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "dim", checked_dim("Sphere", self.dim))

    @property
    def ambient_dim(self) -> int:
        """Dimension of the space that contains the sphere."""
        return self.dim + 1

    @property
    def log_area(self) -> float:
        """Logarithm of the surface measure, log(2 pi^(d/2) / Gamma(d/2)) with d = dim + 1."""
        half = self.ambient_dim / 2
        return math.log(2) + half * math.log(math.pi) - math.lgamma(half)

    def points(self, points: ArrayLike, *, tolerance: float = 1e-6) -> Array:
        """Return ``points`` as an (n, ambient_dim) array on the sphere.

        Raises:
            InputError: If the shape is wrong or a point is off the sphere by more than
                ``tolerance``.
        """
        x = as_points(points, self.ambient_dim)
        with np.errstate(over="ignore"):
            radius = np.linalg.norm(x, axis=1)
        if not np.all(np.abs(radius - 1) <= tolerance):
            worst = int(np.argmax(np.where(np.isfinite(radius), np.abs(radius - 1), np.inf)))
            raise InputError(
                f"points: row {worst} has length {radius[worst]:.6g}, not 1; divide by the length"
            )
        return x / radius[:, None]

    def retract(self, points: Array) -> Array:
        """Points divided by their length, (n, ambient_dim)."""
        return points / np.linalg.norm(points, axis=1, keepdims=True)

    def tangent(self, points: Array, vectors: Array) -> Array:
        """Tangential part of vectors at points of the sphere, (n, ambient_dim)."""
        return vectors - np.einsum("ij,ij->i", points, vectors)[:, None] * points

    def exponential(self, points: Array, vectors: Array) -> Array:
        """Ends of great circles that leave points with tangent vectors, (n, ambient_dim)."""
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        # sinc(x) = sin(pi x)/(pi x) is smooth at 0.
        return self.retract(np.cos(length) * points + np.sinc(length / np.pi) * vectors)

    def quadrature(self, order: int) -> tuple[Array, Array]:
        """Nodes (n, ambient_dim) and weights (n,) of a product rule of the given order.

        Equispaced on the circle; Gauss-Gegenbauer in the polar coordinate times the rule of the
        sphere one dimension below otherwise. Exact for polynomials of degree < ``order``.
        """
        if self.dim == 1:
            angle = 2 * np.pi * np.arange(order) / order
            return np.column_stack([np.cos(angle), np.sin(angle)]), np.full(
                order, 2 * np.pi / order
            )
        from scipy.special import roots_jacobi

        power = self.dim / 2 - 1
        z, wz = roots_jacobi((order + 1) // 2, power, power)
        below, wb = Sphere(self.dim - 1).quadrature(order)
        radius = np.sqrt(1 - z**2)
        x = np.concatenate(
            [
                (radius[:, None, None] * below).reshape(-1, self.dim),
                np.repeat(z, len(below))[:, None],
            ],
            axis=1,
        )
        return x, np.outer(wz, wb).ravel()


@dataclass(frozen=True)
class Torus:
    """The flat torus R^dim / (period Z)^dim; a point is given by ``dim`` coordinates.

    Args:
        dim: Dimension, at least 1.
        period: Length of every coordinate circle.

    Raises:
        InputError: If ``dim`` is not a positive integer or ``period`` is not positive.
    """

    dim: int
    period: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "dim", checked_dim("Torus", self.dim))
        object.__setattr__(self, "period", number("Torus", "period", self.period))
        if not self.period > 0:
            raise InputError(f"Torus: period = {self.period!r} must be positive")

    @property
    def ambient_dim(self) -> int:
        """Numbers that name a point: one for each coordinate circle."""
        return self.dim

    @property
    def log_area(self) -> float:
        """Logarithm of the volume."""
        return self.dim * math.log(self.period)

    def points(self, points: ArrayLike) -> Array:
        """Return ``points`` as an (n, dim) array with coordinates in [0, period).

        Raises:
            InputError: If the shape is wrong or a coordinate is not finite.
        """
        x = as_points(points, self.dim)
        if not np.all(np.isfinite(x)):
            row = int(np.argmin(np.isfinite(x).all(axis=1)))
            raise InputError(f"points: row {row} is not finite")
        return self.retract(x)

    def retract(self, points: Array) -> Array:
        """Coordinates modulo the period, (n, dim)."""
        return np.mod(points, self.period)

    def tangent(self, points: Array, vectors: Array) -> Array:
        """Every vector is tangential."""
        return vectors

    def exponential(self, points: Array, vectors: Array) -> Array:
        """Ends of straight lines, (n, dim)."""
        return self.retract(points + vectors)

    def shortest(self, differences: Array) -> Array:
        """Differences of coordinates moved into [-period/2, period/2)."""
        half = self.period / 2
        return np.mod(differences + half, self.period) - half

    def embed(self, points: Array) -> Array:
        """Points of the product of circles of length ``period`` in R^(2 dim), (n, 2 dim)."""
        angle = 2 * np.pi / self.period * points
        circles = [np.cos(angle), np.sin(angle)]
        return self.period / (2 * np.pi) * np.concatenate(circles, axis=1)

    def quadrature(self, order: int) -> tuple[Array, Array]:
        """Nodes (order^dim, dim) and weights of the trapezoidal rule."""
        line = self.period * np.arange(order) / order
        grid = np.meshgrid(*[line] * self.dim, indexing="ij")
        x = np.stack(grid, axis=-1).reshape(-1, self.dim)
        return x, np.full(len(x), (self.period / order) ** self.dim)

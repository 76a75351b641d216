"""The closed manifolds on which features live: spheres of any dimension."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ufd.exceptions import InputError


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
        if isinstance(self.dim, bool) or not isinstance(self.dim, Integral) or self.dim < 1:
            raise InputError(f"Sphere: dim = {self.dim!r} is not a positive integer")
        object.__setattr__(self, "dim", int(self.dim))

    @property
    def ambient_dim(self) -> int:
        """Dimension of the space that contains the sphere."""
        return self.dim + 1

    @property
    def log_area(self) -> float:
        """Logarithm of the surface measure, log(2 pi^(d/2) / Gamma(d/2)) with d = dim + 1."""
        half = self.ambient_dim / 2
        return math.log(2) + half * math.log(math.pi) - math.lgamma(half)

    def points(self, points: ArrayLike, *, tolerance: float = 1e-6) -> NDArray[np.float64]:
        """Return ``points`` as an (n, ambient_dim) array on the sphere.

        Raises:
            InputError: If the shape is wrong or a point is off the sphere by more than
                ``tolerance``.
        """
        try:
            x = np.atleast_2d(np.asarray(points, dtype=float))
        except (TypeError, ValueError):
            raise InputError(f"points: {type(points).__name__} given, an array needed") from None
        if x.ndim != 2 or x.shape[1] != self.ambient_dim:
            raise InputError(
                f"points: shape {np.shape(points)} given, (n, {self.ambient_dim}) needed"
            )
        with np.errstate(over="ignore"):
            radius = np.linalg.norm(x, axis=1)
        if not np.all(np.abs(radius - 1) <= tolerance):
            worst = int(np.argmax(np.where(np.isfinite(radius), np.abs(radius - 1), np.inf)))
            raise InputError(
                f"points: row {worst} has length {radius[worst]:.6g}, not 1; divide by the length"
            )
        return x / radius[:, None]

    def quadrature(self, order: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
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

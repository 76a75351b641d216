"""Features without a constraint: R^d, where weight decay keeps them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ufd.exceptions import InputError
from ufd.problem.checks import number
from ufd.problem.manifolds import as_points, checked_dim

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Euclidean:
    """R^dim, for particles with atoms as teacher, and weight decay.

    Args:
        dim: Dimension, at least 1.

    Raises:
        InputError: If ``dim`` is not a positive integer.
    """

    dim: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "dim", checked_dim("Euclidean", self.dim))

    @property
    def ambient_dim(self) -> int:
        """The dimension."""
        return self.dim

    @property
    def log_area(self) -> float:
        """Infinite."""
        return math.inf

    def points(self, points: ArrayLike) -> Array:
        """Return ``points`` as an (n, dim) array.

        Raises:
            InputError: If the shape is wrong or a coordinate is not finite.
        """
        x = as_points(points, self.dim)
        if not np.isfinite(x).all():
            raise InputError(f"points: row {int(np.argmin(np.isfinite(x).all(axis=1)))} is not "
                             "finite")  # fmt: skip
        return x

    def retract(self, points: Array) -> Array:
        """The points themselves."""
        return points

    def tangent(self, points: Array, vectors: Array) -> Array:
        """Every vector is tangential."""
        return vectors

    def exponential(self, points: Array, vectors: Array) -> Array:
        """Ends of straight lines, (n, dim)."""
        return points + vectors

    def quadrature(self, order: int) -> tuple[Array, Array]:
        """There is none.

        Raises:
            InputError: Always.
        """
        raise InputError("Euclidean: no integrals over R^d; give atoms: target=(points, weights)")


@dataclass(frozen=True)
class Gaussian:
    """A normal density on R^dim, with independent coordinates.

    Args:
        manifold: R^dim.
        std: Standard deviation of each coordinate, positive.
        mean: Of each coordinate.

    Raises:
        InputError: If the deviation is not positive.
    """

    manifold: Euclidean
    std: float = 1.0
    mean: float = 0.0

    def __post_init__(self) -> None:
        for name in ("std", "mean"):
            object.__setattr__(self, name, number("Gaussian", name, getattr(self, name)))
        if not self.std > 0:
            raise InputError(f"Gaussian: std = {self.std!r} must be positive")

    def log_density(self, points: Array) -> Array:
        """See `Density`."""
        z = (points - self.mean) / self.std
        constant = self.manifold.dim * math.log(self.std * math.sqrt(2 * math.pi))
        return -np.sum(z * z, axis=1) / 2 - constant

    def from_cube(self, cube: Array) -> Array:
        """Points of R^dim that uniform points inside the cube become, by normal quantiles."""
        from scipy.special import ndtri

        # Lattices may begin at 0, whose quantile is infinite.
        inside = np.concatenate([cube[:, :1], (cube[:, 1:] + 0.5 / len(cube)) % 1], axis=1)
        return self.mean + self.std * ndtri(inside)

    def axes(self) -> None:
        """See `Density`."""
        return None

    def moments(self, degree: int) -> None:
        """See `Density`: it has no harmonics."""
        return None

    def describe(self) -> dict[str, Any]:
        """Kind, std, mean."""
        return {"kind": "gaussian", "std": self.std, "mean": self.mean}

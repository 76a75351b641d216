"""The harmonics that a feature sees, at the nodes: the kernel is diagonal in them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ufd.exceptions import InputError
from ufd.fem.discretization import Discretization
from ufd.parallel import agree, total
from ufd.problem.checks import positive_integer
from ufd.problem.densities import Density
from ufd.problem.harmonics import basis, degrees, multiplicities
from ufd.problem.identifiability import degree_power, seen
from ufd.problem.kernels import ZonalKernel
from ufd.problem.manifolds import Sphere

Array = NDArray[np.float64]
# Harmonics that are kept by default: dense matrices of so many columns are still cheap.
_MOST = 1100
# On the sphere: share of the outer weights that may be left out, and degrees that are always kept.
_NEGLIGIBLE, _LEAST = 1e-6, 8


@dataclass(frozen=True, eq=False)
class Harmonics:
    """Harmonics Y_1, ..., Y_N whose eigenvalue is not zero, up to one degree.

    Attributes:
        sphere: Where they live.
        degree: Highest degree.
        columns: Their places among all harmonics, in the order of `harmonics.basis`, (N,).
        eigenvalues: kappa of each, (N,).
    """

    sphere: Sphere
    degree: int
    columns: NDArray[np.int64]
    eigenvalues: Array

    @property
    def count(self) -> int:
        """N."""
        return len(self.columns)

    @cached_property
    def laplacian(self) -> Array:
        """l (l + dim - 1), the eigenvalue of the Laplacian, of each, (N,)."""
        each = degrees(self.sphere, self.degree)[self.columns]
        return each * (each + self.sphere.dim - 1.0)

    def at(self, points: Array) -> Array:
        """The harmonics at points, (p, N)."""
        # Column by column: products with both Y and its transpose are twice as fast.
        return np.asfortranarray(basis(self.sphere, self.degree, points)[:, self.columns])


@dataclass(frozen=True, eq=False)
class NodalHarmonics(Harmonics):
    """Harmonics with their values at the nodes of a mesh.

    Attributes:
        Y: At the owned nodes, (n, N).
    """

    Y: Array

    @cached_property
    def rough(self) -> NDArray[np.float32]:
        """Y in single precision: enough for Newton's corrections, at half the cost."""
        return self.Y.astype(np.float32, order="F")


def visible_harmonics(
    space: Discretization, kernel: ZonalKernel, lam: float, initial: Density, degree: Any = None
) -> NodalHarmonics:
    """The harmonics on a mesh that a kernel sees; collective.

    Args:
        space: The mesh, with the teacher.
        kernel: Its eigenvalues decide.
        lam: Regularisation.
        initial: The start.
        degree: Highest degree; None for a choice by `default_degree`.

    Raises:
        InputError: If the degree is no positive integer, or the mesh has fewer nodes than
            harmonics.
    """
    sphere = kernel.sphere
    most = (space.size - 1) // 2 if sphere.dim == 1 else int(np.sqrt(space.size) / 2)
    if degree is None:
        degree = default_degree(space, kernel, lam, initial, most)
    degree = positive_integer("meanfield", "harmonics", degree)
    if degree > most:
        raise InputError(
            f"harmonics = {degree}: {space.size} nodes resolve at most {most}; lower it, or refine "
            "the mesh"
        )
    kappa = kernel.eigenvalues(degree)
    each = degrees(sphere, degree)
    columns = np.flatnonzero(seen(kappa)[each])
    visible = Harmonics(sphere, degree, columns, kappa[each[columns]])
    return NodalHarmonics(**vars(visible), Y=visible.at(space.nodes))


def default_degree(
    space: Discretization, kernel: ZonalKernel, lam: float, initial: Density, most: int
) -> int:
    """All that the mesh resolves on the circle; on the sphere what the outer weights need.

    There twice the degree from which on kappa/(kappa + lam) times teacher and start is below 1e-6:
    products of the solution reach further than its data. At most a thousand harmonics, roughly.
    """
    kappa = kernel.eigenvalues(most)
    columns = np.cumsum(multiplicities(kernel.sphere.dim, most) * seen(kappa))
    most = min(most, int(np.searchsorted(columns, _MOST, side="right")) - 1)
    if kernel.sphere.dim == 1:
        return most
    power = agree(
        space.comm, lambda: degree_power(space.teacher, most) + degree_power(initial, most)
    )
    kappa = kappa[: most + 1]
    weight = np.sqrt(power) * kappa / np.maximum(kappa + lam, 1e-300)
    last = int(np.flatnonzero(weight > _NEGLIGIBLE)[-1])
    return min(most, max(_LEAST, 2 * last))


def moments(space: Discretization, Y: NDArray[Any], values: Array) -> Array:
    """int Y_k h dnu of nodal values h, (N,), computed in the precision of Y; collective."""
    return total(space.comm, (Y.T @ (space.D * values).astype(Y.dtype)).astype(float))

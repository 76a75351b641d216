"""The harmonics that a feature sees, at the nodes: the kernel is diagonal in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ufd.exceptions import InputError
from ufd.fem.discretization import Discretization
from ufd.parallel import total
from ufd.problem.harmonics import basis, degrees, multiplicities
from ufd.problem.identifiability import seen
from ufd.problem.kernels import ZonalKernel
from ufd.problem.manifolds import Sphere

Array = NDArray[np.float64]
# Harmonics that are kept by default: dense matrices of so many columns are still cheap.
_MOST = 1100


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

    def at(self, points: Array) -> Array:
        """The harmonics at points, (p, N)."""
        return np.ascontiguousarray(basis(self.sphere, self.degree, points)[:, self.columns])


@dataclass(frozen=True, eq=False)
class NodalHarmonics(Harmonics):
    """Harmonics with their values at the nodes of a mesh.

    Attributes:
        Y: At the owned nodes, (n, N).
    """

    Y: Array


def highest_degree(space: Discretization, sphere: Sphere, sees: Array) -> int:
    """The degree that a mesh resolves, or up to which there are about a thousand harmonics.

    Args:
        space: The mesh.
        sphere: Its manifold.
        sees: Whether the feature sees degree 0, 1, ...; as many as are possible.
    """
    if sphere.dim == 1:
        resolved = (space.size - 1) // 2
    else:
        resolved = int(np.sqrt(space.size) / 2)
    resolved = min(resolved, len(sees) - 1)
    columns = np.cumsum(multiplicities(sphere.dim, resolved) * sees[: resolved + 1])
    return (
        int(np.searchsorted(columns, _MOST, side="right")) - 1 if columns[-1] > _MOST else resolved
    )


def visible_harmonics(
    space: Discretization, kernel: ZonalKernel, degree: int | None = None
) -> NodalHarmonics:
    """The harmonics on a mesh that a kernel sees; collective.

    Args:
        space: The mesh.
        kernel: Its eigenvalues decide.
        degree: Highest degree; None for what the mesh resolves, within about a thousand harmonics.

    Raises:
        InputError: If the mesh has fewer nodes than harmonics.
    """
    sphere = kernel.sphere
    most = space.size // 2 if degree is None else int(degree)
    kappa = kernel.eigenvalues(most if sphere.dim == 1 else min(most, 256))
    sees = seen(kappa)
    if degree is None:
        degree = highest_degree(space, sphere, sees)
    each = degrees(sphere, degree)
    columns = np.flatnonzero(sees[each])
    if len(columns) > space.size:
        raise InputError(
            f"harmonics = {degree}: {len(columns)} harmonics on {space.size} nodes; lower the "
            "degree, or refine the mesh"
        )
    visible = Harmonics(sphere, degree, columns, kappa[each[columns]])
    return NodalHarmonics(**vars(visible), Y=visible.at(space.nodes))


def moments(space: Discretization, modes: NodalHarmonics, values: Array) -> Array:
    """int Y_k h dnu of nodal values h, (N,); collective."""
    return total(space.comm, modes.Y.T @ (space.D * values))

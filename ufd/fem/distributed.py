"""What the solvers ask of a mesh over the ranks."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from petsc4py import PETSc

Array = NDArray[np.float64]


class DistributedMesh(Protocol):
    """A mesh over the ranks: `elements.ElementMesh` or `nested.NestedMesh`.

    Attributes:
        owned: Number of nodes on this rank.
        first: Number of the first of them over all ranks.
        size: Nodes on all ranks.
        positions: Where a weight is needed, owned nodes first, (n, gdim).
        input_index: Number of each owned node in the whole mesh; the same on any rank count.
    """

    owned: int
    first: int
    size: int
    positions: Array
    input_index: NDArray[np.int64]

    def areas(self) -> Array:
        """int e_i at the owned nodes, (owned,)."""

    def stiffness(self, log_weight: Array) -> PETSc.Mat:
        """K for the logarithm of a weight at ``positions``."""

    def cell_nodes(self) -> NDArray:
        """Places in ``positions`` of the nodes of this rank's cells, (m, nodes per cell)."""

    def evaluate(self, values: Array, points: Array) -> Array:
        """Values (owned, ...) at points of the sphere (n, gdim); equal on every rank."""

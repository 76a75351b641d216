"""Solves with D - tau T, T the derivative of the transport in w: sparse and not symmetric."""

from __future__ import annotations

import numpy as np
from mpi4py import MPI  # noqa: F401  (loads the MPI library before petsc4py)
from numpy.typing import NDArray
from petsc4py import PETSc
from scipy.sparse import csr_array

from ufd.fem.discretization import Discretization
from ufd.meanfield.neighbours import Neighbours

Array = NDArray[np.float64]
_RTOL, _MOST = 1e-8, 200


class TransportSolver:
    """GMRES with incomplete factors: the step seldom carries mass over many cells.

    Args:
        space: Its nodes, over the ranks.
        neighbours: Its pairs.

    Attributes:
        failed: Whether a solve with the present matrix did not converge.
    """

    def __init__(self, space: Discretization, neighbours: Neighbours) -> None:
        self._columns = neighbours.numbers.astype(PETSc.IntType)
        self._matrix = space.K.duplicate()
        self._ksp = PETSc.KSP().create(space.comm)
        self._ksp.setType("gmres")
        self._ksp.setTolerances(rtol=_RTOL, max_it=_MOST)
        self._ksp.setOperators(self._matrix)
        self._ksp.getPC().setType("ilu" if space.comm.size == 1 else "bjacobi")
        self._b, self._x = space.K.createVecRight(), space.K.createVecRight()
        self.failed = False

    def prepare(self, matrix: csr_array, rows: Array, columns: Array) -> None:
        """Use a matrix of the pairs, (owned, extended); collective.

        Args:
            matrix: D - tau T.
            rows: Size of an equation, (owned,): they differ by what nu does.
            columns: Size of an unknown, (extended,).
        """
        pointer = matrix.indptr.astype(PETSc.IntType)
        each = np.repeat(rows, np.diff(matrix.indptr))
        data = matrix.data * columns[matrix.indices] / each
        self._rows, self._scale = rows, columns[: len(rows)]
        self._matrix.setValuesCSR(pointer, self._columns[matrix.indices], data)
        self._matrix.assemble()
        self.failed = False

    def solve(self, b: Array) -> Array:
        """The solution for a right-hand side at the owned nodes; collective."""
        self._b.array = b / self._rows
        self._ksp.solve(self._b, self._x)
        self.failed = self.failed or self._ksp.getConvergedReason() <= 0
        return self._scale * self._x.array

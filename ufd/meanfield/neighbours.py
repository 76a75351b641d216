"""The pairs of nodes that K couples, with what each rank must know of its neighbours' nodes."""

from __future__ import annotations

import numpy as np
from mpi4py import MPI  # noqa: F401  (loads the MPI library before petsc4py)
from numpy.typing import NDArray
from petsc4py import PETSc
from scipy.sparse import csr_array

from ufd.fem.discretization import Discretization

Array = NDArray[np.float64]
Index = NDArray[np.int64]


class Neighbours:
    """Pairs (i, j), i owned by this rank, i != j, with K_ij != 0.

    Attributes:
        i: Number of the first node on this rank, (pairs,).
        j: Number of the second in an extended array, (pairs,).
        K: K_ij, (pairs,).
        owned: Nodes of this rank.
        extended: These and the nodes of other ranks that they are coupled to.
        numbers: Of these over all ranks, (extended,).
    """

    def __init__(self, space: Discretization) -> None:
        pointer, columns, values = space.K.getValuesCSR()
        rows = np.repeat(np.arange(space.owned), np.diff(pointer))
        apart = (rows + space.first != columns) & (values != 0)
        self.i, self.K = rows[apart], values[apart]
        columns = columns[apart].astype(np.int64) - space.first
        away = (columns < 0) | (columns >= space.owned)
        ghosts, place = np.unique(columns[away] + space.first, return_inverse=True)
        columns[away] = space.owned + place
        self.j: Index = columns
        self.owned, self.extended = space.owned, space.owned + len(ghosts)
        self.numbers: Index = np.concatenate([space.first + np.arange(space.owned), ghosts])
        self._whole, self._near = space.K.createVecRight(), PETSc.Vec().createSeq(len(ghosts))
        wanted = PETSc.IS().createGeneral(ghosts.astype(PETSc.IntType), comm=PETSc.COMM_SELF)
        self._scatter = PETSc.Scatter().create(self._whole, wanted, self._near, None)
        self._serial = space.comm.size == 1

    def extend(self, values: Array) -> Array:
        """Owned nodal values with those of the neighbours behind them; collective.

        Args:
            values: (owned,) or (owned, k).

        Returns:
            (extended,) or (extended, k).
        """
        if self._serial:
            return values
        result = np.empty((self.extended, *values.shape[1:]))
        result[: self.owned] = values
        columns = result.reshape(self.extended, -1)
        for column in columns.T:
            self._whole.array = column[: self.owned]
            self._scatter.scatter(self._whole, self._near)
            column[self.owned :] = self._near.array
        return result

    def sum(self, pairs: Array) -> Array:
        """Sum over the neighbours of each owned node, (owned,)."""
        return np.bincount(self.i, weights=pairs, minlength=self.owned)

    def matrix(self, diagonal: Array, pairs: Array) -> csr_array:
        """The sparse matrix with these entries, zeros too, (owned, extended)."""
        own = np.arange(self.owned)
        rows, columns = np.concatenate([own, self.i]), np.concatenate([own, self.j])
        entries = np.concatenate([diagonal, pairs])
        return csr_array((entries, (rows, columns)), shape=(self.owned, self.extended))

"""Krylov methods for the few unknowns that all ranks share, preconditioned by an older factor.

Vectors of N coefficients lie on rank 0 for PETSc, whose reductions make every rank decide alike;
matrices are applied by all ranks together.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray
from petsc4py import PETSc
from scipy.linalg import LinAlgError, cho_factor, cho_solve

Array = NDArray[np.float64]
# An older factor is made again once it needs more iterations than this, and twice those of a new.
_STALE, _MOST = 8, 120


class FrozenCholesky:
    """CG or GMRES with the Cholesky factor of an earlier matrix.

    Args:
        comm: The ranks.
        count: Number N of unknowns.
        method: PETSc's name of the method, "cg" or "gmres".

    Attributes:
        stale: Whether the factor should be made again.
        factorisations: How many were made.
    """

    def __init__(self, comm: MPI.Comm, count: int, method: str) -> None:
        self._comm, self.stale, self.factorisations, self._new = comm, True, 0, 0
        self._apply: Callable[[Array], Array] = lambda x: x
        here = count if comm.rank == 0 else 0
        sizes = ((here, count), (here, count))
        matrix = PETSc.Mat().createPython(sizes, self, comm=comm)
        matrix.setUp()
        self._ksp = PETSc.KSP().create(comm)
        self._ksp.setType(method)
        self._ksp.setOperators(matrix)
        if method == "gmres":
            self._ksp.setGMRESRestart(_MOST)
        preconditioner = self._ksp.getPC()
        preconditioner.setType("python")
        preconditioner.setPythonContext(self)
        self._x, self._b = matrix.createVecs()

    def mult(self, _: PETSc.Mat, x: PETSc.Vec, y: PETSc.Vec) -> None:
        """Called by PETSc: y = A x."""
        value = self._apply(self._shared(x))
        # On every rank, with nothing or all of it: a vector left alone would keep an old norm.
        y.array = value[: y.local_size]

    def apply(self, _: PETSc.PC, x: PETSc.Vec, y: PETSc.Vec) -> None:
        """Called by PETSc: y = (the factorised matrix)^-1 x."""
        mine = x.array_r.copy()
        y.array = cho_solve(self._factor, mine, check_finite=False) if len(mine) else mine

    def _shared(self, x: PETSc.Vec) -> Array:
        mine = x.array_r.copy()
        return mine if self._comm.size == 1 else self._comm.bcast(mine)

    def factorise(self, share: Array) -> bool:
        """Use a new preconditioner; collective.

        Args:
            share: This rank's share of a sum over the ranks, (N, N), symmetric.

        Returns:
            Whether the sum is positive definite in floating point.
        """
        whole = share if self._comm.size == 1 else self._comm.reduce(share)
        good = True
        if self._comm.rank == 0:
            try:
                self._factor = cho_factor(whole, overwrite_a=True, check_finite=False)
            except (LinAlgError, ValueError):
                good = False
        good = self._comm.bcast(good)
        self.factorisations += good
        self.stale, self._new = not good, 0
        return good

    def solve(
        self, apply: Callable[[Array], Array], b: Array, rtol: float
    ) -> tuple[Array, int, bool]:
        """Solve A x = b; collective.

        Args:
            apply: x -> A x, of arrays (N,) that are equal on all ranks; collective.
            b: (N,), equal on all ranks.
            rtol: Relative to the preconditioned residual at x = 0.

        Returns:
            x on every rank, iterations, and whether they converged.
        """
        self._apply = apply
        self._b.array = b[: self._b.local_size]
        self._ksp.setTolerances(rtol=rtol, atol=1e-300, max_it=_MOST)
        self._ksp.solve(self._b, self._x)
        count, good = self._ksp.getIterationNumber(), self._ksp.getConvergedReason() > 0
        self._new = self._new or count
        self.stale = self.stale or count > max(_STALE, 2 * self._new) or not good
        return self._shared(self._x), count, good

"""Multigrid for K + diag(c): one hierarchy for each K, only diagonals move.

On nested icospheres: V(1,1) cycles with damped Jacobi. K is an M-matrix with row sums 0 and c > 0,
so the eigenvalues of D^-1 (K + diag(c)) lie below 2 and a damping of 1/1.1 contracts for every
weight; no spectrum is estimated. The diagonal of a coarser level is P^T c, which keeps that level
an M-matrix as well. Elsewhere: smoothed aggregation whose interpolation comes from K itself, never
from an early, diagonally dominant matrix.
"""

from __future__ import annotations

from mpi4py import MPI  # noqa: F401  (loads the MPI library before petsc4py)

import numpy as np
from numpy.typing import NDArray
from petsc4py import PETSc

from ufd.fem.nested import Coarser
from ufd.fem.shifted import Forgetful, Shifted, configure, conjugate_gradients, iterate

Array = NDArray[np.float64]
_DAMPING = 1 / 1.1


class GeometricMultigrid(Forgetful):
    """CG with V(1,1) cycles over the levels of an icosphere.

    Args:
        K: Stiffness of the finest level.
        coarser: Levels below, from the finest of them to the coarsest, which is factorised.
        prefix: Of the PETSc options.
    """

    name, exact, factorisations = "geometric multigrid", False, 0

    def __init__(self, K: PETSc.Mat, coarser: list[Coarser], prefix: str) -> None:
        self._coarser = coarser
        self._levels = [Shifted(K), *(Shifted(level.K) for level in coarser)]
        self.matrix = self._levels[0].matrix
        self._ksp = conjugate_gradients(K.comm, prefix)
        self._ksp.setOperators(self.matrix)
        pc = self._ksp.getPC()
        pc.setType("mg")
        pc.setMGLevels(len(self._levels))
        for height, level in enumerate(reversed(self._levels)):
            # Coarse levels are discretised again, not multiplied out.
            pc.getMGSmoother(height).setOperators(level.matrix)
        for height, below in enumerate(reversed(coarser), start=1):
            pc.setMGInterpolation(height, below.prolongation)
            pc.setMGRestriction(height, below.restriction)
        self.update(np.ones(K.getLocalSize()[0]))
        options = {
            "mg_levels_ksp_type": "richardson",
            "mg_levels_ksp_richardson_scale": _DAMPING,
            "mg_levels_ksp_norm_type": "none",
            "mg_levels_ksp_max_it": 1,
            "mg_levels_pc_type": "jacobi",
            "mg_coarse_ksp_type": "preonly",
            "mg_coarse_pc_type": "cholesky" if K.comm.size == 1 else "redundant",
            "mg_coarse_pc_factor_zeropivot": 1e-300,
            "mg_coarse_redundant_pc_type": "cholesky",
            "mg_coarse_redundant_pc_factor_zeropivot": 1e-300,
        }
        configure(self._ksp, options)

    def update(self, c: Array) -> None:
        """See `shifted.Method.update`; c > 0."""
        above, *below = self._levels
        above.set(c)
        for coarser, level in zip(self._coarser, below, strict=True):
            coarser.restriction.mult(above.shift, level.shift)
            level.update()
            above = level

    def solve(self, b: PETSc.Vec, x: PETSc.Vec, rtol: float) -> tuple[int, bool]:
        """See `shifted.Method.solve`."""
        return iterate(self._ksp, b, x, rtol)


class AlgebraicMultigrid(Forgetful):
    """CG with smoothed aggregation, on K itself or on a low-order matrix on the same nodes.

    Args:
        K: The stiffness matrix.
        D: Diagonal of the mass matrix at the owned nodes.
        prefix: Of the PETSc options.
        low_order: Degree 1 on the nodes of K: spectrally equivalent, and sparse.
    """

    exact, factorisations = False, 0

    def __init__(
        self, K: PETSc.Mat, D: Array, prefix: str, low_order: PETSc.Mat | None = None
    ) -> None:
        self._system = Shifted(K)
        self.matrix = self._system.matrix
        self._coarse = self._system if low_order is None else Shifted(low_order)
        self.name = "algebraic multigrid" if low_order is None else "low-order multigrid"
        self._ksp = conjugate_gradients(K.comm, prefix)
        self._ksp.setOperators(self.matrix, self._coarse.matrix)
        self._ksp.getPC().setType("gamg")
        # The first set-up fixes the interpolation: K, made definite by a little of D.
        self.update(1e-3 * D)
        options = {
            "pc_gamg_reuse_interpolation": "true",
            "mg_levels_ksp_type": "chebyshev",
            "mg_levels_pc_type": "jacobi",
        }
        configure(self._ksp, options)

    def update(self, c: Array) -> None:
        """See `shifted.Method.update`."""
        self._system.set(c)
        if self._coarse is not self._system:
            self._coarse.set(c)

    def solve(self, b: PETSc.Vec, x: PETSc.Vec, rtol: float) -> tuple[int, bool]:
        """See `shifted.Method.solve`."""
        return iterate(self._ksp, b, x, rtol)

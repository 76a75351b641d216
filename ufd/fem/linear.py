"""Linear systems (tau K + diag(d)) x = b with one fixed K and a moving positive diagonal.

The matrix is scaled symmetrically to unit diagonal. Small systems are factorised (PETSc's own
Cholesky on one rank, MUMPS otherwise); large ones use CG with algebraic multigrid whose
interpolation is built from K itself once, never from an early, diagonally dominant matrix.
"""

from __future__ import annotations

import itertools

from mpi4py import MPI  # noqa: F401  (loads the MPI library before petsc4py)

import numpy as np
from numpy.typing import NDArray
from petsc4py import PETSc

from ufd.exceptions import InputError

Array = NDArray[np.float64]
_NATIVE_LIMIT = 1_000
DIRECT_LIMIT = 150_000
_counter = itertools.count()


class ShiftedSolver:
    """Solves with tau K + diag(d).

    Args:
        K: Symmetric positive semi-definite matrix with zero row sums.
        method: ``"direct"``, ``"multigrid"`` or None for a choice by size.

    Attributes:
        method: The method in use.
        escalations: How often multigrid failed and a factorisation took over.
        tau: The factor of K that was prepared last.
    """

    def __init__(self, K: PETSc.Mat, D: Array, method: str | None = None) -> None:
        if method not in (None, "direct", "multigrid"):
            raise InputError(f'linear = {method!r} must be "direct", "multigrid" or None')
        self._K = K
        self._A = K.duplicate(copy=True)
        self._stiff_diagonal = K.getDiagonal().array.copy()
        self._diagonal, self._scale = K.createVecRight(), K.createVecRight()
        self._rhs, self._solution = K.createVecRight(), K.createVecRight()
        size = K.getSize()[0]
        self.method = method or ("direct" if size <= DIRECT_LIMIT else "multigrid")
        self._prefix = f"ufd_{next(_counter)}_"
        if self.method == "direct":
            native = K.comm.size == 1 and size <= _NATIVE_LIMIT
            self._ksp = self._direct("petsc" if native else "mumps")
        else:
            self._ksp = self._multigrid(D)
        self._fallback: PETSc.KSP | None = None
        self.escalations = 0
        self.tau = np.nan

    def _direct(self, package: str) -> PETSc.KSP:
        ksp = PETSc.KSP().create(self._K.comm)
        ksp.setType("preonly")
        pc = ksp.getPC()
        pc.setType("cholesky")
        pc.setFactorSolverType(package)
        if package == "petsc":
            pc.setFactorOrdering("nd")
        ksp.setOptionsPrefix(self._prefix)
        ksp.setFromOptions()
        return ksp

    def _multigrid(self, D: Array) -> PETSc.KSP:
        ksp = PETSc.KSP().create(self._K.comm)
        ksp.setType("cg")
        ksp.setNormType(PETSc.KSP.NormType.NATURAL)
        ksp.getPC().setType("gamg")
        options = PETSc.Options(self._prefix)
        defaults = {
            "pc_gamg_reuse_interpolation": "true",
            "mg_levels_ksp_type": "chebyshev",
            "mg_levels_pc_type": "jacobi",
        }
        for key, value in defaults.items():
            if not options.hasName(key):
                options[key] = value
        ksp.setOptionsPrefix(self._prefix)
        ksp.setFromOptions()
        for key in defaults:
            options.delValue(key)
        # The first set-up fixes the interpolation: K, made definite by a little of D.
        self.prepare(1.0, 1e-3 * D, ksp)
        ksp.setUp()
        return ksp

    def prepare(self, tau: float, d: Array, ksp: PETSc.KSP | None = None) -> None:
        """Set the matrix tau K + diag(d)."""
        self.tau = tau
        with np.errstate(over="ignore"):
            diagonal = tau * self._stiff_diagonal + d
        self._scale.array = 1 / np.sqrt(diagonal)
        self._diagonal.array = diagonal
        self._K.copy(self._A, structure=PETSc.Mat.Structure.SAME_NONZERO_PATTERN)
        self._A.scale(tau)
        self._A.setDiagonal(self._diagonal)
        self._A.diagonalScale(self._scale, self._scale)
        (ksp or self._ksp).setOperators(self._A)

    def solve(self, b: Array, rtol: float) -> tuple[Array, int, bool]:
        """Solution, Krylov iterations, and whether it can be trusted."""
        scale = self._scale.array
        self._rhs.array = b * scale
        if self.method == "direct":
            self._ksp.solve(self._rhs, self._solution)
            good, iterations = self._ksp.getConvergedReason() > 0, 0
        else:
            self._ksp.setTolerances(rtol=rtol, max_it=80)
            self._ksp.solve(self._rhs, self._solution)
            good = self._ksp.getConvergedReason() > 0
            iterations = self._ksp.getIterationNumber()
            if not good:
                self.escalations += 1
                self._fallback = self._fallback or self._direct("mumps")
                self._fallback.setOperators(self._A)
                self._fallback.solve(self._rhs, self._solution)
                good = self._fallback.getConvergedReason() > 0
        return self._solution.array * scale, iterations, good

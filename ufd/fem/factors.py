"""Solutions by Cholesky factors: a new one for each matrix, or an old one as preconditioner."""

from __future__ import annotations


from typing import Any

import numpy as np
from numpy.typing import NDArray
from petsc4py import PETSc

from ufd.fem.shifted import Forgetful, Shifted, configure, conjugate_gradients, iterate
from ufd.parallel import largest

Array = NDArray[np.float64]
# Up to here PETSc's own Cholesky is faster than MUMPS.
_NATIVE_LIMIT = 10_000
# Up to here every rank factorises the whole matrix: no slower than MUMPS on a few ranks, whose
# sums depend on which message comes first.
_REDUNDANT_LIMIT = 40_000
# A factor is made again once CG needs more iterations than this with the old one.
_STALE = 8


def factor_options(K: PETSc.Mat) -> dict[str, Any]:
    """PETSc options of a Cholesky factorisation of a matrix like K."""
    size, ranks = K.getSize()[0], K.comm.size
    alone = ranks == 1 or size <= _REDUNDANT_LIMIT
    native = alone and size <= _NATIVE_LIMIT
    inner = {
        "pc_type": "cholesky",
        "pc_factor_mat_solver_type": "petsc" if native else "mumps",
        # Positive definite, of any scale: no pivot is too small.
        "pc_factor_zeropivot": 1e-300,
        **({"pc_factor_mat_ordering_type": "nd"} if native else {}),
    }
    if ranks == 1 or not alone:
        return inner
    return {"pc_type": "redundant", **{f"redundant_{key}": v for key, v in inner.items()}}


class Factorised(Forgetful):
    """A factorisation for each matrix: the choice for few nodes, and on the circle."""

    name, exact = "direct", True

    def __init__(self, K: PETSc.Mat, D: Array, prefix: str) -> None:
        self._system = Shifted(K)
        self.matrix = self._system.matrix
        self._ksp = PETSc.KSP().create(K.comm)
        self._ksp.setOptionsPrefix(prefix)
        self._ksp.setType("preonly")
        self._ksp.setOperators(self.matrix)
        self._system.set(D)
        configure(self._ksp, factor_options(K))
        self.factorisations = 0

    def update(self, c: Array) -> None:
        """See `shifted.Method.update`."""
        self._system.set(c)
        self.factorisations += 1

    def solve(self, b: PETSc.Vec, x: PETSc.Vec, rtol: float) -> tuple[int, bool]:
        """See `shifted.Method.solve`."""
        self._ksp.solve(b, x)
        return 0, self._ksp.getConvergedReason() > 0 and bool(np.isfinite(x.norm()))


class FrozenFactor:
    """CG with the factor of an earlier matrix, made again when it has become too old.

    One factorisation of a high-order matrix costs tens of solves, and only its diagonal moves.
    """

    name, exact = "frozen factor", False

    def __init__(self, K: PETSc.Mat, D: Array, prefix: str) -> None:
        self._system, self._old = Shifted(K), Shifted(K)
        self.matrix = self._system.matrix
        self._ksp = conjugate_gradients(K.comm, prefix)
        self._ksp.setOperators(self.matrix, self._old.matrix)
        self._system.set(D)
        self._old.set(D)
        configure(self._ksp, factor_options(K))
        self.factorisations = 0
        self._last, self._fresh = _STALE + 1, False

    def update(self, c: Array) -> None:
        """See `shifted.Method.update`."""
        self._system.set(c)
        self._fresh = False
        if self._last > _STALE:
            self._renew()

    def _renew(self) -> None:
        self._old.set(self._system.shift.array)
        self.factorisations += 1
        self._last, self._fresh = 0, True

    def solve(self, b: PETSc.Vec, x: PETSc.Vec, rtol: float) -> tuple[int, bool]:
        """See `shifted.Method.solve`."""
        count, good = iterate(self._ksp, b, x, rtol, most=4 * _STALE)
        self._last = max(self._last, count)
        if good or self._fresh:
            return count, good
        self._renew()
        more, good = iterate(self._ksp, b, x, rtol)
        return count + more, good

    def memory(self) -> dict[str, Array]:
        """See `shifted.Method.memory`."""
        age = np.full(self._old.shift.getLocalSize(), float(self._last))
        return {"factor_shift": self._old.shift.array.copy(), "factor_age": age}

    def recall(self, memory: dict[str, Array]) -> None:
        """See `shifted.Method.recall`."""
        self._old.set(memory["factor_shift"])
        # Every node carries the number; a rank may have none.
        age = float(memory["factor_age"].max(initial=0.0))
        self._last = int(largest(self.matrix.comm.tompi4py(), age))

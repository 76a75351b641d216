"""Linear systems (tau K + diag(d)) x = b with one fixed K and a moving positive diagonal.

Divided by tau, only the diagonal of the matrix moves. How they are solved follows from the mesh and
its size; PETSc options under the prefix ``ufd_`` change what is inside.
"""

from __future__ import annotations

from mpi4py import MPI  # noqa: F401  (loads the MPI library before petsc4py)

import numpy as np
from numpy.typing import NDArray

from ufd.exceptions import InputError
from ufd.fem.discretization import Discretization
from ufd.fem.factors import Factorised, FrozenFactor
from ufd.fem.multigrid import AlgebraicMultigrid, GeometricMultigrid
from ufd.fem.shifted import Method

Array = NDArray[np.float64]
PREFIX = "ufd_"
CHOICES = ("direct", "frozen", "multigrid")
# Nodes above which, on the sphere, multigrid takes over: measured, one core.
_TRIANGLES_LIMIT, _CURVED_LIMIT = 10_000, 100_000
# Nodes up to which a factorisation for each matrix may take over for good.
_FACTORS_LIMIT = 200_000
_TAKEN_OVER = "taken_over"


def _choice(space: Discretization) -> str:
    """The method for a mesh, by its kind and size."""
    surface = space.surface
    if surface.cell_type == "interval":
        return "direct"  # banded: linear in the nodes
    if space.is_nested:
        return "multigrid"
    if surface.degree == 1:
        return "multigrid" if space.size > _TRIANGLES_LIMIT else "direct"
    return "multigrid" if space.size > _CURVED_LIMIT else "frozen"


def _method(space: Discretization, choice: str) -> Method:
    if choice == "direct":
        return Factorised(space.K, space.D, PREFIX)
    if choice == "frozen":
        return FrozenFactor(space.K, space.D, PREFIX)
    if space.is_nested:
        return GeometricMultigrid(space.K, space.coarser, PREFIX)
    return AlgebraicMultigrid(space.K, space.D, PREFIX, space.low_order)


class ShiftedSolver:
    """Solves with tau K + diag(d).

    Args:
        space: Gives K, a symmetric positive semi-definite matrix with zero row sums.
        choice: "direct", "frozen" (a factor kept while it is good), "multigrid", or None for a
            choice by the mesh and its size.

    Attributes:
        choice: The choice that was made.
        name: Of the method in use.
        escalations: How often an iteration failed and a factorisation took over.
        taken_over: Whether one took over for good: solutions are exact from then on.
        tau: The factor of K that was prepared last.
    """

    def __init__(self, space: Discretization, choice: str | None = None) -> None:
        if choice is not None and choice not in CHOICES:
            raise InputError(
                f"linear = {choice!r} must be one of {', '.join(map(repr, CHOICES))}, or None"
            )
        self._space = space
        self.choice = choice or _choice(space)
        self._solver = _method(space, self.choice)
        self._fallback: Factorised | None = None
        self.name, self.taken_over = self._solver.name, False
        self._b, self._x = space.K.createVecRight(), space.K.createVecRight()
        self.escalations = 0
        self.tau = np.nan

    @property
    def exact(self) -> bool:
        """Whether solutions are right to round-off whatever tolerance is asked for."""
        return self.taken_over or self._solver.exact

    @property
    def can_take_over(self) -> bool:
        """Whether a factorisation could replace the iteration."""
        return not self.exact and self._space.size <= _FACTORS_LIMIT

    @property
    def factorisations(self) -> int:
        """How many were made, of the whole matrix."""
        more = self._fallback.factorisations if self._fallback else 0
        return self._solver.factorisations + more

    def prepare(self, tau: float, d: Array) -> None:
        """Set the matrix tau K + diag(d)."""
        self.tau = tau
        with np.errstate(over="ignore"):
            self._shift = d / tau
        if self.taken_over:
            self._exactly.update(self._shift)
        else:
            self._solver.update(self._shift)

    def solve(self, b: Array, rtol: float) -> tuple[Array, int, bool]:
        """Solution, Krylov iterations, and whether it can be trusted."""
        self._b.array = b
        self._b.scale(1 / self.tau)
        method = self._exactly if self.taken_over else self._solver
        count, good = method.solve(self._b, self._x, rtol)
        if not good and not self.exact:
            self.escalations += 1
            self._exactly.update(self._shift)
            _, good = self._exactly.solve(self._b, self._x, rtol)
        return self._x.array.copy(), count, good

    @property
    def _exactly(self) -> Factorised:
        self._fallback = self._fallback or Factorised(
            self._space.K, self._space.D, f"{PREFIX}fallback_"
        )
        return self._fallback

    def memory(self) -> dict[str, Array]:
        """What the next solution depends on beside its arguments, by node, (n,) each."""
        mark = {_TAKEN_OVER: np.ones(self._space.owned)} if self.taken_over else {}
        return self._solver.memory() | mark

    def recall(self, memory: dict[str, Array]) -> None:
        """Go on as if `memory` had just been asked for."""
        self._solver.recall(memory)
        self.taken_over = _TAKEN_OVER in memory

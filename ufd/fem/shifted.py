"""Matrices K + diag(c) whose diagonal alone moves, and PETSc solvers set up by options."""

from __future__ import annotations

from mpi4py import MPI  # noqa: F401  (loads the MPI library before petsc4py)

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from petsc4py import PETSc

Array = NDArray[np.float64]
_FEW_DIGITS = 1e-9


class Shifted:
    """K + diag(c) as a matrix of its own.

    Attributes:
        matrix: The matrix.
        shift: c, a vector over the ranks.
    """

    def __init__(self, K: PETSc.Mat) -> None:
        self.matrix = K.duplicate(copy=True)
        self._stiff, self._diagonal = K.getDiagonal(), K.createVecRight()
        self.shift = K.createVecRight()

    def set(self, c: Array) -> None:
        """Use a new c at the owned nodes, (n,)."""
        self.shift.array = c
        self.update()

    def update(self) -> None:
        """Put ``shift`` on the diagonal."""
        self._diagonal.waxpy(1.0, self._stiff, self.shift)
        self.matrix.setDiagonal(self._diagonal)


class Method(Protocol):
    """One way to solve (K + diag(c)) x = b.

    Attributes:
        name: In the statistics.
        exact: Whether a solution is right to round-off whatever tolerance is asked for.
        matrix: K + diag(c).
        factorisations: How many were made.
    """

    name: str
    exact: bool
    matrix: PETSc.Mat
    factorisations: int

    def update(self, c: Array) -> None:
        """Use a new c at the owned nodes, (n,)."""

    def solve(self, b: PETSc.Vec, x: PETSc.Vec, rtol: float) -> tuple[int, bool]:
        """Krylov iterations, and whether x is a solution to ``rtol``."""

    def memory(self) -> dict[str, Array]:
        """What the next solution depends on beside c, b and ``rtol``, by node, (n,) each."""

    def recall(self, memory: dict[str, Array]) -> None:
        """Take over what `memory` returned."""


class Forgetful:
    """A method whose solutions depend on nothing earlier."""

    def memory(self) -> dict[str, Array]:
        """See `Method.memory`."""
        return {}

    def recall(self, memory: dict[str, Array]) -> None:
        """See `Method.recall`."""


def conjugate_gradients(comm, prefix: str) -> PETSc.KSP:
    """CG without a preconditioner yet."""
    ksp = PETSc.KSP().create(comm)
    # Before there are levels or factors: they take over the prefix.
    ksp.setOptionsPrefix(prefix)
    ksp.setType("cg")
    return ksp


def iterate(
    ksp: PETSc.KSP, b: PETSc.Vec, x: PETSc.Vec, rtol: float, most: int = 80
) -> tuple[int, bool]:
    """Run CG; see `Method.solve`.

    Few digits are measured by the residual, which costs nothing: the natural norm sqrt(r'Br), of
    the error in energy, takes one more preconditioning. Many digits need it, since residuals of
    harsh data range over tens of orders of magnitude.
    """
    norms = PETSc.KSP.NormType
    ksp.setNormType(norms.NATURAL if rtol < _FEW_DIGITS else norms.UNPRECONDITIONED)
    ksp.setTolerances(rtol=rtol, max_it=most)
    ksp.solve(b, x)
    return ksp.getIterationNumber(), ksp.getConvergedReason() > 0


def configure(ksp: PETSc.KSP, defaults: dict[str, Any]) -> None:
    """Set a solver up with the options under its prefix, and ``defaults`` where there are none.

    Solvers inside it read theirs in the first set-up: the operators must be there.
    """
    options = PETSc.Options(ksp.getOptionsPrefix())
    ours = {key: value for key, value in defaults.items() if not options.hasName(key)}
    for key, value in ours.items():
        options[key] = value
    ksp.setFromOptions()
    ksp.setUp()
    for key in ours:
        options.delValue(key)

"""Implicit stages of the mean-field equation: find w and the coefficients c of its outer weights.

    D (w - r) = tau K_sigma g,     lam c/kappa + int Y (u w - 1) dnu = 0,     g = Y c.

Newton's method. The step in w is eliminated by a sparse solve with the transport part, what is left
are N equations for the step in c; GMRES solves them with the Cholesky factor of their symmetric
part, lam/kappa + Y^T (D w du/dg + tau u K_w u) Y (derived in docs/theory.md).
"""

from __future__ import annotations

import numpy as np
from mpi4py import MPI  # noqa: F401  (loads the MPI library before petsc4py)
from numpy.typing import NDArray

from ufd.evolution.steppers import Stage
from ufd.exceptions import SolverError
from ufd.meanfield.flux import Flux, Linearised
from ufd.meanfield.krylov import FrozenCholesky
from ufd.meanfield.modes import moments
from ufd.meanfield.neighbours import Neighbours
from ufd.meanfield.outer import OuterProblem, Weights
from ufd.meanfield.transport import TransportSolver
from ufd.parallel import largest, smallest, total

Array = NDArray[np.float64]
_MOST = 25
# A factor is made again when the step has changed by more than this.
_DRIFT = 4.0
# A solved stage may miss the mass by this much, relatively; one global factor restores it.
MASS_DEFECT = 1e-9
# Newton keeps this share of w where it would become negative.
_KEEP = 0.1


class StageSolver:
    """Newton's method for the stages of one problem.

    Args:
        outer: The outer weights on the mesh.
        flux: What neighbouring nodes exchange.
        neighbours: The pairs.
        tolerance: Bound of the residuals: of w relative to w + |r|, node by node, and of c.
    """

    def __init__(
        self, outer: OuterProblem, flux: Flux, neighbours: Neighbours, tolerance: float
    ) -> None:
        self._outer, self._flux, self._neighbours = outer, flux, neighbours
        self._space, self.tolerance = outer.space, tolerance
        self._krylov = FrozenCholesky(self._space.comm, outer.modes.count, "gmres")
        self._transport = TransportSolver(self._space, neighbours)
        self._tau = np.nan

    @property
    def factorisations(self) -> int:
        """How many Cholesky factors were made."""
        return self._krylov.factorisations

    def solve(self, r: Array, tau: float, guess: Array, c: Array) -> tuple[Stage, Array]:
        """Solve one stage from a guess of w > 0 and of c; the coefficients come with it."""
        space, comm = self._space, self._space.comm
        target = total(comm, float(space.D @ r))
        try:
            now, krylov = self._outer.solve(guess, c, max(self.tolerance, 1e-9) ** 0.5)
        except SolverError as failure:
            return Stage(guess, 0, 0, 0.0, str(failure)), c
        w, before = guess, np.inf
        for iteration in range(_MOST):
            terms = self._flux.linearised(w, now.u, now.g, now.slope)
            in_w = space.D * (w - r) - tau * terms.value
            in_c = self._outer.residual(w, now)
            error = self._error(w, r, in_w, in_c, target)
            if not np.isfinite(error):
                break
            if error <= self.tolerance or (error < 1e-9 and error > 0.5 * before):
                return self._finish(w, target, iteration, krylov), now.c
            before = error
            found = self._direction(w, now, terms, tau, in_w, in_c, error)
            if found is None:
                break
            dw, dc, count = found
            krylov += count
            now, length = self._outer.move(now, dc, self._length(w, dw))
            w = w + length * dw
        return Stage(guess, iteration + 1, krylov, 0.0, "Newton did not converge"), c

    def _error(self, w: Array, r: Array, in_w: Array, in_c: Array, target: float) -> float:
        comm, scale = self._space.comm, self._space.D * (w + np.abs(r))
        worst = float(np.max(np.abs(in_w) / scale, initial=0.0))
        worst = worst if np.isfinite(worst) else np.inf
        # What flows sums to zero: the sum is the error of the mass, of which less is allowed.
        mass = 2 * abs(total(comm, float(in_w.sum())) / target)
        return max(float(largest(comm, worst)), float(mass), self._outer.size(in_c))

    def _direction(
        self,
        w: Array,
        now: Weights,
        terms: Linearised,
        tau: float,
        in_w: Array,
        in_c: Array,
        error: float,
    ) -> tuple[Array, Array, int] | None:
        """Newton's steps in w and c, and the iterations it took."""
        space, modes, extend = self._space, self._outer.modes, self._neighbours.extend
        D, Y = space.D, modes.rough
        if self._krylov.stale or not 1 / _DRIFT < tau / self._tau < _DRIFT:
            symmetric = tau * self._flux.symmetric(w, now.u)
            # Noise damps the answer of w to high degrees.
            damping = 1 / np.sqrt(1 + tau * self._flux.tau * modes.laplacian)
            share = self._outer.matrix_share(D * w * now.slope, symmetric, damping)
            if not self._krylov.factorise(share):
                return None
            self._tau = tau
        diagonal, pairs = terms.in_w
        matrix = self._neighbours.matrix(D - tau * diagonal, -tau * pairs)
        self._transport.prepare(matrix, D * w, extend(w))

        def change(x: Array) -> tuple[Array, Array]:
            """The changes of g, and of w, that go with a change x of c."""
            dg = (Y @ x.astype(Y.dtype)).astype(float)
            return dg, self._transport.solve(tau * (terms.in_g @ extend(dg)))

        def apply(x: Array) -> Array:
            dg, dw = change(x)
            return self._outer.stiffness * x + moments(space, Y, w * now.slope * dg + now.u * dw)

        free = self._transport.solve(-in_w)
        right = -in_c - moments(space, modes.Y, now.u * free)
        # What Newton's quadratic convergence deserves, within what single precision gives.
        rtol = float(np.clip(0.1 * max(error, self.tolerance / error), 1e-5, 1e-2))
        dc, count, good = self._krylov.solve(apply, right, rtol)
        if not good or self._transport.failed:
            return None
        return free + change(dc)[1], dc, count

    def _length(self, w: Array, dw: Array) -> float:
        """How far w + length dw keeps a share of w."""
        fall = np.where(dw < 0, -dw, 1.0)
        room = float(np.min(np.where(dw < 0, (1 - _KEEP) * w / fall, 1.0), initial=1.0))
        return min(1.0, smallest(self._space.comm, room))

    def _finish(self, w: Array, target: float, newton: int, krylov: int) -> Stage:
        space = self._space
        mass = total(space.comm, float(space.D @ w))
        defect = abs(target / mass - 1)
        if not defect <= MASS_DEFECT:
            return Stage(w, newton, krylov, defect, f"a stage missed its mass by {defect:.1e}")
        return Stage(w * (target / mass), newton, krylov, defect)

"""The nonlinear stage: find W with D (W - r) = -tau K phi(W), solved in s = -phi(W).

F(s) = tau K s - D beta(-s) + D r is the gradient of a strictly convex function. If K is an
M-matrix, undamped Newton increases monotonically to the solution once it is positive, which is sure
from min(s_guess, -phi(max(r, 0))) for every tau (derived in docs/theory.md): that is where a stage
starts again if the guess was too bad. Other K are globalised by the slope of the convex function
along the Newton direction, which needs gradients only.
"""

from __future__ import annotations

from mpi4py import MPI  # noqa: F401  (loads the MPI library before petsc4py)

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from petsc4py import PETSc

from ufd.evolution.steppers import Stage
from ufd.exceptions import Interrupted
from ufd.fem.discretization import Discretization
from ufd.fem.linear import ShiftedSolver
from ufd.parallel import largest, smallest, total
from ufd.problem.divergences import PowerDivergence

Array = NDArray[np.float64]
_MAX_ITERATIONS = 60
# Relative tolerances of iterative solves: the loosest for a correction, that from below, the
# tightest; and for the full system.
_LOOSEST, _SAFE, _TIGHTEST, _FULL_RTOL = 0.1, 1e-6, 1e-8, 1e-10
# A correction by which w rises more than this is not used.
_LEAP = 10.0
# A solved stage may miss the mass by this much, relatively; one global factor restores it.
MASS_DEFECT = 1e-9


class StageSolver:
    """Newton's method for the stages of one diffusion.

    Args:
        space: Nodes, D and K.
        divergence: Gives phi.
        linear: Solver for tau K + diag.
        tolerance: Bound of the residual relative to D (W + |r|), node by node.
        drift: Bound of the residual relative to |W - 1|, both in L1(nu), above which an iterative
            solver takes one more step.

    Attributes:
        interrupted: Asked at every iteration; True on one rank ends the solve on all of them.
    """

    def __init__(
        self,
        space: Discretization,
        divergence: PowerDivergence,
        linear: ShiftedSolver,
        tolerance: float = 1e-11,
        drift: float = 1e-9,
    ) -> None:
        self.space, self.divergence, self.linear = space, divergence, linear
        self.tolerance, self.drift = tolerance, drift
        self.monotone = space.is_m_matrix
        self.interrupted: Callable[[], bool] = lambda: False
        self._x, self._y = space.K.createVecRight(), space.K.createVecRight()
        self._absolute_K: PETSc.Mat | None = None

    def _centred(self, s: Array) -> Array:
        """s less a constant, which K annihilates, where that is smaller everywhere."""
        comm = self.space.comm
        centre = total(comm, float(self.space.D @ s))
        shifted = s - centre
        gain = float(np.max(np.abs(shifted) - np.abs(s), initial=-np.inf))
        return shifted if largest(comm, gain) <= 0 else s

    def _apply(self, s: Array) -> Array:
        """K s."""
        self._x.array = self._centred(s)
        self.space.K.mult(self._x, self._y)
        return self._y.array.copy()

    def slope(self, w: Array) -> Array:
        """dw/dt = -K phi(w)/D, explicitly; for the size of a first step only."""
        return self._apply(self.divergence.unknown(w)) / self.space.D

    def _floor(self, s: Array, tau: float, scale: Array) -> float:
        """Round-off of the residual relative to ``scale``."""
        if self._absolute_K is None:
            self._absolute_K = self.space.K.duplicate(copy=True)
            pointer, columns, values = self._absolute_K.getValuesCSR()
            self._absolute_K.setValuesCSR(pointer, columns, np.abs(values))
            self._absolute_K.assemble()
        self._x.array = np.abs(s)
        self._absolute_K.mult(self._x, self._y)
        return np.max(2e-15 * tau * self._y.array / scale, initial=0.0)

    def solve(self, r: Array, tau: float, guess: Array) -> Stage:
        """Solve one stage; the mass of W equals that of r exactly.

        Raises:
            Interrupted: On all ranks, if one of them was asked to stop.
        """
        law = self.divergence
        # No matrix of an earlier stage is used again: a restarted run has none.
        self.linear.tau = np.nan
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            s = law.unknown(guess)
            stage = self._solved(r, tau, guess, s)
            linear = self.linear
            if not stage.failure or not stage.newton or not linear.can_take_over:
                return stage
            # An iteration stops in a norm that forgets nodes where the teacher is tiny; Newton
            # judges every node. If exact solutions do better, the run stays with them.
            linear.taken_over, linear.tau = True, np.nan
            again = self._solved(r, tau, guess, s)
            if again.failure:
                linear.taken_over = False
            else:
                linear.escalations += 1
            return _added(stage, again)

    def _solved(self, r: Array, tau: float, guess: Array, s: Array) -> Stage:
        """Newton's iteration from s, and from below where that is sure."""
        stage = self._solve(r, tau, guess, s)
        law = self.divergence
        if not stage.failure or not self.monotone or law.m >= 1:
            return stage
        # From below the solution, convergence is sure if the solves are nearly exact.
        safe = np.minimum(s, law.unknown(np.maximum(r, 0.0)))
        return _added(stage, self._solve(r, tau, guess, safe, _SAFE))

    def _solve(
        self, r: Array, tau: float, guess: Array, s: Array, loosest: float = _LOOSEST
    ) -> Stage:
        """Newton's iteration from s."""
        space, law, comm = self.space, self.divergence, self.space.comm
        D = space.D
        target = total(comm, float(D @ r))
        if not target > 0 and law.m < 1:
            return Stage(guess, 0, 0, 0.0, "the right-hand side of a stage has no mass")
        w = law.ratio(s)
        F = tau * self._apply(s) + D * (r - w)
        krylov, moved, previous, outside = 0, np.inf, np.inf, False
        for iteration in range(_MAX_ITERATIONS + 1):
            scale = D * (w + np.abs(r))
            scale = np.maximum(scale, 1e-300)
            worst = float(np.max(np.abs(F) / scale, initial=0.0))
            # A maximum over ranks may lose what is not a number.
            worst = worst if np.isfinite(worst) else np.inf
            error, stop = largest(comm, np.array([worst, self.interrupted()]))
            if stop:
                raise Interrupted("the solve of a stage was asked to stop")
            if not np.isfinite(error) or outside:
                return Stage(guess, iteration, krylov, 0.0, "Newton left the domain")
            done = error <= self.tolerance
            if not done and moved < 1e-3 and error > 0.1 * previous:
                # Stagnation counts as convergence only at the round-off of the residual.
                floor = largest(comm, float(self._floor(s, tau, scale)))
                done = error <= 10 * floor
            if done:
                w = self._polish(s, w, F, tau)
                return self._finish(w, target, iteration, krylov)
            if iteration == _MAX_ITERATIONS:
                break
            forcing, previous = min(loosest, self._forcing(error, previous)), error
            self.linear.prepare(tau, D * law.slope(w))
            full = self.linear.exact and moved > 0.5
            new, count, good = self._newton_point(s, w, F, r, full, forcing)
            krylov += count
            if good and not self.linear.exact and self._leaps(new, w):
                new, count, good = self._newton_point(s, w, F, r, True, _FULL_RTOL)
                krylov += count
            if not good:
                return Stage(guess, iteration, krylov, 0.0, "the linear solver did not converge")
            if self.monotone:
                w_new = law.ratio(new)
                F = tau * self._apply(new) + D * (r - w_new)
            else:
                new, w_new, F = self._search(s, new - s, F, r, tau)
            change = np.abs(w_new - w) / np.maximum(np.abs(w_new), 1e-300)
            left = law.m < 1 and not np.min(w_new, initial=np.inf) >= 0
            moved, outside = largest(comm, np.array([np.max(change, initial=0.0), left]))
            s, w = new, w_new
        return Stage(guess, _MAX_ITERATIONS, krylov, 0.0, "Newton did not converge")

    def _forcing(self, error: float, previous: float) -> float:
        """Relative tolerance of the next linear solve: what Newton's convergence deserves.

        Eisenstat and Walker (SIAM J. Sci. Comput. 17, 1996), choice 2, and no more than it takes
        to reach the tolerance.
        """
        deserved = _LOOSEST if previous == np.inf else min(_LOOSEST, 0.9 * (error / previous) ** 2)
        return max(deserved, 0.1 * self.tolerance / error, _TIGHTEST)

    def _newton_point(
        self, s: Array, w: Array, F: Array, r: Array, full: bool, rtol: float
    ) -> tuple[Array, int, bool]:
        """Newton's next s, iterations, and whether it was found.

        The full system is solved for it where entries may fall by orders of magnitude, which would
        cancel in a correction; the correction needs fewer digits.
        """
        if full:
            rhs = self.space.D * (self.divergence.slope(w) * s + w - r)
            return self.linear.solve(rhs, rtol)
        x, count, good = self.linear.solve(-F, rtol)
        return s + x, count, good

    def _leaps(self, s: Array, w: Array) -> bool:
        """Whether w would rise tenfold somewhere, or leave its domain, on any rank."""
        if self.divergence.m >= 1:
            return False
        new = self.divergence.ratio(s)
        # Nodes may be empty, at 0 < m < 1.
        far = not np.all((new >= 0) & (new <= _LEAP * np.maximum(w, 1e-300)))
        return bool(largest(self.space.comm, int(far)))

    def _polish(self, s: Array, w: Array, F: Array, tau: float) -> Array:
        """One more step with the matrix at hand.

        Residuals just below the tolerance have one sign and add up over the stages of a run; for
        two triangular solves, or a few iterations, they fall by orders of magnitude. Iterations
        are spent near equilibrium only, where the residual counts relative to w - 1.
        """
        if not self.linear.exact:
            sums = np.array([np.abs(F).sum(), self.space.D @ np.abs(w - 1)])
            residual, distance = total(self.space.comm, sums)
            if residual <= self.drift * distance:
                return w
        slope = self.divergence.slope(w)
        if self.linear.tau != tau:
            self.linear.prepare(tau, self.space.D * slope)
        step, _, good = self.linear.solve(-F, 1e-3)
        # Measured in w: for p = 1, s = -log w vanishes at equilibrium.
        small = bool(np.all(np.abs(step) * slope <= 1e-3 * w))
        if not good or largest(self.space.comm, int(not small)):
            return w
        return self.divergence.ratio(s + step)

    def _search(self, s: Array, d: Array, F: Array, r: Array, tau: float):
        """Step along d so that the convex function's slope does not turn upwards steeply."""
        law, comm, D = self.divergence, self.space.comm, self.space.D
        step = 1.0
        if law.m < 0:
            room = s - law.least_unknown
            ratio = float(
                np.min(np.where(d < 0, room / np.where(d < 0, -d, 1.0), np.inf), initial=np.inf)
            )
            limit = smallest(comm, ratio)
            if limit <= 1.0:
                step = 0.95 * limit
        start = total(comm, float(F @ d))
        for _ in range(40):
            new = s + step * d
            w = law.ratio(new)
            residual = tau * self._apply(new) + D * (r - w)
            end = total(comm, float(residual @ d))
            if np.isfinite(end) and end <= 0.5 * abs(start):
                return new, w, residual
            step *= 0.5
        return new, w, residual

    def _finish(self, w: Array, target: float, newton: int, krylov: int) -> Stage:
        space = self.space
        mass = total(space.comm, float(space.D @ w))
        defect = abs(target / mass - 1) if mass else 0.0
        if not defect <= MASS_DEFECT:
            return Stage(w, newton, krylov, defect, f"a stage missed its mass by {defect:.1e}")
        if self.divergence.m >= 1 and smallest(space.comm, float(w.min(initial=np.inf))) < 0:
            return Stage(w, newton, krylov, defect, "the density became negative")
        return Stage(w * (target / mass) if mass else w, newton, krylov, defect)


def _added(failed: Stage, again: Stage) -> Stage:
    """A stage that was solved again, with the work of both."""
    return again._replace(newton=failed.newton + again.newton, krylov=failed.krylov + again.krylov)

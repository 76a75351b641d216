"""The nonlinear stage: find W with D (W - r) = -tau K phi(W), solved in s = -phi(W).

F(s) = tau K s - D beta(-s) + D r is the gradient of a strictly convex function. If K is an
M-matrix, undamped Newton from min(s_guess, -phi(max(r, 0))) is positive and increases
monotonically to the solution for every tau (derived in docs/theory.md). Other K are globalised by
the slope of the convex function along the Newton direction, which needs gradients only.
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
# A solved stage may miss the mass by this much, relatively; one global factor restores it.
MASS_DEFECT = 1e-9


class StageSolver:
    """Newton's method for the stages of one diffusion.

    Args:
        space: Nodes, D and K.
        divergence: Gives phi.
        linear: Solver for tau K + diag.
        tolerance: Bound of the residual relative to D (W + |r|), node by node.

    Attributes:
        interrupted: Asked at every iteration; True on one rank ends the solve on all of them.
    """

    def __init__(
        self,
        space: Discretization,
        divergence: PowerDivergence,
        linear: ShiftedSolver,
        tolerance: float = 1e-11,
    ) -> None:
        self.space, self.divergence, self.linear = space, divergence, linear
        self.tolerance = tolerance
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
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            return self._solve(r, tau, guess)

    def _solve(self, r: Array, tau: float, guess: Array) -> Stage:
        space, law, comm = self.space, self.divergence, self.space.comm
        D = space.D
        target = total(comm, float(D @ r))
        if not target > 0 and law.m < 1:
            return Stage(guess, 0, 0, 0.0, "the right-hand side of a stage has no mass")
        s = law.unknown(guess)
        if self.monotone and law.m < 1:
            s = np.minimum(s, law.unknown(np.maximum(r, 0.0)))
        w = law.ratio(s)
        F = tau * self._apply(s) + D * (r - w)
        krylov, moved, previous = 0, np.inf, np.inf
        for iteration in range(_MAX_ITERATIONS + 1):
            scale = D * (w + np.abs(r))
            scale = np.maximum(scale, 1e-300)
            local = np.array([np.max(np.abs(F) / scale, initial=0.0), self.interrupted()])
            error, stop = largest(comm, local)
            if stop:
                raise Interrupted("the solve of a stage was asked to stop")
            if not np.isfinite(error):
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
            previous = error
            slope = law.slope(w)
            full = moved > 0.5
            self.linear.prepare(tau, D * slope)
            rhs = D * (slope * s + w - r) if full else -F
            x, count, good = self.linear.solve(rhs, 1e-10 if full else 1e-3)
            krylov += count
            if not good:
                return Stage(guess, iteration, krylov, 0.0, "the linear solver did not converge")
            direction = x - s if full else x
            if self.monotone:
                new = x if full else s + x
                w_new = law.ratio(new)
                F = tau * self._apply(new) + D * (r - w_new)
            else:
                new, w_new, F = self._search(s, direction, F, r, tau)
            change = np.abs(w_new - w) / np.maximum(np.abs(w_new), 1e-300)
            moved = largest(comm, float(np.max(change, initial=0.0)))
            s, w = new, w_new
        return Stage(guess, _MAX_ITERATIONS, krylov, 0.0, "Newton did not converge")

    def _polish(self, s: Array, w: Array, F: Array, tau: float) -> Array:
        """One more step with the matrix at hand.

        Residuals just below the tolerance have one sign and add up over the stages of a run; for
        two triangular solves, or a few iterations, they fall by orders of magnitude.
        """
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
            ratio = float(
                np.min(np.where(d < 0, s / np.where(d < 0, -d, 1.0), np.inf), initial=np.inf)
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
        if defect > MASS_DEFECT:
            return Stage(w, newton, krylov, defect, f"a stage missed its mass by {defect:.1e}")
        if self.divergence.m >= 1 and smallest(space.comm, float(w.min(initial=np.inf))) < 0:
            return Stage(w, newton, krylov, defect, "the density became negative")
        return Stage(w * (target / mass) if mass else w, newton, krylov, defect)

"""The mean-field equation as a semi-discrete system: stages, norm, functionals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ufd.evolution.steppers import SDIRK, Stage, Step
from ufd.exceptions import SolverError
from ufd.fem.accuracy import StepError
from ufd.fem.discretization import Discretization
from ufd.meanfield.fitting import FittedFlux
from ufd.meanfield.flux import Flux
from ufd.meanfield.heat import Heat
from ufd.meanfield.modes import NodalHarmonics
from ufd.meanfield.neighbours import Neighbours
from ufd.meanfield.outer import OuterProblem, Weights
from ufd.meanfield.stages import StageSolver
from ufd.parallel import largest, smallest, total
from ufd.problem.harmonics import degrees
from ufd.problem.penalties import Penalty
from ufd.problem.temperatures import Temperature

Array = NDArray[np.float64]
# The risk may rise by so much, relative to its parts: round-off.
_ROUND = 1e-12
# What the error estimate of a step must exceed, relative to |w|: ten times the round-off of
# stages, and this share of their tolerance, which Newton's last step goes below.
_STAGE_NOISE, _UNSOLVED = 1e-12, 0.1


class MeanFieldSystem:
    """(T_mu + lam) u = kappa * nu + lam r, d_t mu = -div(mu u f''(u) grad u) on one mesh.

    Args:
        space: Mesh and teacher.
        modes: What the feature sees, with the eigenvalues of the kernel.
        lam: Regularisation; 0 is the projected limit.
        penalty: f.
        tolerance: Of the stages.
        rtol: Of the steps; None for fixed ones.
        temperature: Of the noise, tau Laplace(mu); None for none.
    """

    def __init__(
        self,
        space: Discretization,
        modes: NodalHarmonics,
        lam: float,
        penalty: Penalty,
        tolerance: float,
        rtol: float | None = None,
        temperature: Temperature | None = None,
    ) -> None:
        self.space, self.modes, self.lam, self.penalty = space, modes, lam, penalty
        self._tolerance = tolerance
        noise = max(_STAGE_NOISE, _UNSOLVED * tolerance)
        self._error = StepError(space, rtol, noise)
        neighbours = Neighbours(space)
        self.outer = OuterProblem(space, modes, lam, penalty, neighbours)
        self.heat: Heat | None = None
        self.flux = Flux(space, neighbours)
        if temperature is not None and temperature.at(0.0) > 0:
            self.heat = Heat(space, temperature)
            self.flux = FittedFlux(space, neighbours, penalty, self.heat)
        self.stages = StageSolver(self.outer, self.flux, neighbours, tolerance)
        self._c: Array = np.zeros(modes.count)
        self._last: tuple[Array, Weights] | None = None
        self.krylov, self.tail = 0, 0.0
        each = degrees(modes.sphere, modes.degree)[modes.columns]
        self._highest = each > 0.9 * modes.degree

    def weights(self, w: Array) -> Weights:
        """The optimal outer weights of w > 0; collective.

        Raises:
            SolverError: If they are not found.
        """
        if self._last is None or self._last[0] is not w:
            now, count = self.outer.solve(w, self._c, self._tolerance)
            self.krylov += count
            self._c, self._last = now.c, (w, now)
        return self._last[1]

    def slope(self, w: Array) -> Array:
        """dw/dt; collective."""
        now = self.weights(w)
        return self.flux.value(w, now.u, now.g) / self.space.D

    def first_step(self, w: Array, order: int, rtol: float) -> float:
        """A first step size from the initial slope; error control corrects it."""
        rate = self.norm(self.slope(w), w)
        return float(np.clip(0.1 * rtol ** (1 / (order + 1)) / max(rate, 1e-3), 1e-10, 0.1))

    @property
    def factorisations(self) -> int:
        """Cholesky factors that were made."""
        return self.outer.factorisations + self.stages.factorisations

    def stage(self, r: Array, tau: float, t: float, guess: Array) -> Stage:
        """Solve W - tau dW/dt = r."""
        if self.heat:
            self.flux.tau = self.heat.at(t)
        stage, self._c = self.stages.solve(r, tau, guess, self._c)
        return stage

    def norm(self, error: Array, values: Array) -> float:
        """See `StepError`."""
        return self._error(error, values)

    @property
    def limited(self) -> bool:
        """See `StepError.limited`."""
        return self._error.limited

    def memory(self) -> dict[str, Array]:
        """What the next solve depends on beside its arguments."""
        return {"coefficients": self._c}

    def recall(self, memory: dict[str, Array]) -> None:
        """Go on as if `memory` had just been asked for."""
        self._c, self._last = memory["coefficients"], None

    def risk(self, w: Array) -> tuple[float, float]:
        """Misfit |f* - Phi(u mu)|^2/(2 lam) and int f(u) dmu, whose sum falls; collective."""
        now = self.weights(w)
        penalty = self.penalty.value(now.u)
        misfit = float(self.outer.stiffness @ now.c**2) / 2
        return misfit, float(total(self.space.comm, float(self.space.D @ (w * penalty))))

    def energy(self, w: Array, t: float) -> tuple[float, ...]:
        """Parts of what falls: the risk, with noise tau KL(mu|pi) too; collective."""
        risk = -self.outer.value(w, self.weights(w))
        return (risk, self.heat.at(t) * self.heat.entropy(w)) if self.heat else (risk,)

    def warmth(self, w: Array, t: float) -> dict[str, float]:
        """What noise adds to `functionals`; see `LangevinRun` for the names."""
        heat, flux = self.heat, self.flux
        if heat is None or not isinstance(flux, FittedFlux):
            return {}
        now, tau = self.weights(w), heat.at(t)
        psi = flux.potential(now.u, now.g)
        return {
            "temperature": tau,
            "entropy": heat.entropy(w),
            "free_energy": sum(self.energy(w, t)),
            "duality_gap": heat.duality_gap(w, psi, tau),
            "oscillation": heat.oscillation(psi),
        }

    def functionals(self, w: Array) -> dict[str, float]:
        """Conserved and decaying quantities; see `MeanFieldRun` for their names."""
        now, comm, D = self.weights(w), self.space.comm, self.space.D
        misfit, penalty = self.risk(w)
        h = w - 1
        share = np.linalg.norm(now.c[self._highest]) / max(float(np.linalg.norm(now.c)), 1e-300)
        self.tail = max(self.tail, float(share))
        columns = np.array([w, h * h, np.abs(h) / 2])
        mass, chi2, variation = total(comm, columns @ D)
        return {
            "mass": float(mass),
            "risk": misfit + penalty,
            "misfit": misfit,
            "divergence": penalty,
            "chi2": float(chi2),
            "total_variation": float(variation),
            "min_ratio": smallest(comm, float(w.min(initial=np.inf))),
            "max_ratio": largest(comm, float(w.max(initial=-np.inf))),
            "min_outer": smallest(comm, float(now.u.min(initial=np.inf))),
            "max_outer": largest(comm, float(now.u.max(initial=-np.inf))),
        }


@dataclass(frozen=True)
class Descending:
    """A method whose steps are taken only if w stays positive and the energy does not rise.

    Backward Euler keeps both for every step size; of methods of higher order it is asked.

    Args:
        method: A diagonally implicit method.
    """

    method: SDIRK

    @property
    def name(self) -> str:
        """See `Stepper`."""
        return self.method.name

    @property
    def order(self) -> int:
        """See `Stepper`."""
        return self.method.order

    @property
    def estimate_order(self) -> int:
        """See `Stepper`."""
        return self.method.estimate_order

    def step(
        self, system: MeanFieldSystem, t: float, values: Array, dt: float,
        slopes: Any = (), *, estimate: bool = True,
    ) -> Step:  # fmt: skip
        """See `Stepper`."""
        before = system.energy(values, t)
        system.flux.freeze(values, system.weights(values))
        report = self.method.step(system, t, values, dt, slopes, estimate=estimate)
        if report.failure:
            return report
        least = smallest(system.space.comm, float(report.values.min(initial=np.inf)))
        if not least > 0:
            report.failure = "the density became negative"
            return report
        try:
            after = system.energy(report.values, t + dt)
        except SolverError as failure:
            report.failure = str(failure)
            return report
        # The risk is a difference of parts of size 1.
        if sum(after) > sum(before) + _ROUND * (1 + sum(map(abs, before))):
            report.failure = f"the energy rose by {sum(after) - sum(before):.1e}"
        return report

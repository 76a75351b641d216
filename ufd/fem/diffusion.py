"""The ultra-fast diffusion as a semi-discrete system, and the solver class that scripts drive.

nu d_t w = div(nu grad phi(w)) (arXiv 2504.18208 for p = 2) becomes D dw/dt = -K phi(w).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from mpi4py import MPI

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ufd.evolution.control import ErrorControl, FixedStep
from ufd.evolution.evolve import Evolution, Observer, StopReason
from ufd.evolution.steppers import SDIRK, SDIRK4, Stage
from ufd.exceptions import InputError
from ufd.fem.accuracy import StepError
from ufd.fem.discretization import CONTRAST_LIMIT, Discretization
from ufd.fem.fields import FieldHistory
from ufd.fem.focus import Focus
from ufd.fem.linear import ShiftedSolver
from ufd.fem.meshes import chosen_surface
from ufd.fem.newton import StageSolver
from ufd.fem.resolving import fitted_surface, resolved
from ufd.fem.state import State
from ufd.fem.surfaces import SurfaceMesh
from ufd.parallel import largest, smallest, total
from ufd.problem.diffusion import UltraFastDiffusion

Array = NDArray[np.float64]
# Ten times the round-off in the error estimate of a step, relative to |w|: measured over meshes,
# degrees, methods and exponents. Control holds estimates at a tenth of the tolerance.
_STAGE_NOISE = 5e-14
LEAST_RTOL = 2 * _STAGE_NOISE


class DiffusionSystem:
    """Stages, norm and functionals of one problem on one mesh.

    Args:
        problem: What is solved.
        space: Its discretisation.
        newton_tol: See `DiffusionSolver`.
        linear: See `DiffusionSolver`.
        rtol: Of the steps; None for fixed steps, whose stages are solved to round-off.
    """

    def __init__(
        self,
        problem: UltraFastDiffusion,
        space: Discretization,
        newton_tol: float | None,
        linear: str | None,
        rtol: float | None,
    ) -> None:
        self.problem, self.space = problem, space
        self._error = StepError(space, rtol, _STAGE_NOISE)
        self.linear = ShiftedSolver(space, linear)
        if newton_tol is None:
            # Certificates of degree 1 rest on few digits more than a factorisation gives anyway;
            # elsewhere the step after convergence gains what it takes.
            loosest = (1e-11 if self.linear.exact else 1e-10) if space.is_m_matrix else 1e-9
            newton_tol = float(np.clip(1e-3 * (rtol or 1e-9), 1e-13, loosest))
        self.newton_tol = newton_tol
        self._stages = StageSolver(
            space, problem.divergence, self.linear, newton_tol, drift=1e-3 * (rtol or 0.0)
        )

    def stage(self, r: Array, tau: float, t: float, guess: Array) -> Stage:
        """Solve W + tau K phi(W)/D = r + tau source(t)."""
        if self.problem.source is not None:
            r = r + tau * self.problem.source(t, self.space.nodes)
        return self._stages.solve(r, tau, guess)

    def memory(self) -> dict[str, Array]:
        """What the next solve depends on beside its arguments: nodal arrays (n,) by name."""
        return self.linear.memory()

    def recall(self, memory: dict[str, Array]) -> None:
        """Go on as if `memory` had just been asked for."""
        self.linear.recall(memory)

    def interrupt_when(self, asked: Callable[[], bool]) -> None:
        """Let a stage raise `Interrupted` on all ranks once ``asked()`` is true on one of them."""
        self._stages.interrupted = asked

    def norm(self, error: Array, values: Array) -> float:
        """See `StepError`."""
        return self._error(error, values)

    @property
    def limited(self) -> bool:
        """See `StepError.limited`."""
        return self._error.limited

    def functionals(self, w: Array) -> dict[str, float]:
        """The conserved and decaying quantities of docs/theory.md; see `Result` for their names."""
        h = w - 1
        with np.errstate(divide="ignore"):
            reverse = h * h / w
        law = self.problem.divergence
        columns = np.array([w, h * h, reverse, law.integrand(w), law.lyapunov(w)])
        mass, chi2, chi2_reverse, divergence, lyapunov = total(
            self.space.comm, columns @ self.space.D
        )
        return {
            "mass": float(mass),
            "chi2": float(chi2),
            "chi2_reverse": float(chi2_reverse),
            "divergence": float(divergence),
            "lyapunov": float(lyapunov),
            "min_ratio": smallest(self.space.comm, float(w.min(initial=np.inf))),
            "max_ratio": largest(self.space.comm, float(w.max(initial=-np.inf))),
        }

    def first_step(self, w: Array, order: int, rtol: float) -> float:
        """A first step size from the initial slope; error control corrects it."""
        rate = self.norm(self._stages.slope(w), w)
        return float(np.clip(0.1 * rtol ** (1 / (order + 1)) / max(rate, 1e-3), 1e-10, 0.1))


class DiffusionSolver:
    """Steps one problem through time; every method is collective.

    Args:
        problem: What is solved.
        cells: Arcs of the circle; icosphere level (degree 1) or cells per cube edge on the sphere.
            By default about 500 and 6,000 nodes, more where teacher or start need a few more.
        degree: Polynomial degree, 1 to 8.
        stepper: An implicit method, SDIRK4 by default. Degree 1 with `BackwardEuler` is the
            certified pair: maximum principle, comparison, contraction.
        rtol: Bound of the relative L1(mu) error of a step, at least 1e-13.
        dt: Fixed step size instead of error control.
        focus: Draws the nodes towards a direction, not those of an icosphere; see `Focus`.
        mesh: A `SurfaceMesh` to use instead of one built from ``cells`` and ``degree``.
        comm: The ranks that share the work.
        observers: Called after every accepted step with (t, values, landed).
        newton_tol: Relative residual of a solved stage; by default a thousandth of ``rtol``
            within 1e-13 and 1e-9 (1e-10 for degree 1, 1e-11 with
            a factorisation), and 1e-12 for fixed steps.
        linear: "direct", "frozen", "multigrid", or None for a choice by mesh and size.
        contrast: Largest sup w0 / inf w0 that is accepted.

    Raises:
        InputError: If an argument is out of range; the message names it.
    """

    def __init__(
        self,
        problem: UltraFastDiffusion,
        *,
        cells: int | None = None,
        degree: int | None = None,
        stepper: SDIRK | None = None,
        rtol: float = 1e-6,
        dt: float | None = None,
        focus: Focus | None = None,
        mesh: SurfaceMesh | None = None,
        comm: MPI.Comm = MPI.COMM_WORLD,
        observers: Sequence[Observer] = (),
        newton_tol: float | None = None,
        linear: str | None = None,
        contrast: float = CONTRAST_LIMIT,
    ) -> None:
        control = ErrorControl(rtol) if dt is None else FixedStep(dt)
        surface = chosen_surface(problem.manifold, mesh, cells, degree, focus)
        if not isinstance(stepper, SDIRK | None):
            raise InputError(f"stepper = {stepper!r} must be a method such as ufd.SDIRK4()")
        if newton_tol is not None and not 0 < newton_tol < 1e-3:
            raise InputError(f"newton_tol = {newton_tol!r} must lie between 0 and 1e-3")
        self.problem, self.comm = problem, comm
        if mesh is None and cells is None:
            surface = fitted_surface(surface, comm, problem.teacher, problem.initial)
        self.space = Discretization(surface, problem.teacher, comm)
        self.system = DiffusionSystem(
            problem, self.space, newton_tol, linear, rtol if dt is None else None
        )
        self._tolerances = {
            "rtol": rtol,
            "dt": dt,
            "newton_tol": self.system.newton_tol,
            "contrast": contrast,
        }
        self.stepper = stepper or SDIRK4()
        w = self.space.initial_ratio(problem.initial, contrast)
        self._judgement = resolved(self.space, problem.initial)
        lowest, highest = w.min(initial=np.inf), w.max(initial=-np.inf)
        problem.divergence.require_range(smallest(comm, lowest), largest(comm, highest))
        first = self.system.first_step(w, self.stepper.order, rtol) if dt is None else dt
        self.evolution = Evolution(self.system, self.stepper, control, w, first, observers)
        self.evolution.speaks = comm.rank == 0

    @property
    def t(self) -> float:
        """Current time."""
        return self.evolution.t

    @property
    def state(self) -> State:
        """The current state (a view that later steps leave behind)."""
        return State(self.t, self.evolution.values, self.space, self.problem.teacher)

    @property
    def status(self) -> StopReason:
        """Why the run stopped, or that it is running."""
        return self.evolution.status

    @property
    def stats(self) -> dict[str, Any]:
        """Counters: steps, rejected, Newton and Krylov iterations, seconds, dofs, ranks."""
        return {
            **self.evolution.statistics.as_dict(),
            "dofs": self.space.size,
            "ranks": self.comm.size,
            "linear_solver": self.system.linear.name,
            "linear_factorisations": self.system.linear.factorisations,
            "linear_escalations": self.system.linear.escalations,
            "teacher_quadrature_defect": float(self.space.defect),
            **self._judgement.numbers(),
        }

    def describe(self) -> dict[str, Any]:
        """Discretisation, stepper and tolerances as they were resolved."""
        mesh = self.space.surface.identity()
        return {
            "degree": mesh["degree"],
            "cells": mesh["subdivisions"],
            "cell_type": mesh["cell_type"],
            **({"focus": mesh["focus"]} if "focus" in mesh else {}),
            "stepper": self.stepper.name,
            **self._tolerances,
            "linear": self.system.linear.name,
            "m_matrix": self.space.is_m_matrix,
        }

    def step(self) -> State:
        """Take one accepted step."""
        self.evolution.step()
        return self.state

    def advance(self, to: float) -> State:
        """Step until exactly t = ``to``; look at ``status`` if it could not."""
        self.evolution.advance(to)
        return self.state

    def iterate(self, times: Sequence[float]) -> Iterator[tuple[float, State]]:
        """Yield (t, state) at each of ``times``, landed on exactly."""
        for t in self.evolution.iterate(times):
            yield t, self.state

    def save(self, path: str | PathLike) -> None:
        """Write the current state to ``path`` (.npz); `ufd.load` reads it on any rank count.

        Raises:
            StorageError: If the file cannot be written.
        """
        history = FieldHistory(self.problem, self.space)
        history(self.t, self.evolution.values, landed=True)
        history.save(Path(path))

    def ratio(self, points: ArrayLike) -> Array:
        """w = mu/nu at points, the same on every rank; see `State.ratio`."""
        return self.state.ratio(points)

    def density(self, points: ArrayLike) -> Array:
        """mu at points, the same on every rank; see `State.density`."""
        return self.state.density(points)

    def divergence(self) -> float:
        """int f(dnu/dmu) dmu now."""
        return self.functionals()["divergence"]

    def mass(self) -> float:
        """int w dnu now."""
        return self.functionals()["mass"]

    def functionals(self) -> dict[str, float]:
        """All functionals now: mass, chi2, chi2_reverse, divergence, lyapunov, min_ratio, ..."""
        return self.system.functionals(self.evolution.values)

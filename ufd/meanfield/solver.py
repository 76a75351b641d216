"""The class that scripts drive: infinitely many neurons at finite regularisation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI
from numpy.typing import ArrayLike, NDArray

from ufd.evolution.control import ErrorControl, FixedStep
from ufd.evolution.evolve import Evolution, Observer, StopReason
from ufd.evolution.steppers import SDIRK, SDIRK4
from ufd.exceptions import InputError
from ufd.fem.discretization import CONTRAST_LIMIT, Discretization
from ufd.fem.fields import FieldHistory
from ufd.fem.focus import Focus
from ufd.fem.meshes import chosen_surface
from ufd.fem.resolving import resolved
from ufd.fem.surfaces import SurfaceMesh
from ufd.meanfield.modes import visible_harmonics
from ufd.meanfield.state import MeanFieldHistory, MeanFieldState
from ufd.meanfield.system import Descending, MeanFieldSystem
from ufd.problem.checks import number, shown
from ufd.problem.diffusion import UltraFastDiffusion
from ufd.problem.features import Feature
from ufd.problem.kernels import checked_law, population_kernel
from ufd.problem.penalties import FixedWeights, Penalty, penalty_of
from ufd.problem.temperatures import Annealing, temperature_of

Array = NDArray[np.float64]


class MeanFieldSolver:
    """Steps the mean-field equation of one problem through time; every method is collective.

    (T_mu + lam) u = kappa * nu + lam r, d_t mu = -div(mu u f''(u) grad u): variable projection
    (arXiv 2504.18208) with infinitely many neurons. For lam = 0 the outer weights are projected on
    what the feature sees: the limit of vanishing regularisation, which is the diffusion if the
    feature sees everything.

    Args:
        problem: Teacher, start and divergence; the divergence is the penalty of the outer weights.
        features: Such as ``ufd.ReLU() + 0.5 * ufd.ReLU(power=2)``.
        lam: Regularisation, at least 0; None for outer weights that stay 1: gradient descent of
            the risk |f* - Phi mu|^2/2 itself.
        temperature: tau of the noise sqrt(2 tau) dB of every feature: d_t mu gains
            tau Laplace(mu), and G = risk + tau KL(mu|uniform) falls.
        inputs: Law of the inputs: "gaussian", N(0, I), or "sphere".
        reference: Least point of the quadratic penalty: 1 is unbiased, 0 biased (p = 2 only).
        harmonics: Highest degree in which outer weights are sought; None for all that the mesh
            resolves on the circle, and what teacher and start need on the sphere, within about a
            thousand harmonics. Look at ``stats["harmonics_tail"]``.
        cells: See `DiffusionSolver`.
        degree: Of the elements; 1 by default, which keeps shocks, positivity and, with
            `BackwardEuler`, the decrease of the risk for every step size. Higher degrees are for
            smooth densities.
        focus: See `DiffusionSolver`.
        mesh: See `DiffusionSolver`.
        stepper: An implicit method, SDIRK4 by default.
        rtol: Bound of the relative L1(mu) error of a step.
        dt: Fixed step size instead of error control.
        tolerance: Relative residual of a solved stage; by default a thousandth of ``rtol`` within
            1e-12 and 1e-9.
        contrast: Largest sup w0 / inf w0 that is accepted.
        comm: The ranks that share the work.
        observers: Called after every accepted step with (t, values, landed).

    Raises:
        InputError: If an argument is out of range; the message names it.
    """

    def __init__(
        self,
        problem: UltraFastDiffusion,
        *,
        features: Feature,
        lam: float | None,
        temperature: float | Annealing = 0.0,
        inputs: str = "gaussian",
        reference: float = 1.0,
        harmonics: int | None = None,
        cells: int | None = None,
        degree: int | None = None,
        focus: Focus | None = None,
        mesh: SurfaceMesh | None = None,
        stepper: SDIRK | None = None,
        rtol: float = 1e-5,
        dt: float | None = None,
        tolerance: float | None = None,
        contrast: float = CONTRAST_LIMIT,
        comm: MPI.Comm = MPI.COMM_WORLD,
        observers: Sequence[Observer] = (),
    ) -> None:
        heat = temperature_of("meanfield", temperature)
        given = lam
        # Outer weights that stay 1 are the penalty that allows nothing else, at lam = 1.
        lam = 1.0 if lam is None else number("meanfield", "lam", lam)
        if lam < 0:
            raise InputError(f"meanfield: lam = {lam!r} must be positive, or 0 for the limit")
        if problem.source is not None:
            raise InputError("meanfield: it knows no source; leave it out of the problem")
        if not isinstance(stepper, SDIRK | None):
            raise InputError(f"stepper = {shown(stepper)} must be a method such as ufd.SDIRK4()")
        if tolerance is not None and not 0 < tolerance < 1e-3:
            raise InputError(f"tolerance = {tolerance!r} must lie between 0 and 1e-3")
        control = ErrorControl(rtol) if dt is None else FixedStep(dt)
        penalty: Penalty = FixedWeights()
        if given is not None:
            penalty = penalty_of(problem.divergence, reference, "meanfield")
        if mesh is None and degree is None:
            degree = 1
        surface = chosen_surface(problem.manifold, mesh, cells, degree, focus)
        kernel = population_kernel(features, problem.manifold, checked_law(inputs))
        self.problem, self.comm = problem, comm
        self.space = Discretization(surface, problem.teacher, comm)
        modes = visible_harmonics(self.space, kernel, lam, problem.initial, harmonics)
        if tolerance is None:
            tolerance = float(np.clip(1e-3 * (rtol if dt is None else 1e-9), 1e-12, 1e-9))
        steps = rtol if dt is None else None
        self.system = MeanFieldSystem(self.space, modes, lam, penalty, tolerance, steps, heat)
        self.stepper = stepper or SDIRK4()
        w = self.space.initial_ratio(problem.initial, contrast)
        self._judgement = resolved(self.space, problem.initial)
        first = self.system.first_step(w, self.stepper.order, rtol) if dt is None else dt
        self.evolution = Evolution(
            self.system, Descending(self.stepper), control, w, first, observers
        )
        self.evolution.speaks = comm.rank == 0
        self._settings = {
            "features": features.describe(),
            "lam": given,
            "temperature": heat.describe(),
            "inputs": inputs,
            "reference": float(reference),
            "harmonics": modes.degree,
            "visible_harmonics": modes.count,
            "rtol": rtol,
            "dt": dt,
            "tolerance": tolerance,
            "contrast": contrast,
        }

    @property
    def t(self) -> float:
        """Current time."""
        return self.evolution.t

    @property
    def state(self) -> MeanFieldState:
        """The current state (a view that later steps leave behind)."""
        w, system = self.evolution.values, self.system
        return MeanFieldState(
            self.t, w, self.space, self.problem.teacher,
            system.weights(w).c, system.modes, system.penalty,
        )  # fmt: skip

    @property
    def status(self) -> StopReason:
        """Why the run stopped, or that it is running."""
        return self.evolution.status

    @property
    def stats(self) -> dict[str, Any]:
        """Counters: steps, rejected, Newton, GMRES and CG iterations, factors, seconds, dofs.

        ``harmonics_tail`` is the share of the outer weights that the highest tenth of the degrees
        ever held: a few per cent say that more ``harmonics`` are needed.
        """
        kept = self.evolution.statistics.as_dict()
        kept.pop("evaluations")
        return {
            **kept,
            "outer_krylov": self.system.krylov,
            "harmonics_tail": self.system.tail,
            "factorisations": self.system.factorisations,
            "dofs": self.space.size,
            "ranks": self.comm.size,
            "teacher_quadrature_defect": float(self.space.defect),
            **self._judgement.numbers(),
        }

    def describe(self) -> dict[str, Any]:
        """Features, discretisation, stepper and tolerances as they were resolved."""
        mesh = self.space.surface.identity()
        return {
            **self._settings,
            "degree": mesh["degree"],
            "cells": mesh["subdivisions"],
            "cell_type": mesh["cell_type"],
            **({"focus": mesh["focus"]} if "focus" in mesh else {}),
            "stepper": self.stepper.name,
            "m_matrix": self.space.is_m_matrix,
        }

    def history(self) -> MeanFieldHistory:
        """Where states of this run can be kept."""
        fields = FieldHistory(self.problem, self.space)
        return MeanFieldHistory(fields, self.system.modes, self.system.penalty)

    def step(self) -> MeanFieldState:
        """Take one accepted step."""
        self.evolution.step()
        return self.state

    def advance(self, to: float) -> MeanFieldState:
        """Step until exactly t = ``to``; look at ``status`` if it could not."""
        self.evolution.advance(to)
        return self.state

    def iterate(self, times: Sequence[float]) -> Iterator[tuple[float, MeanFieldState]]:
        """Yield (t, state) at each of ``times``, landed on exactly."""
        for t in self.evolution.iterate(times):
            yield t, self.state

    def save(self, directory: str | PathLike) -> None:
        """Write the current state into a directory: fields.npz, outer.npz, VTKHDF fields.

        Raises:
            StorageError: If a file cannot be written.
        """
        history = self.history()
        history.add(self.state)
        history.save(Path(directory))

    def ratio(self, points: ArrayLike) -> Array:
        """w = mu/nu at points, the same on every rank; see `State.ratio`."""
        return self.state.ratio(points)

    def density(self, points: ArrayLike) -> Array:
        """mu at points, the same on every rank; see `State.density`."""
        return self.state.density(points)

    def outer_weights(self, points: ArrayLike) -> Array:
        """u at points; see `MeanFieldState.outer_weights`."""
        return self.state.outer_weights(points)

    def functionals(self) -> dict[str, float]:
        """All functionals now: mass, risk, misfit, divergence, chi2, total_variation, ..."""
        w, system = self.evolution.values, self.system
        return system.functionals(w) | system.warmth(w, self.t)

    def risk(self) -> float:
        """|f* - Phi(u mu)|^2/(2 lam) + int f(u) dmu now."""
        return self.functionals()["risk"]

    def divergence(self) -> float:
        """int f(u) dmu now: what tends to int f(dnu/dmu) dmu."""
        return self.functionals()["divergence"]

    def mass(self) -> float:
        """int w dnu now."""
        return self.functionals()["mass"]

"""The verbs of the finite-lambda room: infinitely many neurons, with noise or without."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any

import numpy as np
from mpi4py import MPI

from ufd.analysis import provenance
from ufd.analysis.langevin import LangevinRun
from ufd.analysis.meanfield import MeanFieldRun
from ufd.analysis.modes import clusters
from ufd.config import Case
from ufd.evolution.evolve import Observer
from ufd.evolution.observers import Recorder, run_through
from ufd.evolution.schedules import doubling_times, stored_times
from ufd.exceptions import InputError
from ufd.fem.spectrum import split_width
from ufd.fem.stack import versions
from ufd.fem.symmetry import stacked_axes, symmetry_of
from ufd.meanfield.fixed_point import describe_fixed_point, fixed_point, local_modes
from ufd.meanfield.solver import MeanFieldSolver
from ufd.parallel import on_root, total
from ufd.problem.diffusion import UltraFastDiffusion
from ufd.problem.features import Feature
from ufd.problem.temperatures import Annealing

# Modes that are found beyond those asked for.
_MORE = 4


def meanfield(
    problem: UltraFastDiffusion,
    features: Feature,
    lam: float,
    times: Sequence[float],
    *,
    comm: MPI.Comm = MPI.COMM_WORLD,
    observers: Sequence[Observer] = (),
    progress: bool | None = False,
    **options: Any,
) -> MeanFieldRun:
    """Integrate the mean-field equation and keep its density at ``times``; collective.

    Args:
        problem: Teacher, start and divergence, as for `solve`.
        features: Of the network, such as ``ufd.ReLU()``.
        lam: Regularisation; 0 is the limit: the diffusion if the feature sees every harmonic, the
            projected flow if not.
        times: Increasing times that are landed on exactly; t = 0 is always stored.
        comm: The ranks that share the work.
        observers: Called after every accepted step with (t, values, landed).
        progress: See `solve`.
        **options: inputs, reference, harmonics, cells, degree, focus, mesh, stepper, rtol, dt,
            tolerance, contrast of `MeanFieldSolver`.

    Returns:
        A `MeanFieldRun`; look at its ``status``.

    Raises:
        InputError: If an argument is out of range; the message names it.
        SolverError: If the outer weights cannot be found.
    """
    landing = stored_times(times)
    solver = MeanFieldSolver(problem, features=features, lam=lam, comm=comm, **options)
    return MeanFieldRun(**_integrated(solver, landing, observers, progress))


def langevin(
    problem: UltraFastDiffusion,
    features: Feature,
    temperature: float | Annealing,
    times: Sequence[float],
    *,
    lam: float | None = None,
    rates: int = 6,
    comm: MPI.Comm = MPI.COMM_WORLD,
    observers: Sequence[Observer] = (),
    progress: bool | None = False,
    **options: Any,
) -> LangevinRun:
    """Integrate the Fokker-Planck equation of noisy training; collective.

    d_t mu = div(mu grad F'(mu)) + tau Laplace(mu), the limit of infinitely many features that move
    along gradients with noise sqrt(2 tau) dB. F is the risk |f* - Phi mu|^2/2, or with optimal
    outer weights that of variable projection (arXiv 2205.09860 and 2403.14917 treat the two).

    Args:
        problem: Teacher, start and divergence, as for `solve`.
        features: Of the network.
        temperature: tau: at least 0, or `ufd.Annealing`. Without noise it is the mean-field
            gradient flow, with ``lam`` the equation of `meanfield`.
        times: Increasing times that are landed on exactly; t = 0 is always stored.
        lam: Regularisation of optimal outer weights; None for outer weights that stay 1.
        rates: Local rates at the fixed point, which is then sought before the run; 0 for none.
        comm: The ranks that share the work.
        observers: Called after every accepted step with (t, values, landed).
        progress: See `solve`.
        **options: inputs, reference, harmonics, cells, degree, focus, mesh, stepper, rtol, dt,
            tolerance, contrast of `MeanFieldSolver`.

    Returns:
        A `LangevinRun`; look at its ``status``.

    Raises:
        InputError: If an argument is out of range; the message names it.
        SolverError: If outer weights, the fixed point or its rates cannot be found.
    """
    landing = stored_times(times)
    if isinstance(rates, bool) or not isinstance(rates, Integral) or rates < 0:
        raise InputError(f"langevin: rates = {rates!r} must be an integer, at least 0")
    solver = MeanFieldSolver(
        problem, features=features, lam=lam, temperature=temperature, comm=comm, **options
    )
    known = None
    if solver.system.heat is not None and rates and not isinstance(temperature, Annealing):
        known = _Known(solver, int(rates))

    def functionals(values: np.ndarray) -> dict[str, Any]:
        return solver.functionals() | ({} if known is None else known.amplitudes(values))

    found = _integrated(solver, landing, observers, progress, functionals)
    return LangevinRun(**found, fixed_point=None if known is None else known.table)


class _Known:
    """The fixed point of a problem and the modes beside it, before the run; collective.

    Attributes:
        table: What ``LangevinRun.fixed_point`` holds.
    """

    def __init__(self, solver: MeanFieldSolver, count: int) -> None:
        system, problem = solver.system, solver.problem
        self._w = fixed_point(system, solver.evolution.values)
        # A few more than asked for: a group that is cut off says nothing about its symmetry.
        modes = local_modes(system, self._w, count + _MORE)
        width = split_width(solver.space.surface.degree)
        groups = [clusters(modes.eigenvalues, each) for each in (max(width, 1e-3), width)]
        shared = symmetry_of(
            modes, groups, stacked_axes(problem.teacher.axes(), problem.initial.axes())
        )
        self._space, self._vectors = solver.space, modes.vectors[:count]
        self.table = describe_fixed_point(system, self._w) | {
            "rates": modes.eigenvalues[:count].tolist(),
            "forbidden": (shared.invariant[:count] == 0).tolist(),
        }

    def amplitudes(self, w: np.ndarray) -> dict[str, np.ndarray]:
        """Parts of w - w* in the modes: G - G* is half the sum of their squares in the end."""
        own = self._vectors @ (self._space.D * (w - self._w))
        return {"amplitudes": total(self._space.comm, own)}


def _integrated(
    solver: MeanFieldSolver,
    landing: Sequence[float],
    observers: Sequence[Observer],
    progress: bool | None,
    functionals: Callable[[np.ndarray], dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Run a solver to the last time; the attributes of a `MeanFieldRun`."""
    history, comm = solver.history(), solver.comm

    def keep(t: float, values: np.ndarray, landed: bool) -> None:
        if landed:
            history.add(solver.state)

    recorder = Recorder(functionals or (lambda values: solver.functionals()))
    solver.evolution.observers += [keep, recorder, *observers]
    run_through(solver.evolution, landing, comm.rank == 0 and progress)
    configuration = {
        "problem": solver.problem.describe(),
        "p": solver.problem.divergence.p,
        "meanfield": solver.describe(),
    }
    return {
        "series": recorder.series,
        "status": solver.status,
        "stats": solver.stats,
        "times": history.times,
        "configuration": configuration,
        "provenance": on_root(
            comm, lambda: provenance.collect(comm.size, configuration, versions())
        ),
        "open_states": lambda: history,
    }


def langevin_case(case: Case, *, comm: MPI.Comm = MPI.COMM_WORLD) -> LangevinRun:
    """Run what the ``[langevin]`` table of a case asks for; collective.

    Its times are those of the case, or the case's own default ones up to ``langevin.end``: noisy
    training has a clock of its own.

    Raises:
        InputError: If there is no such table, or it and the problem do not fit.
    """
    table = case.langevin
    if table is None:
        raise InputError("langevin: the case has no such table")
    times = case.times if table.end is None else doubling_times(table.end)
    return langevin(case.problem.build(), times=times, comm=comm, **table.options())


def meanfield_case(case: Case, *, comm: MPI.Comm = MPI.COMM_WORLD) -> MeanFieldRun:
    """Run what the ``[meanfield]`` table of a case asks for, at its times; collective.

    Raises:
        InputError: If there is no such table, or it and the problem do not fit.
    """
    if case.meanfield is None:
        raise InputError("meanfield: the case has no such table")
    return meanfield(case.problem.build(), times=case.times, comm=comm, **case.meanfield.options())

"""The verb of the finite-lambda room: infinitely many neurons on the clock of the diffusion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mpi4py import MPI

from ufd.analysis import provenance
from ufd.analysis.meanfield import MeanFieldRun
from ufd.config import Case
from ufd.evolution.evolve import Observer
from ufd.evolution.observers import Recorder, run_through
from ufd.evolution.schedules import stored_times
from ufd.exceptions import InputError
from ufd.fem.stack import versions
from ufd.meanfield.solver import MeanFieldSolver
from ufd.parallel import on_root
from ufd.problem.diffusion import UltraFastDiffusion
from ufd.problem.features import Feature


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
    history = solver.history()

    def keep(t: float, values: np.ndarray, landed: bool) -> None:
        if landed:
            history.add(solver.state)

    recorder = Recorder(lambda values: solver.functionals())
    solver.evolution.observers += [keep, recorder, *observers]
    run_through(solver.evolution, landing, comm.rank == 0 and progress)
    configuration = {
        "problem": problem.describe(),
        "p": problem.divergence.p,
        "meanfield": solver.describe(),
    }
    return MeanFieldRun(
        series=recorder.series,
        status=solver.status,
        stats=solver.stats,
        times=history.times,
        configuration=configuration,
        provenance=on_root(comm, lambda: provenance.collect(comm.size, configuration, versions())),
        open_states=lambda: history,
    )


def meanfield_case(case: Case, *, comm: MPI.Comm = MPI.COMM_WORLD) -> MeanFieldRun:
    """Run what the ``[meanfield]`` table of a case asks for, at its times; collective.

    Raises:
        InputError: If there is no such table, or it and the problem do not fit.
    """
    if case.meanfield is None:
        raise InputError("meanfield: the case has no such table")
    return meanfield(case.problem.build(), times=case.times, comm=comm, **case.meanfield.options())

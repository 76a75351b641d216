"""The verb of the particle room: train a finite network on the clock of the diffusion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mpi4py import MPI

from ufd.analysis import provenance
from ufd.analysis.training import TrainingRun
from ufd.evolution.evolve import Observer
from ufd.evolution.observers import Recorder, run_through
from ufd.evolution.schedules import stored_times
from ufd.parallel import on_root
from ufd.particles.solver import VarProSolver
from ufd.particles.state import ParticleHistory
from ufd.problem.diffusion import UltraFastDiffusion
from ufd.problem.features import Feature


def train(
    problem: UltraFastDiffusion,
    features: Feature,
    lam: float | None,
    width: int,
    times: Sequence[float],
    *,
    comm: MPI.Comm = MPI.COMM_WORLD,
    observers: Sequence[Observer] = (),
    progress: bool | None = False,
    **options: Any,
) -> TrainingRun:
    """Train particles and keep them at ``times``; collective.

    Args:
        problem: Teacher, start and divergence, as for `solve`.
        features: Of the network, such as ``ufd.ReLU()``.
        lam: Regularisation, positive; None for outer weights that stay 1.
        width: Number of particles.
        times: Increasing times that are landed on exactly; t = 0 is always stored. One unit is
            2^10 iterations of the published experiments.
        comm: The ranks that share the samples; the particles are the same on each.
        observers: Called after every accepted step with (t, values, landed).
        progress: See `solve`.
        **options: data, inputs, target, reference, start, seed, epsilon, temperature, decay,
            batch, momentum, stepper, rtol, dt, kernel of `VarProSolver`.

    Returns:
        A `TrainingRun`; look at its ``status``.

    Raises:
        InputError: If an argument is out of range; the message names it.
        SolverError: If the outer weights cannot be found.
    """
    landing = stored_times(times)
    solver = VarProSolver(problem, features=features, lam=lam, width=width, comm=comm, **options)
    history = ParticleHistory(solver.manifold)

    def keep(t: float, values: np.ndarray, landed: bool) -> None:
        if landed:
            history.add(solver.state)

    recorder = Recorder(lambda values: solver.functionals())
    solver.evolution.observers += [keep, recorder, *observers]
    run_through(solver.evolution, landing, comm.rank == 0 and progress)
    settings = solver.describe()
    configuration = {
        "problem": problem.describe(),
        "p": problem.divergence.p,
        "particles": settings,
    }
    origin = on_root(comm, lambda: provenance.collect(comm.size, configuration, {}))
    return TrainingRun(
        series=recorder.series,
        status=solver.status,
        stats=solver.stats,
        times=history.times,
        configuration=configuration,
        provenance=origin | {"seed": settings["seed"]},
        open_particles=lambda: history,
    )

"""What a case will cost, before it is queued: nodes, memory and seconds, measured on two steps."""

from __future__ import annotations

import resource
import time
from pathlib import Path

from mpi4py import MPI

from ufd.config import Case
from ufd.evolution.evolve import StopReason
from ufd.exceptions import SolverError
from ufd.fem.diffusion import DiffusionSolver
from ufd.fem.spectrum import laplacian_modes
from ufd.meanfield.solver import MeanFieldSolver
from ufd.parallel import largest, total
from ufd.solve import check_extras, solver_of

# Accepted steps of SDIRK4 at rtol 1e-6 for the cases of this repository, from the smooth to the
# concentrated; other tolerances scale with rtol^(-1/order).
_STEPS, _AT_RTOL = (100, 250), 1e-6


def plan_case(case: Case, folder: Path, comm: MPI.Comm) -> list[str]:
    """Build mesh and matrices, find the modes, take two steps, and say what the whole run needs.

    Args:
        case: What would be run.
        folder: Where the case file lies; paths in it are relative to this.
        comm: The ranks that would share the work; collective.

    Raises:
        UfdError: Whatever the run itself would raise before its first step.
    """
    solver = solver_of(case, folder, comm)
    check_extras(solver, case.output.modes, case.output.estimate_error)
    modes = max(case.output.modes, int(case.output.guarantees))
    if modes:
        laplacian_modes(solver.space, modes)
    begin = time.perf_counter()
    solver.step()
    solver.step()
    if solver.status is not StopReason.RUNNING:
        raise SolverError(
            f"no second step: {solver.stats['last_failure'] or solver.status.value}; "
            "use solver.degree = 1, or more solver.cells"
        )
    seconds = largest(comm, (time.perf_counter() - begin) / 2)
    # ru_maxrss counts kilobytes on Linux.
    memory = total(comm, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / 1e6
    low, high = _steps(case, solver)
    times = case.times
    particles = case.particles
    ensemble = []
    if particles is not None:
        members = len(particles.lam) * len(particles.width) * particles.seeds
        ensemble = [
            f"particles               {members} runs on {comm.size} rank{'s' * (comm.size > 1)}, "
            f"the widest of {max(particles.width)} particles"
        ]
    if case.meanfield is not None:
        found = MeanFieldSolver(case.problem.build(), comm=comm, **case.meanfield.options())
        width = case.meanfield.width
        added = "" if width is None else f", and {case.meanfield.seeds} trainings of {width}"
        ensemble.append(
            f"mean field              {found.space.size} nodes, "
            f"{found.describe()['visible_harmonics']} harmonics{added}"
        )
    if case.langevin is not None:
        noisy = {k: v for k, v in case.langevin.options().items() if k != "rates"}
        found = MeanFieldSolver(case.problem.build(), comm=comm, **{"lam": None, **noisy})
        ensemble.append(
            f"noisy training          {found.space.size} nodes, "
            f"{found.describe()['visible_harmonics']} harmonics"
        )
    runs = "1 run" if not case.output.estimate_error else "2 runs, the second about 3 times as long"
    return [
        f"valid                   {solver.space.size} nodes, {len(times)} stored times to "
        f"t = {times[-1]:g}, {runs}",
        f"memory                  {memory:.2g} GB on {comm.size} rank{'s' * (comm.size > 1)}",
        f"time                    {seconds:.2g} s per step (the first two), {low} to {high} steps: "
        f"{_duration(seconds * low)} to {_duration(seconds * high)}",
        *ensemble,
    ]


def _steps(case: Case, solver: DiffusionSolver) -> tuple[int, int]:
    if case.solver.dt is not None:
        steps = round(case.times[-1] / case.solver.dt)
        return steps, steps
    factor = case.solver.rtol ** (-1 / solver.stepper.order) / _AT_RTOL ** (-1 / 4)
    return round(factor * _STEPS[0]), round(factor * _STEPS[1])


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"

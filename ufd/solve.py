"""The verbs: a problem goes to a room, a system to the corridor, a result to the caller."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

from ufd.analysis import provenance
from ufd.analysis.results import FIELDS, Result, read_result
from ufd.config import problem_from
from ufd.evolution.evolve import Observer
from ufd.evolution.observers import Progress, Recorder
from ufd.evolution.schedules import landing_times
from ufd.evolution.steppers import SDIRK
from ufd.exceptions import InputError, StorageError
from ufd.fem.diffusion import DiffusionSolver
from ufd.fem.fields import FieldHistory, read_fields, stored_problem
from ufd.fem.meshes import SurfaceMesh
from ufd.fem.spectrum import laplacian_modes
from ufd.fem.stack import versions
from ufd.parallel import on_root
from ufd.problem.diffusion import UltraFastDiffusion

FUNCTIONALS = ("mass", "chi2", "chi2_reverse", "divergence", "min_ratio", "max_ratio")


def solve(
    problem: UltraFastDiffusion,
    times: Sequence[float],
    *,
    rtol: float = 1e-6,
    cells: int | None = None,
    degree: int | None = None,
    stepper: SDIRK | None = None,
    dt: float | None = None,
    mesh: SurfaceMesh | None = None,
    comm: MPI.Comm = MPI.COMM_WORLD,
    observers: Sequence[Observer] = (),
    modes: int = 0,
    estimate_error: bool = False,
    progress: bool | None = False,
    **solver_options: Any,
) -> Result:
    """Integrate a problem and keep its density at ``times``; collective.

    Args:
        problem: What to solve.
        times: Increasing times that are landed on exactly; t = 0 is always stored.
        rtol: Bound of the relative L1(mu) error of one step.
        cells: See `DiffusionSolver`.
        degree: See `DiffusionSolver`.
        stepper: See `DiffusionSolver`.
        dt: Fixed step size instead of error control.
        mesh: A mesh to use instead of one built from ``cells`` and ``degree``.
        comm: The ranks that share the work.
        observers: Called after every accepted step with (t, values, landed).
        modes: How many modes of the weighted Laplacian to find and to project on.
        estimate_error: Solve again with half as many cells more (one icosphere level), a tenth of
            ``rtol`` (half of ``dt``), and report the differences; about four times the work.
        progress: Show a bar: True, False, or None for on a terminal only.
        **solver_options: newton_tol, linear, contrast of `DiffusionSolver`.

    Returns:
        A `Result`; look at its ``status``.

    Raises:
        InputError: If an argument is out of range; the message names it.
    """
    landing = landing_times(times)
    if landing[0] > 0:
        landing = [0.0, *landing]
    if landing[-1] == 0:
        raise InputError("times: the last time must be positive")
    options = {"rtol": rtol, "stepper": stepper, "dt": dt, "comm": comm, **solver_options}
    solver = DiffusionSolver(problem, cells=cells, degree=degree, mesh=mesh, **options)
    result = _run(solver, landing, observers, modes, progress)
    if estimate_error:
        surface = solver.space.surface
        if surface.subdivisions is None:
            raise InputError(
                "estimate_error: a mesh from a file cannot be refined; refine it there"
            )
        options |= {"rtol": rtol / 10, "dt": None if dt is None else dt / 2}
        finer = surface.subdivisions + 1
        if surface.cell_type != "triangle":
            finer = math.ceil(1.5 * surface.subdivisions)
        check = DiffusionSolver(problem, cells=finer, degree=surface.degree, **options)
        result.errors = _differences(result, _run(check, landing, (), 0, progress))
    result.configuration["estimate_error"] = estimate_error
    result.provenance |= on_root(
        comm, lambda: provenance.collect(comm.size, result.configuration, versions())
    )
    return result


def _run(
    solver: DiffusionSolver,
    landing: list[float],
    observers: Sequence[Observer],
    modes: int,
    progress: bool | None,
) -> Result:
    history = FieldHistory(solver.problem, solver.space)
    recorder = Recorder(solver.system.functionals)
    bar = Progress(landing[-1], progress if solver.comm.rank == 0 else False)
    solver.evolution.observers += [history, recorder, bar, *observers]
    found = laplacian_modes(solver.space, modes) if modes else None
    amplitudes = []
    for _ in solver.iterate(landing):
        if found is not None:
            amplitudes.append(found.amplitudes(solver.evolution.values))
    bar.close()
    spectrum = None
    if found is not None:
        spectrum = {"eigenvalues": found.eigenvalues, "amplitudes": np.array(amplitudes)}
    return Result(
        series=recorder.series,
        status=solver.status,
        stats=solver.stats,
        times=history.times,
        configuration={"problem": solver.problem.describe(), "solver": solver.describe()},
        provenance={},
        open_fields=lambda: history,
        spectrum=spectrum,
    )


def _differences(result: Result, check: Result) -> dict[str, np.ndarray]:
    times = [t for t in result.times if t in check.times]
    keep = [result.times.index(t) for t in times]
    errors = {
        name: np.abs(result.at_times(name)[keep] - replace(check, times=times).at_times(name))
        for name in FUNCTIONALS
    }
    errors["density"] = np.array([result.at(t).l1_distance(check.at(t)) for t in times])
    return {"times": np.array(times), **errors}


def load(
    path: str | PathLike,
    *,
    problem: UltraFastDiffusion | None = None,
    comm: MPI.Comm = MPI.COMM_WORLD,
) -> Any:
    """Read a run back; collective when fields are asked for.

    Args:
        path: Directory of a run, or a file written by ``DiffusionSolver.save``.
        problem: Needed only if the run's problem held a Python function.
        comm: The ranks that share the fields; any number.

    Returns:
        The `Result` of the run, or for a file its stored states (``at``, ``ratio``, ``density``).

    Raises:
        StorageError: If it is missing or damaged.
        InputError: If the problem held a function and was not given.
    """
    place = Path(path)

    def open_fields() -> FieldHistory:
        file = place / FIELDS if place.is_dir() else place
        table = stored_problem(file, comm)
        if problem is None and table is None:
            raise InputError(
                f"load: the problem of {place} holds a Python function; give load(..., problem=...)"
            )
        return read_fields(file, problem or problem_from(table), comm)

    if not place.exists():
        raise StorageError(f"cannot read {place}: there is no such run")
    return read_result(place, open_fields) if place.is_dir() else open_fields()

"""The verbs: a problem goes to a room, a system to the corridor, a result to the caller."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import Any

from mpi4py import MPI

from ufd.analysis import provenance
from ufd.analysis.results import Result
from ufd.config import Case
from ufd.evolution.checkpoint import Checkpoint
from ufd.evolution.evolve import Observer
from ufd.evolution.schedules import stored_times
from ufd.evolution.steppers import SDIRK
from ufd.exceptions import InputError
from ufd.fem.diffusion import LEAST_RTOL, DiffusionSolver
from ufd.fem.meshes import SurfaceMesh, checked_cells
from ufd.fem.meshfile import read_mesh
from ufd.fem.stack import versions
from ufd.parallel import on_root
from ufd.problem.diffusion import UltraFastDiffusion
from ufd.problem.manifolds import Sphere
from ufd.runs import CHECK, Keeping, differences, run


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
    guarantees: bool = False,
    estimate_error: bool = False,
    progress: bool | None = False,
    checkpoint: Checkpoint | str | PathLike | None = None,
    restart: bool = False,
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
        guarantees: Record the H^-1_nu distance too, one solve with K per step, and find the gap:
            `Result.guarantees` then compares all four functionals with their envelopes.
        estimate_error: Solve again with half as many cells more (one icosphere level), a tenth of
            ``rtol`` (half of ``dt``), and report the differences; about four times the work.
        progress: None prints a line at each stored time, and a bar on a terminal; True forces
            the bar (under mpirun no rank sees the terminal); False is silent.
        checkpoint: A directory, or a `Checkpoint`: the run is saved there, every ten minutes and
            when it stops early, and can be resumed on any number of ranks. It stays there
            until it is removed.
        restart: Go on from ``checkpoint``, or start if it holds nothing yet. The arguments must be
            the same; Python functions in the problem, and ``observers``, cannot be compared.
        **solver_options: newton_tol, linear, contrast, focus of `DiffusionSolver`.

    Returns:
        A `Result`; look at its ``status``.

    Raises:
        InputError: If an argument is out of range, or differs from those of the checkpoint; the
            message names it.
        StorageError: If a checkpoint is damaged, cannot be written, or is there already.
    """
    landing = stored_times(times)
    options = {"rtol": rtol, "stepper": stepper, "dt": dt, "comm": comm, **solver_options}
    solver = DiffusionSolver(problem, cells=cells, degree=degree, mesh=mesh, **options)
    finer_mesh = check_extras(solver, modes, estimate_error)
    keeping = None
    if checkpoint is not None:
        output = {"modes": modes, "guarantees": guarantees, "estimate_error": estimate_error}
        asked_for = {"time": {"times": landing}, "output": output}
        keeping = Keeping(checkpoint, restart, comm, asked_for)
    result = run(
        solver,
        landing,
        observers,
        modes=max(modes, int(guarantees)),
        guarantees=guarantees,
        progress=progress,
        keeping=keeping,
    )
    if finer_mesh is not None and not result.status.resumable:
        options |= {"rtol": max(rtol / 10, LEAST_RTOL), "dt": None if dt is None else dt / 2}
        check = DiffusionSolver(problem, **(options | finer_mesh))
        checked = run(check, landing, progress=progress, keeping=keeping, part=CHECK)
        if checked.status.resumable:
            result.status = checked.status
        else:
            result.errors = differences(result, checked)
    result.configuration["estimate_error"] = estimate_error
    result.provenance |= on_root(
        comm, lambda: provenance.collect(comm.size, result.configuration, versions())
    )
    return result


def check_extras(
    solver: DiffusionSolver, modes: int, estimate_error: bool
) -> dict[str, Any] | None:
    """Refuse, before anything is run, what could not be done after it.

    Returns:
        Cells, degree and focus of the second resolution of ``estimate_error``, if asked for.

    Raises:
        InputError: If the mesh has no room for ``modes``, or cannot be refined.
    """
    room = solver.space.size - 2
    if isinstance(modes, bool) or not isinstance(modes, Integral) or not 0 <= modes <= room:
        raise InputError(f"modes = {modes!r} must be an integer from 0 to {room} on this mesh")
    return _finer(solver) if estimate_error else None


def _finer(solver: DiffusionSolver) -> dict[str, Any]:
    surface = solver.space.surface
    if surface.subdivisions is None:
        raise InputError("estimate_error: a mesh from a file cannot be refined; refine it there")
    cells = surface.subdivisions + 1
    if surface.cell_type != "triangle":
        cells = math.ceil(1.5 * surface.subdivisions)
    checked_cells(solver.problem.manifold.dim, cells, surface.degree)
    return {"cells": cells, "degree": surface.degree, "focus": surface.focus}


def _mesh_of(case: Case, folder: Path, comm: MPI.Comm) -> SurfaceMesh | None:
    name, sphere = case.solver.mesh, Sphere(case.problem.dim)
    return None if name is None else on_root(comm, lambda: read_mesh(folder / name, sphere))


def solver_of(case: Case, folder: Path, comm: MPI.Comm = MPI.COMM_WORLD) -> DiffusionSolver:
    """The solver that a case describes, at its start; collective. See `solve_case`."""
    mesh = _mesh_of(case, folder, comm)
    return DiffusionSolver(case.problem.build(), mesh=mesh, comm=comm, **case.solver_options())


def solve_case(
    case: Case,
    folder: Path,
    *,
    comm: MPI.Comm = MPI.COMM_WORLD,
    progress: bool | None = False,
    checkpoint: Checkpoint | None = None,
    restart: bool = False,
) -> Result:
    """Run a case file; collective.

    Args:
        case: From `config.read_case`.
        folder: Where the case file lies; paths in it are relative to this.
        comm: The ranks that share the work.
        progress: See `solve`.
        checkpoint: See `solve`.
        restart: See `solve`.

    Raises:
        InputError: If the problem and the mesh do not fit; the message names the key.
        StorageError: If the mesh file cannot be read; or see `solve`.
    """
    result = solve(
        case.problem.build(),
        case.times,
        mesh=_mesh_of(case, folder, comm),
        comm=comm,
        progress=progress,
        checkpoint=checkpoint,
        restart=restart,
        modes=case.output.modes,
        guarantees=case.output.guarantees,
        estimate_error=case.output.estimate_error,
        **case.solver_options(),
    )
    result.configuration["case"] = case.identity()
    return result

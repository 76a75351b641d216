"""The verbs: a problem goes to a room, a system to the corridor, a result to the caller."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

from ufd.analysis import provenance
from ufd.analysis.modes import clusters
from ufd.analysis.results import Result
from ufd.config import Case
from ufd.evolution.evolve import Observer
from ufd.evolution.observers import Recorder, run_through
from ufd.evolution.schedules import stored_times
from ufd.evolution.steppers import SDIRK
from ufd.exceptions import InputError
from ufd.fem.diffusion import DiffusionSolver
from ufd.fem.dual_norm import DualNorm
from ufd.fem.fields import FieldHistory
from ufd.fem.meshes import SurfaceMesh, checked_cells
from ufd.fem.meshfile import read_mesh
from ufd.fem.spectrum import Modes, laplacian_modes, split_width
from ufd.fem.stack import versions
from ufd.fem.symmetry import harmonic_names, stacked_axes, symmetry_of
from ufd.parallel import on_root
from ufd.problem.diffusion import UltraFastDiffusion
from ufd.problem.manifolds import Sphere

FUNCTIONALS = (
    "mass", "chi2", "chi2_reverse", "divergence", "lyapunov", "min_ratio", "max_ratio"
)  # fmt: skip
# Triple products of modes are kept for the first ones only: they decide who drives whom.
_COUPLED = 12


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
        **solver_options: newton_tol, linear, contrast of `DiffusionSolver`.

    Returns:
        A `Result`; look at its ``status``.

    Raises:
        InputError: If an argument is out of range; the message names it.
    """
    landing = stored_times(times)
    options = {"rtol": rtol, "stepper": stepper, "dt": dt, "comm": comm, **solver_options}
    solver = DiffusionSolver(problem, cells=cells, degree=degree, mesh=mesh, **options)
    finer_mesh = check_extras(solver, modes, estimate_error)
    result = _run(solver, landing, observers, max(modes, int(guarantees)), progress, guarantees)
    if finer_mesh is not None:
        options |= {"rtol": rtol / 10, "dt": None if dt is None else dt / 2}
        check = DiffusionSolver(problem, **finer_mesh, **options)
        result.errors = _differences(result, _run(check, landing, (), 0, progress))
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
        Cells and degree of the second resolution of ``estimate_error``, if that is asked for.

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
    return {"cells": cells, "degree": surface.degree}


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
) -> Result:
    """Run a case file; collective.

    Args:
        case: From `config.read_case`.
        folder: Where the case file lies; paths in it are relative to this.
        comm: The ranks that share the work.
        progress: See `solve`.

    Raises:
        InputError: If the problem and the mesh do not fit; the message names the key.
        StorageError: If the mesh file cannot be read.
    """
    result = solve(
        case.problem.build(),
        case.times,
        mesh=_mesh_of(case, folder, comm),
        comm=comm,
        progress=progress,
        modes=case.output.modes,
        guarantees=case.output.guarantees,
        estimate_error=case.output.estimate_error,
        **case.solver_options(),
    )
    result.configuration["case"] = case.model_dump(mode="json")
    return result


def _run(
    solver: DiffusionSolver,
    landing: list[float],
    observers: Sequence[Observer],
    modes: int,
    progress: bool | None,
    guarantees: bool = False,
) -> Result:
    found = laplacian_modes(solver.space, modes) if modes else None
    dual = DualNorm(solver.space, solver.system.linear.method) if guarantees else None

    def functionals(w: np.ndarray) -> dict[str, Any]:
        row: dict[str, Any] = solver.system.functionals(w)
        if dual is not None:
            row["hminus1"] = dual.squared(w - 1)
        if found is not None:
            row["amplitudes"] = found.amplitudes(w)
        return row

    history, recorder = FieldHistory(solver.problem, solver.space), Recorder(functionals)
    solver.evolution.observers += [history, recorder, *observers]
    run_through(solver.evolution, landing, solver.comm.rank == 0 and progress)
    result = Result(
        series=recorder.series,
        status=solver.status,
        stats=solver.stats,
        times=history.times,
        configuration={
            "problem": solver.problem.describe(),
            "p": solver.problem.divergence.p,
            "source": solver.problem.source is not None,
            "solver": solver.describe(),
        },
        provenance={},
        open_fields=lambda: history,
    )
    if found is not None:
        result.spectrum = _spectrum(found, solver.problem, result)
    return result


def _spectrum(found: Modes, problem: UltraFastDiffusion, result: Result) -> dict[str, Any]:
    width = split_width(found.space.surface.degree)
    groups = [clusters(found.eigenvalues, each) for each in (max(width, 1e-3), width)]
    own = problem.teacher.axes()
    shared = symmetry_of(found, groups, stacked_axes(own, problem.initial.axes()))
    if own is not None and not len(own):  # a uniform teacher: spherical harmonics
        names = harmonic_names(found.eigenvalues, problem.manifold.dim)
    else:
        names = symmetry_of(found, groups, stacked_axes(own)).names
    start = result.series["amplitudes"][0] / max(np.sqrt(result.series["chi2"][0]), 1e-300)
    return {
        "eigenvalues": found.eigenvalues,
        "amplitudes": result.at_times("amplitudes"),
        "invariant": shared.unless_seen(start),
        "names": np.array(names),
        "width": width,
        "coupling": found.coupling(min(_COUPLED, len(found.eigenvalues))),
    }


def _differences(result: Result, check: Result) -> dict[str, np.ndarray]:
    times = [t for t in result.times if t in check.times]
    keep = [result.times.index(t) for t in times]
    errors = {
        name: np.abs(result.at_times(name)[keep] - replace(check, times=times).at_times(name))
        for name in FUNCTIONALS
    }
    errors["density"] = np.array([result.at(t).l1_distance(check.at(t)) for t in times])
    return {"times": np.array(times), **errors}

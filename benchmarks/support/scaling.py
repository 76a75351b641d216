"""What `mpi_scaling.py` measures in one job: a run, taken apart from outside, and its machine.

Times are pairs (CPU, wall) in seconds, of the slowest rank. One product with K is timed twice:
back to back, and after a sweep of vectors that no cache holds.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray
from petsc4py import PETSc

import ufd
from support.scaling_meters import Counting, Meter, last_level_cache, metered, peak, timed
from ufd.exceptions import SolverError
from ufd.fem.surfaces import DistributedMesh, SurfaceMesh
from ufd.parallel import largest, total

Array = NDArray[np.float64]
# Bytes of a product with K: an index and a value per entry; a pointer and two values per row.
PER_ENTRY, PER_ROW, PER_TRIAD = 12, 20, 24
_STEPPERS = {"sdirk2": ufd.SDIRK2, "backward_euler": ufd.BackwardEuler}


@dataclass(frozen=True)
class Case:
    """One job.

    Attributes:
        cells: Level of the icosphere (degree 1) or cells per cube edge.
        degree: Polynomial degree.
        stepper: Name of the stepper.
        rtol: Bound of the error of a step.
        end: Time after which the run is over.
        steps: Number of steps after which it is, whatever the time.
        sizes: Sizes of the steps, instead of error control.
        settle: Steps before the stages are counted.
        repeats: Of set-ups that are timed; 0: neither these nor products nor bandwidths.
        sweep: Bytes of a vector of the triad; left out: four last-level caches.
        counted: Whether reductions and messages are counted, which takes a little time.
    """

    cells: int
    degree: int = 1
    stepper: str = "sdirk2"
    rtol: float = 1.5e-3
    end: float = 1.0
    steps: int | None = None
    sizes: tuple[float, ...] = ()
    settle: int = 10
    repeats: int = 3
    sweep: int | None = None
    counted: bool = False


def problem() -> ufd.UltraFastDiffusion:
    """The concentrated mixture of `sphere_front.py`, from the uniform density."""
    parts = [ufd.VonMisesFisher([0, 0, 1], 4), ufd.VonMisesFisher([1, 0, 0], 6)]
    return ufd.UltraFastDiffusion(ufd.Mixture(parts, [0.6, 0.4]), ufd.Uniform(ufd.Sphere(2)))


def lattice(count: int) -> Array:
    """Points spread evenly over the sphere, (count, 3)."""
    index = np.arange(count)
    z = 1 - (2 * index + 1) / count
    turn, across = np.pi * (np.sqrt(5) - 1) * index, np.sqrt(1 - z**2)
    return np.column_stack([across * np.cos(turn), across * np.sin(turn), z])


def measure(case: Case, comm: MPI.Comm = MPI.COMM_WORLD, base: int = 0) -> dict[str, Any]:
    """Run a case and what surrounds it; collective.

    Args:
        case: What to run.
        comm: The ranks.
        base: Bytes of this process before anything was made.

    Returns:
        JSON values: counters, seconds by phase, memory, speeds, and numbers of the result.

    Raises:
        SolverError: If the run stops before its end.
    """
    messages = PETSc.Log.Event("KSPSolve")
    if case.counted:
        PETSc.Log.begin()
    setup, solver = timed(
        comm,
        lambda: ufd.DiffusionSolver(
            problem(),
            cells=case.cells,
            degree=case.degree,
            stepper=_STEPPERS[case.stepper](),
            rtol=case.rtol,
            dt=case.sizes[0] if case.sizes else None,
            comm=comm,
        ),
    )
    space, linear = solver.space, solver.system.linear
    if case.counted:
        # From here on; what is made already keeps the communicator that it has.
        space.comm = Counting(comm)
    Counting.reductions, sent = 0, messages.getPerfInfo()["numMessages"]
    stage = metered(solver.system, "stage", lambda done: done.newton)
    solve = metered(linear, "solve", lambda done: done[1])
    prepare = metered(linear, "prepare")
    run, settled = timed(comm, lambda: _advance(solver, case, stage))
    counted, sent = Counting.reductions, messages.getPerfInfo()["numMessages"] - sent
    space.comm = comm
    after_run = peak()
    evaluation, values = timed(comm, lambda: solver.ratio(lattice(10_000)))
    with tempfile.TemporaryDirectory() as folder:
        path = comm.bcast(Path(folder) / "state.npz")
        output, _ = timed(comm, lambda: solver.save(path))
        comm.Barrier()
    entries = int(space.K.getInfo(PETSc.Mat.InfoType.GLOBAL_SUM)["nz_used"])
    krylov, newton = (largest(comm, t) for t in (solve.seconds, stage.seconds - solve.seconds))
    found = {
        "ranks": comm.size,
        "nodes": space.size,
        "entries": entries,
        "t": solver.t,
        "counters": solver.stats,
        "stages": stage.calls,
        "newton": stage.iterations,
        "settled": settled,
        "solves": solve.calls,
        "krylov": solve.iterations,
        "seconds": {
            "setup": setup,
            "run": run,
            "Newton": newton,
            "Krylov": krylov,
            "prepare": largest(comm, prepare.seconds),
            "evaluation": evaluation,
            "output": output,
        },
        "memory": {
            "libraries": total(comm, base),
            "after_run": total(comm, after_run),
            "peak": total(comm, peak()),
        },
        "reductions": counted,
        "messages": largest(comm, sent),
        "numbers": [*solver.functionals().values(), *values[:100]],
    }
    if case.repeats:
        found["speeds"] = _speeds(space.K, case, comm)
        found["seconds"] |= _setups(space.surface, comm, case.repeats)
    return _plain(found)


def _advance(solver: ufd.DiffusionSolver, case: Case, stage: Meter) -> list[int]:
    """Run to the end; stages and Newton iterations of the first ``settle`` steps."""
    settled = [0, 0]
    done = 0
    limit = len(case.sizes) or case.steps or np.inf
    while done < limit and (case.sizes or solver.t < case.end):
        if case.sizes:
            solver.evolution.dt = case.sizes[done]
        if not solver.evolution.step(None if case.sizes else case.end):
            raise SolverError(f"{case}: {solver.status.value} {solver.stats['last_failure']}")
        done += 1
        if done == case.settle:
            settled = [stage.calls, stage.iterations]
    return settled


def _speeds(K: PETSc.Mat, case: Case, comm: MPI.Comm) -> dict[str, Any]:
    """Seconds of one product, cold and warm; GB/s of the triad on all ranks; peak Gflop/s."""
    count = (case.sweep or 4 * last_level_cache()) // 8
    x, y, z = (PETSc.Vec().createMPI((count, None), comm=comm) for _ in range(3))
    x.set(1.0), y.set(2.0)
    triad: Callable[[], None] = lambda: z.waxpy(0.5, x, y)  # noqa: E731
    u, v = K.createVecRight(), K.createVecLeft()
    u.setRandom()
    product: Callable[[], None] = lambda: K.mult(u, v)  # noqa: E731
    triads, cold = [], []
    for _ in range(2 + 11):
        triads.append(timed(comm, triad)[0])
        cold.append(timed(comm, product)[0])
    warm = [timed(comm, product)[0] for _ in range(2 + 31)]
    moved = PER_TRIAD * count * comm.size
    a = np.random.default_rng(0).normal(size=(768, 768))
    dense = [timed(comm, lambda: a @ a)[0] for _ in range(4)]
    return {
        "cold": np.median(cold[2:], axis=0),
        "warm": np.median(warm[2:], axis=0),
        "triad": moved / np.median(triads[2:], axis=0) / 1e9,
        "flops": 2 * 768**3 * comm.size / np.median(dense[1:], axis=0) / 1e9,
        "cache": last_level_cache(),
    }


def _setups(surface: SurfaceMesh, comm: MPI.Comm, repeats: int) -> dict[str, Array]:
    """Median seconds of what is made before the first step, made again."""
    teacher = problem().teacher

    def weight(points: Array) -> Array:
        return teacher.log_density(points / np.linalg.norm(points, axis=1, keepdims=True))

    rows: list[Sequence[Array]] = []
    for _ in range(repeats):
        mesh, grid = timed(comm, lambda: surface.distribute(comm))
        weights, log_weight = timed(comm, partial(weight, grid.positions))
        areas, _ = timed(comm, grid.areas)
        stiffness, _ = timed(comm, partial(grid.stiffness, log_weight))
        hierarchy, _ = timed(comm, partial(_hierarchy, grid, weight))
        rows.append((mesh, weights, areas, stiffness, hierarchy))
        del grid
    names = ("mesh", "weight", "areas", "stiffness", "hierarchy")
    return dict(zip(names, np.median(rows, axis=0), strict=True))


def _hierarchy(grid: DistributedMesh, weight: Callable[[Array], Array]) -> Any:
    return grid.hierarchy(weight) if hasattr(grid, "hierarchy") else None


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value

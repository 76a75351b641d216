"""Runs read back, of any room."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from mpi4py import MPI

from ufd.analysis.results import FIELDS, read_result
from ufd.analysis.runs import read_run
from ufd.analysis.training import PARTICLES, read_training
from ufd.config import problem_from
from ufd.exceptions import InputError, StorageError
from ufd.fem.fields import FieldHistory, read_fields, stored_problem
from ufd.parallel import on_root
from ufd.particles.state import ParticleHistory, read_particles
from ufd.problem.diffusion import UltraFastDiffusion


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
        The `Result` of a run of the diffusion, the `TrainingRun` of a training, or for a file its
        stored states (``at``, ``ratio``, ``density``).

    Raises:
        StorageError: If it is missing or damaged.
        InputError: If the problem held a function and was not given.
    """
    place = Path(path)

    def open_fields() -> FieldHistory:
        file = place / FIELDS if place.is_dir() else place
        return read_fields(file, problem or _stored(file, comm), comm)

    if not place.exists():
        raise StorageError(f"cannot read {place}: there is no such run")
    if not place.is_dir():
        return open_fields()
    run = on_root(comm, lambda: read_run(place))
    if run.get("kind") != "particles":
        return read_result(place, open_fields)
    return read_training(place, lambda: _particles(place, run, problem, comm))


def _particles(
    place: Path, run: dict[str, Any], problem: UltraFastDiffusion | None, comm: MPI.Comm
) -> ParticleHistory:
    table = run["configuration"]["problem"]
    if problem is None and table is None:
        raise InputError(
            f"load: the problem of {place} holds a Python function; give load(..., problem=...)"
        )
    manifold = (problem or problem_from(table)).manifold
    return on_root(comm, lambda: read_particles(place / PARTICLES, manifold))


def _stored(file: Path, comm: MPI.Comm) -> UltraFastDiffusion:
    table = stored_problem(file, comm)
    if table is None:
        raise InputError(
            f"load: the problem in {file} holds a Python function; give load(..., problem=...)"
        )
    return problem_from(table)

"""Runs read back, of any room."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from mpi4py import MPI

from ufd.analysis.langevin import read_langevin
from ufd.analysis.meanfield import read_meanfield
from ufd.analysis.results import FIELDS, read_result
from ufd.analysis.runs import CHECKPOINT, RUN, read_run
from ufd.analysis.training import PARTICLES, read_training
from ufd.analysis.univariate import read_univariate
from ufd.config import problem_from
from ufd.evolution.checkpoint import stopped_at
from ufd.exceptions import InputError, StorageError
from ufd.fem.fields import FieldHistory, read_fields, stored_problem
from ufd.meanfield.state import MeanFieldHistory, read_states
from ufd.parallel import on_root
from ufd.particles.state import ParticleHistory, read_particles
from ufd.problem.diffusion import UltraFastDiffusion
from ufd.runs import CHECK, MAIN


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
        The `Result` of a run of the diffusion, the `TrainingRun` of a training, the
        `MeanFieldRun` of the mean-field equation, the `LangevinRun` of noisy training, the
        `UnivariateRun` of few neurons, or for a file its stored states (``at``, ``ratio``,
        ``density``).

    Raises:
        StorageError: If it is missing, damaged or not finished.
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
    run = on_root(comm, lambda: _finished(place))
    if run.get("kind") == "particles":
        return read_training(place, lambda: _particles(place, run, problem, comm))
    if run.get("kind") == "univariate":
        return on_root(comm, lambda: read_univariate(place, run))
    if run.get("kind") == "langevin":
        return read_langevin(place, lambda: _states(place, run, problem, comm))
    if run.get("kind") == "meanfield":
        return read_meanfield(place, lambda: _states(place, run, problem, comm))
    return read_result(place, open_fields)


def where_stopped(place: Path) -> str | None:
    """Where the run in a directory was saved last, and how it goes on; None without a checkpoint.

    To be called on one rank.
    """
    for part, which in ((CHECK, " of the second resolution"), (MAIN, "")):
        found = stopped_at(place / CHECKPOINT / part)
        if found is not None:
            t, steps, resume = found
            return f"t = {t:.6g}{which}, {steps} steps; resume with: {resume}"
    return None


def _finished(place: Path) -> dict[str, Any]:
    stopped = None if (place / RUN).exists() else where_stopped(place)
    if stopped is not None:
        raise StorageError(f"the run in {place} is not finished: it was saved at {stopped}")
    return read_run(place)


def _particles(
    place: Path, run: dict[str, Any], problem: UltraFastDiffusion | None, comm: MPI.Comm
) -> ParticleHistory:
    manifold = (problem or _built(run["configuration"]["problem"], place)).manifold
    return on_root(comm, lambda: read_particles(place / PARTICLES, manifold))


def _states(
    place: Path, run: dict[str, Any], problem: UltraFastDiffusion | None, comm: MPI.Comm
) -> MeanFieldHistory:
    settings = run["configuration"]
    known = problem or _built(settings["problem"], place)
    table = settings["meanfield"]
    return read_states(place, known, table["reference"], comm, fixed=table["lam"] is None)


def _stored(file: Path, comm: MPI.Comm) -> UltraFastDiffusion:
    return _built(stored_problem(file, comm), file)


def _built(table: dict[str, Any] | None, place: Path) -> UltraFastDiffusion:
    if table is None:
        raise InputError(
            f"load: the problem in {place} holds a Python function; give load(..., problem=...)"
        )
    return problem_from(table)

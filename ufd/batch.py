"""One case in one directory: started, taken up where it was stopped, or found finished."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
from mpi4py import MPI

from ufd.analysis.comparison import COMPARISON
from ufd.analysis.decomposition import DECOMPOSITION
from ufd.analysis.runs import CHECKPOINT, RUN, read_status
from ufd.compare import compare_case
from ufd.config import Case
from ufd.decompose import decompose_case
from ufd.evolution.checkpoint import Checkpoint
from ufd.evolution.evolve import StopReason
from ufd.exceptions import InputError, Interrupted, UfdError
from ufd.parallel import largest, on_root
from ufd.regularised import langevin_case, meanfield_case
from ufd.runs import CHECK, MAIN
from ufd.signals import Stopped, StopSignals
from ufd.solve import solve_case
from ufd.storage import discard_empty, discard_tree, first_difference, new_directory
from ufd.stored import where_stopped
from ufd.sweep.stored import kept_alone

# Directory of a case's run of the mean-field equation.
MEANFIELD, LANGEVIN = "meanfield", "langevin"


def run_case(
    settings: Case,
    case: Path,
    place: Path,
    *,
    comm: MPI.Comm,
    restart: bool,
    progress: bool | None,
    resume: str,
    signals: StopSignals,
    say: Callable[[str], Any],
) -> tuple[StopReason, bool]:
    """Run a case into a directory, with checkpoints; collective.

    Args:
        settings: The case.
        case: Its file.
        place: Where the results go.
        comm: The ranks that share the work.
        restart: Go on with what is there.
        progress: See `solve`.
        resume: The command that goes on with this run.
        signals: Notes those that ask the run to stop.
        say: Prints a line once for all ranks.

    Returns:
        Why the run ended, and whether there was anything to do.

    Raises:
        Interrupted: If a signal or the wall clock stopped it; it can be resumed.
        InputError: If the directory holds another run.
        StorageError: If the directory cannot be used or written.
    """
    status = on_root(comm, lambda: _stored_status(settings, place, restart))
    with kept_alone({place}, comm):
        if restart:  # another run may have ended before this one could begin
            status = on_root(comm, lambda: _stored_status(settings, place, restart))
        worked = status is not StopReason.FINISHED
        if worked:
            say(f"{case}: {comm.size} rank{'s' * (comm.size > 1)}, results in {place}")
            checkpoint = Checkpoint(
                place / CHECKPOINT,
                interval=settings.checkpoint.interval,
                wall_clock=settings.limits.wall_clock,
                signals=signals,
                resume=resume,
                say=say,
            )
            status = _solve(settings, case.parent, place, comm, checkpoint, signals, progress)
        # All results are in their files: what is left of a checkpoint says nothing more.
        if status is StopReason.FINISHED:
            on_root(comm, lambda: discard_tree(place / CHECKPOINT))
        for what, file, action in _further(settings, place, comm):
            if not on_root(comm, file.exists):
                _unsaved(what, action, comm, signals, resume)
                worked = True
    return status, worked


def _stored_status(settings: Case, place: Path, restart: bool) -> StopReason:
    """How the run in a directory ended, RUNNING if there is none; rank 0 only."""
    if restart and (place / RUN).exists():
        status, there = read_status(place)
        if difference := first_difference(there, settings.identity()):
            raise InputError(
                f"{difference}: {place} holds a run of another case; change it back, or name "
                "another directory"
            )
        return status
    if not (restart and (place / CHECKPOINT).is_dir()):
        new_directory(place)
    return StopReason.RUNNING


def _solve(
    settings: Case,
    folder: Path,
    place: Path,
    comm: MPI.Comm,
    checkpoint: Checkpoint,
    signals: StopSignals,
    progress: bool | None,
) -> StopReason:
    try:
        # Whether to start was decided before: without --restart the directory was empty.
        result = solve_case(
            settings, folder, comm=comm, progress=progress, checkpoint=checkpoint, restart=True
        )
    except UfdError:
        if comm.rank == 0:
            for part in (MAIN, CHECK, ""):
                discard_empty(place / CHECKPOINT / part)
            discard_empty(place)
        raise
    if result.status.resumable:
        at = on_root(comm, lambda: where_stopped(place))
        raise Interrupted(f"stopped by {_cause(signals, comm)} at {at}")
    result.save(place, comm)
    return result.status


def _cause(signals: StopSignals, comm: MPI.Comm) -> str:
    number = largest(comm, signals.received)
    return signal.Signals(number).name if number else "the wall clock"


def _further(
    settings: Case, place: Path, comm: MPI.Comm
) -> Iterator[tuple[str, Path, Callable[[], None]]]:
    """What a case asks for beside the diffusion: its name, its last file, and what makes it."""
    if settings.particles is not None:

        def compare() -> None:
            comparison = compare_case(settings, comm=comm, say=click.echo)
            on_root(comm, lambda: comparison.save(place))

        yield "in the ensemble of particles", place / COMPARISON, compare
    if settings.langevin is not None:
        noisy = place / LANGEVIN

        def langevin() -> None:
            langevin_case(settings, comm=comm).save(noisy, comm)

        yield "in the Fokker-Planck equation", noisy / RUN, langevin
    if settings.meanfield is None:
        return
    there = place / MEANFIELD
    if settings.meanfield.width is None:
        last = there / RUN
        yield (
            "in the mean-field equation",
            last,
            lambda: meanfield_case(settings, comm=comm).save(there, comm),
        )
        return

    def decompose() -> None:
        found = decompose_case(settings, comm=comm, say=click.echo)
        found.runs["mean_field"].save(there, comm)
        on_root(comm, lambda: found.save(place))

    yield "in the decomposition", place / DECOMPOSITION, decompose


def _unsaved(
    what: str, action: Callable[[], None], comm: MPI.Comm, signals: StopSignals, resume: str
) -> None:
    """Run what is not saved on its way: a signal ends it at once."""
    stopped = f"{what}; resume with: {resume}"
    if largest(comm, signals.received):
        raise Interrupted(f"stopped by {_cause(signals, comm)} {stopped}")
    signals.listen()
    signals.at_once = True
    try:
        if signals.received:  # since the ranks agreed
            raise Stopped
        action()
    except Stopped:
        # Not on all ranks, perhaps: the end of the job waits for the others, then aborts them.
        name = signal.Signals(signals.received).name
        raise Interrupted(f"stopped by {name} {stopped}") from None
    signals.at_once = False

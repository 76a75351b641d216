"""Running the jobs of a sweep, on all ranks together or on each rank its own."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mpi4py import MPI

from ufd.config import Case
from ufd.evolution.evolve import StopReason
from ufd.exceptions import InputError, UfdError
from ufd.parallel import on_root, outcome_of
from ufd.solve import solve_case
from ufd.storage import discard_empty, new_directory, write_json
from ufd.sweep.jobs import Job, Lists, Outcome, read_cases
from ufd.sweep.stored import found, kept_alone, summary_of

SWEEP = "sweep.json"


def run_jobs(
    jobs: Sequence[Job],
    *,
    comm: MPI.Comm,
    across: bool = False,
    say: Callable[[str], Any] = print,
) -> list[Outcome]:
    """Run what is not stored yet; a job that fails does not stop the others; collective.

    Args:
        jobs: What to run, each in a directory of its own.
        comm: All ranks that take part.
        across: Each rank runs jobs of its own, instead of all ranks one job after the other.
        say: Called with a line once for every job, on a rank that ran it.

    Returns:
        What became of them, in their order, on every rank.

    Raises:
        InputError: If any case is not valid; nothing was run then.
        StorageError: If a case cannot be read, or another sweep is at work in the same place.
    """
    cases = on_root(comm, lambda: read_cases(jobs))
    team = MPI.COMM_SELF if across else comm
    with kept_alone({job.directory.parent for job in jobs}, comm):
        known = on_root(comm, lambda: found(jobs, cases))
        if comm.rank == 0:
            say(_header(jobs, known, comm.size, across))
            for outcome in known.values():
                say(str(outcome))
        guard, mine = team.Dup(), {}
        for i, (job, case) in enumerate(zip(jobs, cases, strict=True)):
            if i in known or (across and not _claim(job.directory)):
                continue
            mine[i] = _run(job, case, team, guard)
            if team.rank == 0:
                say(str(mine[i]))
        guard.Free()
        for part in comm.allgather(mine):
            known |= part
        unclaimed = "its directory could not be made; run the sweep again"
        outcomes = [known.get(i) or Outcome(job, "failed", unclaimed) for i, job in enumerate(jobs)]
        if comm.rank == 0:  # not before all are done: an empty directory is somebody's claim
            for job in jobs:
                discard_empty(job.directory)
    return outcomes


def _header(jobs: Sequence[Job], known: Mapping[int, Outcome], ranks: int, across: bool) -> str:
    places = ", ".join(sorted({str(job.directory.parent) for job in jobs}))
    stored = sum(outcome.status == "stored" for outcome in known.values())
    team = f"{ranks} rank{'s' * (ranks > 1)}"
    return (
        f"{len(jobs)} runs in {places}: {stored} stored, {len(known) - stored} refused, "
        f"{len(jobs) - len(known)} to do "
        f"{f'on {team}, one for each' if across else f'with {team} in each'}"
    )


def _claim(directory: Path) -> bool:
    """Whether this rank is the one that runs a job: the one that could make its directory.

    All file systems make a directory once only, and no rank has to answer another one for it.
    """
    try:
        directory.mkdir()
    except OSError:
        return False
    return True


def _run(job: Job, case: Case, team: MPI.Comm, guard: MPI.Comm) -> Outcome:
    def action() -> tuple[StopReason, str]:
        on_root(team, lambda: new_directory(job.directory))
        result = solve_case(case, job.case.parent, comm=team)
        result.save(job.directory, team)
        return result.status, on_root(team, lambda: summary_of(job.directory))

    begin = time.perf_counter()
    reached, failure, code = outcome_of(guard, action)
    seconds = time.perf_counter() - begin
    # Destructors of distributed objects are collective: call them here, on all ranks at once.
    gc.collect()
    if reached is None:
        return Outcome(job, "failed", failure, seconds, code == InputError.exit_code)
    status, summary = reached
    if status is StopReason.FINISHED:
        return Outcome(job, "finished", summary, seconds)
    reason = f"{status.value} What was computed is stored"
    return Outcome(job, "failed", f"{reason}: {summary}", seconds)


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """0; 4 if a job failed; 2 if all that failed were bad input."""
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    if not failed:
        return 0
    return InputError.exit_code if all(each.bad_input for each in failed) else UfdError.exit_code


def write_sweep(directory: Path, case: Path, over: Lists, outcomes: Sequence[Outcome]) -> Path:
    """Write ``sweep.json``: what was asked for, and what became of each job."""
    jobs = [
        {
            "directory": os.path.relpath(outcome.job.directory, directory),
            "changes": dict(outcome.job.changes),
            "status": outcome.status,
            "message": outcome.message,
            "seconds": round(outcome.seconds, 3),
            "command": outcome.job.command,
        }
        for outcome in outcomes
    ]
    path = directory / SWEEP
    write_json(path, {"case": str(case), "over": dict(over), "jobs": jobs})
    return path

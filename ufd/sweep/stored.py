"""What a sweep finds on disk: finished runs, what an interrupted one left, and other things.

``run.json`` is what a run writes last: a directory with it is done, one without it is not.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from mpi4py import MPI

from ufd.analysis.claims import rate_claim
from ufd.analysis.pages import with_error
from ufd.analysis.results import FIELDS
from ufd.analysis.runs import CHECKPOINT, RUN, SERIES, read_status
from ufd.analysis.verdicts import VERDICTS
from ufd.config import Case
from ufd.evolution.evolve import StopReason
from ufd.exceptions import StorageError, UfdError
from ufd.parallel import on_root
from ufd.storage import first_difference
from ufd.stored import load
from ufd.sweep.jobs import Job, Outcome

_WHOLE = (RUN, SERIES, FIELDS)
_WRITTEN = {*_WHOLE, "ratio.vtkhdf", "density.vtkhdf", *(f".{name}.part" for name in _WHOLE)}


def summary_of(directory: Path) -> str:
    """Gap, first excited mode, predicted and fitted rate of a stored run, in one line."""
    claim = rate_claim(load(directory, comm=MPI.COMM_SELF))
    mode, predicted, fit, parts = claim["mode"], claim["predicted"], claim["fitted"], []
    if claim["gap"] is not None:
        parts.append(f"gap {claim['gap']:.7g}")
    if mode is not None:
        name = f" ({mode['name']})" if mode["name"] else ""
        parts.append(f"mode {mode['number']}{name}")
    if predicted is not None:
        parts.append(f"predicted {predicted['continuous']:.7g}")
    if fit is None:
        return ", ".join([*parts, f"fitted none: {claim['reason']}"])
    off = "" if claim["deviation"] is None else f" ({100 * claim['deviation']:+.3f} %)"
    fitted = f"fitted {with_error(fit['rate'], fit['stderr'])}{off}".replace("±", "+-")
    return ", ".join([*parts, fitted, VERDICTS[claim["verdict"]]])


def found(jobs: Sequence[Job], cases: Sequence[Case]) -> dict[int, Outcome]:
    """Outcomes of the jobs that must not be run; the directories of the others are gone."""
    found = {}
    for i, (job, case) in enumerate(zip(jobs, cases, strict=True)):
        try:
            if (job.directory / RUN).exists():
                found[i] = _stored(job, case)
            elif (job.directory / CHECKPOINT).exists():
                raise StorageError(
                    f"{job.directory} holds a run that was stopped; go on with it: "
                    f"{job.command} --restart"
                )
            elif job.directory.exists():
                _clear(job.directory)
        except UfdError as error:
            found[i] = Outcome(job, "failed", str(error))
        except OSError as error:
            reason = f"cannot use {job.directory}: {error.strerror}"
            found[i] = Outcome(job, "failed", f"{reason}; name another directory")
    return found


def _clear(directory: Path) -> None:
    """Remove what an interrupted run left, and nothing else."""
    files = sorted(directory.iterdir())
    for file in files:
        if file.name not in _WRITTEN or file.is_dir():
            raise StorageError(
                f"{directory} holds {file.name}, which is not of an interrupted run; remove it, or "
                "name another directory"
            )
    for file in files:
        file.unlink()
    directory.rmdir()


def _stored(job: Job, case: Case) -> Outcome:
    status, there = read_status(job.directory)
    if there != case.identity():
        difference = first_difference(there, case.identity()) or "tables that differ"
        raise StorageError(
            f"{job.directory} holds a run of another case ({difference}); remove it, or name "
            "another directory"
        )
    if status is not StopReason.FINISHED:
        reason = f"{status.value} It is stored, and not repeated"
        return Outcome(job, "failed", f"{reason}; remove {job.directory} to run it again")
    return Outcome(job, "stored", summary_of(job.directory))


@contextlib.contextmanager
def kept_alone(folders: set[Path], comm: MPI.Comm) -> Iterator[None]:
    """Make the folders, and keep other runs out of them; a lock ends with its process."""
    with contextlib.ExitStack() as held:

        def lock() -> None:
            for folder in sorted(folders):
                try:
                    folder.mkdir(parents=True, exist_ok=True)
                    place = os.open(folder, os.O_RDONLY)
                except OSError as error:
                    raise StorageError(
                        f"output: cannot use {folder}: {error.strerror}; name another directory"
                    ) from None
                held.callback(os.close, place)
                if not os.access(folder, os.W_OK):
                    raise StorageError(f"output: {folder} is not writable; name another directory")
                try:
                    fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise StorageError(
                        f"output: another run or sweep is at work in {folder}; wait for its "
                        "end, or name another directory"
                    ) from None
                except OSError:  # a file system without locks
                    pass

        on_root(comm, lock)
        yield

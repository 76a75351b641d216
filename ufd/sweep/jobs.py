"""What a sweep consists of: a grid of changes, and for each point of it a job with a name."""

from __future__ import annotations

import hashlib
import itertools
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ufd.config import Case, format_value, read_case
from ufd.config.changes import Change
from ufd.exceptions import InputError

Lists = Sequence[tuple[str, Sequence[Any]]]
_LONGEST_NAME = 120


@dataclass(frozen=True)
class Job:
    """One run of a sweep: a case file, what is changed in it, and where the results go."""

    case: Path
    changes: tuple[Change, ...]
    directory: Path

    @property
    def command(self) -> str:
        """The command line that makes exactly this run."""
        words = ["ufd", "run", str(self.case)]
        for key, value in self.changes:
            words += ["--set", f"{key}={format_value(value)}"]
        return shlex.join([*words, "--output", str(self.directory)])


@dataclass(frozen=True)
class Outcome:
    """What became of a job: run now, found in its directory, or failed.

    Attributes:
        job: The job.
        status: "finished", "stored" or "failed".
        message: What the run found, or why there is none; one line.
        seconds: Time that it took; 0 if nothing was run.
        bad_input: Whether it failed because the case cannot be run as it stands.
    """

    job: Job
    status: Literal["finished", "stored", "failed"]
    message: str
    seconds: float = 0.0
    bad_input: bool = False

    def __str__(self) -> str:
        spent = f"{self.seconds:.1f} s" if self.seconds else ""
        return f"{self.job.directory.name:<24} {self.status:<8} {spent:>8}  {self.message}"


def grid(over: Lists) -> list[tuple[Change, ...]]:
    """Every combination of the values of each key; the last key varies fastest.

    Raises:
        InputError: If a key comes twice, or has no value, or the same value twice.
    """
    keys = [key for key, _ in over]
    for key, values in over:
        if keys.count(key) > 1:
            raise InputError(f"{key}: swept over twice; give all its values once")
        if not values:
            raise InputError(f"{key}: no value to sweep over; give one or more")
        for i, value in enumerate(values):
            if value in values[:i]:
                raise InputError(f"{key} = {format_value(value)} comes twice; leave one out")
    lists = ([(key, value) for value in values] for key, values in over)
    return list(itertools.product(*lists))


def slugs(points: Sequence[tuple[Change, ...]]) -> list[str]:
    """Names of the points of a grid for directories, such as ``kappa=2,p=1``.

    Each key is cut to the last parts that tell it from the others. Names that would be equal once
    unsafe characters are replaced, or too long, end in a checksum.
    """
    label = _labels([key for key, _ in points[0]])
    full = [",".join(f"{key}={format_value(value)}" for key, value in point) for point in points]
    short = [",".join(f"{label[k]}={_safe(format_value(v))}" for k, v in p) for p in points]
    count = Counter(name.lower() for name in short)  # some file systems ignore case
    for i, name in enumerate(short):
        if count[name.lower()] > 1 or len(name) > _LONGEST_NAME:
            check = hashlib.sha256(full[i].encode()).hexdigest()[:8]
            short[i] = f"{name[: _LONGEST_NAME - 9]}-{check}"
    return short


def _labels(keys: Sequence[str]) -> dict[str, str]:
    labels = {}
    for key in keys:
        parts, others = key.split("."), [f".{other}" for other in keys if other != key]
        ends = (".".join(parts[i:]) for i in reversed(range(len(parts))))
        alone = (end for end in ends if not any(other.endswith(f".{end}") for other in others))
        labels[key] = _safe(next(alone, key))
    return labels


def _safe(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.+-]+", "_", text).strip("_") or "_"


def read_cases(jobs: Sequence[Job]) -> list[Case]:
    """The changed cases of jobs.

    Raises:
        InputError: If a case is not valid, or has a table that a sweep would leave out.
        StorageError: If a case cannot be read.
    """
    cases = [read_case(job.case, job.changes) for job in jobs]
    # Whatever a case has beside the diffusion is optional, and nothing else is.
    further = [name for name, key in Case.model_fields.items() if key.default is None]
    for case in cases:
        for name in further:
            if getattr(case, name) is not None:
                raise InputError(
                    f"{name}: a sweep runs the diffusion only; take the [{name}] table out, or "
                    "call ufd run for each value"
                )
    return cases


def jobs_of(
    case: Path,
    over: Lists,
    directory: Path,
    changes: Sequence[Change] = (),
) -> list[Job]:
    """The jobs of a sweep, below ``directory``; ``changes`` are made in all of them.

    Raises:
        InputError: If the lists are not those of a grid, or a change is swept over too.
    """
    points = grid(over)
    for key, _ in changes:
        if key in dict(over):
            raise InputError(f"{key}: set and swept over at once; leave one out")
    names = slugs(points)
    return [
        Job(case, (*changes, *point), directory / name)
        for point, name in zip(points, names, strict=True)
    ]

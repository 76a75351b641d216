"""The rate report of a sweep, or of any runs: one claim for each."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mpi4py import MPI

from ufd.analysis.claims import rate_claim
from ufd.analysis.documents import rate_document
from ufd.analysis.rate_report import write_rate_report
from ufd.analysis.results import Result
from ufd.exceptions import StorageError
from ufd.storage import make_directory, read_json
from ufd.stored import load
from ufd.sweep.running import SWEEP


def write_sweep_report(directory: Path) -> Path:
    """Write rates.html, rates.md and rates.json of a sweep; returns the HTML file.

    Args:
        directory: Where ``sweep.json`` lies.

    Raises:
        StorageError: If it or a run cannot be read, or a file cannot be written.
    """
    told = read_json(directory / SWEEP)
    try:
        heads = [{"title": job["directory"], "command": job["command"]} for job in told["jobs"]]
        failures = [job["message"] if job["status"] == "failed" else None for job in told["jobs"]]
        over = {key: [str(value) for value in values] for key, values in told["over"].items()}
        case = told["case"]
    except (KeyError, TypeError, AttributeError) as error:
        raise StorageError(
            f"cannot read {directory / SWEEP}: an entry is missing or wrong ({error})"
        ) from None
    failed, present = [], []
    for head, failure in zip(heads, failures, strict=True):
        if failure is not None:
            failed.append(head | {"reason": failure})
        else:
            present.append((head, load(directory / head["title"], comm=MPI.COMM_SELF)))
    claims, provenance = _claims(present)
    text = "One run for every combination of " + ", ".join(over) + "."
    document = rate_document(
        claims,
        title=f"Convergence rates: {Path(case).stem}",
        sections=[{"id": "runs", "title": "Runs of the sweep", "text": text}],
        failed=failed,
        settings={"case": case, **over},
        provenance=provenance,
    )
    return write_rate_report(document, directory)


def write_runs_report(runs: Sequence[Path], directory: Path) -> Path:
    """Write one rates.html (and .md, .json) over stored runs; returns the HTML file.

    Args:
        runs: Directories of runs.
        directory: Where the files go; made if it is missing.

    Raises:
        StorageError: If a run cannot be read, or a file cannot be written.
    """
    present = []
    for run in runs:
        result = load(run, comm=MPI.COMM_SELF)
        command = shlex.join(map(str, result.provenance["command"]))
        present.append(({"title": str(run), "command": command}, result))
    claims, provenance = _claims(present)
    document = rate_document(
        claims,
        title="Convergence rates",
        sections=[{"id": "runs", "title": "Runs", "text": ""}],
        settings={"runs": [str(run) for run in runs]},
        provenance=provenance,
    )
    make_directory(directory)
    return write_rate_report(document, directory)


def _claims(
    present: Sequence[tuple[dict[str, str], Result]],
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """One claim for each run, and the provenance of the last."""
    claims = [
        {"id": f"run-{number}", "section": "runs", **head} | rate_claim(result)
        for number, (head, result) in enumerate(present, 1)
    ]
    return claims, present[-1][1].provenance if present else {}

"""The rate report of a sweep: one claim for each run that is at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mpi4py import MPI

from ufd.analysis.claims import rate_claim
from ufd.analysis.documents import rate_document
from ufd.analysis.rate_report import write_rate_report
from ufd.exceptions import StorageError
from ufd.solve import load
from ufd.storage import read_json
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
    claims: list[dict[str, Any]] = []
    failed, provenance = [], {}
    for number, (head, failure) in enumerate(zip(heads, failures, strict=True), 1):
        if failure is not None:
            failed.append(head | {"reason": failure})
            continue
        result = load(directory / head["title"], comm=MPI.COMM_SELF)
        provenance = result.provenance
        claims.append({"id": f"run-{number}", "section": "sweep", **head} | rate_claim(result))
    text = "One run for every combination of " + ", ".join(over) + "."
    document = rate_document(
        claims,
        title=f"Convergence rates: {Path(case).stem}",
        sections=[{"id": "sweep", "title": "Runs of the sweep", "text": text}],
        failed=failed,
        settings={"case": case, **over},
        provenance=provenance,
    )
    return write_rate_report(document, directory)

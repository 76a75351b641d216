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
    claims: list[dict[str, Any]] = []
    failed, provenance = [], {}
    try:
        for number, job in enumerate(told["jobs"], 1):
            head = {"title": job["directory"], "command": job["command"]}
            if job["status"] == "failed":
                failed.append(head | {"reason": job["message"]})
                continue
            result = load(directory / job["directory"], comm=MPI.COMM_SELF)
            provenance = result.provenance
            name = {"id": f"run-{number}", "section": "sweep", **head}
            claims.append(name | rate_claim(result))
        over = {key: [str(value) for value in values] for key, values in told["over"].items()}
        case = told["case"]
    except (KeyError, TypeError, AttributeError) as error:
        raise StorageError(
            f"cannot read {directory / SWEEP}: an entry is missing or wrong ({error})"
        ) from None
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

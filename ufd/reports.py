"""Which pages go with what a directory holds, and what a terminal is told of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mpi4py import MPI

from ufd.analysis.comparison import COMPARISON, read_comparison
from ufd.analysis.comparison_report import comparison_lines, write_comparison_report
from ufd.analysis.contrast import CONTRAST, read_contrast
from ufd.analysis.contrast_report import contrast_lines, write_contrast_report
from ufd.analysis.decomposition import DECOMPOSITION, read_decomposition
from ufd.analysis.decomposition_report import decomposition_lines, write_decomposition_report
from ufd.analysis.report import summary_lines, write_report
from ufd.analysis.results import Result
from ufd.analysis.run_report import run_lines, write_run_report
from ufd.analysis.runs import RUN
from ufd.batch import LANGEVIN, MEANFIELD
from ufd.exceptions import StorageError
from ufd.stored import load
from ufd.sweep import SWEEP, write_sweep_report

# What may lie beside a run, or alone: its file, how it is read, told and shown.
_FINDINGS: tuple[tuple[str, str, Any, Any, Any], ...] = (
    ("comparison", COMPARISON, read_comparison, comparison_lines, write_comparison_report),
    (
        "decomposition",
        DECOMPOSITION,
        read_decomposition,
        decomposition_lines,
        write_decomposition_report,
    ),
    ("contrast", CONTRAST, read_contrast, contrast_lines, write_contrast_report),
)
# Runs of other rooms that a case file may have asked for.
_BESIDE = (MEANFIELD, LANGEVIN)


def conclude(place: Path, report: bool) -> list[str]:
    """What rank 0 alone does with what is stored: name its findings and write its pages.

    Args:
        place: Directory of a run, a sweep, a comparison, ...
        report: Whether pages are written.

    Raises:
        StorageError: If there is nothing, or it is damaged.
    """
    if place.is_file():
        raise StorageError(f"cannot read {place}: it is a file; name the directory of a run")
    if (place / SWEEP).exists():
        return [f"report                  {write_sweep_report(place)}"]
    others = [each for each in _FINDINGS if (place / each[1]).exists()]
    lines = _run(place, report) if (place / RUN).exists() or not others else []
    for name, _, read, tell, show in others:
        found = read(place)
        lines += tell(found)
        if report:
            lines.append(f"{name:<24}{show(found, place)}")
    for name in _BESIDE:
        if (place / name / RUN).exists():
            lines += _run(place / name, report)
    return lines


def _run(place: Path, report: bool) -> list[str]:
    run = load(place, comm=MPI.COMM_SELF)
    ours = isinstance(run, Result)
    lines = summary_lines(run) if ours else run_lines(run)
    if report:
        page = write_report(run, place) if ours else write_run_report(run, place)
        lines.append(f"report                  {page}")
    return lines

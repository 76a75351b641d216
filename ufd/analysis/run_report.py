"""The page of a run of any other room than the diffusion's: findings, series, settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ufd.analysis.curves import WIDE, figure_of, legend, logarithmic, styles
from ufd.analysis.langevin import LangevinRun
from ufd.analysis.pages import fill_pages, four_digits, short, table, write_pages
from ufd.analysis.runs import Run
from ufd.analysis.svg import inline_svg
from ufd.analysis.univariate import UnivariateRun

Array = NDArray[np.float64]
Curves = dict[str, tuple[Array, Array]]
_TITLES = {
    "particles": "Training of a finite network",
    "meanfield": "The mean-field equation",
    "langevin": "Noisy training: the Fokker-Planck equation",
    "univariate": "Few neurons on an interval",
}
_READING = {
    "particles": "risk = misfit + mean penalty of the outer weights; time is the diffusion's.",
    "meanfield": "risk = misfit + mean penalty of the outer weights: it falls in every step.",
    "langevin": "G = F + tau KL(mu|uniform) falls to G* at twice the first rate beside the fixed "
    "point that the run contains. Its bounds: the duality gap tau KL(mu|proximal Gibbs measure), "
    "and the envelope of the log-Sobolev constants of Holley and Stroock.",
    "univariate": "Loss of every run over the slow time tau = eps t. The sufficient condition asks "
    "for two neurons in each piece of the target; the floor is (eta/28) sum J^2, the loss of "
    "smoothed steps that sit on all jumps.",
}


def run_lines(run: Run | UnivariateRun) -> list[str]:
    """The findings, for a terminal."""
    return [f"{_kind(run):<24}{_sentence(run)}"]


def write_run_report(run: Run | UnivariateRun, directory: Path) -> Path:
    """Write report.html and report.md; returns the HTML file.

    Raises:
        StorageError: If a file cannot be written.
    """
    kind = _kind(run)
    label, curves = _curves(run)
    tables = [_seeds(run)] if isinstance(run, UnivariateRun) else [_ends(run), _statistics(run)]
    context = {
        "page": "report.html",
        "title": _TITLES[kind],
        "headline": _sentence(run),
        "explanation": [_READING[kind]],
        "setting": table("What was run", ["item", "value"], _settings(run.configuration)),
        "figures": [{"svg": _figure(label, curves), "caption": f"Figure 1. {label} over time."}],
        "tables": [*tables, table("Provenance", ["item", "value"], run.provenance.items())],
    }
    return write_pages(directory, "report", fill_pages("findings", context))


def _kind(run: Run | UnivariateRun) -> str:
    return str(run.summary()["kind"])


def _sentence(run: Run | UnivariateRun) -> str:
    if isinstance(run, LangevinRun | UnivariateRun):
        return run.sentence()
    last = {name: values[-1] for name, values in run.series.items()}
    return f"At t = {last['t']:g} the risk is {last['risk']:.4g}. {run.status.value}"


def _curves(run: Run | UnivariateRun) -> tuple[str, Curves]:
    """What is drawn: its label, and times and values of each curve."""
    if isinstance(run, UnivariateRun):
        t = np.asarray(run.times, dtype=float)
        return "Loss", {f"seed {path.seed}": (t, path.losses) for path in run.paths}
    t, series = run.series["t"], run.series
    if isinstance(run, LangevinRun) and run.fixed_point is not None:
        return "Free energy above its minimum", {
            "G - G*": (t, run.gap()),
            "duality gap": (t, series["duality_gap"]),
            "guaranteed": (t, run.envelope()),
        }
    names = ["risk", "misfit", *(name for name in ("total_variation",) if name in series)]
    return "Risk", {name.replace("_", " "): (t, series[name]) for name in names}


def _figure(label: str, curves: Curves) -> str:
    with figure_of((WIDE, 4.0), (1, 1)) as (figure, axes):
        ax = axes[0]
        for (name, (t, values)), style in zip(curves.items(), styles(len(curves)), strict=True):
            seen = np.isfinite(values) & (values > 0)
            if seen.any():
                ax.plot(t[seen], values[seen], label=name, **{**style, "marker": ""})
        ax.set(xlabel="t", ylabel=label)
        logarithmic(ax, "y")
        if len(curves) <= 12:
            legend(figure, ax)
        return inline_svg(figure, "fig-run-", f"{label} over time")


def _ends(run: Run) -> dict[str, Any]:
    rows = [
        [name, four_digits(values[0]), four_digits(values[-1])]
        for name, values in run.series.items()
        if values.ndim == 1
    ]
    return table("Series", ["quantity", "at the start", "at the end"], rows)


def _statistics(run: Run) -> dict[str, Any]:
    return table("Statistics", ["item", "value"], [["status", run.status.value],
                                                   *run.stats.items()])  # fmt: skip


def _seeds(run: UnivariateRun) -> dict[str, Any]:
    found, meets, losses = run.recovered(), run.condition(), run.losses()
    rows = [
        [path.seed, f"{found[i].sum()} of {found.shape[1]}", bool(meets[i]),
         four_digits(losses[i]), path.failure or "–"]
        for i, path in enumerate(run.paths)
    ]  # fmt: skip
    columns = ["seed", "recovered", "condition met", "loss", "failure"]
    return table("Runs", columns, rows, f"Loss at t = {run.times[-1]:g}.")


def _settings(configuration: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested tables as rows."""
    rows: list[tuple[str, str]] = []
    for key, value in configuration.items():
        if isinstance(value, dict):
            rows += _settings(value, f"{prefix}{key}: ")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for i, entry in enumerate(value, 1):
                rows += _settings(entry, f"{prefix}{key} {i}: ")
        else:
            rows.append((f"{prefix}{key}", short(value)))
    return rows

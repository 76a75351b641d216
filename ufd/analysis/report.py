"""The report of a run: one self-contained HTML page, the same as Markdown, and its figures."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ufd.analysis import plotting
from ufd.analysis.claims import rate_claim
from ufd.analysis.pages import fill_pages, short, with_error, write_pages
from ufd.analysis.results import Result
from ufd.analysis.verdicts import error_in_words
from ufd.exceptions import InputError
from ufd.problem.diffusion import UltraFastDiffusion

_FIGURES = ("densities", "decay", "conserved")
_WORDS = {"divergence": "the divergence", "amplitude": "the amplitude of the mode"}
_SHOWN = ("mass", "divergence", "chi2", "chi2_reverse", "min_ratio", "max_ratio")


def summary_lines(result: Result) -> list[str]:
    """Gap, mode, predicted, guaranteed and fitted rate, one line each, for a terminal."""
    claim = rate_claim(result)
    rows = [(name, f"{value}  ({note})" if note else value) for name, value, note in _rates(claim)]
    lines = [f"{name:<24}{value}".replace("±", "+-") for name, value in rows]
    return lines + [note for note in claim["notes"] if note.startswith("Broken promise")]


def write_report(result: Result, directory: Path) -> Path:
    """Write report.html, report.md and the figures; returns the HTML file.

    Args:
        result: A run read with ``load`` on one rank.
        directory: Where the files go.

    Raises:
        StorageError: If a file cannot be written.
    """
    claim = rate_claim(result)
    problem = result.fields.problem
    dim = problem.manifold.dim
    drawn = plotting.densities(result, directory / "densities.png", dim)
    plotting.decay(result, directory / "decay.png", claim)
    plotting.conserved(result, directory / "conserved.png")
    images = {
        name: "data:image/png;base64,"
        + base64.b64encode((directory / f"{name}.png").read_bytes()).decode()
        for name in _FIGURES
    }
    context = {
        "title": f"Ultra-fast diffusion on {_sphere(dim)}",
        "headline": _headline(result, claim),
        **_problem(problem),
        "discretisation": _discretisation(result),
        "drawn": drawn,
        "rates": _rates(claim),
        "verdict": claim["verdict_text"],
        "notes": [*claim["notes"], *_passages(claim)],
        "guarantees": _guarantees(result),
        "eigenvalues": _eigenvalues(result),
        "names": _SHOWN,
        "functionals": _functionals(result),
        "error_note": _error_note(result),
        "conserved": _conserved(result),
        "stats": {key: short(value) for key, value in result.stats.items()},
        "provenance": result.provenance,
        "images": images,
    }
    return write_pages(directory, "report", fill_pages("report", context))


def _headline(result: Result, claim: Mapping[str, Any]) -> str:
    fit, predicted = claim["fitted"], claim["predicted"]
    if fit is None:
        return f"{result.status.value} No rate is given: {claim['reason']}."
    word = _WORDS.get(claim["functional"], claim["functional"])
    text = (
        f"{word[0].upper()}{word[1:]} decays at the rate {with_error(fit['rate'], fit['stderr'])}"
    )
    if predicted is not None:
        text += f"; theory predicts {predicted['continuous']:.6g}"
    return f"{text}. {result.status.value}"


def _sphere(dim: int) -> str:
    return {1: "the circle S^1", 2: "the sphere S^2"}.get(dim, f"S^{dim}")


def _describe(table: Mapping[str, Any] | None) -> str:
    if not table:
        return "a Python function"
    if table["kind"] == "mixture":
        parts = zip(table["weights"], table["components"], strict=True)
        return " + ".join(f"{weight:.6g} · {_describe(part)}" for weight, part in parts)
    values = ", ".join(f"{k} = {short(v)}" for k, v in table.items() if k != "kind")
    return f"{table['kind']}({values})" if values else table["kind"]


def _problem(problem: UltraFastDiffusion) -> dict[str, Any]:
    p, m = problem.divergence.p, problem.divergence.m
    phi = "log w" if m == 0 else ("-1/w" if m == -1 else f"w^{m:g}/{m:g}")
    return {
        "phi": phi,
        "p": f"{p:g}",
        "m": f"{m:g}",
        "sphere": _sphere(problem.manifold.dim),
        "teacher": _describe(problem.teacher.describe()),
        "initial": _describe(problem.initial.describe()),
    }


def _discretisation(result: Result) -> str:
    solver, stats = result.configuration["solver"], result.stats
    cells = "a mesh from a file" if solver["cells"] is None else f"cells = {solver['cells']}"
    steps = f"dt = {solver['dt']:g}" if solver["dt"] else f"rtol = {solver['rtol']:g}"
    return (
        f"degree {solver['degree']}, {cells}, {stats['dofs']} nodes; "
        f"{solver['stepper']} with {steps}"
    )


def _rates(claim: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Quantity, value and remark: what a claim compares."""
    rows = []
    mode, fit, predicted = claim["mode"], claim["fitted"], claim["predicted"]
    if claim["gap"] is not None:
        rows.append(("spectral gap", f"{claim['gap']:.10g}", "of the discrete operator"))
    if mode is not None:
        name = f" ({mode['name']})" if mode["name"] else ""
        rows.append(
            ("first excited mode", f"number {mode['number']}{name}, {mode['eigenvalue']:.10g}",
             f"multiplicity {mode['multiplicity']}, {100 * mode['share']:.3g} % of |w - 1| at most")
        )  # fmt: skip
    if predicted is not None:
        of = f"of {_WORDS.get(claim['functional'], claim['functional'])}"
        rows.append(("predicted rate", f"{predicted['continuous']:.8g}", of))
        if predicted["discrete"] is not None:
            rows.append(("with these time steps", f"{predicted['discrete']:.8g}", "in the window"))
    if claim["guaranteed"] is not None:
        promise = claim["guaranteed"]
        kept = "certified" if promise["certified"] else "an envelope"
        held = "kept" if promise["holds"] else "BROKEN"
        value = f"{promise['start']:.4g} at the start, {promise['end']:.6g} at the end"
        rows.append(("guaranteed rate", value, f"{kept}, {held}"))
    if fit is None:
        rows.append(("fitted rate", f"none: {claim['reason']}", ""))
    else:
        where = f"t in [{fit['window'][0]:.4g}, {fit['window'][1]:.4g}], {fit['points']} points"
        if claim["deviation"] is not None:
            where += f"; {100 * claim['deviation']:+.3g} % off the prediction"
        rows.append(("fitted rate", with_error(fit["rate"], fit["stderr"]), where))
        if fit["stderr"] > claim["threshold"] * fit["rate"]:
            rows.append(("error of the fit", error_in_words(fit), ""))
    return rows


def _passages(claim: Mapping[str, Any]) -> list[str]:
    return [f"At t = {each['t']:.4g} {each['text']}." for each in claim["crossovers"]]


def _guarantees(result: Result) -> list[list[str]]:
    """One row for each functional with an envelope."""
    try:
        promised = result.guarantees()
    except InputError:
        return []
    return [
        [g.functional, f"{g.start:.4g}", f"{g.end:.6g}", "certificate" if g.certified else
         "envelope", f"{g.excess:.1e} ({g.allowance:.0e} allowed)",
         "yes" if g.holds else f"no, from t = {g.broken_at:.4g} on"]
        for g in promised
    ]  # fmt: skip


def _eigenvalues(result: Result) -> str:
    if result.spectrum is None:
        return ""
    return ", ".join(f"{v:.8g}" for v in result.spectrum["eigenvalues"])


def _functionals(result: Result) -> list[list[str]]:
    columns = [result.at_times(name) for name in _SHOWN]
    errors = result.errors
    rows = []
    for i, t in enumerate(result.times):
        row = [f"{t:g}"]
        for name, column in zip(_SHOWN, columns, strict=True):
            bar = ""
            if errors is not None and t in errors["times"].tolist():
                bar = f" ± {errors[name][errors['times'].tolist().index(t)]:.1e}"
            row.append(f"{column[i]:.8g}{bar}")
        rows.append(row)
    return rows


def _error_note(result: Result) -> str:
    if result.errors is None:
        return (
            "No errors were estimated: set estimate_error = true under [output] for a second "
            "run on a finer mesh with a tighter tolerance."
        )
    worst = float(np.max(result.errors["density"]))
    return (
        "Errors are differences from a run on a finer mesh with a tighter tolerance. The relative "
        f"L1 error of the density is at most {worst:.1e} at these times."
    )


def _conserved(result: Result) -> list[str]:
    series = result.series
    top, bottom = series["max_ratio"], series["min_ratio"]
    rise = float(np.max(np.diff(series["divergence"]), initial=0.0))
    return [
        f"largest mass error: {float(np.abs(series['mass'] - 1).max()):.1e}",
        f"smallest ratio w over the run: {float(bottom.min()):.6g} (start {bottom[0]:.6g})",
        f"largest ratio w over the run: {float(top.max()):.6g} (start {top[0]:.6g})",
        f"largest increase of the divergence in a step: {rise:.1e}",
    ]

"""The report of a run: one self-contained HTML page, the same as Markdown, and its figures."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from ufd.analysis import plotting
from ufd.analysis.rates import ExcitedMode, RateFit
from ufd.analysis.results import Result
from ufd.exceptions import InputError
from ufd.problem.diffusion import UltraFastDiffusion
from ufd.storage import write_whole

_FIGURES = ("densities", "decay", "conserved")
_SHOWN = ("mass", "divergence", "chi2", "chi2_reverse", "min_ratio", "max_ratio")


def summary_lines(result: Result) -> list[str]:
    """Gap, first excited mode, predicted and fitted rate, one line each, for a terminal."""
    lines = []
    mode, (fit, refusal) = result.excited_mode, _fit(result)
    if result.spectrum is not None:
        lines.append(f"spectral gap            {result.spectrum['eigenvalues'][0]:.10g}")
    if mode is not None:
        lines += [
            f"first excited mode      {_mode(mode)}",
            f"predicted rate          {2 * mode.eigenvalue:.8g}  (of the divergence: twice that)",
        ]
    if fit is None:
        lines.append(f"fitted rate             none: {refusal}")
    else:
        first, last = fit.window
        lines.append(
            f"fitted rate             {fit.rate:.8g} +- {fit.stderr:.1e}  (t in "
            f"[{first:.4g}, {last:.4g}], {fit.points} points{_deviation(fit, mode)})"
        )
    return lines


def write_report(result: Result, directory: Path) -> Path:
    """Write report.html, report.md and the figures; returns the HTML file.

    Args:
        result: A run read with ``load`` on one rank.
        directory: Where the files go.

    Raises:
        StorageError: If a file cannot be written.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    mode, (fit, refusal) = result.excited_mode, _fit(result)
    predicted = None if mode is None else 2 * mode.eigenvalue
    problem = result.fields.problem
    dim = problem.manifold.dim
    drawn = plotting.densities(result, directory / "densities.png", dim)
    plotting.decay(result, directory / "decay.png", fit, predicted)
    plotting.conserved(result, directory / "conserved.png")
    images = {
        name: "data:image/png;base64,"
        + base64.b64encode((directory / f"{name}.png").read_bytes()).decode()
        for name in _FIGURES
    }
    context = {
        "title": f"Ultra-fast diffusion on {_sphere(dim)}",
        "headline": _headline(result, fit, refusal, mode),
        **_problem(problem),
        "discretisation": _discretisation(result),
        "drawn": drawn,
        "rates": _rates(result, fit, refusal, mode),
        "verdict": _verdict(result, fit, mode),
        "eigenvalues": _eigenvalues(result),
        "names": _SHOWN,
        "functionals": _functionals(result),
        "error_note": _error_note(result),
        "conserved": _conserved(result),
        "stats": {key: _short(value) for key, value in result.stats.items()},
        "provenance": result.provenance,
        "images": images,
    }
    loader = PackageLoader("ufd.analysis")
    for name in ("html", "md"):
        environment = Environment(
            loader=loader, autoescape=name == "html", undefined=StrictUndefined
        )
        text = environment.get_template(f"report.{name}.jinja").render(context)
        write_whole(directory / f"report.{name}", partial(_write, text))
    return directory / "report.html"


def _write(text: str, stream: IO[bytes]) -> None:
    stream.write(text.encode())


def _fit(result: Result) -> tuple[RateFit | None, str]:
    try:
        return result.fit_rate("divergence"), ""
    except InputError as refusal:
        return None, str(refusal).removeprefix("fit_rate: ")


def _mode(mode: ExcitedMode) -> str:
    return (
        f"number {mode.index + 1}, eigenvalue {mode.eigenvalue:.10g}, multiplicity "
        f"{mode.multiplicity} ({100 * mode.share:.3g} % of |w - 1| at most)"
    )


def _deviation(fit: RateFit, mode: ExcitedMode | None) -> str:
    if mode is None:
        return ""
    return f"; {100 * (fit.rate / (2 * mode.eigenvalue) - 1):+.3f} % off the prediction"


def _headline(result: Result, fit: RateFit | None, refusal: str, mode: ExcitedMode | None) -> str:
    if fit is None:
        return f"{result.status.value} No rate was fitted: {refusal}."
    text = f"The divergence decays at the rate {fit.rate:.6g} ± {fit.stderr:.1e}"
    if mode is not None:
        text += f"; theory predicts {2 * mode.eigenvalue:.6g}"
    return f"{text}. {result.status.value}"


def _sphere(dim: int) -> str:
    return {1: "the circle S^1", 2: "the sphere S^2"}.get(dim, f"S^{dim}")


def _describe(table: Mapping[str, Any] | None) -> str:
    if not table:
        return "a Python function"
    if table["kind"] == "mixture":
        parts = zip(table["weights"], table["components"], strict=True)
        return " + ".join(f"{weight:.6g} · {_describe(part)}" for weight, part in parts)
    values = ", ".join(f"{k} = {_short(v)}" for k, v in table.items() if k != "kind")
    return f"{table['kind']}({values})" if values else table["kind"]


def _short(value: Any) -> str:
    if isinstance(value, list):
        return "(" + ", ".join(_short(v) for v in value) + ")"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


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


def _rates(
    result: Result, fit: RateFit | None, refusal: str, mode: ExcitedMode | None
) -> list[tuple[str, str, str]]:
    rows = []
    if result.spectrum is not None:
        gap = result.spectrum["eigenvalues"][0]
        rows.append(("spectral gap lambda_1", f"{gap:.10g}", "of the discrete operator"))
    if mode is not None:
        rows.append(("first excited mode", _mode(mode), ""))
        rows.append(("predicted rate of the divergence", f"{2 * mode.eigenvalue:.8g}", ""))
    if fit is None:
        rows.append(("fitted rate", "none", refusal))
    else:
        where = f"t in [{fit.window[0]:.4g}, {fit.window[1]:.4g}], {fit.points} points"
        rows.append(
            ("fitted rate of the divergence", f"{fit.rate:.8g}", f"± {fit.stderr:.2e} ({where})")
        )
    return rows


def _verdict(result: Result, fit: RateFit | None, mode: ExcitedMode | None) -> str:
    if fit is None or mode is None:
        return "Prediction and fit cannot be compared in this run."
    deviation = abs(fit.rate / (2 * mode.eigenvalue) - 1)
    word = "agrees with" if deviation <= 1e-3 else "differs from"
    return (
        f"The fit {word} the prediction: they differ by {100 * deviation:.3g} %, and 0.1 % is the "
        "threshold. The prediction is asymptotic: it holds once w is close to 1."
    )


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

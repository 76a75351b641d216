"""The page of a decomposition: parts and total over time, the verdict, HTML and Markdown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ufd.analysis.curves import WIDE, curve, figure_of, legend, logarithmic
from ufd.analysis.decomposition import Decomposition
from ufd.analysis.pages import bare, fill_pages, four_digits, measured, table, write_pages
from ufd.analysis.svg import inline_svg

_READING = (
    "Distances are energy MMDs. Width: from the particles to the mean-field equation at the same "
    "lam, which has infinitely many of them. Regularisation: from there to the limit of vanishing "
    "lam. Identifiability: from the limit to the diffusion; the two are the same for a feature "
    "that sees every harmonic, and differ for plain ReLU, whose limit is the projected flow. All "
    "densities are solved for on one mesh, so that its errors cancel in the differences.",
    "The total is at most the sum of the three (triangle inequality). If starts or data are drawn, "
    "the width part points in a random direction, and squares add: the prediction is "
    "sqrt(width² + d²) with d the distance of the mean-field equation to the diffusion.",
    "The floor is what so many atoms cost when nothing else is wrong: the distance of the "
    "mean-field density to as many of its own quantiles, or the root mean square one of as many "
    "draws, as the particles start. Drawn particles repel each other and end below it. The largest "
    "part at a time names the verdict; a width part within 1.5 floors is called the floor.",
)
_COLOURS = {"width": "#2a6db0", "regularisation": "#d1495b", "identifiability": "#66a182"}


def decomposition_lines(found: Decomposition) -> list[str]:
    """The verdict and the parts at the last time, for a terminal."""
    width, error = found.mean("mean_field")
    total, of_total = found.mean("diffusion")
    note = f"lam = {found.lam:g}, M = {found.width}, t = {found.times[-1]:g}"
    rows = [
        ("width", bare(measured(width[-1], error[-1])), f"{note}; floor {found.floor[-1]:.4g}"),
        ("regularisation", four_digits(found.regularisation[-1]), note),
        ("identifiability", four_digits(found.identifiability[-1]), note),
        ("total", bare(measured(total[-1], of_total[-1])),
         f"predicted {found.predicted[-1]:.4g}, at most {found.bound[-1]:.4g}"),
    ]  # fmt: skip
    lines = [f"{key:<24}{value}  ({text})".replace("±", "+-") for key, value, text in rows]
    return [*lines, f"{'verdict':<24}{found.sentence()}"]


def write_decomposition_report(found: Decomposition, directory: Path) -> Path:
    """Write decomposition.html and decomposition.md; returns the HTML file.

    Raises:
        StorageError: If a file cannot be written.
    """
    context = {
        "page": "decomposition.html",
        "title": f"What limits {found.width} particles at lam = {found.lam:g}",
        "headline": found.sentence(),
        "explanation": _READING,
        "setting": table("What was run", ["item", "value"], _setting(found)),
        "figures": [{"svg": _figure(found), "caption": "Figure 1. Parts of the distance to the "
                     "diffusion over time, their sum's square root of squares (dotted black), and "
                     "the distance itself (black); bands are one standard error. Dashed: the "
                     "floor."}],
        "tables": [
            _parts(found),
            _teacher(found),
            table("Failures", ["seed", "why"], found.failures.items(), "", "Every run finished."),
            table("Provenance", ["item", "value"], found.provenance.items()),
        ],
    }  # fmt: skip
    return write_pages(directory, "decomposition", fill_pages("findings", context))


def _setting(found: Decomposition) -> list[tuple[str, Any]]:
    asked = found.configuration
    return [
        ("lam", found.lam),
        ("width M", found.width),
        ("finished runs", f"{len(found.particles)}, starts: {asked['start']}"),
        ("what the feature sees", asked["identifiability"]),
        ("limit", asked["limit"]),
        *((f"mean field: {key}", asked["meanfield"][key]) for key in
          ("degree", "cells", "harmonics", "stepper", "rtol", "reference", "inputs")),
        *((f"particles: {key}", asked["particles"][key]) for key in
          ("data", "target", "kernel", "stepper", "rtol", "dt") if key in asked["particles"]),
    ]  # fmt: skip


def _parts(found: Decomposition) -> dict[str, Any]:
    width, total = found.mean("mean_field"), found.mean("diffusion")
    rows = [
        [
            t, measured(width[0][i], width[1][i]), four_digits(found.floor[i]),
            four_digits(found.regularisation[i]), four_digits(found.identifiability[i]),
            measured(total[0][i], total[1][i]), four_digits(found.predicted[i]),
            four_digits(found.bound[i]), kind,
        ]
        for i, (t, kind) in enumerate(zip(found.times, found.kinds(), strict=True))
    ]  # fmt: skip
    columns = ["t", "width", "floor", "regularisation", "identifiability", "total",
               "squares added", "sum", "largest"]  # fmt: skip
    return table("Parts of the distance to the diffusion", columns, rows,
                 "Root mean squares over the seeds with their standard errors.")  # fmt: skip


def _teacher(found: Decomposition) -> dict[str, Any]:
    mean, error = found.mean("teacher")
    rows = [
        [t, measured(mean[i], error[i]), *(four_digits(found.to_teacher[name][i]) for name in
         ("mean_field", "limit", "diffusion"))]
        for i, t in enumerate(found.times)
    ]  # fmt: skip
    columns = ["t", "particles", "mean field", "limit", "diffusion"]
    return table("Distance to the teacher", columns, rows)


def _figure(found: Decomposition) -> str:
    with figure_of((WIDE, 4.2), (1, 1)) as (figure, axes):
        ax, t = axes[0], np.array(found.times)
        parts = {
            "width": found.mean("mean_field"),
            "regularisation": (np.array(found.regularisation), np.full(len(t), np.nan)),
            "identifiability": (np.array(found.identifiability), np.full(len(t), np.nan)),
        }
        for (name, values), marker in zip(parts.items(), "osD", strict=True):
            style = {"color": _COLOURS[name], "marker": marker, "ms": 4, "lw": 1.5, "label": name}
            curve(ax, found.times, *values, style)
        curve(ax, found.times, *found.mean("diffusion"),
              {"color": "black", "lw": 2.0, "label": "total"})  # fmt: skip
        ax.plot(t, found.predicted, "k:", lw=1.2, label="squares added")
        ax.plot(t, found.floor, "--", color=_COLOURS["width"], lw=1.0, label="floor")
        ax.set(xlabel="t", ylabel="MMD")
        logarithmic(ax, "y")
        if t[-1] > 30 * t[0]:
            logarithmic(ax, "x")
        legend(figure, ax)
        return inline_svg(figure, "fig-parts-", "Parts of the distance over time")

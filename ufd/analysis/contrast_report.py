"""The page of a contrast: every method over its own clock, with predicted and measured rates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ufd.analysis.contrast import Contrast, Method
from ufd.analysis.curves import WIDE, figure_of, legend, logarithmic, styles
from ufd.analysis.pages import (
    MISSING,
    bare,
    fill_pages,
    four_digits,
    measured,
    percent,
    table,
    write_pages,
)
from ufd.analysis.svg import inline_svg

_READING = (
    "One teacher, one start, one feature. Each method descends a functional of its own, and time "
    "is that of the gradient flow of this functional: units differ from method to method, and the "
    "table of clocks says what they are. Distances to the teacher are energy MMDs.",
    "The rate of a method is that of the amplitude of a mode near its end: of the first mode of "
    "the diffusion, and of what continues it at finite regularisation or with outer weights that "
    "stay 1 (there higher modes are slower still: the kernel's eigenvalues tend to 0, and there is "
    "no gap, which is why distances fall behind the dotted line); with noise, of the first mode "
    "beside the fixed point, which is not the teacher.",
    "Second figure: distances to where the method itself ends, over the predicted rate times its "
    "time. What agrees with its prediction runs parallel to the dotted line.",
)


def contrast_lines(found: Contrast) -> list[str]:
    """Rates and distances, for a terminal."""
    lines = []
    for method in found.methods:
        rate = MISSING if method.measured is None else bare(
            measured(method.measured, method.error or np.nan)
        )  # fmt: skip
        lines.append(
            f"{method.name:<32}{method.to_teacher[-1]:<10.3g}"
            f"rate {rate.replace('±', '+-')}, predicted {four_digits(method.predicted)}"
        )
    return [*lines, found.sentence()]


def write_contrast_report(found: Contrast, directory: Path) -> Path:
    """Write contrast.html and contrast.md; returns the HTML file.

    Raises:
        StorageError: If a file cannot be written.
    """
    context = {
        "page": "contrast.html",
        "title": "One teacher, learned in several ways",
        "headline": found.sentence(),
        "explanation": _READING,
        "setting": table("What was run", ["item", "value"], _setting(found)),
        "figures": [
            {"svg": _distances(found), "caption": "Figure 1. Distance to the teacher over each "
             "method's own time. Dashed: what as many atoms cost at least."},
            {"svg": _collapse(found), "caption": "Figure 2. Distance to the method's own end over "
             "predicted rate times time; dotted: exp(-x)."},
        ],
        "tables": [
            table("Rates", ["method", "predicted", "measured", "deviation", "note"],
                  [_rate(m) for m in found.methods]),
            table("Distances to the teacher", ["method", "t", "MMD", "floor of its atoms"],
                  [[m.name, m.t[-1], four_digits(m.to_teacher[-1]), four_digits(m.floor)]
                   for m in found.methods]),
            table("Clocks", ["method", "descends", "one unit of time"],
                  [[m.name, m.functional, m.clock] for m in found.methods]),
            table("Provenance", ["item", "value"], found.provenance.items()),
        ],
    }  # fmt: skip
    return write_pages(directory, "contrast", fill_pages("findings", context))


def _setting(found: Contrast) -> list[tuple[str, Any]]:
    return [(key, value) for key, value in found.configuration.items() if key != "problem"]


def _rate(method: Method) -> list[Any]:
    fit = MISSING
    if method.measured is not None:
        fit = measured(method.measured, method.error or np.nan)
    return [
        method.name, four_digits(method.predicted), fit, percent(method.deviation), method.note,
    ]  # fmt: skip


def _distances(found: Contrast) -> str:
    with figure_of((WIDE, 4.4), (1, 1)) as (figure, axes):
        ax = axes[0]
        for method, style in zip(found.methods, styles(len(found.methods)), strict=True):
            t, value = np.array(method.t), np.array(method.to_teacher)
            seen = (t > 0) & (value > 0)
            ax.plot(t[seen], value[seen], label=method.name, **{**style, "ms": 3})
            if method.floor:
                ax.axhline(method.floor, color=style["color"], ls="--", lw=0.8)
        ax.set(xlabel="t, in units of the method", ylabel="MMD to the teacher")
        logarithmic(ax, "y")
        logarithmic(ax, "x")
        legend(figure, ax, columns=3)
        return inline_svg(figure, "fig-distances-", "Distance to the teacher over time")


def _collapse(found: Contrast) -> str:
    with figure_of((WIDE, 4.4), (1, 1)) as (figure, axes):
        ax, longest = axes[0], 1.0
        for method, style in zip(found.methods, styles(len(found.methods)), strict=True):
            if method.predicted is None or method.floor:
                continue
            value = np.array(method.to_teacher if method.to_limit is None else method.to_limit)
            x, seen = method.predicted * np.array(method.t), value > 0
            ax.plot(x[seen], value[seen] / value[0], label=method.name, **{**style, "ms": 3})
            longest = max(longest, float(x[-1]))
        x = np.linspace(0, longest, 50)
        ax.plot(x, np.exp(-x), "k:", lw=1.2, label="exp(-x)")
        ax.set(xlabel="predicted rate times t", ylabel="distance, relative to the start")
        logarithmic(ax, "y")
        legend(figure, ax, columns=3)
        return inline_svg(figure, "fig-collapse-", "Distances over rescaled time")

"""Figures of `mpi_scaling.py`: a roofline of products with K, and the work by phase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from support.scaling_judge import Levels, bandwidth_share, product_bytes, product_seconds
from support.scaling_model import Outcome
from support.scaling_tables import PHASES, phase_seconds
from ufd.analysis.svg import SETTINGS, inline_svg

_BLUE, _ORANGE, _GREY = "#2a6db0", "#d9822b", "#888888"
_COLOURS = ("#9aa5b1", "#5b6570", "#3a8f5c", "#d9822b", "#2a6db0", "#b0413e", "#7a5ca8")


def _intensity(outcome: Outcome) -> float:
    """Flops of a product per byte."""
    return 2 * outcome["entries"] / product_bytes(outcome)


def _plain(value: float, place: int | None = None) -> str:
    return f"{value:,g}"


def roofline(levels: Levels, high: Mapping[tuple[int, int], Outcome]) -> str:
    """Left: products below the roof of this machine. Right: their share of its bandwidth."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    families: list[tuple[str, str, Sequence[Outcome]]] = [
        ("icosphere, degree 1", _BLUE, list(levels.values())),
        ("cubed sphere, degree 4 to 8", _ORANGE, list(high.values())),
    ]
    everything = [o for _, _, group in families for o in group]
    bandwidth = float(np.median([o["speeds"]["triad"][0] for o in everything]))
    flops = float(np.max([o["speeds"]["flops"][0] for o in everything]))
    with rc_context(SETTINGS):
        drawing = Figure(figsize=(9, 3.6), layout="constrained")
        left, right = drawing.subplots(1, 2)
        x = np.geomspace(0.05, 5, 100)
        left.plot(x, np.minimum(bandwidth * x, flops), color=_GREY, lw=1.4)
        left.annotate(f"triad, {bandwidth:.0f} GB/s", (0.5, 0.5 * bandwidth), xytext=(6, -8),
                      textcoords="offset points")  # fmt: skip
        left.annotate(f"dense product, {flops:.0f} Gflop/s", (5, flops), xytext=(0, 5),
                      textcoords="offset points", ha="right")  # fmt: skip
        for label, colour, group in families:
            for kind, filled, said in (
                ("warm", False, "back to back"),
                ("cold", True, "after a sweep"),
            ):
                rate = [2 * o["entries"] / product_seconds(o, kind) / 1e9 for o in group]
                style = {"color": colour, "ls": "", "marker": "o", "ms": 5,
                         "mfc": colour if filled else "none",
                         "label": f"{label}, {said}"}  # fmt: skip
                left.plot([_intensity(o) for o in group], rate, **style)
                share = [100 * bandwidth_share(o, kind) for o in group]
                right.plot([o["nodes"] for o in group], share, **style)
        left.set(xscale="log", yscale="log", xlabel="flop per byte", ylabel="Gflop/s",
                 ylim=(None, 2.5 * flops))  # fmt: skip
        right.axhline(70, color=_GREY, lw=1, ls="--")
        right.set(xscale="log", xlabel="nodes", ylabel="% of the triad's bandwidth", ylim=(0, None))
        for axes in (left, right):
            axes.grid(True)
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter(_plain)
        left.yaxis.set_minor_locator(NullLocator())
        left.yaxis.set_major_formatter(_plain)
        drawing.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2)
        return inline_svg(drawing, "fig-roofline-", "Products with K below the machine's roof")


def phases(levels: Levels) -> str:
    """Shares of the CPU time of a run by phase, one bar per level."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    parts = {level: phase_seconds(o) for level, o in levels.items()}
    with rc_context(SETTINGS):
        drawing = Figure(figsize=(8, 1.2 + 0.4 * len(parts)), layout="constrained")
        axes = drawing.subplots()
        names = [f"level {level}" for level in parts]
        left = np.zeros(len(parts))
        for phase, colour in zip(PHASES, _COLOURS, strict=True):
            width = np.array([100 * p[phase] / sum(p.values()) for p in parts.values()])
            axes.barh(names, width, left=left, color=colour, label=phase)
            left += width
        axes.set(xlabel="% of the CPU time", xlim=(0, 100))
        axes.invert_yaxis()
        drawing.legend(loc="outside lower center", ncols=4)
        return inline_svg(drawing, "fig-phases-", "Work by phase")

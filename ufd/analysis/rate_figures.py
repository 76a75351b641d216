"""Figures of the report of rates: SVG texts that stand inside one page, linked to its cards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ufd.analysis.pages import number, percent, with_error
from ufd.analysis.svg import SETTINGS, inline_svg
from ufd.analysis.verdicts import VERDICTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]
Claim = Mapping[str, Any]

# Colour and marker differ both, for print in grey and for eyes that do not part the colours.
MARKS = {
    "agrees": ("#2a6db0", "o"),
    "within": ("#3d8f8a", "v"),
    "discrete": ("#5b4a9e", "s"),
    "differs": ("#c0392b", "D"),
    "short": ("#b7791f", "^"),
    "refused": ("#6f6f6f", "X"),
}
_PALETTE = (
    *("#2a6db0", "#d9822b", "#3a8f5c", "#b0413e", "#7d5ba6"),
    *("#8c6d46", "#4aa3b5", "#c2569b", "#6b7a2f", "#555555"),
)
_MOST_POINTS = 3000
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def claim_figure(claim: Claim) -> str:
    """Decay of one claim: fitted window and line, predicted slope, envelope and crossovers."""
    curve, fitted, predicted = claim["curve"], claim["fitted"], claim["predicted"]
    t, value = _positive(curve["t"], curve["value"])
    with _figure((5.0, 3.3)) as (figure, axes):
        colour = MARKS[claim["verdict"]][0]
        axes.plot(t, value, color=colour, lw=1.8, label=claim["functional"])
        tops = [value.max(initial=0.0)]
        if curve["envelope"] is not None:
            t_bound, bound = _positive(curve["t"], curve["envelope"])
            axes.plot(t_bound, bound, color="#3a8f5c", lw=0.9, label="guaranteed")
            tops.append(min(bound.max(initial=0.0), 1e3 * tops[0]))
        if len(t):
            first, last = (t[len(t) // 2], t[-1]) if fitted is None else fitted["window"]
            start = float(np.exp(np.interp(first, t, np.log(value))))
            ends = np.array([first, last])
            if fitted is not None:
                axes.axvspan(first, last, color="#f0f0f0", zorder=0, lw=0)
                axes.plot(
                    ends,
                    start * np.exp(-fitted["rate"] * (ends - first)),
                    "k--",
                    lw=1.5,
                    label=f"fitted {with_error(fitted['rate'], fitted['stderr'])}",
                )
            if predicted is not None:
                # Beside the curve, a twelfth of the figure above it: on it nothing would be seen.
                lift = max(tops[0] / value.min(), 10.0) ** (1 / 12)
                guide = lift * start * np.exp(-predicted["continuous"] * (ends - first))
                label = f"predicted slope {number(predicted['continuous'])}"
                axes.plot(ends, guide, color="#d9822b", lw=1.5, label=label)
                tops.append(guide.max())
            _log_axis(axes, float(value.min()), float(max(tops)))
        for crossover in claim["crossovers"]:
            axes.axvline(crossover["t"], color="#555555", lw=0.9, ls=":")
            axes.annotate(
                crossover["label"],
                (crossover["t"], 0.03),
                xycoords=("data", "axes fraction"),
                xytext=(3, 0),
                textcoords="offset points",
                rotation=90,
                fontsize=7.5,
                color="#555555",
                va="bottom",
            )
        axes.set(xlabel="t", ylabel=_value_label(claim))
        axes.legend(loc="upper right", handlelength=1.6)
        return inline_svg(figure, f"fig-{claim['id']}-", f"Decay of {claim['title']}")


def drawable(claim: Claim) -> bool:
    """Whether the curve can be scaled: a predicted rate and a first value that is not zero."""
    t, _ = _positive(claim["curve"]["t"], claim["curve"]["value"])
    return claim["predicted"] is not None and len(t) > 1 and t[0] == claim["curve"]["t"][0]


def section_figure(section: str, claims: Sequence[tuple[int, Claim]]) -> str:
    """Every curve over the predicted rate times t: what agrees is parallel to exp(-x).

    Args:
        section: Name of the section, for the ids inside.
        claims: The claims with their numbers in the table; those not ``drawable`` are left out.

    Returns:
        The SVG; empty if there is nothing to draw.
    """
    chosen = [(n, claim) for n, claim in claims if drawable(claim)]
    if not chosen:
        return ""
    few = len(chosen) <= len(_PALETTE)
    with _figure((6.0, 3.9 + (0.09 * len(chosen) if few else 0))) as (figure, axes):
        longest, lowest, highest = 0.0, 1.0, 1.0
        for i, (n, claim) in enumerate(chosen):
            t, value = _positive(claim["curve"]["t"], claim["curve"]["value"])
            x, y = claim["predicted"]["continuous"] * (t - t[0]), value / value[0]
            colour = _PALETTE[i] if few else MARKS[claim["verdict"]][0]
            (line,) = axes.plot(x, y, color=colour, lw=1.5 if few else 0.8)
            line.set_gid(f"curve-{claim['id']}")
            line.set_url(f"#{claim['id']}")
            # Of many alike, those that do not agree lie on top.
            line.set_zorder(2 + list(MARKS).index(claim["verdict"]) / 10)
            line.set_label(f"{n}  {_cut(claim['title'])}" if few else "_")
            longest, lowest = max(longest, x[-1]), min(lowest, y.min())
            highest = max(highest, y.max())
        if not few:
            for verdict in sorted({claim["verdict"] for _, claim in chosen}):
                axes.plot([], [], color=MARKS[verdict][0], label=VERDICTS[verdict])
        x = np.array([0.0, min(longest, 1 - np.log(lowest))])
        axes.plot(x, np.exp(-x), color="black", lw=1.2, ls="--", label="exp(-x)", zorder=9)
        _log_axis(axes, lowest, highest)
        axes.set(xlabel="predicted rate × t", ylabel="value / value at the start")
        figure.legend(loc="outside lower left", ncols=2 if few else 5)
        return inline_svg(figure, f"fig-{section}-", "All curves of this section", _hints(chosen))


def deviation_figure(claims: Sequence[tuple[int, Claim]]) -> str:
    """|fitted/predicted - 1| of every claim with its error and its threshold; empty if none."""
    chosen = [(n, claim) for n, claim in claims if claim["deviation"] is not None]
    if not chosen:
        return ""
    from matplotlib.ticker import MaxNLocator

    sizes = np.array([abs(claim["deviation"]) for _, claim in chosen])
    errors = np.array([_relative_error(claim) for _, claim in chosen])
    limits = np.array([claim["threshold"] for _, claim in chosen])
    positive = np.concatenate([sizes[sizes > 0], limits[limits > 0], [0.1]])
    floor, top = positive.min() / 4, 4 * max(positive.max(), (sizes + errors).max())
    x = np.array([n for n, _ in chosen])
    with _figure((6.0, 3.4)) as (figure, axes):
        low = np.maximum(sizes - errors, floor)
        high = np.maximum(sizes + errors, floor)
        axes.vlines(x, low, high, color="#999999", lw=1)
        axes.hlines(limits, x - 0.5, x + 0.5, color="#c0392b", lw=1.2, label="threshold")
        for i, (_, claim) in enumerate(chosen):
            colour, marker = MARKS[claim["verdict"]]
            (point,) = axes.plot(x[i], max(sizes[i], floor), marker, color=colour, ms=5.5)
            point.set_gid(f"point-{claim['id']}")
            point.set_url(f"#{claim['id']}")
        for verdict, (colour, marker) in MARKS.items():
            if any(claim["verdict"] == verdict for _, claim in chosen):
                axes.plot([], [], marker, color=colour, ms=5.5, label=VERDICTS[verdict])
        _log_axis(axes, floor, top)
        axes.set_ylim(floor, top)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        axes.set_xlim(0.4, max(n for n, _ in claims) + 0.6)
        axes.set(xlabel="number in the table", ylabel="|fitted / predicted − 1|")
        figure.legend(loc="outside lower left", ncols=5)
        label = "Deviation of the fitted from the predicted rates"
        return inline_svg(figure, "fig-deviation-", label, _hints(chosen))


def _relative_error(claim: Claim) -> float:
    if claim["fitted"] is None or claim["predicted"] is None:
        return 0.0
    return claim["fitted"]["stderr"] / abs(claim["predicted"]["continuous"])


def _positive(t: Sequence[float], values: Sequence[float | None]) -> tuple[Array, Array]:
    """What a logarithmic axis can show: sizes above zero, thinned if there are very many."""
    time, size = np.asarray(t, dtype=float), np.abs(np.asarray(values, dtype=float))
    shown = np.flatnonzero(np.isfinite(size) & (size > 0))
    if len(shown) > _MOST_POINTS:
        shown = shown[np.linspace(0, len(shown) - 1, _MOST_POINTS).round().astype(int)]
    return time[shown], size[shown]


def _value_label(claim: Claim) -> str:
    signed = any(value is not None and value < 0 for value in claim["curve"]["value"])
    return f"|{claim['functional']}|" if signed else str(claim["functional"])


def _cut(text: str, most: int = 36) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _log_axis(axes: Axes, low: float, high: float) -> None:
    """A logarithmic axis whose labels are plain text: mathtext would not stay one word."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_yscale("log")
    decades = np.log10(high / low)
    margin = 10 ** (0.05 * max(decades, 0.2))
    axes.set_ylim(low / margin, high * margin)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 1.5 else (1,), numticks=8))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(_power))


def _power(value: float, _position: int | None = None) -> str:
    exponent = np.log10(value)
    if abs(exponent - round(exponent)) > 1e-9:
        return f"{value:.3g}"
    return "10" + str(round(exponent)).translate(_RAISED)


@contextmanager
def _figure(size: tuple[float, float]) -> Iterator[tuple[Figure, Axes]]:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(SETTINGS):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        axes.grid(True)
        axes.set_axisbelow(True)
        yield figure, axes


def _hints(claims: Sequence[tuple[int, Claim]]) -> dict[str, str]:
    return {claim["id"]: _hint(n, claim) for n, claim in claims}


def _hint(n: int, claim: Claim) -> str:
    verdict = VERDICTS[claim["verdict"]]
    return f"{n}  {claim['title']}: {verdict}, deviation {percent(claim['deviation'])}"

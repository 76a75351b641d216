"""Figures of the comparison of particles with the diffusion: SVG texts inside one page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ufd.analysis.comparison import Comparison
from ufd.analysis.svg import SETTINGS, inline_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]
_MARKERS = "osD^vPX"
_WIDE = 8.6
# As many values as fit below an axis, each with its own tick.
_TICKS = 8


def time_figure(comparison: Comparison, name: str) -> str:
    """A distance over time, a panel for each lam (each width if there is one lam).

    Args:
        comparison: What is drawn.
        name: "diffusion", with the floors, or "teacher".
    """
    lams, widths = comparison.lams, comparison.widths
    panels = [(lam, widths) for lam in lams]
    titles = [f"lam = {lam:g}" for lam in lams]
    if len(lams) == 1:
        panels, titles = [(lams[0], [m]) for m in widths], [f"M = {m}" for m in widths]
    columns = min(3, len(panels)) if len(panels) != 4 else 2
    rows = -(-len(panels) // columns)
    size = (_WIDE, 0.6 + (3.0 if columns < 3 else 2.4) * rows)
    styles = dict(zip(widths, _styles(len(widths)), strict=True))
    limit = np.array(comparison.limit, dtype=float)
    drawn = comparison.configuration["start"] == "iid"
    with _figure(size, (rows, columns), sharey=True) as (figure, axes):
        for ax, (lam, shown), title in zip(axes, panels, titles, strict=False):
            ax.plot(comparison.times, limit, color="#888888", lw=1.2)
            for m in shown:
                _curve(ax, comparison.times, *comparison.mean(name, lam, m), styles[m])
                if name == "diffusion":
                    floor = comparison.floor(m)
                    ax.plot(comparison.times, floor, ls="--", lw=1.0, color=styles[m]["color"])
                    if drawn:
                        sampling = comparison.sampling(m)
                        ax.plot(comparison.times, sampling, ":", lw=1.0, color=styles[m]["color"])
            ax.set_title(title, fontsize=9, loc="left")
            ax.set(xlabel="t", ylabel=f"MMD to the {name}")
            ax.label_outer()
        for ax in axes[len(panels) :]:
            ax.remove()
        _logarithmic(axes[0], "y")
        if comparison.times[-1] > 30 * comparison.times[0]:
            _logarithmic(axes[0], "x", comparison.times)
        for m, style in styles.items():
            axes[0].plot([], [], label=f"M = {m}", **style)
        if name == "diffusion":
            axes[0].plot([], [], "k--", lw=1.0, label="floor of that width")
            if drawn:
                axes[0].plot([], [], "k:", lw=1.0, label="of as many independent draws")
        axes[0].plot([], [], color="#888888", lw=1.2, label="diffusion to the teacher")
        _legend(figure, axes[0])
        return inline_svg(figure, f"fig-{name}-", f"MMD to the {name} over time")


def lam_figure(comparison: Comparison) -> str:
    """Distance and excess against lam at the largest width, a curve for each time."""
    lams, m = comparison.lams, comparison.widths[-1]
    floor = comparison.floor(m)
    table = [comparison.mean("diffusion", lam, m) for lam in lams]
    means, errors = (np.array(part) for part in zip(*table, strict=True))
    excess = np.array([comparison.excess(lam, m) for lam in lams])
    with _figure((_WIDE, 3.7), (1, 2)) as (figure, axes):
        for i, style in enumerate(_styles(len(comparison.times))):
            style["label"] = f"t = {comparison.times[i]:g}"
            _bars(axes[0], lams, means[:, i], errors[:, i], style)
            axes[0].axhline(floor[i], ls="--", lw=0.8, color=style["color"])
            spread = np.divide(
                means[:, i] * errors[:, i], excess[:, i],
                out=np.full(len(lams), np.nan), where=excess[:, i] > 0,
            )  # fmt: skip
            _bars(axes[1], lams, excess[:, i], spread, style)
        axes[1].axhline(floor[-1] / 2, ls=":", lw=1.0, color="black")
        axes[0].plot([], [], "k--", lw=0.8, label="floor")
        axes[0].plot([], [], "k:", lw=1.0, label="half of the last floor")
        axes[0].set_ylabel("MMD to the diffusion")
        axes[1].set_ylabel("excess over the floor")
        if not (excess > 0).any():
            axes[1].text(0.5, 0.55, "no excess anywhere", ha="center", transform=axes[1].transAxes)
        for ax in axes:
            _logarithmic(ax, "x", lams)
            _logarithmic(ax, "y")
            ax.set_xlabel("lam")
        _legend(figure, axes[0])
        return inline_svg(figure, "fig-lam-", f"Distance and excess against lam at M = {m}")


def width_figure(comparison: Comparison) -> str:
    """Distance and width part against M at the last time, a curve for each lam."""
    widths = comparison.widths
    with _figure((_WIDE, 3.7), (1, 2)) as (figure, axes):
        for lam, style in zip(comparison.lams, _styles(len(comparison.lams)), strict=True):
            style["label"] = f"lam = {lam:g}"
            for ax, name in zip(axes, ("diffusion", "widest"), strict=True):
                table = [comparison.mean(name, lam, m) for m in widths]
                means = np.array([mean[-1] for mean, _ in table])
                _bars(ax, widths, means, np.array([error[-1] for _, error in table]), style)
        for ax in axes:
            floor = [comparison.floor(m)[-1] for m in widths]
            ax.plot(widths, floor, "k--", lw=1.0, label="floor")
            _logarithmic(ax, "x", widths)
            _logarithmic(ax, "y")
            ax.set_xlabel("M")
        axes[0].set_ylabel("MMD to the diffusion")
        axes[1].set_ylabel("MMD to the widest run")
        _legend(figure, axes[0])
        label = f"Distance and width part against M at t = {comparison.times[-1]:g}"
        return inline_svg(figure, "fig-width-", label)


@contextmanager
def _figure(
    size: tuple[float, float], shape: tuple[int, int], sharey: bool = False
) -> Iterator[tuple[Figure, Any]]:
    """A figure and its panels, row by row."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(SETTINGS):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(*shape, squeeze=False, sharex=True, sharey=sharey)
        for ax in axes.flat:
            ax.grid(True)
            ax.set_axisbelow(True)
        yield figure, list(axes.flat)


def _styles(count: int) -> list[dict[str, Any]]:
    """Colours of rising lightness, parted by every eye and in grey, each with a marker."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    shades = colormaps["viridis"](np.linspace(0.0, 0.82, count) if count > 1 else [0.25])
    return [
        {"color": to_hex(shade), "marker": _MARKERS[i % len(_MARKERS)], "ms": 4, "lw": 1.5}
        for i, shade in enumerate(shades)
    ]


def _curve(ax: Axes, x: Sequence[float], mean: Array, error: Array, style: dict) -> None:
    """A curve within the band of its standard error; what is missing or zero is left out."""
    keep = np.isfinite(mean) & (mean > 0)
    where, mean, error = np.asarray(x, dtype=float)[keep], mean[keep], np.nan_to_num(error[keep])
    if error.any():
        low = np.maximum(mean - error, 1e-2 * mean)
        ax.fill_between(where, low, mean + error, color=style["color"], alpha=0.2, lw=0)
    ax.plot(where, mean, **style)


def _bars(ax: Axes, x: Sequence[float], mean: Array, error: Array, style: dict) -> None:
    """A curve with bars of one standard error; what is missing or zero is left out."""
    keep = np.isfinite(mean) & (mean > 0)
    where, mean, error = np.asarray(x, dtype=float)[keep], mean[keep], np.nan_to_num(error[keep])
    low = np.minimum(error, 0.99 * mean)
    ax.plot(where, mean, **style)
    if error.any():
        ax.errorbar(where, mean, (low, error), fmt="none", ecolor=style["color"], capsize=2, lw=1)


def _logarithmic(ax: Axes, which: str, values: Sequence[float] = ()) -> None:
    """A logarithmic axis with plain labels, at the values themselves if they are few."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

    getattr(ax, f"set_{which}scale")("log")
    axis = getattr(ax, f"{which}axis")
    low, high = axis.get_view_interval()
    steps: tuple[float, ...] = (1.0, 2.0, 5.0) if high < 300 * low else (1.0,)
    if high < 10 * low:
        steps = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
    fixed = 0 < len(values) <= _TICKS
    axis.set_major_locator(FixedLocator(values) if fixed else LogLocator(subs=steps, numticks=9))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _legend(figure: Figure, ax: Axes) -> None:
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 6))

"""Parts of figures that show distances: panels, curves with bands, axes, legends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ufd.analysis.svg import SETTINGS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]
WIDE = 8.6
_MARKERS = "osD^vPX"
# As many values as fit below an axis, each with its own tick.
_TICKS = 8


@contextmanager
def figure_of(
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


def styles(count: int) -> list[dict[str, Any]]:
    """Colours of rising lightness, parted by every eye and in grey, each with a marker."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    shades = colormaps["viridis"](np.linspace(0.0, 0.82, count) if count > 1 else [0.25])
    return [
        {"color": to_hex(shade), "marker": _MARKERS[i % len(_MARKERS)], "ms": 4, "lw": 1.5}
        for i, shade in enumerate(shades)
    ]


def curve(ax: Axes, x: Sequence[float], mean: Array, error: Array, style: dict) -> None:
    """A curve within the band of its standard error; what is missing or zero is left out."""
    keep = np.isfinite(mean) & (mean > 0)
    where, mean, error = np.asarray(x, dtype=float)[keep], mean[keep], np.nan_to_num(error[keep])
    if error.any():
        low = np.maximum(mean - error, 1e-2 * mean)
        ax.fill_between(where, low, mean + error, color=style["color"], alpha=0.2, lw=0)
    ax.plot(where, mean, **style)


def bars(ax: Axes, x: Sequence[float], mean: Array, error: Array, style: dict) -> None:
    """A curve with bars of one standard error; what is missing or zero is left out."""
    keep = np.isfinite(mean) & (mean > 0)
    where, mean, error = np.asarray(x, dtype=float)[keep], mean[keep], np.nan_to_num(error[keep])
    low = np.minimum(error, 0.99 * mean)
    ax.plot(where, mean, **style)
    if error.any():
        ax.errorbar(where, mean, (low, error), fmt="none", ecolor=style["color"], capsize=2, lw=1)


def logarithmic(ax: Axes, which: str, values: Sequence[float] = ()) -> None:
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


def legend(figure: Figure, ax: Axes, columns: int = 6) -> None:
    """One legend below all panels, of what one of them shows."""
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), columns))

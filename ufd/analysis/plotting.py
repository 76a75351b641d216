"""Figures of a run: densities, decay, what is conserved. PNG files, no display needed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ufd.analysis.render import draw
from ufd.analysis.results import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]


def _figure(rows: int = 1, columns: int = 1, size: tuple[float, float] = (7.0, 4.2), **options):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, **options)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=130)


def decay(result: Result, path: Path, claim: Mapping[str, Any]) -> None:
    """Divergence and chi2 over time; what was fitted, where, and the predicted slope beside it."""
    figure, axes = _figure()
    t = result.series["t"]
    for name, label in (("divergence", "divergence"), ("chi2", r"$\chi^2(\mu|\nu)$")):
        positive = result.series[name] > 0
        axes.semilogy(t[positive], result.series[name][positive], label=label, lw=1.6)
    curve, fit, predicted = claim["curve"], claim["fitted"], claim["predicted"]
    if claim["functional"] == "amplitude":
        axes.semilogy(curve["t"], curve["value"], label="amplitude of the mode", lw=1.6)
    if curve["envelope"] is not None:
        axes.semilogy(curve["t"], curve["envelope"], "C7", lw=1, label="guaranteed")
    if fit is not None:
        first, last = fit["window"]
        window = np.linspace(first, last, 50)
        start = np.exp(np.interp(first, curve["t"], np.log(curve["value"])))
        line = start * np.exp(-fit["rate"] * (window - first))
        axes.semilogy(window, line, "k--", lw=2.2, label=f"fitted rate {fit['rate']:.5g}")
        axes.axvspan(first, last, color="0.9", zorder=0)
        if predicted is not None:
            rate = predicted["continuous"]
            guide = 4 * start * np.exp(-rate * (window - first))
            axes.semilogy(window, guide, color="C3", label=f"predicted rate {rate:.5g}")
    axes.set(xlabel="t", ylabel="distance to the teacher", title="Decay to the teacher")
    axes.grid(alpha=0.3)
    axes.legend()
    _save(figure, path)


def conserved(result: Result, path: Path) -> None:
    """Mass error, bounds of the ratio, and step size over time."""
    figure, (left, middle, right) = _figure(1, 3, (10.5, 3.2))
    t = result.series["t"]
    left.plot(t, result.series["mass"] - 1, lw=1)
    left.set(title="mass - 1", xlabel="t")
    middle.plot(t, result.series["max_ratio"], label="sup w")
    middle.plot(t, result.series["min_ratio"], label="inf w")
    middle.set(title="range of w = mu/nu", xlabel="t", yscale="log")
    middle.legend()
    right.semilogy(t[1:], np.diff(t), ".", ms=3)
    right.set(title="step size", xlabel="t")
    for axes in (left, middle, right):
        axes.grid(alpha=0.3)
    _save(figure, path)


def densities(result: Result, path: Path, dim: int) -> str:
    """Densities at up to six stored times; returns how they were drawn."""
    chosen = np.unique(np.linspace(0, len(result.times) - 1, 6).round().astype(int))
    times = [result.times[i] for i in chosen]
    if dim == 1:
        _circle(result, path, times)
        return "matplotlib"
    return _sphere(result, path, times)


def _circle(result: Result, path: Path, times: list[float]) -> None:
    angle = np.linspace(-np.pi, np.pi, 721)
    points = np.column_stack([np.cos(angle), np.sin(angle)])
    figure, axes = _figure()
    for i, t in enumerate(times):
        colour = str(0.75 * (1 - i / max(len(times) - 1, 1)))
        axes.plot(angle, result.density(points, t), color=colour, label=f"mu, t = {t:g}")
    teacher = result.density(points, times[-1]) / result.ratio(points, times[-1])
    axes.plot(angle, teacher, "C3--", label="teacher nu")
    axes.set(xlabel="angle", ylabel="density", title="Densities on the circle", yscale="log")
    axes.grid(alpha=0.3)
    axes.legend()
    _save(figure, path)


def _sphere(result: Result, path: Path, times: list[float]) -> str:
    polar, azimuth = np.meshgrid(
        np.linspace(0, np.pi, 91), np.linspace(0, 2 * np.pi, 181), indexing="ij"
    )
    points = np.stack(
        [np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)], axis=-1
    )
    flat = points.reshape(-1, 3)
    values = [result.density(flat, t) for t in times]
    teacher = values[-1] / result.ratio(flat, times[-1])
    panels = np.array([*values, teacher]).reshape(-1, *polar.shape)
    titles = [*(f"mu, t = {t:g}" for t in times), "teacher nu"]
    drawn = draw(points, panels, titles, path)
    if drawn is not None:
        return f"PyVista ({drawn})"
    _mollweide(azimuth, polar, panels, titles, path)
    return "matplotlib (PyVista or a working OpenGL library was not found)"


def _mollweide(azimuth: Array, polar: Array, panels: Array, titles: list[str], path: Path) -> None:
    rows = -(-len(titles) // 2)
    figure, axes = _figure(rows, 2, (9, 2.6 * rows), subplot_kw={"projection": "mollweide"})
    shift = azimuth.shape[1] // 2
    for axis, panel, title in zip(axes.ravel(), panels, titles, strict=False):
        drawn = axis.pcolormesh(
            azimuth - np.pi,
            np.pi / 2 - polar,
            np.roll(panel[:, :-1], shift, axis=1)[:, np.r_[: panel.shape[1] - 1, 0]],
            vmin=panels.min(),
            vmax=panels.max(),
            shading="gouraud",
        )
        axis.set_title(title)
        axis.set_xticklabels([])
    for axis in axes.ravel()[len(titles) :]:
        axis.set_visible(False)
    figure.colorbar(drawn, ax=axes, shrink=0.6, label="density")
    _save(figure, path)

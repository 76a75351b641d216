"""Figures of the comparison of particles with the diffusion: SVG texts inside one page."""

from __future__ import annotations

import numpy as np

from ufd.analysis.comparison import Comparison
from ufd.analysis.curves import WIDE, bars, curve, figure_of, legend, logarithmic, styles
from ufd.analysis.svg import inline_svg


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
    size = (WIDE, 0.6 + (3.0 if columns < 3 else 2.4) * rows)
    own = dict(zip(widths, styles(len(widths)), strict=True))
    limit = np.array(comparison.limit, dtype=float)
    drawn = comparison.configuration["start"] == "iid"
    with figure_of(size, (rows, columns), sharey=True) as (figure, axes):
        for ax, (lam, shown), title in zip(axes, panels, titles, strict=False):
            ax.plot(comparison.times, limit, color="#888888", lw=1.2)
            for m in shown:
                curve(ax, comparison.times, *comparison.mean(name, lam, m), own[m])
                if name == "diffusion":
                    floor = comparison.floor(m)
                    ax.plot(comparison.times, floor, ls="--", lw=1.0, color=own[m]["color"])
                    if drawn:
                        sampling = comparison.sampling(m)
                        ax.plot(comparison.times, sampling, ":", lw=1.0, color=own[m]["color"])
            ax.set_title(title, fontsize=9, loc="left")
            ax.set(xlabel="t", ylabel=f"MMD to the {name}")
            ax.label_outer()
        for ax in axes[len(panels) :]:
            ax.remove()
        logarithmic(axes[0], "y")
        if comparison.times[-1] > 30 * comparison.times[0]:
            logarithmic(axes[0], "x", comparison.times)
        for m, style in own.items():
            axes[0].plot([], [], label=f"M = {m}", **style)
        if name == "diffusion":
            axes[0].plot([], [], "k--", lw=1.0, label="floor of that width")
            if drawn:
                axes[0].plot([], [], "k:", lw=1.0, label="of as many independent draws")
        axes[0].plot([], [], color="#888888", lw=1.2, label="diffusion to the teacher")
        legend(figure, axes[0])
        return inline_svg(figure, f"fig-{name}-", f"MMD to the {name} over time")


def lam_figure(comparison: Comparison) -> str:
    """Distance and excess against lam at the largest width, a curve for each time."""
    lams, m = comparison.lams, comparison.widths[-1]
    floor = comparison.floor(m)
    table = [comparison.mean("diffusion", lam, m) for lam in lams]
    means, errors = (np.array(part) for part in zip(*table, strict=True))
    excess = np.array([comparison.excess(lam, m) for lam in lams])
    with figure_of((WIDE, 3.7), (1, 2)) as (figure, axes):
        for i, style in enumerate(styles(len(comparison.times))):
            style["label"] = f"t = {comparison.times[i]:g}"
            bars(axes[0], lams, means[:, i], errors[:, i], style)
            axes[0].axhline(floor[i], ls="--", lw=0.8, color=style["color"])
            spread = np.divide(
                means[:, i] * errors[:, i], excess[:, i],
                out=np.full(len(lams), np.nan), where=excess[:, i] > 0,
            )  # fmt: skip
            bars(axes[1], lams, excess[:, i], spread, style)
        axes[1].axhline(floor[-1] / 2, ls=":", lw=1.0, color="black")
        axes[0].plot([], [], "k--", lw=0.8, label="floor")
        axes[0].plot([], [], "k:", lw=1.0, label="half of the last floor")
        axes[0].set_ylabel("MMD to the diffusion")
        axes[1].set_ylabel("excess over the floor")
        if not (excess > 0).any():
            axes[1].text(0.5, 0.55, "no excess anywhere", ha="center", transform=axes[1].transAxes)
        for ax in axes:
            logarithmic(ax, "x", lams)
            logarithmic(ax, "y")
            ax.set_xlabel("lam")
        legend(figure, axes[0])
        return inline_svg(figure, "fig-lam-", f"Distance and excess against lam at M = {m}")


def width_figure(comparison: Comparison) -> str:
    """Distance and width part against M at the last time, a curve for each lam."""
    widths = comparison.widths
    with figure_of((WIDE, 3.7), (1, 2)) as (figure, axes):
        for lam, style in zip(comparison.lams, styles(len(comparison.lams)), strict=True):
            style["label"] = f"lam = {lam:g}"
            for ax, name in zip(axes, ("diffusion", "widest"), strict=True):
                table = [comparison.mean(name, lam, m) for m in widths]
                means = np.array([mean[-1] for mean, _ in table])
                bars(ax, widths, means, np.array([error[-1] for _, error in table]), style)
        for ax in axes:
            floor = [comparison.floor(m)[-1] for m in widths]
            ax.plot(widths, floor, "k--", lw=1.0, label="floor")
            logarithmic(ax, "x", widths)
            logarithmic(ax, "y")
            ax.set_xlabel("M")
        axes[0].set_ylabel("MMD to the diffusion")
        axes[1].set_ylabel("MMD to the widest run")
        legend(figure, axes[0])
        label = f"Distance and width part against M at t = {comparison.times[-1]:g}"
        return inline_svg(figure, "fig-width-", label)

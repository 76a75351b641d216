"""Published curves and ours in one self-contained page of figures and tables."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import numpy as np

from support.published import ITERATIONS, Comparison
from support.record import Claim, Table
from ufd.analysis.svg import SETTINGS, inline_svg

PALETTE = ("#2a6db0", "#d9822b", "#3a8f5c", "#b0413e")
QUANTITIES = {"teacher": "MMD to the teacher", "diff": "MMD to the diffusion", "risk": "risk"}
STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.55 Charter, Cambria, Georgia, serif; color: #1d2329; background: #fbfbf9;
  max-width: 70rem; margin: 0 auto; padding: 2rem 1.2rem 4rem; }
h1, h2 { font-weight: 600; line-height: 1.25; } h2 { font-size: 1.25rem; margin-top: 2.6rem; }
p { max-width: 46rem; } .plot { width: 100%; height: auto; background: #fff; }
.single .plot { max-width: 36rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
table, .plot { font: 13px/1.4 system-ui, "Helvetica Neue", Arial, sans-serif; }
th, td { padding: .3rem .55rem; text-align: left; border-bottom: 1px solid #dde2e7; }
th { color: #5b6570; } .bad { color: #b3362a; font-weight: 600; }
"""


def figure(comparisons: Sequence[Comparison]) -> str:
    """The curves of one figure and quantity: left the unbiased penalty, right the biased."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    sides = sorted({c.curve.setup.reference for c in comparisons}, reverse=True)
    first = comparisons[0].curve
    labels = list(dict.fromkeys(c.curve.label for c in comparisons))
    with rc_context(SETTINGS):
        drawing = Figure(figsize=(1.2 + 4 * len(sides), 3.4), layout="constrained")
        # The biased risk tends to a constant that the unbiased one is far below.
        panels = drawing.subplots(1, len(sides), sharey=first.quantity != "risk", squeeze=False)[0]
        for axes, side in zip(panels, sides, strict=True):
            for c in (c for c in comparisons if c.curve.setup.reference == side):
                colour = PALETTE[labels.index(c.curve.label)]
                seen, shown = c.curve.x >= 16, c.iteration >= 16
                t, ours = c.iteration[shown] / ITERATIONS, c.values[:, shown]
                axes.fill_between(t, ours.min(axis=0), ours.max(axis=0), color=colour, alpha=0.2)
                axes.plot(t, np.median(ours, axis=0), color=colour, lw=1.6, label=c.curve.label)
                axes.plot(c.curve.x[seen] / ITERATIONS, c.curve.y[seen], "--", color="black", lw=1)
            axes.plot([], [], "--", color="black", lw=1, label="published")
            axes.set(xscale="log", yscale="log", xlabel="t")
            axes.set_title("unbiased" if side else "biased", fontsize=9)
            axes.grid(True)
            decades = np.log10(axes.get_ylim()[1] / axes.get_ylim()[0])
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 2 else (1,)))
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_minor_locator(NullLocator())
                axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        panels[0].set_ylabel(QUANTITIES[first.quantity])
        drawing.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper")
        name = f"{first.figure}-{first.quantity}"
        svg = inline_svg(drawing, f"fig-{name}-", f"{QUANTITIES[first.quantity]}, {first.figure}")
    return f'<div class="{"single" if len(sides) == 1 else "pair"}">{svg}</div>'


def page(
    title: str,
    lead: Sequence[str],
    claims: Sequence[Claim],
    figures: Sequence[tuple[str, str]],
    tables: Sequence[Table],
) -> str:
    """The page as HTML; figures are (heading, SVG)."""
    verdicts = Table(
        "Claims",
        ["claim", "threshold", "measured", "holds"],
        [[c.text, c.threshold, c.measured, "yes" if c.holds else "no"] for c in claims],
    )
    parts = [f"<h1>{html.escape(title)}</h1>", *(f"<p>{html.escape(text)}</p>" for text in lead)]
    parts += [f"<h2>{html.escape(heading)}</h2>\n{svg}" for heading, svg in figures]
    parts += [_table(table) for table in (verdicts, *tables)]
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}</style>'
    body = "\n".join(parts)
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def _table(table: Table) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in table.columns)
    rows = "\n".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in table.rows)
    box = f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    return f"<h2>{html.escape(table.title)}</h2>\n{box}</div>"


def _cell(value: Any) -> str:
    text = f"{value:.3g}" if isinstance(value, float) else str(value)
    mark = ' class="bad"' if text in ("differs", "no") else ""
    return f"<td{mark}>{html.escape(text)}</td>"

"""The page of a comparison of particles with the diffusion: HTML with its figures, and Markdown."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ufd.analysis.comparison import Comparison, LocalOrder
from ufd.analysis.comparison_figures import lam_figure, time_figure, width_figure
from ufd.analysis.comparison_words import error_note, explanation, setting, title
from ufd.analysis.orders import OrderFit
from ufd.analysis.pages import (
    MISSING,
    Table,
    bare,
    fill_pages,
    four_digits,
    measured,
    number,
    table,
    with_error,
    write_pages,
)
from ufd.exceptions import InputError


def comparison_lines(comparison: Comparison) -> list[str]:
    """Runs, the last distance of the finest run with its floor, and local orders; for a terminal.

    Args:
        comparison: What `ufd.compare` returned, or `read_comparison` read.
    """
    lam, m, t = comparison.lams[-1], comparison.widths[-1], comparison.times[-1]
    failed = sum(bool(member.failure) for member in comparison.members)
    finished = len(comparison.members) - failed
    rows = [
        ("runs", f"{finished} finished, {failed} failed", error_note(comparison)),
        ("MMD to the diffusion", bare(_last(comparison)), f"lam = {lam:g}, M = {m}, t = {t:g}; "
         f"floor {four_digits(comparison.floor(m)[-1])}"),
        *_ordered("local order in lam", comparison.orders_in_lam(m, t), f"M = {m}, t = {t:g}"),
        *_ordered("local order in M", comparison.orders_in_width(lam, t),
                  f"lam = {lam:g}, t = {t:g}"),
    ]  # fmt: skip
    plain = str.maketrans({"±": "+-", MISSING: "-"})
    return [f"{key:<24}{value}  ({note})".translate(plain) for key, value, note in rows]


def write_comparison_report(comparison: Comparison, directory: Path) -> Path:
    """Write comparison.html and comparison.md; returns the HTML file.

    Args:
        comparison: What `ufd.compare` returned, or `read_comparison` read.
        directory: Where the files go; it exists.

    Raises:
        StorageError: If a file cannot be written.
    """
    context = {
        "page": "comparison.html",
        "title": title(comparison),
        "headline": _headline(comparison),
        "explanation": explanation(comparison),
        "setting": table("What is compared", ["item", "value"], setting(comparison)),
        "figures": _figures(comparison),
        "tables": [
            _distances(comparison),
            *_orders(comparison),
            _runs(comparison),
            _failures(comparison),
            table("Provenance", ["item", "value"], comparison.provenance.items()),
        ],
    }
    return write_pages(directory, "comparison", fill_pages("findings", context))


def _headline(comparison: Comparison) -> str:
    lam, m, t = comparison.lams[-1], comparison.widths[-1], comparison.times[-1]
    last = bare(_last(comparison))
    if last == MISSING:
        return f"No run of M = {m} with lam = {lam:g} finished."
    return (
        f"At t = {t:g} the {m} particles with lam = {lam:g} are {last} from the diffusion (MMD); "
        f"the floor is {four_digits(comparison.floor(m)[-1])}."
    )


def _last(comparison: Comparison) -> str:
    """The distance of the widest run with the smallest lam at the last time."""
    mean, error = comparison.mean("diffusion", comparison.lams[-1], comparison.widths[-1])
    return measured(float(mean[-1]), float(error[-1]))


def _order(order: LocalOrder) -> str:
    if math.isfinite(order.stderr):
        return with_error(order.order, order.stderr)
    return f"{order.order:.3f} ± {MISSING}"


def _ordered(key: str, orders: Sequence[LocalOrder], place: str) -> list[tuple[str, str, str]]:
    """A line for each local order; one that says so if there is none."""
    return [
        (key, bare(_order(order)),
         f"{order.first:g} to {order.second:g}{', at floor' * order.at_floor}; {place}")
        for order in orders
    ] or [(key, "none", place)]  # fmt: skip


def _figures(comparison: Comparison) -> list[dict[str, str]]:
    """Those for which there is more than one lam or width, with captions."""
    m, t = comparison.widths[-1], comparison.times[-1]
    several = comparison.configuration["seeds"] > 1
    bars = "Bands and bars are one standard error over the seeds." if several else (
        f"No bands ({error_note(comparison)})."
    )  # fmt: skip
    figures = [
        (time_figure(comparison, "diffusion"), "Distance of the particles to the diffusion. "
         "Dashed: the floor of that width. Grey, for scale: how far the diffusion itself still "
         f"is from the teacher. {bars}"),
        (time_figure(comparison, "teacher"), "Distance of the particles to the teacher, and that "
         "of the diffusion in grey."),
    ]  # fmt: skip
    if len(comparison.lams) > 1:
        caption = (
            f"Distance (left) and excess over the floor (right) against lam at M = {m}. An excess "
            "below the dotted line is uncertain; where there is none, no point is drawn."
        )
        figures.append((lam_figure(comparison), caption))
    if len(comparison.widths) > 1:
        caption = f"Distance (left) and width part (right) against M at t = {t:g}."
        figures.append((width_figure(comparison), caption))
    return [
        {"svg": svg, "caption": f"Figure {n}. {caption}"}
        for n, (svg, caption) in enumerate(figures, 1)
    ]


def _excess(distance: float, error: float, excess: float, floor: float) -> str:
    if not math.isfinite(distance):
        return MISSING
    if not excess > 0:
        return "none"
    return measured(excess, distance * error / excess) + " *" * bool(excess < floor / 2)


def _distances(comparison: Comparison) -> Table:
    rows = []
    for lam, m in itertools.product(comparison.lams, comparison.widths):
        means = {name: comparison.mean(name, lam, m) for name in ("diffusion", "widest", "teacher")}
        floors, excesses = comparison.floor(m), comparison.excess(lam, m)
        kept = _finished(comparison, lam, m)
        for i, t in enumerate(comparison.times):
            at = {name: (float(mean[i]), float(error[i])) for name, (mean, error) in means.items()}
            widest = measured(*at["widest"]) if m != comparison.widths[-1] else MISSING
            rows.append(
                [lam, m, t, measured(*at["diffusion"]), four_digits(floors[i]),
                 _excess(*at["diffusion"], excesses[i], floors[i]), widest,
                 measured(*at["teacher"]), four_digits(comparison.limit[i]),
                 four_digits(_median([member.risk[i] for member in kept]))]
            )  # fmt: skip
    columns = ["lam", "M", "t", "MMD to the diffusion", "floor", "excess", "width part",
               "MMD to the teacher", "diffusion to the teacher", "risk (median)"]  # fmt: skip
    note = f"{error_note(comparison).capitalize()}. *: below half of the floor, uncertain."
    return table("Distances", columns, rows, note)


def _orders(comparison: Comparison) -> list[Table]:
    """Local orders and, where it does not refuse, the one power that was fitted."""
    lams, widths = comparison.lams, comparison.widths
    note = "Orders are positive where the distance falls. "
    in_width = [
        _order_table(
            f"Orders in M {of}", "lam", list(itertools.product(lams, comparison.times)), sizes,
            partial(comparison.orders_in_width, name=name),
            partial(comparison.fit_in_width, name=name), note + fits,
        )
        for of, name, sizes, fits in (
            ("of the distance", "diffusion", widths,
             "One power of 1/M is fitted above three floors."),
            ("of the width part", "widest", widths[:-1],
             "They lead to the widest run, whose own atoms count too."),
        )
    ]  # fmt: skip
    in_lam = _order_table(
        "Orders in lam", "M", list(itertools.product(widths, comparison.times)), lams,
        comparison.orders_in_lam, comparison.fit_in_lam,
        note + "Local orders are those of the distance; one power is fitted to the excess.",
    )  # fmt: skip
    return [in_lam, *in_width]


def _order_table(
    title: str,
    label: str,
    places: Sequence[tuple[Any, float]],
    sizes: Sequence[float],
    orders: Callable[..., list[LocalOrder]],
    fit: Callable[..., OrderFit],
    note: str,
) -> Table:
    pairs = list(itertools.pairwise(sizes))
    rows = []
    for place, t in places if pairs else ():
        found = {
            (order.first, order.second): _order(order) + ", at floor" * order.at_floor
            for order in orders(place, t)
        }
        rows.append(
            [place, t, *(found.get(pair, MISSING) for pair in pairs), *_power(fit, place, t)]
        )
    columns = [label, "t", *(f"{a:g} → {b:g}" for a, b in pairs), "one power", "from"]
    return table(title, columns, rows, note, "Fewer than two values, so no order.")


def _power(fit: Callable[..., OrderFit], *at: float) -> tuple[str, str]:
    """The one power and from how many points, or why there is none."""
    try:
        found = fit(*at)
    except InputError as error:
        return MISSING, str(error).removeprefix("fit_order: ").partition(";")[0]
    return with_error(found.order, found.stderr), f"{found.points} points"


def _finished(comparison: Comparison, lam: float, m: int) -> list[Any]:
    runs = [member for member in comparison.members if (member.lam, member.width) == (lam, m)]
    return [member for member in runs if not member.failure]


def _median(values: Sequence[float | None]) -> float | None:
    middle = float(np.median(np.array(values, dtype=float))) if values else math.nan
    return middle if math.isfinite(middle) else None


def _runs(comparison: Comparison) -> Table:
    rows = []
    for lam, m in itertools.product(comparison.lams, comparison.widths):
        kept = _finished(comparison, lam, m)
        asked = sum((member.lam, member.width) == (lam, m) for member in comparison.members)
        counters = [
            number(_median([member.stats.get(key) for member in kept]), 4)
            for key in ("steps", "rejected", "evaluations", "seconds")
        ]
        rows.append([lam, m, f"{len(kept)} of {asked}", *counters])
    columns = ["lam", "M", "finished", "steps", "rejected", "evaluations", "seconds"]
    note = "Medians over the seeds, of the whole run; seconds of wall time, on one rank."
    return table("Runs", columns, rows, note)


def _failures(comparison: Comparison) -> Table:
    failed = [member for member in comparison.members if member.failure]
    rows = [(member.lam, member.width, member.seed, member.failure) for member in failed]
    return table("Failures", ["lam", "M", "seed", "why"], rows, "", "Every run finished.")

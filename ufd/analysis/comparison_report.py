"""The page of a comparison of particles with the diffusion: HTML with its figures, and Markdown."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ufd.analysis.comparison import Comparison, LocalOrder
from ufd.analysis.comparison_figures import lam_figure, time_figure, width_figure
from ufd.analysis.orders import OrderFit
from ufd.analysis.pages import MISSING, cell, fill_pages, short, with_error, write_pages
from ufd.exceptions import InputError

# A table is the same on both pages: a title, columns, rows of texts, a note, and what to say
# instead of no rows.
Table = dict[str, Any]

_FLOOR = (
    "MMD is the energy distance, sqrt(2 E|X - Y| - E|X - X'| - E|Y - Y'|) of chord lengths. M atoms "
    "are never at distance zero from a smooth density. The floor is what is left when nothing else "
    "is wrong: "
)
_FLOORS = {
    "quantile": "the distance of the diffusion to M of its own quantiles.",
    "iid": "the root mean square distance of the diffusion to M independent draws from it. It is "
    "a yardstick, no bound: particles that repel each other leave it below, and then no "
    "excess is left.",
}
_EXCESS = (
    "The excess is sqrt(distance² - floor²). For atoms at quantiles, distance² = bias² + floor² "
    "(derived in docs/theory.md): the excess is the bias of lam once M resolves the density. It is "
    "a difference of nearly equal numbers near the floor; below half of the floor it is marked * "
    "and not fitted. The width part is the distance to the widest run of the same lam and seed: "
    "what M alone still changes. It holds the atoms of that run too."
)
_POWERS = (
    "No clean power of lam is expected: regularisation damps every mode of the density by another "
    "factor. So local orders between neighbours are given, and one power only where three distances "
    "or more stand clear of the floor and fall. An order whose finer distance is below three floors "
    "is marked: it is an order of the floor. A plateau of the excess is no floor: look for harmonics "
    "that the features do not see (plain ReLU), for drawn data, and for the tolerance of the steps."
)


def comparison_lines(comparison: Comparison) -> list[str]:
    """Runs, the last distance of the finest run with its floor, and local orders; for a terminal.

    Args:
        comparison: What `ufd.compare` returned, or `read_comparison` read.
    """
    lam, m, t = comparison.lams[-1], comparison.widths[-1], comparison.times[-1]
    failed = sum(bool(member.failure) for member in comparison.members)
    finished = len(comparison.members) - failed
    at = f"t = {t:g}"
    lines = {
        "runs": f"{finished} finished, {failed} failed  ({_error_note(comparison)})",
        "MMD to the diffusion": f"{_last(comparison)}  (lam = {lam:g}, M = {m}, {at}; floor "
        f"{comparison.floor(m)[-1]:.4g})",
        "local orders in lam": f"{_listed(comparison.orders_in_lam(m, t))}  (M = {m}, {at})",
        "local orders in M": f"{_listed(comparison.orders_in_width(lam, t))}"
        f"  (lam = {lam:g}, {at})",
    }
    plain = {"±": "+-", MISSING: "-", "→": "to"}
    texts = [f"{key:<24}{value}".replace(f" ± {MISSING}", "") for key, value in lines.items()]
    return [text.translate(str.maketrans(plain)) for text in texts]


def write_comparison_report(comparison: Comparison, directory: Path) -> Path:
    """Write comparison.html and comparison.md; returns the HTML file.

    Args:
        comparison: What `ufd.compare` returned, or `read_comparison` read.
        directory: Where the files go; it exists.

    Raises:
        StorageError: If a file cannot be written.
    """
    start = comparison.configuration["start"]
    lam, m, t = comparison.lams[-1], comparison.widths[-1], comparison.times[-1]
    context = {
        "title": f"Particles and their diffusion{_place(comparison)}",
        "headline": f"At t = {t:g} the {m} particles with lam = {lam:g} are {_last(comparison)} "
        f"from the diffusion (MMD); the floor is {comparison.floor(m)[-1]:.4g}.",
        "explanation": [_FLOOR + _FLOORS.get(start, _FLOORS["iid"]), _EXCESS, _POWERS],
        "setting": _setting(comparison),
        "figures": _figures(comparison),
        "tables": [
            _distances(comparison),
            *_orders(comparison),
            _runs(comparison),
            _failures(comparison),
            _table("Provenance", ["item", "value"], comparison.provenance.items()),
        ],
    }
    return write_pages(directory, "comparison", fill_pages("comparison", context))


def _table(title: str, columns: Sequence[str], rows: Any, note: str = "", none: str = "") -> Table:
    texts = [[cell(value) for value in row] for row in rows]
    return {"title": title, "columns": columns, "rows": texts, "note": note, "none": none}


def _measured(value: float, error: float) -> str:
    """A value and its error; a dash for what is not known."""
    if not math.isfinite(value):
        return MISSING
    return with_error(value, error) if math.isfinite(error) else f"{value:.4g} ± {MISSING}"


def _last(comparison: Comparison) -> str:
    """The distance of the widest run with the smallest lam at the last time."""
    mean, error = comparison.mean("diffusion", comparison.lams[-1], comparison.widths[-1])
    return _measured(float(mean[-1]), float(error[-1]))


def _order(order: LocalOrder) -> str:
    return _measured(order.order, order.stderr) + ", at floor" * order.at_floor


def _listed(orders: Sequence[LocalOrder]) -> str:
    return "; ".join(f"{_order(o)} ({o.first:g} → {o.second:g})" for o in orders) or "none"


def _drawn(comparison: Comparison) -> bool:
    asked = comparison.configuration["particles"]
    return asked["start"] == "iid" or any(asked[key] is not None for key in ("data", "batch"))


def _error_note(comparison: Comparison) -> str:
    seeds = comparison.configuration["seeds"]
    if seeds > 1:
        return f"errors: one standard error over {seeds} seeds"
    return (
        "one seed: no error is known" if _drawn(comparison) else "nothing is drawn: deterministic"
    )


def _place(comparison: Comparison) -> str:
    problem, p = comparison.configuration["problem"], comparison.configuration["p"]
    where = ""
    if problem is not None:
        dim = problem["dim"]
        where = f" on {({1: 'the circle S^1', 2: 'the sphere S^2'}).get(dim, f'S^{dim}')}"
        if problem["manifold"] == "torus":
            where = f" on the torus T^{dim} of period {problem['period']:g}"
    return f"{where}, p = {p:g}"


def _shown(value: Any) -> str:
    """A table of a case file as a call: kind(key = value)."""
    if isinstance(value, dict):
        inner = ", ".join(f"{key} = {_shown(v)}" for key, v in value.items() if key != "kind")
        return f"{value.get('kind', '')}({inner})" if inner else value["kind"]
    return f"({', '.join(map(_shown, value))})" if isinstance(value, list) else short(value)


def _setting(comparison: Comparison) -> Table:
    """What was compared, in words."""
    asked, limit = comparison.configuration["particles"], comparison.configuration["diffusion"]
    problem = comparison.configuration["problem"] or {"teacher": None, "initial": None}
    function, target = "a Python function", asked["target"]
    data = "the population" if asked["data"] is None else f"{asked['data']} samples"
    starts = {"quantile": "quantiles of the initial density", "iid": "independent draws from it"}
    size = f"dt = {asked['dt']:g}" if asked["dt"] else f"rtol = {asked['rtol']:g}"
    extra = [f"{key} = {asked[key]:g}" for key in ("epsilon", "batch", "momentum") if asked[key]]
    mesh = "a mesh from a file" if limit["cells"] is None else f"cells = {limit['cells']}"
    steps = f"dt = {limit['dt']:g}" if limit["dt"] else f"rtol = {limit['rtol']:g}"
    rows = [
        ("teacher", _shown(problem["teacher"] or function)),
        ("initial density", _shown(problem["initial"] or function)),
        ("divergence, penalty", f"p = {comparison.configuration['p']:g}, least at the outer weight "
         f"{asked['reference']:g}"),
        ("features", _shown(asked["features"] or function)),
        ("data", f"{data}, inputs {asked['inputs']}"),
        ("targets", "the teacher itself" if target is None else
         "given atoms" if target == "atoms" else f"{target} atoms drawn from the teacher"),
        ("particles start at", starts.get(asked["start"], "given points")),
        ("lam", comparison.lams),
        ("width M", comparison.widths),
        ("seeds", f"{comparison.configuration['seeds']}; {_error_note(comparison)}"),
        ("particles step by", ", ".join([asked["stepper"], size, *extra])),
        ("reference", f"the diffusion by finite elements of degree {limit['degree']}, {mesh}; "
         f"{limit['stepper']} with {steps}. Its own error is in no error below"),
    ]  # fmt: skip
    return _table("What is compared", ["item", "value"], rows)


def _figures(comparison: Comparison) -> list[dict[str, str]]:
    """Those for which there is more than one lam or width, with captions."""
    m, t = comparison.widths[-1], comparison.times[-1]
    several = comparison.configuration["seeds"] > 1
    bars = "Bands and bars are one standard error over the seeds." if several else (
        f"No bands: {_error_note(comparison)}."
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
    return _measured(excess, distance * error / excess) + " *" * (excess < floor / 2)


def _distances(comparison: Comparison) -> Table:
    rows = []
    for lam, m in itertools.product(comparison.lams, comparison.widths):
        means = {name: comparison.mean(name, lam, m) for name in ("diffusion", "widest", "teacher")}
        floors, excesses = comparison.floor(m), comparison.excess(lam, m)
        kept = _finished(comparison, lam, m)
        for i, t in enumerate(comparison.times):
            at = {name: (float(mean[i]), float(error[i])) for name, (mean, error) in means.items()}
            widest = _measured(*at["widest"]) if m != comparison.widths[-1] else MISSING
            rows.append(
                [lam, m, t, _measured(*at["diffusion"]), f"{floors[i]:.4g}",
                 _excess(*at["diffusion"], excesses[i], floors[i]), widest,
                 _measured(*at["teacher"]), cell(comparison.limit[i]),
                 _median([member.risk[i] for member in kept])]
            )  # fmt: skip
    columns = ["lam", "M", "t", "MMD to the diffusion", "floor", "excess", "width part",
               "MMD to the teacher", "the diffusion's", "risk (median)"]  # fmt: skip
    note = f"{_error_note(comparison).capitalize()}. *: below half of the floor, uncertain."
    return _table("Distances", columns, rows, note)


def _orders(comparison: Comparison) -> list[Table]:
    """Local orders and, where it does not refuse, the one power that was fitted."""
    lams, widths = comparison.lams, comparison.widths
    note = "Orders are positive where the distance falls. "
    in_width = [
        _order_table(
            f"Orders in M {of}", "lam", list(itertools.product(lams, comparison.times)), widths,
            lambda lam, t, name=name: comparison.orders_in_width(lam, t, name),
            lambda lam, t, name=name: comparison.fit_in_width(lam, t, name), note + fits,
        )
        for of, name, fits in (
            ("of the distance", "diffusion", "One power of 1/M is fitted above three floors."),
            ("of the width part", "widest", "Towards the widest run, whose atoms count too."),
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
        found = {(order.first, order.second): _order(order) for order in orders(place, t)}
        rows.append(
            [place, t, *(found.get(pair, MISSING) for pair in pairs), *_power(fit, place, t)]
        )
    columns = [label, "t", *(f"{a:g} → {b:g}" for a, b in pairs), "one power", "from"]
    return _table(title, columns, rows, note, "There is one value only, so no order.")


def _power(fit: Callable[..., OrderFit], *at: float) -> tuple[str, str]:
    """The one power and from how many points, or why there is none."""
    try:
        found = fit(*at)
    except InputError as error:
        reason = str(error).removeprefix("fit_order: ").partition(";")[0]
        few = "needed" in str(error)
        return MISSING, "fewer than three stand clear of the floor" if few else reason
    return with_error(found.order, found.stderr), f"{found.points} points"


def _finished(comparison: Comparison, lam: float, m: int) -> list[Any]:
    runs = [member for member in comparison.members if (member.lam, member.width) == (lam, m)]
    return [member for member in runs if not member.failure]


def _median(values: Sequence[float | None]) -> str:
    middle = np.median(np.array(values, dtype=float)) if values else math.nan
    return f"{middle:.4g}" if math.isfinite(middle) else MISSING


def _runs(comparison: Comparison) -> Table:
    rows = []
    for lam, m in itertools.product(comparison.lams, comparison.widths):
        kept = _finished(comparison, lam, m)
        asked = sum((member.lam, member.width) == (lam, m) for member in comparison.members)
        counters = [
            _median([member.stats.get(key) for member in kept])
            for key in ("steps", "rejected", "evaluations", "seconds")
        ]
        rows.append([lam, m, f"{len(kept)} of {asked}", *counters])
    columns = ["lam", "M", "finished", "steps", "rejected", "evaluations", "seconds"]
    note = "Medians over the seeds, of the whole run; seconds on one core, while it was shared."
    return _table("Runs", columns, rows, note)


def _failures(comparison: Comparison) -> Table:
    failed = [member for member in comparison.members if member.failure]
    rows = [(member.lam, member.width, member.seed, member.failure) for member in failed]
    return _table("Failures", ["lam", "M", "seed", "why"], rows, "", "Every run finished.")

"""Tables of `mpi_scaling.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from support.record import Table
from support.scaling_judge import (
    GIB,
    Levels,
    agreement,
    bandwidth_share,
    in_cache,
    krylov_per_newton,
    per_node,
    per_stage,
    per_step,
    product_bytes,
    product_seconds,
    triad,
    wall,
)
from support.scaling_model import Outcome, Projection, per_newton

# Seconds of a run by phase, as they are named in the tables and the figure.
PHASES = {
    "mesh": ("mesh",),
    "assembly": ("weight", "areas", "stiffness"),
    "hierarchy": ("hierarchy",),
    "Newton without Krylov": ("Newton",),
    "Krylov": ("Krylov",),
    "evaluation": ("evaluation",),
    "output": ("output",),
}


def phase_seconds(outcome: Outcome) -> dict[str, float]:
    """CPU seconds by phase, one rank."""
    seconds = outcome["seconds"]
    return {name: sum(seconds[part][0] for part in parts) for name, parts in PHASES.items()}


def iteration_table(levels: Levels) -> Table:
    """Counts, and costs in products back to back."""
    columns = ["level", "nodes", "to t", "steps", "rejected", "Newton", "per stage, late",
               "Krylov per Newton", "CPU s", "ms per Newton", "products per Newton",
               "products after a sweep", "products per step"]  # fmt: skip
    rows = []
    for level, o in levels.items():
        counters, product = o["counters"], product_seconds(o)
        rows.append([
            level, o["nodes"], o["t"], counters["steps"], counters["rejected"], o["newton"],
            per_stage(o), krylov_per_newton(o), o["seconds"]["run"][0], 1e3 * per_newton(o),
            per_newton(o) / product, per_newton(o) / product_seconds(o, "cold"),
            per_step(o) / product,
        ])  # fmt: skip
    return Table("Iterations over levels, one core", columns, rows)


def product_table(levels: Levels) -> Table:
    """One product with K over the machine's bandwidth."""
    columns = ["level", "MB moved", "in cache", "triad GB/s", "warm ms", "warm GB/s",
               "warm share", "cold ms", "cold GB/s", "cold share"]  # fmt: skip
    rows = []
    for level, o in levels.items():
        moved = product_bytes(o)
        row = [level, moved / 1e6, "yes" if in_cache(o) else "no", o["speeds"]["triad"][0]]
        for kind in ("warm", "cold"):
            seconds = product_seconds(o, kind)
            row += [1e3 * seconds, moved / seconds / 1e9, bandwidth_share(o, kind)]
        rows.append(row)
    return Table("One product with K: back to back, and after a sweep", columns, rows)


def phase_table(levels: Levels) -> Table:
    """CPU seconds of each phase, and in products."""
    rows = []
    for level, o in levels.items():
        phases = phase_seconds(o)
        product = product_seconds(o)
        rows.append([level, *phases.values(), o["seconds"]["prepare"][0],
                     phases["mesh"] / product, o["seconds"]["stiffness"][0] / product])  # fmt: skip
    columns = ["level", *PHASES, "new diagonals (in Newton)", "mesh in products", "K in products"]
    return Table("Work by phase, CPU seconds of one core", columns, rows)


def memory_table(levels: Levels, huge: Outcome | None) -> Table:
    """Peak memory."""
    rows = []
    for level, o in [*levels.items(), *([(10, huge)] if huge else [])]:
        sizes = o["memory"]
        rows.append([level, o["nodes"], sizes["libraries"] / 1e6, sizes["after_run"] / GIB,
                     sizes["peak"] / GIB, per_node(o) / 1000])  # fmt: skip
    columns = ["level", "nodes", "libraries MB", "after the run GiB", "peak GiB", "kB per node"]
    return Table("Memory", columns, rows)


def rank_table(groups: Mapping[tuple[int, int], Sequence[Outcome]]) -> Table:
    """Wall seconds on one and two ranks, by (level, ranks)."""
    rows = []
    for (level, ranks), group in groups.items():
        o = group[0]
        setups = [wall(group, name) for name in ("mesh", "stiffness", "hierarchy")]
        run = wall(group)
        each = 1e9 * run / o["newton"] * ranks / o["nodes"]
        rows.append([level, ranks, len(group), o["counters"]["steps"], o["newton"], run, each,
                     *setups, triad(group)])  # fmt: skip
    columns = ["level", "ranks", "repeats", "steps", "Newton", "wall s", "ns per Newton and node",
               "mesh s", "K s", "hierarchy s", "triad GB/s"]  # fmt: skip
    return Table("One and two ranks, wall seconds of the slowest", columns, rows)


def agreement_table(by_ranks: Mapping[int, Outcome]) -> Table:
    """Iterations and differences on every number of ranks."""
    apart = agreement(by_ranks)
    rows = []
    for ranks, o in by_ranks.items():
        cycles = o["krylov"] + o["solves"]
        rows.append([ranks, o["nodes"], o["newton"], o["krylov"], o["reductions"] / o["newton"],
                     o["messages"] / cycles, apart[ranks]])  # fmt: skip
    columns = ["ranks", "nodes", "Newton", "Krylov", "reductions per Newton",
               "messages per cycle", "largest relative difference"]  # fmt: skip
    return Table("Functionals and 100 densities on any number of ranks", columns, rows)


def high_order_table(runs: Mapping[tuple[int, int], Outcome]) -> Table:
    """High degrees on the cubed sphere, by (degree, cells)."""
    rows = []
    for (degree, cells), o in runs.items():
        counters, product = o["counters"], product_seconds(o)
        rows.append([degree, cells, o["nodes"], o["entries"] / o["nodes"],
                     counters["linear_solver"], counters["linear_factorisations"], o["newton"],
                     krylov_per_newton(o), counters["failed_solves"], 1e3 * product,
                     bandwidth_share(o, "warm"), 1e3 * per_newton(o),
                     per_newton(o) / product])  # fmt: skip
    columns = ["degree", "cells", "nodes", "entries per node", "method", "factorisations",
               "Newton", "Krylov per Newton", "failed solves", "ms per product", "warm share",
               "ms per Newton", "products per Newton"]  # fmt: skip
    return Table("High degrees, SDIRK2 steps of 1e-4 to 0.2, one core", columns, rows)


def projection_table(projections: Sequence[Projection], end: float) -> Table:
    """Seconds of a Newton iteration by part, of a step and of a run to ``end``; memory."""
    columns = ["nodes", "ranks", "own nodes ms", "calls ms", "reductions ms", "exchanges ms",
               "coarsest level ms", "step s", f"steps to t = {end:g}", "run s", "set-up s",
               "GB per rank", "GB on rank 0"]  # fmt: skip
    rows = []
    for p in projections:
        parts = (p.local, p.calls, p.reductions, p.exchanges, p.coarse)
        rows.append([f"{p.nodes:.2g}", p.ranks, *(1e3 * part for part in parts), p.step,
                     round(p.steps), p.run, p.setup, p.memory / 1e9,
                     p.first_memory / 1e9])  # fmt: skip
    return Table("Projection: one Newton iteration by part, and what follows", columns, rows)

"""Claims of `mpi_scaling.py`: what must hold, and what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from support.record import Claim
from support.scaling import PER_ENTRY, PER_ROW
from support.scaling_model import Outcome, per_newton

Levels = Mapping[int, Outcome]
GIB = 2**30
# From this level on costs are judged: below, calls outweigh the work.
_JUDGED = 7


def product_bytes(outcome: Outcome) -> int:
    """What one product with K moves at least."""
    return PER_ENTRY * outcome["entries"] + PER_ROW * outcome["nodes"]


def product_seconds(outcome: Outcome, kind: str = "warm") -> float:
    """One product: CPU time on one rank, wall time on several."""
    return outcome["speeds"][kind][0 if outcome["ranks"] == 1 else 1]


def bandwidth_share(outcome: Outcome, kind: str) -> float:
    """Bandwidth of a product relative to the triad's, one rank."""
    moved = product_bytes(outcome) / product_seconds(outcome, kind) / 1e9
    return moved / outcome["speeds"]["triad"][0]


def in_cache(outcome: Outcome) -> bool:
    """Whether matrix and vectors of a product fit into the last-level cache."""
    return product_bytes(outcome) <= outcome["speeds"]["cache"]


def per_stage(outcome: Outcome) -> float:
    """Newton iterations per stage after the first ten steps."""
    stages, newton = outcome["settled"]
    return (outcome["newton"] - newton) / max(outcome["stages"] - stages, 1)


def per_node(outcome: Outcome) -> float:
    """Bytes per node beyond the libraries."""
    memory = outcome["memory"]
    return (memory["peak"] - memory["libraries"]) / outcome["nodes"]


def krylov_per_newton(outcome: Outcome) -> float:
    """Every Krylov iteration, those of the last corrections too."""
    return outcome["krylov"] / outcome["newton"]


def per_step(outcome: Outcome) -> float:
    """CPU seconds of a run per accepted step."""
    return outcome["seconds"]["run"][0] / outcome["counters"]["steps"]


def _most(text: str, limit: float, unit: str, values: Mapping[Any, float]) -> Claim:
    said = ", ".join(f"{value:.3g}" for value in values.values())
    return Claim(text, f"<= {limit:g}{unit}", said, max(values.values()) <= limit)


def _least(text: str, limit: float, values: Mapping[Any, float]) -> Claim:
    said = ", ".join(f"{100 * value:.0f} %" for value in values.values())
    return Claim(text, f">= {100 * limit:g} %", said, min(values.values()) >= limit)


def _named(levels: Mapping[int, Any]) -> str:
    return f"level{'s' * (len(levels) > 1)} {', '.join(map(str, levels))}"


def iterations(levels: Levels) -> list[Claim]:
    """Krylov and Newton iterations."""
    krylov = {i: krylov_per_newton(o) for i, o in levels.items()}
    claims = [_most(f"Krylov iterations per Newton iteration, {_named(levels)}", 4, "", krylov)]
    late = [value for i, value in krylov.items() if i >= 6]
    if len(late) > 1:
        spread = max(late) / min(late) - 1
        claims.append(
            Claim("The same from level 6 on: largest over smallest", "at most 20 % more",
                  f"{100 * spread:.0f} %", spread <= 0.2)
        )  # fmt: skip
    settled = {i: per_stage(o) for i, o in levels.items() if o["settled"][0]}
    if settled:
        text = f"Newton iterations per stage after ten steps, {_named(settled)}"
        claims.append(_most(text, 5, "", settled))
    return claims


def costs(levels: Levels) -> list[Claim]:
    """Work in products with K, back to back."""
    late = {i: o for i, o in levels.items() if i >= _JUDGED}
    if not late:
        return []
    product = {i: product_seconds(o) for i, o in late.items()}
    seconds = {i: o["seconds"] for i, o in late.items()}
    beyond = {i: o for i, o in late.items() if not in_cache(o)}
    inside = [i for i in late if i not in beyond]
    note = f"; {_named(dict.fromkeys(inside))} in cache" if inside else ""
    name = _named(late)
    claims = [
        _most(f"One Newton iteration, all work counted, {name}", 45, " products",
              {i: per_newton(o) / product[i] for i, o in late.items()}),
        _most(f"One SDIRK2 step, all work counted, {name}", 250, " products",
              {i: per_step(o) / product[i] for i, o in late.items()}),
        _least(f"One product, share of the triad's bandwidth, {name}{note}", 0.7,
               {i: bandwidth_share(o, "warm") for i, o in late.items()}),
        _most(f"K assembled, {name}", 150, " products",
              {i: seconds[i]["stiffness"][0] / product[i] for i in late}),
        _most(f"The mesh made, {name}", 600, " products",
              {i: seconds[i]["mesh"][0] / product[i] for i in late}),
    ]  # fmt: skip
    if beyond:
        text = f"The same after a sweep of other memory, {_named(beyond)}"
        shares = {i: bandwidth_share(o, "cold") for i, o in beyond.items()}
        claims.insert(3, _least(text, 0.7, shares))
    return claims


def memory(levels: Levels, huge: Outcome | None) -> list[Claim]:
    """Bytes per node, and the largest mesh."""
    late = {i: per_node(o) / 1000 for i, o in levels.items() if i >= 8}
    claims = []
    if late:
        text = f"Peak memory beyond the libraries per node, {_named(late)}"
        claims.append(_most(text, 1.8, " kB", late))
    if huge:
        size = huge["memory"]["peak"] / GIB
        claims.append(Claim(f"One step on {huge['nodes']:,} nodes", "within 24 GiB",
                            f"{size:.1f} GiB", size <= 24))  # fmt: skip
    return claims


def wall(outcomes: Sequence[Outcome], name: str = "run") -> float:
    """Median wall seconds of a phase over repetitions."""
    return float(np.median([o["seconds"][name][1] for o in outcomes]))


def triad(outcomes: Sequence[Outcome]) -> float:
    """Median bandwidth of all ranks together, GB/s."""
    return float(np.median([o["speeds"]["triad"][1] for o in outcomes]))


def speedup(one: Sequence[Outcome], two: Sequence[Outcome]) -> float:
    """Of a run on two ranks over one."""
    return wall(one) / wall(two)


def bandwidth_ratio(one: Sequence[Outcome], two: Sequence[Outcome]) -> float:
    """Of two ranks together over one."""
    return triad(two) / triad(one)


def weak_ratio(one: Sequence[Outcome], two: Sequence[Outcome], finer: Sequence[Outcome]) -> float:
    """Time of N nodes on one rank over that of 2 N on two, per Newton iteration.

    2 N is no level; on two ranks the time of 2 N is the geometric mean of those of N and 4 N, its
    neighbours in the family.
    """
    alone, coarse, fine = (
        np.median([o["seconds"]["run"][1] / o["newton"] for o in group])
        for group in (one, two, finer)
    )
    return float(alone / np.sqrt(coarse * fine))


def scaling(
    one: Sequence[Outcome], two: Sequence[Outcome], finer: Sequence[Outcome], level: int
) -> list[Claim]:
    """Strong and weak scaling over the machine's own."""
    ratio = bandwidth_ratio(one, two)
    strong = speedup(one, two) / ratio
    claims = [_least(f"Strong scaling, level {level}, speed-up on two ranks over the ratio of "
                     "their bandwidths", 0.85, {level: strong})]  # fmt: skip
    if finer:
        weak = 2 * weak_ratio(one, two, finer) / ratio
        claims.append(_least(f"Weak scaling, levels {level} and {level + 1}, twice the nodes on "
                             "two ranks, over the same", 0.85, {level: weak}))  # fmt: skip
    return claims


def agreement(by_ranks: Mapping[int, Outcome]) -> dict[int, float]:
    """Largest relative difference of functionals and densities from those of one rank."""
    alone = np.array(by_ranks[1]["numbers"])
    return {
        ranks: float(np.abs(np.array(o["numbers"]) / alone - 1).max())
        for ranks, o in by_ranks.items()
    }


def same_results(by_ranks: Mapping[int, Outcome]) -> Claim:
    """Any number of ranks gives the same."""
    apart = max(agreement(by_ranks).values())
    names = ", ".join(map(str, by_ranks))
    return Claim(f"Results on {names} ranks", "agree to 1e-9", f"{apart:.1e}", apart <= 1e-9)


def reused(outcome: Outcome) -> bool:
    """Whether a factor served two Newton iterations or more on average."""
    counters = outcome["counters"]
    factor = counters["linear_solver"] == "frozen factor"
    return factor and 2 * counters["linear_factorisations"] <= outcome["newton"]


def high_order(runs: Mapping[tuple[int, int], Outcome]) -> Claim:
    """Newton's cost for high degrees."""
    cost = {key: per_newton(o) / product_seconds(o) for key, o in runs.items()}
    dear = {key: o for key, o in runs.items() if cost[key] > 135}
    degrees = sorted({degree for degree, _ in runs})
    sizes = [o["nodes"] for o in runs.values()]
    said = f"{min(cost.values()):.0f} to {max(cost.values()):.0f} products, {len(dear)} above 135"
    kept = sum(map(reused, runs.values()))
    return Claim(
        f"One Newton iteration, degree {degrees[0]} to {degrees[-1]}, {min(sizes):,} to "
        f"{max(sizes):,} nodes", "<= 135 products of its own K, or a factor that is used again",
        f"{said}; a factor used again in {kept} of {len(runs)}",
        all(map(reused, dear.values())),
    )  # fmt: skip

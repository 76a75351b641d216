"""From what one or two ranks measure to many: a cost model, its assumptions, and its projection.

One Newton iteration costs a N/R + b + latencies: a from the finest level that was measured, b
(Python and PETSc calls) from levels so small that little else is left, latencies from counted
messages.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import nnls

from ufd.fem.icosphere import counts
from ufd.fem.nested import _COARSEST, _FACES_PER_RANK

Outcome = Mapping[str, Any]
# PETSc's conjugate gradients in the natural norm: z'r and p'Ap; z'r before the first iteration.
_PER_KRYLOV, _PER_SOLVE = 2, 1
# Bytes per node on rank 0 while a field is gathered and written: numbers, values, the result.
_GATHERED = 24


@dataclass(frozen=True)
class Network:
    """What connects the ranks; assumed, not measured.

    Attributes:
        latency: Seconds of one message.
        gap: Seconds that one more message costs a rank.
        neighbours: Ranks that one shares nodes with.
        imbalance: Nodes of the largest share relative to the mean.
    """

    latency: float = 2e-6
    gap: float = 1e-6
    neighbours: int = 6
    imbalance: float = 1.02


@dataclass(frozen=True)
class Model:
    """Measured costs.

    Attributes:
        per_node: Seconds of one Newton iteration per node, one rank alone.
        call: Seconds of one Newton iteration without nodes.
        call_per_level: The same for each level above the coarsest.
        share: Bandwidth that a rank keeps when all cores work, relative to one alone.
        krylov: Iterations per Newton iteration.
        newton: Iterations per step.
        steps: Steps of a whole run by level: constant and slope.
        finest: The finest level that this rests on.
        setup_per_node: Seconds of mesh, assembly and hierarchy.
        bytes_per_node: Beyond the libraries.
        libraries: Bytes of a rank without nodes.
        reductions: Of Newton's method itself, per iteration.
        exchanges: Of neighbours, per level and cycle.
    """

    per_node: float
    call: float
    call_per_level: float
    share: float
    krylov: float
    newton: float
    steps: tuple[float, float]
    finest: float
    setup_per_node: float
    bytes_per_node: float
    libraries: float
    reductions: float
    exchanges: float


@dataclass(frozen=True)
class Projection:
    """Seconds on the slowest rank, and bytes.

    Attributes:
        nodes: Of the mesh.
        ranks: That share it.
        local: Of a Newton iteration: the work on a rank's own nodes.
        calls: Calls of Python and PETSc.
        reductions: Global sums.
        exchanges: With neighbours.
        coarse: Gathering the coarsest level on every rank.
        step: One step.
        steps: Of a whole run.
        run: All of them.
        setup: Before the first.
        memory: Of a rank.
        first_memory: Of rank 0 while it writes a field.
    """

    nodes: float
    ranks: int
    local: float
    calls: float
    reductions: float
    exchanges: float
    coarse: float
    step: float
    steps: float
    run: float
    setup: float
    memory: float
    first_memory: float

    @property
    def newton(self) -> float:
        """Seconds of one Newton iteration."""
        return self.local + self.calls + self.reductions + self.exchanges + self.coarse


def level_of(nodes: float) -> float:
    """The level with so many nodes; between two, a fraction."""
    return math.log((nodes - 2) / 10, 4)


def per_newton(outcome: Outcome) -> float:
    """CPU seconds of the whole run per Newton iteration."""
    return outcome["seconds"]["run"][0] / outcome["newton"]


def fit(runs: Sequence[Outcome], small: Sequence[Outcome], counted: Outcome, share: float) -> Model:
    """The model of what was measured.

    Args:
        runs: Whole runs on one rank, by rising level.
        small: Levels in cache, three at least, on one rank: what a call costs.
        counted: A run on two ranks, whose messages are counted.
        share: Bandwidth of one of two ranks that work, relative to one alone.
    """
    finest = runs[-1]
    cost = np.array([per_newton(o) for o in small])
    levels = [level_of(o["nodes"]) - _COARSEST for o in small]
    columns = np.column_stack([[o["nodes"] for o in small], np.ones(len(small)), levels])
    (_, call, call_per_level), _ = nnls(columns / cost[:, None], np.ones(len(small)))
    tail = runs[-3:]
    slope, constant = 0.0, float(finest["counters"]["steps"])
    if len(tail) > 1:
        slope, constant = np.polyfit(
            [level_of(o["nodes"]) for o in tail], [o["counters"]["steps"] for o in tail], 1
        )
    seconds, memory = finest["seconds"], finest["memory"]
    setup = sum(seconds[name][0] for name in ("mesh", "weight", "areas", "stiffness", "hierarchy"))
    cycles = (counted["krylov"] + counted["solves"]) * (level_of(counted["nodes"]) - _COARSEST)
    return Model(
        per_node=per_newton(finest) / finest["nodes"],
        call=float(call),
        call_per_level=float(call_per_level),
        share=min(share, 1.0),
        krylov=finest["krylov"] / finest["newton"],
        newton=finest["newton"] / finest["counters"]["steps"],
        steps=(float(constant), float(slope)),
        finest=level_of(finest["nodes"]),
        setup_per_node=setup / finest["nodes"],
        bytes_per_node=(memory["peak"] - memory["libraries"]) / finest["nodes"],
        libraries=memory["libraries"],
        reductions=counted["reductions"] / counted["newton"],
        # A message is counted where it is sent and where it arrives; two ranks have one neighbour.
        exchanges=counted["messages"] / 2 / cycles,
    )


def replicated(level: float, ranks: int) -> tuple[int, int]:
    """Level that the ranks share out, and nodes of it and of those below: all on every rank."""
    shared = 0
    while shared < level and counts(shared)[2] < _FACES_PER_RANK * ranks:
        shared += 1
    return shared, sum(counts(i)[0] for i in range(shared + 1))


def project(model: Model, nodes: float, ranks: int, network: Network | None = None) -> Projection:
    """What ``nodes`` on ``ranks`` will take."""
    network = network or Network()
    level = level_of(nodes)
    heights = math.ceil(level - 1e-9) - _COARSEST
    cycles = model.krylov + 1  # one before the first iteration
    own = nodes / ranks * network.imbalance
    hops = math.ceil(math.log2(ranks)) if ranks > 1 else 0
    reductions = model.reductions + _PER_KRYLOV * model.krylov + _PER_SOLVE
    crowd = 0.0 if ranks == 1 else network.latency + network.neighbours * network.gap
    local = model.per_node * own / (model.share if ranks > 1 else 1.0)
    calls = model.call + model.call_per_level * heights
    waits = reductions * hops * network.latency
    exchanges = cycles * heights * model.exchanges * crowd
    coarse = 0.0 if ranks == 1 else cycles * (network.latency + ranks * network.gap)
    step = model.newton * (local + calls + waits + exchanges + coarse)
    steps = model.steps[0] + max(model.steps[1], 0.0) * level
    memory = model.libraries + model.bytes_per_node * (own + replicated(level, ranks)[1])
    return Projection(
        nodes=nodes,
        ranks=ranks,
        local=local,
        calls=calls,
        reductions=waits,
        exchanges=exchanges,
        coarse=coarse,
        step=step,
        steps=steps,
        run=steps * step,
        setup=model.setup_per_node * own / (model.share if ranks > 1 else 1.0),
        memory=memory,
        first_memory=memory + _GATHERED * nodes,
    )


def assumptions(
    model: Model, nodes: float, ranks: int, network: Network | None = None
) -> list[str]:
    """What a projection takes for granted, one sentence each."""
    network = network or Network()
    shared, whole = replicated(level_of(nodes), ranks)
    return [
        "Assumed: a core as fast as this one, and memory channels enough that each rank keeps "
        f"{100 * model.share:.0f} % of the bandwidth that one alone has: the ratio measured here "
        "with both cores at work.",
        f"Assumed: a message takes {1e6 * network.latency:g} us, each further one costs a rank "
        f"{1e6 * network.gap:g} us, a rank has {network.neighbours} neighbours, and nothing "
        "overlaps. A reduction is ceil(log2 ranks) messages deep. The size of messages (some "
        "10 kB) is neglected.",
        f"Counted: {model.reductions:.1f} reductions per Newton iteration in Newton's method, "
        f"{model.exchanges:.1f} exchanges per level and cycle on two ranks. From PETSc's source: "
        f"{_PER_KRYLOV} reductions per Krylov iteration and {_PER_SOLVE} per solve.",
        "Assumed: the coarsest level (162 nodes) reaches every rank by one message from each: the "
        "worst case of PCREDUNDANT, and linear in the ranks.",
        f"Assumed: iterations stay those of level {model.finest:.0f}: {model.krylov:.1f} Krylov "
        f"per Newton, {model.newton:.1f} Newton per step. Steps follow a line through the last "
        f"three levels, {max(model.steps[1], 0.0):+.1f} per level.",
        f"The largest share has {100 * (network.imbalance - 1):.0f} % more nodes than the mean: "
        f"{_FACES_PER_RANK} faces or more of a shared level per rank. Faces around a share, some "
        "per cent of it, are neglected.",
        f"On {ranks} ranks every rank makes levels 0 to {shared} whole ({whole} nodes) before it "
        "keeps its part; they are counted in its memory as if they stayed.",
        "Per-node costs are those of the finest measured level, beyond all caches: a rank's part "
        "there is as far beyond its share of them.",
        f"Writing gathers a field on rank 0, which needs {_GATHERED} B per node more; its time is "
        "not projected.",
    ]

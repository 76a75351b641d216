"""Strong and weak scaling, work by phase, memory, bandwidth; a projection to 10^8 nodes.

nu = 0.6 vMF(north, 4) + 0.4 vMF(x-axis, 6) from the uniform density, SDIRK2 at rtol 1.5e-3 to
t = 1, on icospheres of level 5 to 9 (10 thousand to 2.6 million nodes). Each job is a process of
its own. Claims, one core: at most 4 Krylov iterations per Newton iteration, 20 % apart from level 6
on; at most 5 Newton iterations per stage after ten steps; from level 7 on a Newton iteration costs
at most 45 products with K, a step 250, K 150, the mesh 600, and a product reaches 70 % of the
bandwidth of a triad in the same process; at most 1.8 kB per node. Degrees 4 to 8: at most 135
products, or a factor that is used again. Two ranks: 85 % of what the machine's bandwidth allows,
strong and weak; on 1, 2, 3 and 4 ranks results agree to 1e-9. With --huge: one step on 10.5 million
nodes within 24 GiB.

    python benchmarks/mpi_scaling.py --quick        a minute, small levels; recorded under output/
    python benchmarks/mpi_scaling.py                about 20 minutes on two free cores
    python benchmarks/mpi_scaling.py --huge         with level 10: five minutes and 20 GiB more
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mpi4py import MPI
from support import record as records
from support import scaling_figures as figures
from support import scaling_judge as judge
from support import scaling_tables as tables
from support.particle_pages import page
from support.record import Claim
from support.scaling import Case, measure
from support.scaling_meters import resident
from support.scaling_model import Outcome, assumptions, fit, project

import ufd
from ufd.launch import own_mpirun, without_launcher

NAME, TITLE = "mpi_scaling", "Scaling: work, memory, bandwidth, and 10^8 nodes"
OUTPUT = Path(__file__).resolve().parents[1] / "output" / NAME
# Cells per cube edge by degree: about 6, 24 and 98 thousand nodes.
GLL = {4: (8, 16, 32), 5: (7, 13, 25), 6: (6, 11, 21), 7: (5, 9, 18), 8: (4, 8, 16)}
SIZES = (1e-4, 1e-3, 1e-2, 0.05, 0.2)
# Levels so small that calls, not nodes, are what an iteration costs.
SMALL = (3, 4, 5)
PROJECTED = ((1e7, 100), (1e8, 100), (1e8, 1000), (1e8, 4000))


@dataclass(frozen=True)
class Plan:
    """What is run.

    Attributes:
        levels: Of the icosphere, on one core.
        end: Time of these runs.
        scaled: Level of strong scaling; weak scaling takes the next one too.
        steps: Of the runs on one and two ranks.
        repeats: Of strong scaling.
        compared: Level on which results on 1 to 4 ranks are compared.
        degrees: Cells by degree.
        huge: Whether level 10 takes a step.
    """

    levels: tuple[int, ...] = (5, 6, 7, 8, 9)
    end: float = 1.0
    scaled: int = 8
    steps: int = 10
    repeats: int = 3
    compared: int = 6
    degrees: tuple[tuple[int, tuple[int, ...]], ...] = tuple(GLL.items())
    huge: bool = False


QUICK = Plan(
    levels=(5, 6), end=0.1, scaled=5, steps=10, compared=4, degrees=((4, (8,)), (8, (4, 8)))
)


class Bench:
    """Jobs, each in a process of its own; what they found is kept in a folder.

    Args:
        folder: Where.
        again: Whether to measure what is kept already.
    """

    def __init__(self, folder: Path, again: bool) -> None:
        self.folder, self.again = folder, again
        folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, key: str, case: Case, ranks: int = 1) -> Outcome:
        """The outcome of one job."""
        path = self.folder / f"{key}.json"
        asked = {"case": json.loads(json.dumps(asdict(case))), "ranks": ranks}
        kept = json.loads(path.read_text()) if path.exists() and not self.again else {}
        if kept.get("asked") != asked:
            kept = {"asked": asked, "found": launched(case, ranks)}
            path.write_text(json.dumps(kept, indent=1) + "\n")
        found = kept["found"]
        seconds = found["seconds"]["run"]
        print(f"{key}: {found['nodes']:,} nodes, {ranks} ranks, {found['newton']} Newton, "
              f"CPU {seconds[0]:.2f} s, wall {seconds[1]:.2f} s", flush=True)  # fmt: skip
        return found


def launched(case: Case, ranks: int) -> Outcome:
    """Run a case in a job of its own."""
    command = [str(own_mpirun()), "-n", str(ranks), sys.executable, __file__, "--worker",
               json.dumps(asdict(case))]  # fmt: skip
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**without_launcher(os.environ), **threads},
    )
    return json.loads(done.stdout.splitlines()[-1])


def worker(text: str) -> None:
    """One case on the ranks of this job; its outcome as one line of JSON."""
    base = resident()
    ufd.abort_on_error()
    asked = json.loads(text)
    found = measure(Case(**{**asked, "sizes": tuple(asked["sizes"])}), MPI.COMM_WORLD, base)
    if MPI.COMM_WORLD.rank == 0:
        print(json.dumps(found))


def run(plan: Plan, bench: Bench) -> list[Claim]:
    """Measure, judge and record."""
    levels = {i: bench(f"level-{i}", Case(i, end=plan.end)) for i in plan.levels}
    small = [bench(f"small-{i}", Case(i, end=plan.end)) for i in SMALL]
    high = {
        (degree, cells): bench(f"degree-{degree}-{cells}", Case(cells, degree, sizes=SIZES))
        for degree, several in plan.degrees
        for cells in several
    }
    few = Case(plan.scaled, steps=plan.steps, repeats=1)
    pairs: dict[tuple[int, int], list[Outcome]] = {(plan.scaled, 1): [], (plan.scaled, 2): []}
    for repeat in range(plan.repeats):
        for ranks in (1, 2):
            key = f"strong-{plan.scaled}-{ranks}-{repeat}"
            pairs[plan.scaled, ranks].append(bench(key, few, ranks))
    finer = Case(plan.scaled + 1, steps=plan.steps, repeats=1)
    pairs[plan.scaled + 1, 2] = [bench(f"weak-{plan.scaled + 1}-2", finer, 2)]
    same = Case(plan.compared, steps=5, repeats=0, counted=True)
    by_ranks = {n: bench(f"ranks-{n}", same, n) for n in (1, 2, 3, 4)}
    huge = bench("huge", Case(10, steps=1, repeats=0)) if plan.huge else None
    return report(plan, levels, small, high, pairs, by_ranks, huge)


def report(
    plan: Plan,
    levels: judge.Levels,
    small: Sequence[Outcome],
    high: dict[tuple[int, int], Outcome],
    pairs: dict[tuple[int, int], list[Outcome]],
    by_ranks: dict[int, Outcome],
    huge: Outcome | None,
) -> list[Claim]:
    """Claims, tables, projection and page of what was measured."""
    one, two, finer = pairs.values()
    claims = [
        *judge.iterations(levels),
        *judge.costs(levels),
        *judge.memory(levels, huge),
        *judge.scaling(one, two, finer, plan.scaled),
        judge.same_results(by_ranks),
        judge.high_order(high),
    ]
    share = judge.bandwidth_ratio(one, two) / 2
    model = fit(list(levels.values()), small, by_ranks[2], share)
    projections = [project(model, nodes, ranks) for nodes, ranks in PROJECTED]
    shown = [
        tables.iteration_table(levels),
        tables.product_table(levels),
        tables.phase_table(levels),
        tables.memory_table(levels, huge),
        tables.rank_table(pairs),
        tables.agreement_table(by_ranks),
        tables.high_order_table(high),
        tables.projection_table(projections, plan.end),
    ]
    notes = [*_notes(levels, claims), *assumptions(model, 1e8, 1000)]
    settings: dict[str, Any] = asdict(plan) | {"model": asdict(model), "rtol": Case(0).rtol}
    records.record(NAME, TITLE, claims, shown, settings, notes)
    drawn = [("Roofline", figures.roofline(levels, high)), ("Phases", figures.phases(levels))]
    (records.results() / f"{NAME}.html").write_text(page(TITLE, notes, claims, drawn, shown))
    return claims


def _notes(levels: judge.Levels, claims: Sequence[Claim]) -> list[str]:
    first = next(iter(levels.values()))
    cache = first["speeds"]["cache"] / 2**20
    cached = [str(i) for i, o in levels.items() if judge.in_cache(o)]
    found = [
        "Costs in products are CPU seconds of all work over those of one product back to back, "
        "the median of 31. After a sweep a product takes longer, and costs would look smaller.",
        f"The last-level cache has {cache:.0f} MB. What a product touches fits there on level "
        f"{', '.join(cached) or 'none'}, where a share above 100 % is the cache's; each vector of "
        "the triad is four times as large as the cache.",
        "Bytes of a product: 12 per entry and 20 per row; of the triad 24 per entry, without the "
        "line that a store may fetch first.",
        "Weak scaling: seconds per Newton iteration of N nodes on one rank over those of 2 N on "
        "two. 2 N is no level: the geometric mean of N and 4 N on two ranks stands for it.",
        "'Newton without Krylov' is all of a stage but the linear solves; set-ups are made again "
        "and timed; evaluation is at 10,000 points; output is `save`.",
        "Memory: largest resident size of a fresh process less that after its imports.",
    ]
    if not any("Newton iteration, all work" in claim.text for claim in claims):
        found.append("Costs are not judged: no level from 7 on was run.")
    return found


def _chosen(words: argparse.Namespace) -> Plan:
    base = asdict(QUICK if words.quick else Plan())
    given = {"levels": words.levels and tuple(sorted(words.levels)), "end": words.end,
             "scaled": words.scaled, "huge": words.huge or None}  # fmt: skip
    return Plan(**{**base, **{k: v for k, v in given.items() if v is not None}})


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--levels", type=int, nargs="+", help="of the icosphere, one core")
    parser.add_argument("--end", type=float, help="time to which they run")
    parser.add_argument("--scaled", type=int, help="level of the runs on one and two ranks")
    parser.add_argument("--quick", action="store_true", help="small levels, a minute; no record")
    parser.add_argument("--huge", action="store_true", help="a step on level 10 too")
    parser.add_argument("--keep", action="store_true", help="measure only what is missing")
    parser.add_argument("--worker", metavar="JSON", help=argparse.SUPPRESS)


def _run(**options: Any) -> list[Claim]:
    words = argparse.Namespace(**options)
    if words.worker:
        worker(words.worker)
        return []
    folder = OUTPUT
    if words.quick:
        # It must not take the place of the real record.
        folder = records.RESULTS = OUTPUT / "quick"
    return run(_chosen(words), Bench(folder, again=not words.keep))


if __name__ == "__main__":
    records.launch(_run, __doc__, _options)

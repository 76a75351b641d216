"""The scaling benchmark: its worker, its judges that can say no, and its projection."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, replace
from typing import Any

import mpi_scaling
import pytest
from mpi4py import MPI
from support import record, scaling_judge
from support.scaling import Case, measure
from support.scaling_model import Model, Network, assumptions, fit, level_of, project, replicated

TINY = Case(3, steps=4, settle=2, repeats=1, sweep=1 << 20)
MODEL = Model(per_node=1e-6, call=1e-3, call_per_level=1e-4, share=0.5, krylov=3.0, newton=5.0,
              steps=(80.0, 2.0), finest=9.0, setup_per_node=1e-5, bytes_per_node=1500.0,
              libraries=1e8, reductions=8.0, exchanges=4.0)  # fmt: skip


@pytest.fixture(scope="module")
def found() -> dict:
    """What the worker says of level 3, on this rank alone."""
    return measure(TINY, MPI.COMM_SELF)


def changed(found: dict, **changes: Any) -> dict:
    """The same with other values: of phases and speeds, or of its entries."""
    result = copy.deepcopy(found)
    for name, value in changes.items():
        if name in result["seconds"]:
            result["seconds"][name] = [value, value]
        elif name in result["speeds"]:
            result["speeds"][name] = [value, value]
        else:
            result[name] = value
    return result


def test_worker_counts_everything(found):
    """Every linear solve and stage is seen; phases add up to less than the whole."""
    assert found == json.loads(json.dumps(found))
    assert (found["nodes"], found["entries"]) == (642, 642 + 2 * 1920)
    assert found["counters"]["steps"] == 4 and found["stages"] >= 8
    assert found["newton"] == found["counters"]["newton"] <= found["solves"]
    assert found["krylov"] >= found["counters"]["krylov"] > 0
    assert found["settled"][0] >= 4 and 0 < found["settled"][1] < found["newton"]
    seconds = found["seconds"]
    assert 0 < seconds["Newton"][1] + seconds["Krylov"][1] <= seconds["run"][1]
    assert found["memory"]["peak"] >= found["memory"]["after_run"] > 642 * 1000
    assert all(speed > 0 for kind in ("cold", "warm", "triad") for speed in found["speeds"][kind])


def test_worker_takes_given_steps():
    """High degrees take steps of the sizes that are asked for."""
    found = measure(Case(2, 4, sizes=(1e-3, 1e-2), repeats=0), MPI.COMM_SELF)
    assert found["t"] == pytest.approx(1.1e-2, rel=1e-12) and found["counters"]["steps"] == 2
    assert "speeds" not in found and found["counters"]["linear_solver"] == "frozen factor"


@pytest.mark.launches
def test_jobs_are_kept(tmp_path):
    """A job of two ranks counts what it sends and agrees with one; `--keep` repeats no job."""
    case = replace(TINY, repeats=0, counted=True)
    bench = mpi_scaling.Bench(tmp_path, again=False)
    by_ranks = {ranks: bench(f"ranks-{ranks}", case, ranks) for ranks in (1, 2)}
    assert by_ranks[2]["ranks"] == 2 and by_ranks[2]["reductions"] > 5 * by_ranks[2]["newton"]
    assert by_ranks[2]["messages"] > 0 == by_ranks[1]["messages"]
    assert scaling_judge.same_results(by_ranks).holds
    first, *others = by_ranks[2]["numbers"]
    wrong = by_ranks[2] | {"numbers": [first * (1 + 1e-8), *others]}
    assert not scaling_judge.same_results({1: by_ranks[1], 2: wrong}).holds
    path = tmp_path / "ranks-2.json"
    path.write_text(path.read_text().replace('"newton": ', '"newton": 1'))
    assert bench("ranks-2", case, 2)["newton"] != by_ranks[2]["newton"]  # not run again
    assert bench("ranks-2", replace(case, steps=3), 2)["counters"]["steps"] == 3


def test_judges_of_one_core(found):
    """Work within its bounds holds, and each kind of excess is found."""
    product = 1e-3
    moved = scaling_judge.product_bytes(found)
    good = changed(found, warm=product, cold=product, triad=moved / product / 1e9, stiffness=0.1,
                   mesh=0.5, run=40 * product * found["newton"], newton=20, krylov=60,
                   stages=10, settled=[4, 10])  # fmt: skip
    good["speeds"]["cache"] = 0
    good["seconds"]["run"] = [20 * 40 * product] * 2
    assert all(claim.holds for claim in scaling_judge.costs({7: good, 8: good}))
    assert all(claim.holds for claim in scaling_judge.iterations({7: good, 8: good}))
    for bad, count in (
        ({"run": 2.0}, 2),  # Newton and steps
        ({"stiffness": 0.2}, 1),
        ({"mesh": 0.7}, 1),
        ({"triad": 2 * moved / product / 1e9}, 2),  # back to back and after a sweep
        ({"cold": 2 * product}, 1),
    ):
        claims = scaling_judge.costs({7: good, 8: changed(good, **bad)})
        assert sum(not claim.holds for claim in claims) == count, bad
    assert scaling_judge.costs({6: good}) == []
    dear = changed(good, krylov=75)
    assert [c.holds for c in scaling_judge.iterations({7: good, 8: dear})] == [True, False, True]
    slow = changed(good, newton=60, krylov=180)
    assert [c.holds for c in scaling_judge.iterations({7: slow, 8: slow})] == [True, True, False]
    heavy = changed(good, memory={"peak": 642 * 1900, "libraries": 0})
    assert not scaling_judge.memory({8: heavy}, None)[0].holds
    assert not scaling_judge.memory({}, changed(good, memory={"peak": 25 * 2**30}))[0].holds


def test_judge_of_high_degrees(found):
    """A dear iteration is forgiven only where a factor was used again."""
    cheap = changed(found, warm=1.0, run=100.0 * found["newton"])
    dear = changed(found, warm=1.0, run=200.0 * found["newton"])
    factor = found["counters"] | {"linear_solver": "frozen factor", "linear_factorisations": 2}
    again = changed(dear, counters=factor)
    never = changed(dear, counters=factor | {"linear_factorisations": found["newton"]})
    held = [scaling_judge.high_order({(4, 8): o}).holds for o in (cheap, dear, again, never)]
    assert held == [True, False, True, False]


def test_judge_of_ranks(found):
    """Scaling is measured by the bandwidth of the machine, not by the number of its cores."""
    one = changed(found, run=8.0, triad=10.0)
    two, finer = changed(found, run=5.0, triad=16.0), changed(found, run=20.0, triad=16.0)
    assert [c.holds for c in scaling_judge.scaling([one], [two], [finer], 8)] == [True, True]
    assert [c.measured for c in scaling_judge.scaling([one], [two], [finer], 8)] == ["100 %"] * 2
    slow = changed(two, run=6.0)
    assert [c.holds for c in scaling_judge.scaling([one], [slow], [finer], 8)] == [False, True]
    late = changed(finer, run=30.0)
    assert [c.holds for c in scaling_judge.scaling([one], [two], [late], 8)] == [True, False]


def test_projection_by_hand():
    """One rank only works; a thousand also wait, each part as its assumption says."""
    nodes = 10 * 4**9 + 2
    alone = project(MODEL, nodes, 1, Network(imbalance=1.0))
    assert alone.local == pytest.approx(nodes * 1e-6)
    assert alone.calls == pytest.approx(1e-3 + 7e-4)
    assert alone.reductions == alone.exchanges == alone.coarse == 0
    assert alone.step == pytest.approx(5 * alone.newton)
    assert alone.run == pytest.approx((80 + 2 * 9) * alone.step)
    many = project(MODEL, nodes, 1000, Network(latency=2e-6, gap=1e-6, neighbours=6))
    assert many.local == pytest.approx(2 * 1.02 * nodes / 1000 * 1e-6)  # half of the bandwidth
    assert many.reductions == pytest.approx((8 + 2 * 3 + 1) * 10 * 2e-6)
    assert many.exchanges == pytest.approx(4 * 7 * 4 * 8e-6)
    assert many.coarse == pytest.approx(4 * 1002e-6)
    assert replicated(9, 1000) == (6, sum(10 * 4**i + 2 for i in range(7)))
    assert many.memory == pytest.approx(1e8 + 1500 * (1.02 * nodes / 1000 + replicated(9, 1000)[1]))
    assert many.first_memory == pytest.approx(many.memory + 24 * nodes)
    said = " ".join(assumptions(MODEL, nodes, 1000))
    assert "50 %" in said and "54624 nodes" in said and "+2.0 per level" in said


def test_fit_recovers_a_model(found):
    """Costs of a known law come back."""

    def costing(level: int) -> dict:
        nodes, newton = 10 * 4**level + 2, 100
        run = newton * (1e-7 * nodes + 3e-4 + 5e-5 * (level - 2))
        counters = found["counters"] | {"steps": 60 + 3 * level}
        return changed(found, nodes=nodes, newton=newton, run=run, counters=counters)

    counted = changed(found, newton=10, reductions=80, krylov=30, solves=10, messages=320)
    model = fit([costing(i) for i in (5, 6, 7)], [costing(i) for i in (3, 4, 5)], counted, 0.8)
    assert model.per_node == pytest.approx(1e-7, rel=0.05)
    assert model.call == pytest.approx(3e-4) and model.call_per_level == pytest.approx(5e-5)
    assert model.steps == pytest.approx((60, 3)) and model.finest == pytest.approx(7)
    assert model.newton == pytest.approx(100 / 81) and model.reductions == 8
    assert model.exchanges == pytest.approx(320 / 2 / 40 / (level_of(642) - 2))


def test_report(found, tmp_path, monkeypatch):
    """Every table, the figures and the assumptions reach the record and the page."""
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    plan = mpi_scaling.Plan(levels=(3, 4), scaled=3)
    levels = {3: found, 4: changed(found, nodes=2562)}
    mpi_scaling.report(
        plan,
        levels,
        [found] * 3,
        {(4, 8): found},
        {(3, 1): [found], (3, 2): [found], (4, 2): [found]},
        {1: found, 2: found},
        changed(found, nodes=10_485_762),
    )
    document = json.loads((tmp_path / "mpi_scaling.json").read_text())
    assert len(document["tables"]) == 8 and document["settings"]["model"]["share"] == 0.5
    assert all(len(row) == len(t["columns"]) for t in document["tables"] for row in t["rows"])
    assert document["settings"]["levels"] == [3, 4] and asdict(plan)["scaled"] == 3
    assert sum(note.startswith("Assumed") for note in document["notes"]) == 4
    assert any("10,485,762 nodes" in claim["text"] for claim in document["claims"])
    assert (tmp_path / "mpi_scaling.html").read_text().count("<svg") == 2

"""Each benchmark runs with tiny values, records what it says, and its judges can say no."""

from __future__ import annotations

import json
from dataclasses import replace

import circle_vs_paper
import convergence_rates
import numpy as np
import pytest
import sphere_front
import sphere_mixture
from mpi4py import MPI
from support import noisy_cases, orders, rate_cases, record
from support.rate_cases import Run
from support.rivals import centres, one_sided, symmetric


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A folder for the records."""
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    return tmp_path


def test_circle(results):
    """The claims appear with their thresholds; the tables hold every method."""
    claims = circle_vs_paper.run(
        gammas=(10.0,),
        paper_cells=64,
        repeats=1,
        symmetric=[(256, 1e-4)],
        ufd=[(8, 6, 1e-2), (16, 6, 1e-3)],
        targets=(1e-2,),
    )
    document = json.loads((results / "circle_vs_paper.json").read_text())
    assert [c["text"] for c in document["claims"]] == [c.text for c in claims]
    assert {t["title"].split(", ")[1].split(":")[0] for t in document["tables"]} == {
        "paper",
        "symmetric",
        "ufd",
    }
    assert "git_commit" in document["provenance"]
    assert (results / "circle_vs_paper.md").read_text().startswith("# ")


def test_circle_judge_says_no():
    """A slower or less accurate method of ours fails the claims."""
    rows = {
        "paper": [("p", 1e-3, 1.0)],
        "symmetric": [("s", 1e-6, 0.1)],
        "ufd": [("u", 1e-6, 0.2)],
    }
    assert [claim.holds for claim in circle_vs_paper.judge(1.0, rows, (1e-5,))] == [False, False]
    rows["ufd"] = [("u", 1e-6, 0.005)]
    assert [claim.holds for claim in circle_vs_paper.judge(1.0, rows, (1e-5,))] == [True, True]
    rows["ufd"] = [("u", 1e-4, 0.005)]
    assert not any(claim.holds for claim in circle_vs_paper.judge(1.0, rows, (1e-5,)))


def test_rivals_converge_to_the_reference():
    """One-sided differences at first order, symmetric volumes at second, to the same density."""
    settings = circle_vs_paper.DEFAULTS | {"times": (0.25,), "end": 0.5}
    problem = circle_vs_paper.Problem(1.0, settings)
    nu = problem.nu.density
    first = [
        problem.error(one_sided(nu(centres(n)), np.full(n, 1 / (2 * np.pi)), [0.25]))
        for n in (32, 64)
    ]
    second = [problem.error(symmetric(nu, n, [0.25], 1e-7)) for n in (32, 64)]
    assert 0.7 < np.log2(first[0] / first[1]) < 1.4
    assert 1.8 < np.log2(second[0] / second[1]) < 2.2


def test_mixture(results):
    """Small meshes: the table has a row for each, the claims are those of the docstring."""
    claims = sphere_mixture.run(
        rtol=1e-3,
        end=0.1,
        meshes=[(4, 3), (4, 2), (3, 4), (1, 1), (1, 2)],
        smooth=[(4, 2), (4, 3)],
        smooth_times=(0.1,),
    )
    document = json.loads((results / "sphere_mixture.json").read_text())
    assert len(document["tables"][0]["rows"]) == 5
    assert len(claims) == 3
    assert not claims[0].holds, "meshes this coarse cannot agree to 1e-6"


def test_front(results):
    """Two kinds of elements, and the extrapolation between them."""
    claims = sphere_front.run(rtol=1e-2, end=0.05, meshes=[(1, 1), (1, 2), (4, 2), (4, 3)])
    document = json.loads((results / "sphere_front.json").read_text())
    assert len(claims) == 2
    assert document["tables"][0]["rows"][-1][1] == "extrapolated"


def test_noisy_claims():
    """They hold what the report needs; a threshold that is too sharp is not met."""
    run = replace(noisy_cases.noisy_runs()[0], options={"cells": 96, "inputs": "sphere"})
    (claim,) = noisy_cases.noisy_claims([run], MPI.COMM_SELF)
    assert claim["verdict"] == "agrees" and abs(claim["deviation"]) < 1e-3
    assert claim["guaranteed"]["holds"] and claim["guaranteed"]["end"] < claim["fitted"]["rate"]
    assert claim["gap"] == pytest.approx(0.19607, rel=1e-3)
    (sharp,) = noisy_cases.noisy_claims([replace(run, tolerance=1e-9)], MPI.COMM_SELF)
    assert sharp["verdict"] == "within"
    (short,) = noisy_cases.noisy_claims([replace(run, end=0.5)], MPI.COMM_SELF)
    assert short["verdict"] == "short" and "integrate" in short["verdict_text"]


def test_rates(tmp_path, monkeypatch):
    """Claims and tables appear, a wrong expectation is noticed, a rerun runs nothing."""
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    monkeypatch.setattr(orders, "studies", lambda full: [])
    right = rate_cases.circle_mises((1.0,))
    wrong = replace(right, id="wrong", runs=[replace(right.runs[0], eigenvalue=1.2)])
    coarse = replace(rate_cases.certified(), runs=[Run("P1", {"solver.cells": 2})])
    options = {
        "families": [right, wrong, coarse],
        "noisy": [],
        "output": tmp_path / "runs",
        "comm": MPI.COMM_SELF,
    }
    claims = convergence_rates.run(**options)
    assert [c.holds for c in claims] == [False, True, True, True]
    document = json.loads((tmp_path / "convergence_rates.json").read_text())
    verdicts = [c["verdict"] for c in document["claims"]]
    assert verdicts == ["agrees", "differs", "discrete"]
    assert "1.2 is expected" in document["claims"][1]["verdict_text"]
    assert {t["id"] for t in document["tables"]} >= {"claims", "slaved", "caught", "envelopes"}
    page = (tmp_path / "convergence_rates.html").read_text()
    assert "1 of 3 comparisons agrees with theory" in page
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").rglob("run.json")}
    convergence_rates.run(**options)
    assert len(before) == 11
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").rglob("run.json")} == before

"""The benchmark of the published particle experiments: keys, atoms, verdicts, a tiny run."""

from __future__ import annotations

import json
import math

import numpy as np
import particles_vs_paper as benchmark
import pytest
from support import particle_runs, record
from support.particle_runs import Run, measure, schedule, single_precision, torus_distances
from support.published import (
    CENTRES,
    PERIOD,
    SHIFT,
    TIMES,
    Setup,
    judge,
    published,
    read_key,
)

import ufd
from ufd.storage import write_arrays


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    """Nothing outside of the test's own folder."""
    monkeypatch.setattr(particle_runs, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("figure", "key", "quantity", "setup"),
    [
        ("width", "teacher:M32 bia", "teacher", Setup("circle", 32, reference=0.0)),
        ("lmbda", "diff:l1e-1 unb", "diff", Setup("circle", lam=1e-1)),
        ("widthrisk", "risk_bia:M512", "risk", Setup("circle", 512, reference=0.0)),
        ("gamma", "risk:g1000", "risk", Setup("circle", lam=1e-4, gamma=1000.0)),
        ("conv_risk", "risk_unb:M128", "risk", Setup("torus", 128)),
        ("conv_gamma", "teacher:ginf", "teacher", Setup("torus", lam=1e-2, gamma=math.inf)),
    ],
)
def test_keys(figure, key, quantity, setup):
    """A key says what was measured, and of what."""
    assert read_key(figure, key) == (quantity, setup)


def test_published_curves():
    """All of them are read, in order, and interpolated on a logarithmic scale."""
    curves = published()
    assert len(curves) == 75
    assert len({c.setup.name for c in curves}) == len({c.setup for c in curves}) == 29
    for c in curves:
        assert np.all(np.diff(c.x) > 0) and np.all(c.y > 0)
        assert c.at(c.x / 1024) == pytest.approx(c.y)
    first = curves[0]
    middle = first.x[1:3].mean() / 1024
    assert first.at(middle) == pytest.approx(math.sqrt(first.y[1] * first.y[2]))
    assert first.at(1e3) == pytest.approx(first.y[-1])
    assert (first.label, first.bias) == ("lam = 1e-1", "unbiased")


def test_atoms_on_the_circle():
    """Exactly every third atom belongs to the shifted mode; the others are those of no shift."""
    points = Setup("circle", gamma=1e6).atoms(4096, 3)
    angles = np.arctan2(points[:, 1], points[:, 0])
    near = np.abs(angles - SHIFT) < np.abs(angles)
    expected = np.arange(4096) % 3 == 1
    assert near.sum() == pytest.approx(1365, abs=10)
    assert np.mean(near == expected) > 0.99
    assert np.linalg.norm(points, axis=1) == pytest.approx(1)
    assert np.array_equal(points, Setup("circle", gamma=1e6).atoms(4096, 3))
    teacher = Setup("circle").problem.teacher
    floor = ufd.sampling_floor(teacher, 4096)
    assert ufd.mmd((Setup("circle").atoms(4096, 0), None), teacher) < 3 * floor


def test_atoms_on_the_torus():
    """Half of the atoms at each centre; two atoms in the limit."""
    torus = Setup("torus").problem.manifold
    points = Setup("torus", gamma=1e8).atoms(1000, 0)
    assert points.min() >= 0 and points.max() < PERIOD
    for part, centre in zip((points[:500], points[500:]), CENTRES, strict=True):
        assert np.median(np.abs(torus.shortest(part - centre))) < 1e-3
    assert Setup("torus", gamma=math.inf).atoms(4096, 0).tolist() == [[3.0, 0.0], [1.0, 1.0]]
    teacher = Setup("torus").problem.teacher
    floor = ufd.sampling_floor(teacher, 4096)
    atoms = (Setup("torus").atoms(4096, 0), None)
    assert ufd.mmd(atoms, teacher, manifold=torus) < 3 * floor


@pytest.mark.parametrize(
    ("published", "ours", "word"),
    [
        (1.0, [1.19], "within 20 %"),
        (1.0, [1.21], "differs"),
        (1.0, [0.9, 1.5, 1.6], "within the spread"),
        (1.0, [1.3, 1.5, 1.6], "differs"),
        (1.0, [0.2, 1.1, 5.0], "within 20 %"),
    ],
)
def test_verdicts(published, ours, word):
    """20 % of the published value, or the spread, whichever is larger."""
    verdict = judge(1.0, published, ours)
    assert verdict.word == word
    assert (verdict.low, verdict.high) == (min(ours), max(ours))
    assert math.isnan(verdict.sigmas) == (len(ours) < 3)


def test_how_far_off():
    """In standard deviations of the logarithms."""
    logs = np.array([-1.0, 0.0, 1.0])
    assert judge(1.0, math.exp(2.0), np.exp(logs)).sigmas == pytest.approx(2.0)


@pytest.mark.parametrize("ground", ["circle", "torus"])
def test_tiny_run(ground):
    """It is measured as the public distances do, and done once."""
    setup = Setup(ground, width=8, lam=1e-2)
    run = Run(setup, 0, end=0.1, samples=32)
    assert run.results() is None
    measure(run)
    kept = run.results()
    assert kept["iteration"] == pytest.approx(schedule(0.1)) and kept["iteration"][-1] == 102.4
    assert np.all(np.isfinite(kept["risk"])) and np.all(np.diff(kept["risk"]) < 1e-9)
    assert kept["teacher"][-1] < kept["teacher"][0]
    assert ("image" in kept) == (ground == "torus") and ("diff" in kept) == (ground == "circle")


def test_torus_distances():
    """Many at once are those of the package."""
    torus, atoms = ufd.Torus(2, PERIOD), Setup("torus").atoms(50, 1)
    x = np.random.default_rng(0).uniform(0, PERIOD, (7, 2))
    (energy,), (image,) = torus_distances([x], atoms)
    laws = (x, None), (atoms, None)
    assert energy == pytest.approx(ufd.mmd(*laws, manifold=torus))
    assert image == pytest.approx(ufd.minimum_image_discrepancy(*laws, manifold=torus))


def test_single_precision():
    """Where round-off does not matter, the risk is that of the solver."""
    run = Run(Setup("circle", width=8, lam=1e-1), 2, samples=64)
    atoms = run.setup.atoms(64, 2)
    inputs = np.random.default_rng(2).standard_normal((64, 2)).astype("f4").astype(float)
    solver = ufd.VarProSolver(
        run.setup.problem,
        features=ufd.ReLU(),
        lam=1e-1,
        width=8,
        data=inputs,
        target=(atoms, np.full(64, 1 / 64)),
        start="iid",
    )
    assert single_precision(run, solver.state.features) == pytest.approx(solver.risk(), rel=1e-4)


def _keep(factor: float, seeds: int) -> None:
    """Results of runs whose values are multiples of the published ones."""
    particle_runs.KEPT.mkdir()
    kept: dict = {}
    for c in published():
        name = {"teacher": "image"}.get(c.quantity, c.quantity)
        name = name if c.setup.ground == "torus" else c.quantity
        kept.setdefault(c.setup, {})[name] = factor * c.at(schedule(TIMES[-1]) / 1024)
    for setup in [s for s in kept if s.width < 1024]:
        rest = {"iteration": schedule(TIMES[-1]), "seconds": 1.0, "evaluations": 5}
        if setup.ground == "torus":
            rest["teacher"] = kept[setup]["image"]
        for seed in range(seeds):
            write_arrays(Run(setup, seed).path, **kept[setup], **rest)


@pytest.mark.parametrize(("factor", "holds"), [(1.1, True), (1.3, False)])
def test_report(folders, factor, holds):
    """Claims, tables, curves and the page from what is there, and no more."""
    _keep(factor, seeds=2)
    claims = benchmark.report(6)
    assert len(claims) == 12 and all(c.holds == holds for c in claims)
    assert all("(2 seeds)" in c.measured for c in claims)
    document = json.loads((folders / "particles_vs_paper.json").read_text())
    rows = document["tables"][0]["rows"]
    assert {row[9] for row in rows} == {"within 20 %" if holds else "differs"}
    assert {row[7] for row in rows} == {f"{100 * (factor - 1):+.0f} %"}
    curves = json.loads((folders / "particles_vs_paper_curves.json").read_text())
    assert set(curves) == {"iteration", "width", "widthrisk", "conv_width", "conv_risk"}
    page = (folders / "particles_vs_paper.html").read_text()
    assert page.count("<svg") == 5 and "src=" not in page and "http" not in page.split("<svg")[0]


def test_report_of_nothing():
    """No run, no claim."""
    assert benchmark.report(1) == []

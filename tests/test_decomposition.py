"""A distance split into width, regularisation and identifiability, and the verdict on it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from mpi4py import MPI

import ufd
from ufd.analysis.decomposition import Decomposition, read_decomposition
from ufd.analysis.decomposition_report import decomposition_lines, write_decomposition_report

CIRCLE = ufd.Sphere(1)
TEACHER = ufd.Mixture([ufd.AngularCauchy(5), ufd.AngularCauchy(5, 0.4 * np.pi)], [2 / 3, 1 / 3])
PROBLEM = ufd.UltraFastDiffusion(TEACHER, ufd.Uniform(CIRCLE))
MIXED = ufd.ReLU() + 0.5 * ufd.ReLU(power=2)
DENSITIES = {"cells": 64, "rtol": 1e-4}

CASE = """
[problem]
dim = 1
[problem.teacher]
kind = "angular_cauchy"
gamma = 5.0
[solver]
cells = 8
degree = 4
rtol = 1e-3
[time]
end = 0.4
times = [0.2, 0.4]
[output]
modes = 0
guarantees = false
[meanfield]
lam = 1e-2
cells = 48
rtol = 1e-3
"""


@pytest.fixture(scope="module")
def found() -> Decomposition:
    """Plain ReLU, which does not see everything, from drawn starts."""
    return ufd.decompose(PROBLEM, ufd.ReLU(), 1e-2, 24, [0.2, 1.0], seeds=3, densities=DENSITIES,
                         comm=MPI.COMM_SELF)  # fmt: skip


def synthetic(width, lam, blind, floor) -> Decomposition:
    count = len(width)
    nothing = [0.0] * count
    rows = [{"mean_field": width, "diffusion": width, "teacher": width}]
    return Decomposition(
        times=list(range(1, count + 1)), lam=1e-2, width=8, particles=rows, regularisation=lam,
        identifiability=blind, both=nothing, floor=floor,
        to_teacher={"mean_field": nothing, "limit": nothing, "diffusion": nothing},
        configuration={},
    )  # fmt: skip


def test_each_verdict():
    """The largest part names it, equal neighbours are one interval, the floor is told apart."""
    told = synthetic([5, 5, 1, 1, 1, 4], [1, 1, 5, 5, 1, 1], [1, 1, 1, 1, 5, 1], [1, 1, 1, 1, 1, 3])
    assert [(v.kind, v.start, v.end) for v in told.verdict()] == [
        ("width", 1, 2), ("regularisation", 3, 4), ("identifiability", 5, 5), ("floor", 6, 6)
    ]  # fmt: skip
    assert told.sentence() == (
        "Your run is width-limited from t = 1, regularisation-limited from t = 3, "
        "identifiability-limited from t = 5, at the sampling floor from t = 6; what would help in "
        "the end: more particles."
    )


def test_parts_are_the_distances(found):
    """Each part is the distance of the two runs it stands between, by their own states."""
    runs = found.runs
    for i, t in enumerate(found.times):
        mean, limit, diffusion = (runs[k].at(t) for k in ("mean_field", "limit", "diffusion"))
        assert found.regularisation[i] == pytest.approx(ufd.mmd(mean, limit), rel=1e-9)
        assert found.identifiability[i] == pytest.approx(ufd.mmd(limit, diffusion), rel=1e-9)
        assert found.both[i] == pytest.approx(ufd.mmd(mean, diffusion), rel=1e-9)
        assert found.floor[i] == pytest.approx(ufd.sampling_floor(mean, 24), rel=1e-9)
        direct = ufd.mmd(diffusion, TEACHER)
        assert found.to_teacher["diffusion"][i] == pytest.approx(direct, rel=1e-9)
    run = ufd.train(PROBLEM, ufd.ReLU(), 1e-2, 24, [0.2, 1.0], start="iid", seed=1)
    here = ufd.mmd(run.at(1.0), runs["mean_field"].at(1.0))
    assert found.particles[1]["mean_field"][1] == pytest.approx(here, rel=1e-9)


def test_total_and_its_bounds(found):
    """The triangle inequality holds for every seed; squares add up to the scatter."""
    for own in found.particles:
        bound = np.array(own["mean_field"]) + found.regularisation + found.identifiability
        assert np.all(np.array(own["diffusion"]) <= bound * (1 + 1e-9))
    total, _ = found.mean("diffusion")
    np.testing.assert_allclose(found.predicted, total, rtol=0.3)
    assert np.all(found.predicted <= found.bound * (1 + 1e-9))
    assert np.all(np.array(found.identifiability) > 0)


def test_a_seeing_feature_has_the_diffusion_for_its_limit():
    """Then nothing is unidentifiable, and one run less is made; quantiles need one training."""
    found = ufd.decompose(PROBLEM, MIXED, 1e-2, 16, [0.2], seeds=5, start="quantile",
                          densities=DENSITIES)  # fmt: skip
    assert found.runs["limit"] is found.runs["diffusion"]
    assert found.identifiability == [0.0] and len(found.particles) == 1
    assert found.both == found.regularisation
    assert 0 < found.floor[0] < ufd.sampling_floor(found.runs["mean_field"].at(0.2), 16)


def test_saved_and_read(found, tmp_path):
    """The same numbers and the same verdict; the page names it."""
    found.save(tmp_path)
    again = read_decomposition(tmp_path)
    assert again.sentence() == found.sentence() and again.particles == found.particles
    page = write_decomposition_report(again, tmp_path)
    text, plain = page.read_text(), (tmp_path / "decomposition.md").read_text()
    assert found.sentence().partition(";")[0] in text and "<svg" in text
    assert "| 0.2 |" in plain and "identifiability" in plain
    assert any(line.startswith("verdict") for line in decomposition_lines(again))
    (tmp_path / "decomposition.json").write_text(json.dumps({"kind": "decomposition", "odd": 1}))
    with pytest.raises(ufd.StorageError, match=r"decomposition\.json"):
        read_decomposition(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": 0}, "decompose: seeds = 0 must be a positive integer"),
        ({"start": "anywhere"}, "start = 'anywhere' must be 'iid' or 'quantile'"),
        ({"lam": 0.0}, "lam = 0.0 must be positive"),
        ({"width": 0}, "width = 0 must be a positive integer"),
        ({"times": [0.0]}, "times: a positive time is needed"),
        ({"densities": {"cells": 1}}, "cells = 1"),
    ],
)
def test_bad_input(changes, message):
    """One line that names the argument."""
    arguments = {"lam": 1e-2, "width": 8, "times": [0.1], "densities": DENSITIES} | changes
    with pytest.raises(ufd.InputError, match=message):
        ufd.decompose(PROBLEM, ufd.ReLU(), **arguments)


def test_a_case(launch, tmp_path):
    """`ufd run` solves the mean-field equation beside the diffusion; with a width it decomposes."""
    (tmp_path / "case.toml").write_text(CASE)
    place = tmp_path / "out"
    done = launch("ufd", "run", str(tmp_path / "case.toml"), "--output", str(place))
    assert done.returncode == 0, done.stderr
    run = ufd.load(place / "meanfield")
    assert run.times == [0.0, 0.2, 0.4] and not (place / "decomposition.json").exists()
    split = ["--set", "meanfield.width=12", "--set", "meanfield.seeds=2"]
    done = launch("ufd", "run", str(tmp_path / "case.toml"), *split, "--output", f"{place}2")
    assert done.returncode == 0, done.stderr
    assert "verdict" in done.stdout and "Your run is" in done.stdout
    told = read_decomposition(tmp_path / "out2")
    assert told.width == 12 and len(told.particles) == 2
    assert (tmp_path / "out2" / "decomposition.html").exists()
    again = launch("ufd", "run", str(tmp_path / "case.toml"), *split, "--output", f"{place}2",
                   "--restart")  # fmt: skip
    assert again.returncode == 0 and "nothing is left to do" in again.stdout


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ("meanfield.lam=-1", "meanfield.lam"),
        ("meanfield.width=0", "meanfield.width"),
        ("meanfield.features={relu=0.0}", "features"),
        ("meanfield.harmonics=1000", "harmonics = 1000"),
        ("meanfield.odd=1", "meanfield.odd"),
    ],
)
def test_bad_keys(launch, tmp_path, change, word):
    """One line, before anything is run."""
    (tmp_path / "case.toml").write_text(CASE)
    done = launch("ufd", "run", str(tmp_path / "case.toml"), "--set", change, "--check")
    assert done.returncode == 2 and word in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.mpi
def test_over_ranks(comm):
    """The same numbers on every rank count, equal on every rank."""
    arguments = (PROBLEM, ufd.ReLU(), 1e-2, 12, [0.2])
    options = {"seeds": 3, "densities": DENSITIES}
    shared = ufd.decompose(*arguments, comm=comm, **options)
    alone = ufd.decompose(*arguments, comm=MPI.COMM_SELF, **options)
    assert shared.regularisation == pytest.approx(alone.regularisation, rel=1e-6)
    assert shared.mean("diffusion")[0] == pytest.approx(alone.mean("diffusion")[0], rel=1e-6)
    assert len(set(comm.allgather(shared.sentence()))) == 1

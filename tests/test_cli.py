"""``ufd run | report``: what they print, write and return, on one rank and on two.

Whatever goes wrong is one line on stderr, whatever the number of ranks, and an exit code:
0 finished, 2 bad input or set-up, 3 input or output, 4 solver.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import pytest
from said import lines_of, said_once

import ufd

TINY = """[problem]
dim = 1
[problem.teacher]
kind = "von_mises_fisher"
mean = [1.0, 0.0]
kappa = 1.0
[solver]
degree = 4
cells = 8
rtol = 1e-3
[time]
end = 0.5
[output]
modes = 4
"""
OPPOSITE = """[problem.teacher]
kind = "von_mises_fisher"
mean = [0.0, 0.0, 1.0]
kappa = 60.0
[problem.initial]
kind = "von_mises_fisher"
mean = [0.0, 0.0, -1.0]
kappa = 60.0
[solver]
degree = 1
cells = 2
"""
FILES = {"run.json", "series.npz", "fields.npz", "ratio.vtkhdf", "density.vtkhdf"}
REPORT = {"report.html", "report.md", "densities.png", "decay.png", "conserved.png"}
LINES = ["spectral gap", "first excited mode", "predicted rate", "guaranteed rate", "fitted rate",
         "report"]  # fmt: skip

# Case file (None: there is none), further arguments, exit code, parts of the line.
BAD = {
    "contrast": (OPPOSITE, [], 2, ["initial: the contrast", "1e104 exceeds 1e+30", "mix some"]),
    "mesh": (TINY.replace("cells = 8", 'mesh = "none.msh"'), [], 3, ["none.msh", "no such file"]),
    "cells": (TINY.replace("cells = 8", "cells = 2"), [], 2, ["cells = 2", "from 3 to 1000000"]),
    "rtol": (TINY.replace("1e-3", "2.0"), [], 2, ["solver.rtol = 2.0", "less than 1"]),
    "key": (TINY.replace("[time]", "[tme]"), [], 2, ["tme: unknown key; did you mean time?"]),
    "no file": (None, [], 3, ["case.toml", "No such file"]),
    "set": (TINY, ["--set", "solver.sdt=1"], 2, ["solver.sdt: unknown key; did you mean dt?"]),
    "set value": (TINY, ["--set", "solver.dt=[1"], 2, ["solver.dt: '[1' is no value", "TOML"]),
    "option": (TINY, ["--rubbish"], 2, ["No such option '--rubbish'; see ufd --help"]),
    "underflow": (
        TINY.replace("kappa = 1.0", "kappa = 1e4"),
        [],
        2,
        ["teacher: its density underflows", "lower the concentration"],
    ),
}


@pytest.fixture
def case(tmp_path, monkeypatch) -> Path:
    """A tiny valid case file, in the working directory."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "case.toml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="module", params=[1, 2], ids=["1 rank", "2 ranks"])
def finished(request, launch, tmp_path_factory):
    """A finished tiny run, its output and its number of ranks."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "case.toml").write_text(TINY)
    ranks = None if request.param == 1 else request.param
    job = launch("ufd", "run", "case.toml", ranks=ranks, cwd=folder)
    return folder / "output" / "case", job, request.param


@pytest.mark.parametrize("name", BAD)
def test_refused(call, case, name):
    """A bad case or command line ends with one line and its exit code, and writes no file."""
    text, more, expected, parts = BAD[name]
    case.unlink()
    if text is not None:
        case.write_text(text)
    code, _, err = call("run", case, "--output", "out", *more)
    assert code == expected
    said_once(err, *parts)
    assert not list(Path().glob("out/*"))


@pytest.mark.launches
@pytest.mark.parametrize("name", BAD)
def test_refused_by_two_ranks(launch, tmp_path, name):
    """Two ranks say the same one line, once, and mpirun returns the same code."""
    text, more, expected, parts = BAD[name]
    if text is not None:
        (tmp_path / "case.toml").write_text(text)
    job = launch("ufd", "run", "case.toml", *more, ranks=2, cwd=tmp_path)
    assert job.returncode == expected
    said_once(job.stderr, *parts)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [(["run"], "Missing argument 'CASE'"), (["report"], "Missing argument"), (["rum"], "'rum'")],
)
def test_bad_command_line(call, arguments, part):
    """An incomplete command line is one line that points to the help."""
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    said_once(err, part, "; see ufd --help")


@pytest.mark.launches
def test_missing_argument_on_two_ranks(launch):
    """Ranks that never start MPI still speak once."""
    job = launch("ufd", "run", ranks=2)
    assert (job.returncode, job.stdout) == (2, "")
    said_once(job.stderr, "Missing argument 'CASE'; see ufd --help")


def test_no_command(call):
    """``ufd`` alone shows its help, as it is, and fails."""
    code, out, err = call()
    assert (code, out) == (2, "")
    assert err.startswith("Usage: ufd") and err.rstrip().endswith("ufd run --restart.")


def test_output_is_not_overwritten(call, case, tmp_path):
    """A folder that holds anything, or a file, is refused before anything is computed."""
    kept = tmp_path / "kept" / "note.txt"
    kept.parent.mkdir()
    kept.write_text("mine")
    for place, part in ((kept.parent, "is not empty (it holds note.txt)"), (kept, "a file")):
        code, out, err = call("run", case, "--output", place)
        assert (code, out) == (3, "")
        said_once(err, str(place), part)
    assert kept.read_text() == "mine" and list(kept.parent.iterdir()) == [kept]


@pytest.mark.launches
def test_output_is_not_overwritten_by_two_ranks(launch, case):
    """The same on two ranks."""
    Path("output/case").mkdir(parents=True)
    Path("output/case/note.txt").write_text("mine")
    job = launch("ufd", "run", case, ranks=2, cwd=case.parent)
    assert (job.returncode, job.stdout) == (3, "")
    said_once(job.stderr, "is not empty")
    assert [p.name for p in Path("output/case").iterdir()] == ["note.txt"]


def test_check(call, case):
    """``--check`` names nodes, memory and time, and writes nothing."""
    code, out, err = call("run", case, "--check")
    assert (code, err) == (0, "")
    valid, memory, seconds = lines_of(out)
    assert valid.startswith("valid ") and "32 nodes, 6 stored times to t = 0.5" in valid
    assert memory.startswith("memory ") and "GB on 1 rank" in memory
    assert seconds.startswith("time ") and "per step" in seconds and " s to " in seconds
    assert list(case.parent.iterdir()) == [case]


def test_check_counts_fixed_steps(call, case):
    """With a fixed step the number of steps is known."""
    case.write_text(TINY.replace("rtol = 1e-3", "dt = 0.01"))
    assert "50 to 50 steps" in call("run", case, "--check")[1]


@pytest.mark.launches
def test_run(finished):
    """A run exits 0, writes every file, and names its rates and its report."""
    place, job, ranks = finished
    assert (job.returncode, job.stderr) == (0, "")
    assert {path.name for path in place.iterdir()} == FILES | REPORT
    lines = lines_of(job.stdout)
    assert lines[0] == f"case.toml: {ranks} rank{'s' * (ranks > 1)}, results in output/case"
    # One line at each stored time, then the summary.
    times = [line.split()[2] for line in lines[1:7]]
    assert times == ["0", "0.03125", "0.0625", "0.125", "0.25", "0.5"]
    for line, start in zip(lines[7:], LINES, strict=True):
        assert line.startswith(start)
    assert "none: |w - 1| is " in lines[11] and "integrate to about t = " in lines[11]
    assert lines[12].endswith("output/case/report.html")


@pytest.mark.launches
def test_run_is_the_same_on_any_rank_count(finished, call, case):
    """Two ranks find what one rank finds."""
    place, _, ranks = finished
    assert json.loads((place / "run.json").read_text())["provenance"]["ranks"] == ranks
    assert call("run", case, "--output", "one", "--no-report")[0] == 0
    assert {path.name for path in Path("one").iterdir()} == FILES
    here, there = ufd.load("one"), ufd.load(place)
    points = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, -1.0]])
    # Newton stops at 1e-11 of a residual that factorisations of two kinds round differently.
    for t in here.times:
        np.testing.assert_allclose(there.density(points, t), here.density(points, t), rtol=1e-7)


@pytest.mark.launches
def test_report_is_rebuilt(finished, call):
    """``ufd report`` writes the report again and prints the same summary."""
    place, job, _ = finished
    for name in REPORT:
        (place / name).unlink()
    code, out, err = call("report", place)
    assert (code, err) == (0, "")
    assert REPORT < {path.name for path in place.iterdir()}
    assert lines_of(out)[:-1] == lines_of(job.stdout)[7:12]
    assert out.rstrip().endswith(f"report                  {place / 'report.html'}")
    # The fields alone are no run.
    code, out, err = call("report", place / "fields.npz")
    assert (code, out) == (3, "")
    said_once(err, "fields.npz: it is a file; name the directory of a run")


def test_rates_of_several_runs(call, case):
    """One page over runs that are no sweep; a bad one is named."""
    for p in ("1", "2"):
        assert (
            call("run", case, "--set", f"problem.p={p}", "--output", f"o{p}", "--no-report")[0] == 0
        )
    code, out, _ = call("report", "o1", "o2", "--rates", "all/pages")
    assert code == 0 and out.rstrip().endswith("all/pages/rates.html")
    claims = json.loads(Path("all/pages/rates.json").read_text())["claims"]
    assert [c["title"] for c in claims] == ["o1", "o2"]
    assert not Path("o1/report.html").exists()
    code, _, err = call("report", "o1", "none", "--rates", "all")
    assert code == 3
    said_once(err, "cannot read none: there is no such run")


@pytest.mark.parametrize("name", ["nothing", "file", "folder"])
def test_report_refuses(call, case, name):
    """What is no run is refused with one line."""
    Path("file").write_text("x")
    Path("folder").mkdir()
    code, out, err = call("report", name)
    assert (code, out) == (3, "")
    said_once(err, f"cannot read {name}")


def test_fitted_rate_is_printed(call, case):
    """A run that is long enough gives a rate, and its deviation from the prediction."""
    case.write_text(TINY.replace("end = 0.5", "end = 10.0").replace("1e-3", "1e-5"))
    code, out, _ = call("run", case, "--no-report")
    fitted = next(line for line in lines_of(out) if line.startswith("fitted rate"))
    assert code == 0 and "% off the prediction" in fitted
    # The first mode under exp(cos x) decays at 1.165497, quadratic functionals at twice that.
    assert float(fitted.split()[2]) == pytest.approx(2.330994, rel=1e-3)


def test_progress_on_request(call, case):
    """The bar can be forced, as under mpirun, and it can be silenced with its lines."""
    code, out, err = call("run", case, "--no-report", "--output", "a", "--progress")
    assert code == 0 and "\r" in err and "t = 0.5" in out
    code, out, err = call("run", case, "--no-report", "--output", "b", "--no-progress")
    assert (code, err) == (0, "") and "steps" not in out


def test_stopped_run_is_stored(call, case, monkeypatch):
    """A run that cannot reach its end exits 4; what it found is kept and reported."""
    import ufd.fem.diffusion as room

    monkeypatch.setattr(room, "Evolution", functools.partial(room.Evolution, max_steps=9))
    code, out, err = call("run", case, "--output", "out")
    assert (code, err) == (4, "")
    assert {path.name for path in Path("out").iterdir()} == FILES | REPORT | {"checkpoint"}
    result = ufd.load("out")
    assert result.status is ufd.StopReason.TOO_MANY_STEPS
    assert result.times == [0.0, 0.03125, 0.0625, 0.125] and result.stats["steps"] == 9
    assert result.status.value in Path("out/report.html").read_text()
    assert "fitted rate" in out

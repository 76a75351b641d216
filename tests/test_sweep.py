"""``ufd sweep`` on one rank: grids, names, resuming, failures."""

from __future__ import annotations

import fcntl
import functools
import json
import os
import shlex
from pathlib import Path

import numpy as np
import pytest
from said import lines_of, said_once
from sweeps import KAPPA, NAMES, TINY, TWO, P, statuses, written

import ufd
import ufd.fem.diffusion as room
from ufd.config import parse_change
from ufd.exceptions import InputError
from ufd.sweep import Job, Outcome, exit_code, grid, jobs_of, read_cases, slugs

# With kappa = 1e4 this is valid as a file, and the solver refuses it: its density underflows.
SINGLE = """[problem]
dim = 1
teacher = {kind = "von_mises_fisher", mean = [1.0, 0.0], kappa = 1.0}
""" + TINY[TINY.index("[solver]") :]
SHARP = ["--over", "problem.teacher.kappa=1,1e4,3", "--output", "out"]


def test_grid():
    """All combinations, the last key fastest."""
    points = grid([("a.x", [1, 2]), ("b", ["u", [0]])])
    expected = [(1, "u"), (1, [0]), (2, "u"), (2, [0])]
    assert points == [(("a.x", x), ("b", b)) for x, b in expected]


@pytest.mark.parametrize(
    ("over", "part"),
    [
        ([("p", [])], "p: no value"),
        ([("p", [1, 1.0])], "p = 1.0 comes twice"),
        ([("p", [1]), ("p", [2])], "p: swept over twice"),
        ([("q", [1])], "q: set and swept over"),
    ],
)
def test_bad_grid(over, part):
    """Lists that make no grid are refused."""
    with pytest.raises(ufd.InputError, match=part):
        jobs_of(Path("case.toml"), over, Path("out"), [("q", 1)])


@pytest.mark.parametrize(
    ("over", "names"),
    [
        ([(KAPPA, [2.5]), (P, [1])], ["kappa=2.5,p=1"]),
        ([("a.t.kappa", [1]), ("a.i.kappa", [2])], ["t.kappa=1,i.kappa=2"]),
        ([("a.0.k", [1]), ("a.1.k", [2]), ("k", [3])], ["0.k=1,1.k=2,k=3"]),
        ([("s.mean", [[1.0, 0.0]]), ("s.n", [-1e-9])], ["mean=1.0_0.0,n=-1e-09"]),
        ([("s.mesh", ["../a b/c.msh", ""])], ["mesh=.._a_b_c.msh", "mesh=_"]),
    ],
)
def test_slugs(over, names):
    """Names are readable: the shortest ends of the keys, values without unsafe characters."""
    assert slugs(grid(over)) == names


def test_slugs_are_unique():
    """Values that look alike, or are long, end in a checksum."""
    names = slugs(grid([("s.mesh", ["a b", "a/b", "A_B", "c", "d" * 300])]))
    assert names[3] == "mesh=c" and len({name.lower() for name in names}) == 5
    assert all(len(name) <= 120 and "/" not in name for name in names)


def test_command():
    """A job is a command line; the shell and the reader give its changes back."""
    changes = (("solver.mesh", "it's a mesh"), ("problem.teacher", {"kind": "uniform"}))
    job = Job(Path("a b.toml"), changes, Path("out") / "x=1")
    words = shlex.split(job.command)
    assert words[:3] == ["ufd", "run", "a b.toml"] and words[-2:] == ["--output", "out/x=1"]
    assert tuple(parse_change(words[i + 1]) for i in (3, 5)) == changes


def test_exit_code():
    """4 for a failure; 2 if all failures are bad input."""
    job = Job(Path("case.toml"), (), Path("out"))
    good, failed = Outcome(job, "finished", ""), Outcome(job, "failed", "")
    bad = Outcome(job, "failed", "", bad_input=True)
    assert exit_code([good]) == 0
    assert exit_code([good, failed]) == exit_code([failed, bad]) == 4
    assert exit_code([good, bad]) == 2


def test_sweep_and_again(call, case):
    """A sweep stores every run and what became of it; again, it runs nothing."""
    code, out, err = call("sweep", case, *TWO, "--output", "out")
    assert (code, err) == (0, "")
    lines = lines_of(out)
    assert lines[0] == "4 runs in out: 0 stored, 0 refused, 4 to do with 1 rank in each"
    for line, name in zip(lines[1:-1], NAMES, strict=True):
        assert line.split()[:2] == [name, "finished"]
        assert "gap " in line and "predicted " in line and "fitted " in line
    assert lines[-1] == "4 runs at hand, 0 failed: out/rates.html"
    swept = json.loads(Path("out/sweep.json").read_text())
    assert swept["case"] == "case.toml" and swept["over"] == {P: [1, 2], KAPPA: [1, 2]}
    assert [job["directory"] for job in swept["jobs"]] == NAMES
    assert swept["jobs"][1]["changes"] == {P: 1, KAPPA: 2}
    assert ufd.load("out/p=2,kappa=2").fields.problem.divergence.p == 2

    before = written()
    code, out, _ = call("sweep", case, *TWO, "--output", "out")
    assert code == 0 and lines_of(out)[0].startswith("4 runs in out: 4 stored")
    assert statuses() == dict.fromkeys(NAMES, "stored") and written() == before

    # The command of a job makes the same run.
    words = shlex.split(swept["jobs"][3]["command"])[1:]
    assert call(*words[:-1], "same", "--no-report")[0] == 0
    here, there = ufd.load("out/p=2,kappa=2"), ufd.load("same")
    assert here.configuration == there.configuration
    np.testing.assert_array_equal(here.series["chi2"], there.series["chi2"])


def test_default_output(call, case):
    """Without --output the name of the case is used."""
    assert call("sweep", case, "--over", f"{P}=1")[0] == 0
    assert statuses("output/case-sweep") == {"p=1": "finished"}


def test_check_runs_nothing(call, case):
    """``--check`` plans every case, and says which cannot be run."""
    case.write_text(SINGLE)
    code, out, err = call("sweep", case, *SHARP, "--set", f"{P}=1", "--check")
    assert (code, err) == (2, "")
    assert out.count("ufd run case.toml --set problem.p=1 --set problem.teacher.kappa=") == 3
    assert out.count("valid ") == 2 and out.count("refused ") == 1 and "underflows" in out
    assert list(Path().iterdir()) == [case]


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        (["--over", f"{P}=1,-1"], 2, "problem.p = -1"),
        (["--over", f"{P}=1", "--set", "solver.sdt=1"], 2, "did you mean dt?"),
        (["--over", f"{P}=1", "--set", "solver.dt"], 2, "'solver.dt' is no change"),
        (["--over", f"{P}="], 2, "problem.p: there is no value"),
        (["--over", f"{P}=1", "--set", f"{P}=1"], 2, "set and swept over"),
        ([], 2, "Missing option '--over'"),
        (["--over", f"{P}=1", "--output", "case.toml"], 3, "cannot use case.toml"),
    ],
)
def test_bad_sweep_runs_nothing(call, case, words, code, part):
    """One bad key or value stops the sweep before anything is run."""
    got, out, err = call("sweep", case, "--output", "out", *words)
    assert (got, out) == (code, "")
    said_once(err, part)
    assert list(Path().iterdir()) == [case]


def test_failing_case_among_good_ones(call, case):
    """What the solver refuses is recorded, and the others are run."""
    case.write_text(SINGLE)
    code, out, err = call("sweep", case, *SHARP)
    assert (code, err) == (2, "")
    expected = {"kappa=1": "finished", "kappa=10000.0": "failed", "kappa=3": "finished"}
    assert statuses() == expected
    message = json.loads(Path("out/sweep.json").read_text())["jobs"][1]["message"]
    assert "underflows" in message and message in out
    pages = {"sweep.json", "rates.html", "rates.md", "rates.json"}
    assert {path.name for path in Path("out").iterdir()} == {"kappa=1", "kappa=3", *pages}
    assert set(written()) == {"kappa=1", "kappa=3"}


def test_stopped_run_is_not_repeated(call, case, monkeypatch):
    """A run that stops before its end is stored and counts as failed, until it is removed."""
    words = ["sweep", case, "--over", f"{P}=1", "--output", "out"]
    with monkeypatch.context() as patch:
        patch.setattr(room, "Evolution", functools.partial(room.Evolution, max_steps=2))
        code, out, _ = call(*words)
    assert code == 4 and "largest number of steps" in out and "is stored" in out
    before = written()
    code, out, _ = call(*words)
    assert code == 4 and "remove out/p=1 to run it again" in out and written() == before
    for file in Path("out/p=1").iterdir():
        file.unlink()
    assert call(*words)[0] == 0 and statuses() == {"p=1": "finished"}


def test_foreign_directories(call, case):
    """Another case, foreign files, a damaged run: one line each, the rest is run."""
    words = ["sweep", case, "--over", f"{P}=1,2,3,4,5,6", "--output", "out"]
    assert call("run", case, "--set", f"{P}=7", "--no-report", "--output", "out/p=1")[0] == 0
    (Path("out") / "p=2").mkdir()
    Path("out/p=2/note.txt").write_text("mine")
    Path("out/p=3").write_text("a file")
    Path("out/p=4").mkdir()
    Path("out/p=4/run.json").write_text("{}")
    Path("out/p=5/checkpoint").mkdir(parents=True)
    code, out, err = call(*words)
    assert (code, err) == (4, "")
    assert list(statuses().values()) == ["failed"] * 5 + ["finished"]
    for part in (
        "out/p=1 holds a run of another case (problem.p = 7.0 there, 1.0 here); remove it",
        "out/p=2 holds note.txt, which is not of an interrupted run; remove it",
        "cannot use out/p=3",
        "cannot read out/p=4/run.json",
        "out/p=5 holds a run that was stopped; go on with it: ufd run",
    ):
        assert out.count(part) == 1
    assert Path("out/p=2/note.txt").read_text() == "mine"
    assert ufd.load("out/p=1").fields.problem.divergence.p == 7


def test_unfinished_directory_is_cleared(call, case):
    """Without run.json, files of a run are those of an interrupted one."""
    words = ["sweep", case, "--over", f"{P}=1,2,3", "--output", "out"]
    assert call(*words)[0] == 0
    before = written()
    Path("out/p=1/run.json").rename("out/p=1/.run.json.part")
    for file in Path("out/p=3").iterdir():
        file.unlink()
    assert call(*words)[0] == 0
    assert statuses() == {"p=1": "finished", "p=2": "stored", "p=3": "finished"}
    assert written()["p=2"] == before["p=2"] and not Path("out/p=1/.run.json.part").exists()


def test_two_sweeps_at_once(call, case):
    """A second sweep in the same place is refused while the first one works."""
    words = ["sweep", case, "--over", f"{P}=1", "--output", "out"]
    Path("out").mkdir()
    place = os.open("out", os.O_RDONLY)
    try:
        fcntl.flock(place, fcntl.LOCK_EX)
        code, out, err = call(*words)
        assert (code, out) == (3, "")
        said_once(err, "another run or sweep is at work in out")
    finally:
        os.close(place)
    assert call(*words)[0] == 0


@pytest.mark.parametrize("table", ["[particles]", "[meanfield]", "[langevin]\ntemperature = 0.1"])
def test_tables_that_a_sweep_would_leave_out(table, call, case):
    """Refused in one line before anything is run, also where only one value brings the table."""
    case.write_text(f"{TINY}{table}\n")
    name = table[1:].split("]")[0]
    job = Job(case, (), Path("there"))
    with pytest.raises(InputError, match=rf"{name}: .* take the \[{name}\] table out, or call ufd"):
        read_cases([job])
    code, _, err = call("sweep", case, "--over", f"{P}=1,2", "--output", "out")
    said_once(err, f"{name}: a sweep runs the diffusion only")
    assert code == 2 and list(Path().iterdir()) == [case]
    case.write_text(TINY)
    read_cases([job])
    brings = Job(case, (parse_change("meanfield.lam=1e-2"),), Path("other"))
    with pytest.raises(InputError, match="meanfield: a sweep runs the diffusion only"):
        read_cases([job, brings])

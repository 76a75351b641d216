"""``ufd sweep`` in processes of its own: on two ranks, with a bug in it, killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import alone
from said import lines_of
from sweeps import KAPPA, NAMES, TWO, statuses, written

import ufd

# Runs a grid in which one case raises what nobody expects.
WITH_A_BUG = """
import sys
from pathlib import Path
from mpi4py import MPI
from ufd.sweep import jobs_of, run_jobs, running

real = running.solve_case


def solve_case(case, folder, comm):
    if case.problem.p == 2 and (sys.argv[1] == "all" or MPI.COMM_WORLD.rank == 1):
        raise ZeroDivisionError("a bug")
    return real(case, folder, comm=comm)


running.solve_case = solve_case
jobs = jobs_of(Path("case.toml"), [("problem.p", [1, 2, 3])], Path("out"))
found = run_jobs(jobs, comm=MPI.COMM_WORLD, across=sys.argv[2] == "across")
print("at the end:", [(each.status, each.message[:24]) for each in found])
"""


@pytest.mark.launches
@pytest.mark.parametrize("across", [[], ["--across"]], ids=["inside", "across"])
def test_two_ranks(launch, call, case, across):
    """Two ranks find what one rank finds, each case on both or each rank its own."""
    words = ["sweep", case, *TWO, "--output"]
    job = launch("ufd", *words, "two", *across, ranks=2, cwd=case.parent.absolute())
    assert (job.returncode, job.stderr) == (0, "")
    lines = lines_of(job.stdout)
    assert len(lines) == 6 and {line.split()[0] for line in lines[1:-1]} == set(NAMES)
    assert statuses("two") == dict.fromkeys(NAMES, "finished")
    assert call(*words, "one")[0] == 0
    for name in NAMES:
        here, there = ufd.load(Path("one") / name), ufd.load(Path("two") / name)
        assert there.provenance["ranks"] == (1 if across else 2)
        for series in ("chi2", "mass"):
            np.testing.assert_allclose(there.at_times(series), here.at_times(series), atol=1e-9)
    # What two ranks stored, one rank need not run.
    assert call(*words, "two")[0] == 0
    assert statuses("two") == dict.fromkeys(NAMES, "stored")


@pytest.mark.launches
@pytest.mark.parametrize(
    ("who", "across"), [("all", "inside"), ("all", "across"), ("one", "inside")]
)
def test_bug_in_one_case(launch, case, who, across):
    """An unexpected exception in one case leaves the others alone, and never hangs."""
    Path("script.py").write_text(WITH_A_BUG)
    job = launch("python", "script.py", who, across, ranks=2, cwd=case.parent.absolute())
    if who == "all":
        good, bug = ("finished", "gap "), ("failed", "ZeroDivisionError: a bug")
        ends = [line for line in lines_of(job.stdout) if line.startswith("at the end: ")]
        assert job.returncode == 0 and len(ends) == 2 and ends[0] == ends[1]
        assert ends[0].count("'finished'") == 2 and repr(bug) in ends[0] and good[1] in ends[0]
    else:
        # The other rank waits inside the case: all end, and the same command resumes.
        assert job.returncode != 0 and "ZeroDivisionError: a bug (rank 1)" in job.stderr
    assert {"p=1"} <= set(written()) and "p=2" not in written()


@pytest.mark.launches
def test_kill_and_resume(call, case):
    """After SIGKILL the same command runs what is missing, and only that."""
    values = ",".join(f"{k / 20:g}" for k in range(1, 21))
    words = ["sweep", str(case), "--over", f"{KAPPA}={values}", "--output", "out"]
    program = str(Path(sys.executable).with_name("ufd"))
    with subprocess.Popen(
        [program, *words], env=alone({}), stdout=subprocess.DEVNULL, start_new_session=True
    ) as job:
        deadline = time.monotonic() + 30
        while len(written()) < 3 and time.monotonic() < deadline:
            time.sleep(0.005)
        os.killpg(job.pid, signal.SIGKILL)
    before = written()
    assert 3 <= len(before) < 20 and not Path("out/sweep.json").exists()
    code, out, err = call(*words)
    assert (code, err) == (0, "")
    assert lines_of(out)[0].startswith(f"20 runs in out: {len(before)} stored, 0 refused")
    after = written()
    assert len(after) == 20 and before.items() <= after.items()
    kinds = statuses()
    assert {name for name, kind in kinds.items() if kind == "stored"} == set(before)
    assert {kind for name, kind in kinds.items() if name not in before} == {"finished"}

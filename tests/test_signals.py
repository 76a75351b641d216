"""Signals to real jobs: deadly before the first step, then a request that is met within seconds.

The partial step is discarded, a snapshot written, the exit code is 75, and the same command line
with ``--restart`` ends with the bits of the run that nobody disturbed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from conftest import alone
from resumed import LONG, same_files
from said import said_once

from ufd.launch import own_mpirun

# Ranks leave their numbers; a file says that the mesh is built, where the job may also wait.
DRIVER = """
import os, sys, time
from pathlib import Path
from ufd import cli
import ufd.fem.discretization as room

rank = os.environ.get("PMI_RANK", "0")
Path(f"pid-{rank}").write_text(str(os.getpid()))
plain = room.Discretization.__init__

def building(self, *arguments):
    plain(self, *arguments)
    Path(f"built-{rank}").touch()
    if Path("wait").exists():
        time.sleep(30)

room.Discretization.__init__ = building
cli.main()
"""


@pytest.fixture
def start(tmp_path) -> Iterator[Callable[..., subprocess.Popen]]:
    """Start ``ufd run`` of the long case on some ranks."""
    jobs = []
    (tmp_path / "case.toml").write_text(LONG)

    def begin(ranks: int, *more: str) -> subprocess.Popen:
        for path in (*tmp_path.glob("pid-*"), *tmp_path.glob("built-*")):
            path.unlink()
        words = [sys.executable, "-c", DRIVER, "run", "case.toml", "--no-report", *more]
        if ranks > 1:
            words = [str(own_mpirun()), "-n", str(ranks), *words]
        pipe = subprocess.PIPE
        jobs.append(
            subprocess.Popen(
                words, cwd=tmp_path, env=alone({}), stdout=pipe, stderr=pipe, text=True
            )
        )
        return jobs[-1]

    yield begin
    for job in jobs:
        job.kill()
        job.communicate()


def wait_for(condition: Callable[[], bool], job: subprocess.Popen) -> None:
    deadline = time.monotonic() + 40
    while not condition():
        assert job.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)


def stop(job: subprocess.Popen, pid: int, number: int) -> tuple[str, str]:
    """Send a signal; what the job prints until its end, within ten seconds."""
    begin = time.monotonic()
    os.kill(pid, number)
    out, err = job.communicate(timeout=30)
    assert time.monotonic() - begin < 10
    return out, err


@pytest.mark.launches
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, -15), (signal.SIGUSR1, -10), (signal.SIGINT, 130)]
)
def test_before_the_first_step(start, tmp_path, number, code):
    """The process ends at once, with nothing to say, and nothing is written."""
    (tmp_path / "wait").touch()
    job = start(1)
    wait_for((tmp_path / "built-0").exists, job)
    _, err = stop(job, job.pid, number)
    # Negative as a parent sees it; shells and schedulers call -15 143.
    assert (job.returncode, err.strip()) == (code, "")
    assert not list(tmp_path.glob("output/case/*"))


@pytest.mark.launches
def test_before_the_first_step_on_two_ranks(start, tmp_path):
    """The same under mpirun, which reports the bare number of the signal."""
    (tmp_path / "wait").touch()
    job = start(2)
    wait_for(lambda: len(list(tmp_path.glob("built-*"))) == 2, job)
    _, err = stop(job, job.pid, signal.SIGTERM)
    assert job.returncode in (15, 143) and "PETSC ERROR" not in err


@pytest.mark.launches
@pytest.mark.parametrize(
    ("ranks", "number", "to"),
    [
        (1, signal.SIGTERM, "job"),
        pytest.param(1, signal.SIGINT, "job", marks=pytest.mark.slow),
        pytest.param(2, signal.SIGTERM, "job", marks=pytest.mark.slow),
        (2, signal.SIGUSR1, "last rank"),
    ],
)
def test_while_it_runs(start, tmp_path, ranks, number, to):
    """Exit code 75, one line, and the same command line ends with the same bits."""
    words = ("--set", f"time.end={0.25 if ranks == 2 else 0.5}")
    (tmp_path / "case.toml").write_text(LONG.replace("[0.01, 0.02, 0.3]", "[0.01, 0.02, 0.2]"))
    job = start(ranks, *words, "--output", "whole")
    out, err = job.communicate(timeout=100)
    assert (job.returncode, err) == (0, "")
    job = start(ranks, *words, "--output", "out", "--restart")
    # It prints a line at each stored time.
    for line in job.stdout:
        if line.startswith("t = 0.02 "):
            break
    pid = job.pid if to == "job" else int((tmp_path / f"pid-{ranks - 1}").read_text())
    out, err = stop(job, pid, number)
    assert job.returncode == 75, (out, err)
    name = signal.Signals(number).name
    said = [line for line in err.splitlines() if line.startswith("ufd: ")]
    assert said == [line for line in err.splitlines() if name in line]
    said_once(
        said[0], f"stopped by {name} at t = 0.", "steps; resume with: ufd run case.toml --set"
    )
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["checkpoint"]
    job = start(ranks, *words, "--output", "out", "--restart")
    out, err = job.communicate(timeout=100)
    assert (job.returncode, err) == (0, "") and "resumed from" in out
    same_files(tmp_path / "out", tmp_path / "whole")


TWICE = """
import os, signal, sys, time
from ufd.signals import StopSignals

with StopSignals() as signals:
    signals.listen()
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGTERM):
        os.kill(os.getpid(), number)
        assert signals.received == signal.SIGTERM
    print("once", flush=True)
    if "again" in sys.argv:
        time.sleep(1.2)
        os.kill(os.getpid(), signal.SIGUSR1)
        print("twice", flush=True)
assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
"""


@pytest.mark.parametrize(("again", "code"), [("", 0), ("again", -signal.SIGUSR1)])
def test_second_signal(launch, again, code):
    """What comes at once counts once; whoever insists a second later is obeyed at once."""
    job = launch("python", "-c", TWICE, again)
    assert (job.returncode, job.stdout) == (code, "once\n"), job.stderr

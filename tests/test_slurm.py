"""The batch scripts of ``benchmarks/slurm``, run by a real Slurm of one node.

``.ci/slurm`` starts it in a folder of its own; ``sudo .ci/slurm install`` gets the packages.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import alone
from sweeps import TINY

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS, SET_UP = ROOT / "benchmarks" / "slurm", ROOT / ".ci" / "slurm"
BIN = Path(sys.executable).parent
DAEMONS = os.environ["PATH"] + ":/usr/sbin"
ENDS = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY"}

# Equal steps, as many as a test wants. No modes: MUMPS on two ranks finds them with other last bits
# at every launch.
LONG = """[problem]
dim = 2
[problem.teacher]
kind = "von_mises_fisher"
mean = [0.6, 0.0, 0.8]
kappa = 1.0
[solver]
degree = 1
cells = 5
stepper = "backward_euler"
dt = {dt}
linear = "multigrid"
[time]
end = {end}
[output]
modes = 0
guarantees = false
[checkpoint]
interval = 20
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.launches,
    pytest.mark.timeout(300),
    pytest.mark.skipif(os.getuid() != 0, reason="slurmd must be started by root"),
    pytest.mark.skipif(
        not all(shutil.which(name, path=DAEMONS) for name in ("slurmctld", "slurmd", "munged")),
        reason="Slurm is not installed: .ci/slurm install",
    ),
]


def _free_ports() -> tuple[str, str]:
    with socket.socket() as one, socket.socket() as other:
        for end in (one, other):
            end.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1]), str(other.getsockname()[1])


class Cluster:
    """The commands of a user of this Slurm, in one folder."""

    def __init__(self, configuration: Path, folder: Path) -> None:
        self.environment = alone({"SLURM_CONF": str(configuration), "BIN": str(BIN)})
        self.folder = folder

    def call(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            list(map(str, words)),
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
        )

    def case(self, name: str, text: str) -> str:
        (self.folder / name).write_text(text)
        return name

    def submit(self, script: str, *arguments: str, **options: str) -> str:
        """Give a script to sbatch, with changed ``#SBATCH`` options; its job number."""
        changed = [f"--{key}={value}" for key, value in options.items()]
        done = self.call("sbatch", "--parsable", *changed, SCRIPTS / script, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def show(self, job: str) -> list[dict[str, str]]:
        """What Slurm says of a job, or of each task of an array."""
        lines = self.call("scontrol", "show", "job", job, "-o").stdout.splitlines()
        return [dict(re.findall(r"(\w+)=(\S+)", line)) for line in lines]

    def end(self, job: str, timeout: float = 90) -> list[dict[str, str]]:
        """Wait until a job, or every task of an array, is through."""
        self.until(lambda: all(t["JobState"] in ENDS for t in self.show(job)), job, timeout)
        return self.show(job)

    def until(self, true: Callable[[], bool], job: str, timeout: float = 90) -> None:
        """Wait until something is true of a job."""
        deadline = time.monotonic() + timeout
        while not true():
            assert time.monotonic() < deadline, (self.show(job), self.printed(job))
            time.sleep(0.5)

    def printed(self, job: str) -> str:
        """The output of a job; of an array, of all tasks."""
        return "\n".join(path.read_text() for path in sorted(self.folder.glob(f"ufd-{job}*.out")))

    def completes(self, job: str, timeout: float = 90) -> list[dict[str, str]]:
        tasks = self.end(job, timeout)
        for task in tasks:
            assert task["JobState"] == "COMPLETED", (task, self.printed(job))
        return tasks

    def run_json(self, place: str) -> dict:
        return json.loads((self.folder / place / "run.json").read_text())


@pytest.fixture(scope="module")
def configuration(tmp_path_factory) -> Iterator[Path]:
    """The configuration of a Slurm that runs as long as the tests of this file."""
    folder = tmp_path_factory.mktemp("slurm")
    controller, node = _free_ports()
    environment = alone({"CONTROLLER_PORT": controller, "NODE_PORT": node})

    def manage(verb: str) -> None:
        # No pipes: the daemons would keep them open.
        with open(folder / f"{verb}.txt", "w") as said:
            command = [str(SET_UP), verb, str(folder)]
            code = subprocess.call(command, env=environment, stdout=said, stderr=said, timeout=110)
        assert code == 0, (folder / f"{verb}.txt").read_text()

    try:
        manage("start")
        yield folder / "slurm.conf"
    finally:
        manage("stop")


@pytest.fixture
def cluster(configuration, tmp_path) -> Cluster:
    return Cluster(configuration, tmp_path)


def test_plain(cluster):
    """One run on the ranks that the job asked for; the exit code of ufd is the job's."""
    case = cluster.case("case.toml", TINY)
    cluster.completes(cluster.submit("plain.sbatch", case, "--output", "out"))
    assert cluster.run_json("out")["status"] == "FINISHED"
    assert cluster.run_json("out")["provenance"]["ranks"] == 2
    (task,) = cluster.end(cluster.submit("plain.sbatch", case, "--set", "problem.p=-1"))
    assert (task["JobState"], task["ExitCode"]) == ("FAILED", "2:0")


def test_srun(cluster):
    """Srun alone: with a PMI that MPICH knows the ranks find each other, without they must not."""
    case, ufd = cluster.case("case.toml", TINY), str(BIN / "ufd")
    done = cluster.call("srun", "--mpi=pmi2", "-n", "2", ufd, "run", case, "--output", "pmi2")
    assert done.returncode == 0, done.stderr
    assert cluster.run_json("pmi2")["provenance"]["ranks"] == 2

    done = cluster.call("srun", "--mpi=none", "-n", "2", ufd, "run", case, "--output", "none")
    assert done.returncode == 2 and done.stdout == ""
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("srun: ")]
    assert line.startswith("ufd: 2 separate jobs were started instead of one with 2 ranks")
    assert "srun --mpi=list" in line
    assert not (cluster.folder / "none").exists()


def test_array(cluster):
    """A value for each task, and a sweep over the same values finds their runs."""
    case = cluster.case("case.toml", TINY)
    job = cluster.submit("array.sbatch", case, "problem.p", "0.5", "1", array="0-1")
    assert len(cluster.completes(job)) == 2
    for p in (0.5, 1.0):
        stored = cluster.run_json(f"output/case-sweep/p={p:g}")
        assert stored["configuration"]["p"] == p
    done = cluster.call(BIN / "ufd", "sweep", case, "--over", "problem.p=0.5,1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(" stored ") == 2
    job = cluster.submit("array.sbatch", case, "problem.p", "0.5", array="1")
    assert cluster.end(job)[0]["JobState"] == "FAILED"
    assert "--array has more tasks than there are values" in cluster.printed(job)


def test_errors_are_final(cluster):
    """Only a run that was told to stop is queued again."""
    case = cluster.case("case.toml", TINY)
    job = cluster.submit("requeue.sbatch", case, "--output", "out", "--set", "problem.p=-1")
    (task,) = cluster.end(job)
    assert (task["JobState"], task["ExitCode"], task["Restarts"]) == ("FAILED", "2:0", "0")
    assert cluster.printed(job).count("ufd: ") == 1


def test_told_and_cancelled(cluster):
    """A told run goes on by itself, a cancelled one when it is submitted again; then it is done."""
    case = cluster.case("long.toml", LONG.format(dt=0.00005, end=0.2))
    arguments = "requeue.sbatch", case, "--output", "out", "--no-report"
    job = cluster.submit(*arguments)
    cluster.until(lambda: "t = 0.0125 " in cluster.printed(job), job)
    assert cluster.call("scancel", "--batch", "--signal=USR1", job).returncode == 0
    cluster.until(lambda: "stopped by SIGUSR1" in cluster.printed(job), job)
    cluster.until(lambda: "t = 0.05 " in cluster.printed(job), job)
    assert "resumed from out/checkpoint" in cluster.printed(job)
    assert cluster.call("scancel", job).returncode == 0
    (task,) = cluster.end(job)
    assert (task["JobState"], task["Restarts"]) == ("CANCELLED", "1")
    assert any((cluster.folder / "out" / "checkpoint").iterdir()), cluster.printed(job)
    assert not (cluster.folder / "out" / "run.json").exists()
    again = cluster.submit(*arguments)
    cluster.completes(again)
    assert "resumed from out/checkpoint" in cluster.printed(again)
    assert cluster.run_json("out")["status"] == "FINISHED"


def _same(one: Path, other: Path) -> None:
    with np.load(one) as a, np.load(other) as b:
        assert a.files == b.files
        for name in a.files:
            assert a[name].dtype == b[name].dtype and a[name].shape == b[name].shape, name
            assert a[name].tobytes() == b[name].tobytes(), name


@pytest.mark.timeout(2400)
def test_longer_than_the_limit(cluster):
    """Six minutes of work under a limit of two: the job ends by itself, with the same bits."""
    trial = cluster.case("trial.toml", LONG.format(dt=0.0005, end=0.05))
    cluster.completes(cluster.submit("plain.sbatch", trial, "--output", "trial", "--no-report"))
    stats = cluster.run_json("trial")["stats"]
    steps = round(360 * stats["steps"] / stats["seconds"])
    case = cluster.case("long.toml", LONG.format(dt=2.0 / steps, end=2.0))
    whole = cluster.submit("plain.sbatch", case, "--output", "whole", "--no-report", time="20")
    cluster.completes(whole, timeout=1100)
    # Slurm tells up to a minute early.
    cut = cluster.submit(
        *("requeue.sbatch", case, "--output", "cut", "--no-report"),
        time="2",
        signal="B:USR1@30",
    )
    (task,) = cluster.completes(cut, timeout=1200)
    assert int(task["Restarts"]) >= 2, cluster.printed(cut)
    assert "TIME LIMIT" not in cluster.printed(cut)
    for name in ("fields.npz", "series.npz"):
        _same(cluster.folder / "whole" / name, cluster.folder / "cut" / name)

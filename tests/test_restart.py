"""``ufd run --restart``: on any number of ranks, after kill -9, on a full disk.

The same command line starts a run, goes on with it, and finds it finished; whatever happens to the
process, what was saved last is whole.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import alone
from resumed import LONG, same_files
from said import lines_of, said_once
from sweeps import TINY

import ufd
from ufd.evolution.checkpoint import generations
from ufd.evolution.shards import read_manifest
from ufd.launch import own_mpirun

# A signal to rank 0 alone, once a state behind t = 0.19 is stored.
STOPS = """
import os, signal
from ufd import cli
from ufd.fem.fields import FieldHistory

plain, rank = FieldHistory.__call__, int(os.environ.get("PMI_RANK", "0"))

def noted(self, t, values, landed):
    plain(self, t, values, landed)
    if rank == 0 and t > 0.19:
        os.kill(os.getpid(), signal.SIGTERM)

FieldHistory.__call__ = noted
cli.main()
"""
ACROSS = {
    "default": "rtol = 1e-5",
    "tight": 'rtol = 1e-5\nnewton_tol = 1e-13\nlinear = "direct"',
}
BOUNDS = {"default": 1e-9, "tight": 1e-12}


def across(tolerance: str) -> str:
    """A case of few steps on the sphere."""
    return f"""[problem.teacher]
kind = "von_mises_fisher"
mean = [1.0, 0.0, 0.5]
kappa = 2.0
[solver]
degree = 3
cells = 2
{ACROSS[tolerance]}
[time]
end = 0.5
times = [0.1, 0.2]
[output]
modes = 0
guarantees = false
"""


@pytest.mark.launches
@pytest.mark.parametrize(
    ("writers", "readers", "tolerance"),
    [
        (2, [1], "default"),
        (1, [2], "tight"),
        *(
            pytest.param(n, [1, 2, 3], tolerance, marks=[pytest.mark.slow])
            for n in (1, 2, 3)
            for tolerance in BOUNDS
        ),
    ],
)
def test_any_rank_count(launch, tmp_path, writers, readers, tolerance):
    """Written on some ranks, read on others: the same end to the tolerance of the solves."""
    (tmp_path / "case.toml").write_text(across(tolerance))
    whole = launch("ufd", "run", "case.toml", "--no-report", "--output", "whole", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    words = ("run", "case.toml", "--no-report", "--output", "stopped")
    job = launch("python", "-c", STOPS, *words, ranks=writers, cwd=tmp_path, timeout=100)
    assert job.returncode == 75, job.stderr
    (snapshot,) = generations(tmp_path / "stopped/checkpoint/run")
    assert len(list(snapshot.glob("part-*.npz"))) == writers
    expected = np.load(tmp_path / "whole/fields.npz")["ratio"]
    for ranks in readers:
        shutil.copytree(tmp_path / "stopped", tmp_path / f"on-{ranks}")
        words = ("run", "case.toml", "--no-report", "--output", f"on-{ranks}", "--restart")
        job = launch("ufd", *words, ranks=ranks, cwd=tmp_path, timeout=100)
        assert job.returncode == 0, job.stderr
        assert "resumed from" in job.stdout
        found = np.load(tmp_path / f"on-{ranks}/fields.npz")["ratio"]
        # At least the first states are those that were stored.
        assert np.abs(found / expected - 1).max() <= BOUNDS[tolerance], ranks


def test_same_command_line(call, case):
    """It starts, finds the run finished, and writes again only what is missing."""
    words = ("run", case, "--output", "out", "--restart", "--no-report")
    code, out, err = call(*words)
    assert (code, err) == (0, "") and "predicted rate" in out
    names = {path.name for path in Path("out").iterdir()}
    assert "run.json" in names and "checkpoint" not in names
    code, out, err = call(*words)
    assert (code, err) == (0, "")
    assert lines_of(out) == ["out: finished before; nothing is left to do"]
    code, out, err = call(*words[:-1])
    assert code == 0 and Path("out/report.html").exists() and "report" in out
    assert len(lines_of(call(*words[:-1])[1])) == 1


def test_another_case_is_refused(call, case):
    """A finished run of another case too; what changes no number may change."""
    call("run", case, "--output", "out", "--no-report")
    words = ("run", case, "--output", "out", "--no-report", "--restart", "--set")
    code, _, err = call(*words, "problem.p=1.5")
    assert code == 2
    said_once(err, "problem.p = 2.0 there, 1.5 here: out holds a run of another case")
    assert call(*words, "checkpoint.interval=5", "--set", "limits.wall_clock=1e6")[0] == 0


def test_other_directories_are_refused(call, case):
    """``--restart`` starts in an empty directory, and writes into no other."""
    Path("out").mkdir()
    Path("out/note.txt").write_text("mine")
    code, _, err = call("run", case, "--output", "out", "--restart")
    assert code == 3
    said_once(err, "is not empty (it holds note.txt)", "--restart")
    Path("out/note.txt").unlink()
    assert call("run", case, "--output", "out", "--restart", "--no-report")[0] == 0


def _stop(call, monkeypatch, case, after: float, *more: str) -> tuple[int, str, str]:
    """Run in this process, with a signal once that time is passed."""
    from ufd.fem.fields import FieldHistory

    plain = FieldHistory.__call__

    def noted(self, t, values, landed):
        plain(self, t, values, landed)
        if t >= after:
            os.kill(os.getpid(), signal.SIGUSR1)

    with monkeypatch.context() as patch:
        patch.setattr(FieldHistory, "__call__", noted)
        return call("run", case, "--output", "out", "--no-report", *more)


def test_stopped_run(call, case, monkeypatch):
    """One line and exit code 75; `load` and `report` say how to go on; then all is as if whole."""
    assert call("run", case, "--output", "whole", "--no-report")[0] == 0
    code, out, err = _stop(call, monkeypatch, case, 0.1, "--set", "problem.p=2.0")
    assert code == 75
    resume = f"ufd run {case} --set problem.p=2.0 --output out --restart"
    said_once(err, "stopped by SIGUSR1 at t = 0.1, 4 steps; resume with: " + resume)
    assert [path.name for path in Path("out").iterdir()] == ["checkpoint"]
    code, _, err = call("report", "out")
    assert code == 3
    said_once(err, "the run in out is not finished: it was saved at t = 0.1, 4 steps", resume)
    with pytest.raises(ufd.StorageError, match="is not finished"):
        ufd.load("out")
    code, _, err = call("run", case, "--output", "out")
    assert code == 3
    said_once(err, "is not empty (it holds checkpoint)", "--restart")
    code, _, err = call("run", case, "--output", "out", "--restart", "--set", "solver.cells=7")
    assert code == 2
    said_once(err, "solver.cells = 6 there, 7 here")
    code, out, err = call("run", case, "--output", "out", "--restart", "--no-report")
    assert (code, err) == (0, "")
    assert "resumed from out/checkpoint/run/snapshot-000001: step 4, t = 0.1" in out
    same_files(Path("out"), Path("whole"))
    assert not Path("out/checkpoint").exists()


def test_killed_while_results_are_written(call, case, monkeypatch):
    """After the last step nothing is computed again, and half-written files do not hurt."""
    from ufd.analysis.results import Result

    assert call("run", case, "--output", "whole", "--no-report")[0] == 0

    def killed(self, place):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Result, "save_summary", killed)
        assert call("run", case, "--output", "out", "--no-report")[0] == 130
    for name in ("fields.npz", "ratio.vtkhdf"):
        path = Path("out") / name
        path.write_bytes(path.read_bytes()[:100])
    monkeypatch.setattr("ufd.evolution.evolve.Evolution._accepted_step", None)
    assert call("run", case, "--output", "out", "--no-report", "--restart")[0] == 0
    same_files(Path("out"), Path("whole"))
    assert ufd.load("out").at(0.2).ratio([[1.0, 0.0]]) > 0


def test_failed_run_keeps_its_checkpoint(call, case, monkeypatch):
    """Exit code 4 is no end: with the cause mended the run goes on."""
    import functools

    import ufd.fem.diffusion as room

    with monkeypatch.context() as patch:
        patch.setattr(room, "Evolution", functools.partial(room.Evolution, max_steps=3))
        assert call("run", case, "--output", "out", "--no-report")[0] == 4
    assert ufd.load("out").status is ufd.StopReason.TOO_MANY_STEPS
    code, out, _ = call("run", case, "--output", "out", "--no-report", "--restart")
    assert code == 0 and "step 3, t = 0.05" in out
    assert ufd.load("out").status is ufd.StopReason.FINISHED


PARTICLES = TINY + "[particles]\nfeatures = {relu = 1.0, relu2 = 0.5}\nwidth = [8]\n"


def test_only_the_ensemble_is_missing(call, case, monkeypatch):
    """A signal within the ensemble loses no more than it; the diffusion is not run again."""
    import ufd.batch as batch

    case.write_text(PARTICLES)

    def signalled(*arguments, **options):
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("it went on")

    with monkeypatch.context() as patch:
        patch.setattr(batch, "compare_case", signalled)
        code, _, err = call("run", case, "--output", "out", "--no-report")
    assert code == 75
    said_once(err, "stopped by SIGTERM in the ensemble of particles; resume with: ufd run ")
    written = Path("out/run.json").stat().st_mtime_ns
    code, _, _ = call("run", case, "--output", "out", "--no-report", "--restart")
    assert code == 0 and Path("out/comparison.json").exists()
    assert Path("out/run.json").stat().st_mtime_ns == written
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of a hundred kilobytes."""
    place = tmp_path / "disk"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(words, capture_output=True).returncode:
        pytest.skip("mounting a file system is not permitted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_full_disk(call, case, tiny_disk):
    """A snapshot that does not fit: exit code 3, one line, and the one before is whole."""
    case.write_text(TINY.replace("cells = 6", "cells = 150").replace("dt = 0.05", "dt = 0.001"))
    place = tiny_disk / "out"
    words = ("run", case, "--output", place, "--no-report", "--set", "checkpoint.interval=0")
    code, _, err = call(*words)
    assert code == 3
    said_once(err, "cannot write", "No space left on device")
    kept = generations(place / "checkpoint/run")
    assert kept and not [path for path in tiny_disk.rglob("*") if path.name.endswith(".part")]
    step = read_manifest(kept[0])["about"]["run"]["statistics"]["steps"]
    code, out, err = call(*words, "--restart")
    assert code == 3 and f": step {step}, t = " in out
    said_once(err, "No space left on device")


def test_read_only(call, case, tiny_disk):
    """A directory that cannot be written any more ends the run, and keeps what was saved."""
    place, mount = tiny_disk / "out", ["mount", "-o", "remount,ro", str(tiny_disk)]
    from ufd.fem.fields import FieldHistory

    plain = FieldHistory.__call__

    def later(self, t, values, landed):
        plain(self, t, values, landed)
        if t > 0.12:
            subprocess.run(mount, check=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FieldHistory, "__call__", later)
        words = ("run", case, "--output", place, "--no-report", "--set", "checkpoint.interval=0")
        code, _, err = call(*words)
    assert code == 3
    said_once(err, "cannot create", "Read-only file system")
    assert read_manifest(generations(place / "checkpoint/run")[0])["about"]["run"]["t"] == 0.1


# Each sub-step of writing, and what comes between, takes a few milliseconds: kills meet them all.
SLOWLY = """
import os, random, shutil, sys, time
from pathlib import Path

def slow(function):
    def wait(*arguments, **options):
        time.sleep(random.uniform(0, 6e-3))
        result = function(*arguments, **options)
        time.sleep(random.uniform(0, 6e-3))
        return result
    return wait

from ufd import cli, storage
for module, name in ((os, "fsync"), (os, "replace"), (shutil, "rmtree")):
    setattr(module, name, slow(getattr(module, name)))
Path.rename = slow(Path.rename)
Path(f"pid-{os.getpid()}").touch()
sys.argv[0] = "ufd"
cli.main()
"""


@pytest.mark.launches
@pytest.mark.parametrize(
    ("ranks", "kills"),
    [
        (1, 4),
        (2, 2),
        *(pytest.param(n, 50, marks=[pytest.mark.slow, pytest.mark.timeout(900)]) for n in (1, 2)),
    ],
)
def test_killed_while_saving(tmp_path, ranks, kills):
    """kill -9 at any moment: what was saved last is whole, and the run goes on from there."""
    text = LONG.replace("end = 2.0", "end = 50.0").replace("0.0005", "0.01")
    (tmp_path / "case.toml").write_text(text + "[checkpoint]\ninterval = 0\n")
    words = [sys.executable, "-c", SLOWLY, "run", "case.toml", "--output", "out", "--restart"]
    if ranks > 1:
        words = [str(own_mpirun()), "-n", str(ranks), *words]
    place, before, steps = tmp_path / "out/checkpoint/run", 0, 0
    rng = random.Random(ranks)
    for kill in range(kills):
        with subprocess.Popen(
            [*words, "--no-report", "--no-progress"],
            cwd=tmp_path,
            env=alone({}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as job:
            _wait_for_another(place, job)
            time.sleep(rng.uniform(0, 0.2))
            seen = _newest(place)
            pids = [int(path.name[4:]) for path in tmp_path.glob("pid-*")]
            assert len(pids) == ranks
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            out, err = job.communicate(timeout=30)
        for path in tmp_path.glob("pid-*"):
            path.unlink()
        if kill:
            assert f"snapshot-{before:06d}: step {steps}, t = " in out, (out, err)
        assert "falling back" not in err
        before = _newest(place)
        assert before >= seen
        steps = read_manifest(generations(place)[0])["about"]["run"]["statistics"]["steps"]


def _newest(place: Path) -> int:
    """Number of the newest generation, 0 if there is none."""
    found = generations(place)
    return int(found[0].name.rpartition("-")[2]) if found else 0


def _wait_for_another(place: Path, job: subprocess.Popen) -> None:
    """Until the job has added a generation."""
    known, deadline = _newest(place), time.monotonic() + 30
    while _newest(place) == known:
        assert job.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)


RAISES = """
import sys, time
import numpy as np
import ufd
from mpi4py import MPI

ufd.abort_on_error()
rank = MPI.COMM_WORLD.rank

def source(t, x):
    if t > 0.05 and rank == 1:
        print(time.time(), flush=True)
        raise ValueError("rank 1 does not like t > 0.05")
    return np.zeros(len(x))

teacher = ufd.VonMisesFisher([1.0, 0.0], 1.0)
problem = ufd.UltraFastDiffusion(teacher, ufd.Uniform(ufd.Sphere(1)), source=source)
ufd.solve(problem, [1.0], cells=8, degree=3, checkpoint=sys.argv[1])
"""


@pytest.mark.launches
def test_error_on_one_rank_ends_all(launch, tmp_path):
    """Within five seconds, with its message once, although the others wait in a reduction."""
    job = launch("python", "-c", RAISES, tmp_path / "c", ranks=2, timeout=40)
    assert job.returncode == 1 and time.time() - float(job.stdout) < 5
    assert job.stderr.count("ValueError: rank 1 does not like t > 0.05") == 1
    assert job.stderr.count("Traceback") == 1


@pytest.mark.launches
def test_two_at_once(call, tmp_path, monkeypatch):
    """A second run in the same directory is refused, and does not disturb the first."""
    monkeypatch.chdir(tmp_path)
    Path("case.toml").write_text(LONG)
    words = ["run", "case.toml", "--output", "out", "--restart", "--no-report"]
    ufd_itself = str(Path(sys.executable).with_name("ufd"))
    with subprocess.Popen([ufd_itself, *words], env=alone({}), stdout=subprocess.PIPE) as job:
        assert b"results in out" in job.stdout.readline()
        code, _, err = call(*words)
        job.kill()
    assert code == 3
    said_once(err, "another run or sweep is at work in out")

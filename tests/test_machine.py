"""The machine and how a job is started: what is missing or wrong is named, with its cure.

``ufd doctor`` on this machine and without a compiler, foreign launchers, and an exception on one
rank only, which must not leave the others waiting.
"""

from __future__ import annotations

import shutil
import sysconfig
import time

import pytest
from said import lines_of, said_once

import ufd
from ufd.launch import c_compiler, own_mpirun

CASE = """[problem]
dim = 1
[problem.teacher]
kind = "uniform"
[solver]
degree = 3
cells = 5
"""


@pytest.fixture
def case(tmp_path):
    """A tiny valid case file in a folder of its own."""
    path = tmp_path / "case" / "case.toml"
    path.parent.mkdir()
    path.write_text(CASE)
    return path


def test_doctor(launch):
    """The doctor finds this machine able to run, and names what it looked at."""
    job = launch("ufd", "doctor", timeout=100)
    assert job.returncode == 0 and "WRONG" not in job.stdout
    parts = [line[6:19].strip() for line in lines_of(job.stdout)]
    for part in ("python", "compiler", "kernel cache", "libraries", "mpi", "opengl"):
        assert parts.count(part) == 1


@pytest.mark.launches
def test_doctor_under_mpirun(launch):
    """Started as a job, the doctor speaks once and does not mistake the job for an illness."""
    job = launch("ufd", "doctor", ranks=2, timeout=100)
    assert job.returncode == 0 and job.stdout.count("compiler") == 1
    assert "WRONG" not in job.stdout


@pytest.fixture
def bare_path(tmp_path) -> str:
    """A PATH with a shell and no compiler."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "env", "git"):
        if found := shutil.which(name):
            (folder / name).symlink_to(found)
    return str(folder)


def test_doctor_misses_the_compiler(launch, bare_path):
    """Without a compiler the doctor says so, with the cure, and fails."""
    job = launch("ufd", "doctor", PATH=bare_path, CC=None, timeout=100)
    wrong = [line for line in lines_of(job.stdout) if line.startswith("WRONG")]
    assert job.returncode == 1 and len(wrong) == 1
    assert wrong[0].split()[1] == "compiler" and "apt install gcc" in wrong[0]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("clang", ["clang"]),
        ("ccache gcc -O2", ["ccache", "gcc", "-O2"]),
        ('"/opt/my gcc" -O2', ["/opt/my gcc", "-O2"]),
        ('gcc "-O2', ["gcc", '"-O2']),
        *((nothing, sysconfig.get_config_var("CC").split()) for nothing in (None, "", " ")),
    ],
)
def test_name_of_the_compiler(asked, words):
    """CC with its options, quoted or not; without it the compiler of this Python."""
    assert c_compiler({} if asked is None else {"CC": asked}) == words


@pytest.mark.launches
def test_quoted_compiler(launch, case, tmp_path):
    """A run and the doctor name the same compiler, blank and all."""
    wanted = {"CC": "'no such gcc' -O2", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    job = launch("ufd", "run", case, cwd=case.parent, **wanted)
    assert job.returncode == 2
    said_once(job.stderr, "there is no C compiler 'no such gcc'", "apt install gcc")
    job = launch("ufd", "doctor", timeout=100, **wanted)
    assert job.returncode == 1 and "no such gcc was not found" in job.stdout


@pytest.mark.launches
def test_version_under_mpirun(launch):
    """Said once, not once per rank."""
    job = launch("ufd", "--version", ranks=2)
    assert (job.returncode, job.stdout) == (0, f"ufd {ufd.__version__}\n")


@pytest.mark.launches
@pytest.mark.parametrize("ranks", [None, 2])
def test_no_compiler(launch, case, bare_path, tmp_path, ranks):
    """A cold cache without a compiler is one clear line, not a traceback of a compiler's."""
    cold = {"PATH": bare_path, "CC": None, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    job = launch("ufd", "run", case, ranks=ranks, cwd=case.parent, **cold)
    assert job.returncode == 2
    said_once(job.stderr, "there is no C compiler 'gcc'", "apt install gcc")


@pytest.mark.parametrize(
    ("traces", "cause"),
    [
        ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0"}, "Open MPI's mpirun"),
        ({"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "0"}, "2 separate jobs were started"),
        ({"PMIX_RANK": "0"}, "this job was started with PMIx"),
    ],
)
def test_foreign_launcher(launch, case, traces, cause):
    """N copies of rank 0 are refused: one of them names the launcher to use, the rest are quiet."""
    job = launch("ufd", "run", case, cwd=case.parent, **traces)
    assert (job.returncode, job.stdout) == (2, "")
    said_once(job.stderr, cause, str(own_mpirun()))
    other = {name: "1" if name.endswith(("RANK", "PROCID")) else n for name, n in traces.items()}
    job = launch("ufd", "run", case, cwd=case.parent, **other)
    assert (job.returncode, job.stdout, job.stderr) == (2, "", "")
    assert list(case.parent.iterdir()) == [case]


LONELY = """
import ufd
from mpi4py import MPI
ufd.abort_on_error()
if MPI.COMM_WORLD.rank == 1:
    raise {error}
MPI.COMM_WORLD.Barrier()
"""


@pytest.mark.launches
@pytest.mark.parametrize(
    ("error", "line"),
    [
        ("ufd.InputError('only here')", "ufd: only here (rank 1)"),
        ("KeyError('only here')", "KeyError: 'only here' (rank 1)"),
    ],
)
def test_exception_on_one_rank(launch, error, line):
    """An exception on one rank ends the others too, within seconds, and is shown once."""
    begin = time.monotonic()
    job = launch("python", "-c", LONELY.format(error=error), ranks=2, timeout=30)
    assert time.monotonic() - begin < 10
    assert job.returncode != 0
    assert lines_of(job.stderr).count(line) == 1

"""What every test shares: the world's ranks, one folder for all of them, and jobs of their own.

Tests marked ``mpi`` also run under ``mpirun -n 2`` and ``-n 3``; those marked ``launches`` start
mpirun themselves and are skipped there.
"""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from mpi4py import MPI
from sweeps import TINY

from ufd import cli
from ufd.launch import own_mpirun

# Traces of a launcher, by which a child would believe itself a rank of the job that tests it.
_LAUNCHERS = ("PMI", "HYDRA", "MPI", "OMPI_", "SLURM_")


# A suite in the background of a shell inherits an ignored SIGINT, and its children would too.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if MPI.COMM_WORLD.size > 1:
        serial_only = pytest.mark.skip(reason="starts mpirun itself")
        for item in items:
            if item.get_closest_marker("launches"):
                item.add_marker(serial_only)


@pytest.fixture(scope="session")
def comm() -> MPI.Comm:
    """All ranks of this run of the tests."""
    return MPI.COMM_WORLD


@pytest.fixture(autouse=True)
def _destroy_together() -> Iterator[None]:
    """Destructors of distributed objects are collective: run them on all ranks at one place."""
    yield
    gc.collect(0)
    MPI.COMM_WORLD.Barrier()


@pytest.fixture
def shared_tmp(comm: MPI.Comm) -> Iterator[Path]:
    """An empty folder, the same on every rank."""
    folder = Path(comm.bcast(tempfile.mkdtemp(prefix="ufd-test-") if comm.rank == 0 else ""))
    yield folder
    comm.Barrier()
    if comm.rank == 0:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny valid case file, in the working directory."""
    monkeypatch.chdir(tmp_path)
    path = Path("case.toml")
    path.write_text(TINY)
    return path


def alone(changes: Mapping[str, str | None]) -> dict[str, str]:
    """This process's environment without its launcher, one thread per rank, then ``changes``."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(_LAUNCHERS)}
    changed = {**kept, "OMP_NUM_THREADS": "1", **changes}
    return {k: v for k, v in changed.items() if v is not None}


@pytest.fixture(scope="session")
def launch() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command line of this environment and wait for it.

    ``launch("ufd", "run", case)`` and ``launch("python", script, ranks=2, cwd=..., timeout=60)``:
    "ufd" and "python" are this environment's, ``ranks`` starts them under its mpirun, further
    keywords are set in the environment (None removes one). Past ``timeout`` seconds the job is
    killed and `subprocess.TimeoutExpired` raised.
    """

    def start(
        *command: str | Path,
        ranks: int | None = None,
        cwd: Path | None = None,
        timeout: float = 60,
        **environment: str | None,
    ) -> subprocess.CompletedProcess[str]:
        own = {"python": sys.executable, "ufd": str(Path(sys.executable).with_name("ufd"))}
        words = [own.get(str(command[0]), str(command[0])), *map(str, command[1:])]
        if ranks is not None:
            words = [str(own_mpirun()), "-n", str(ranks), *words]
        with subprocess.Popen(
            words,
            cwd=cwd,
            env=alone(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        ) as job:
            try:
                out, err = job.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(job.pid, signal.SIGKILL)
                raise
        # Decoded here: text=True would turn carriage returns into line ends.
        return subprocess.CompletedProcess(words, job.returncode, out.decode(), err.decode())

    return start


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run ``ufd`` in this process: its exit code, stdout and stderr."""

    def start(*arguments: str | Path) -> tuple[int, str, str]:
        code: Any = 0
        try:
            cli.main(list(map(str, arguments)))
        except SystemExit as end:
            code = end.code
        return code, *capsys.readouterr()

    return start

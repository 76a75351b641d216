"""What ``ufd doctor`` looks at: each part of the machine, what is wrong with it, and the cure.

Whatever could end the process is tried in a child process.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from ufd import __version__
from ufd.launch import c_compiler, has_mpich_wheel, own_mpirun, without_launcher

OK, HINT, BROKEN = 0, 1, 2
_MARK = {OK: "ok   ", HINT: "hint ", BROKEN: "WRONG"}
_SECONDS = 120
# Wheels that would replace the PETSc and DOLFINx of dolfinx-solver-real.
_RIVALS = ("petsc4py", "petsc", "slepc4py", "slepc", "fenics-dolfinx")
_STACK = """
from ufd.fem.stack import versions
print(", ".join(f"{name} {version}" for name, version in versions().items()))
"""
_MEET = """
from mpi4py import MPI
ranks = MPI.COMM_WORLD.reduce(1)
if MPI.COMM_WORLD.rank == 0:
    print(ranks)
"""


@dataclass(frozen=True)
class Finding:
    """One part of the machine.

    Attributes:
        part: What was looked at.
        severity: OK, HINT (it works, but not well) or BROKEN.
        text: What was found.
        cure: What to do about it.
    """

    part: str
    severity: int
    text: str
    cure: str = ""

    def __str__(self) -> str:
        cure = f"; {self.cure}" if self.cure else ""
        return f"{_MARK[self.severity]} {self.part:<12} {self.text}{cure}"


def examine() -> Iterator[Finding]:
    """Look at everything, in the order in which a run needs it."""
    yield _python()
    yield _compiler()
    yield _cache()
    yield _rivals()
    yield _stack()
    yield _launcher()
    yield _path_launcher()
    yield _threads()
    yield _opengl()


def _run(command: list[str]) -> tuple[bool, str]:
    """Whether a child process succeeds, and the last line that it printed."""
    try:
        done = subprocess.run(
            command,
            env=without_launcher(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return False, f"no answer within {_SECONDS} s"
    except OSError as error:
        return False, str(error)
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    return done.returncode == 0, lines[-1] if lines else f"exit code {done.returncode}"


def _python() -> Finding:
    text = f"{platform.python_version()} at {sys.executable}, ufd {__version__}"
    return Finding("python", OK, text)


def _compiler() -> Finding:
    command = c_compiler()
    if shutil.which(command[0]) is None:
        cure = "apt install gcc, or set CC: FFCx compiles finite-element kernels when a run starts"
        return Finding("compiler", BROKEN, f"{command[0]} was not found", cure)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "probe.c"
        source.write_text("#include <Python.h>\nint main(void) { return 0; }\n")
        include = sysconfig.get_path("include")
        probe = [*command, f"-I{include}", "-c", str(source), "-o", f"{source}.o"]
        works, text = _run(probe)
    if not works:
        return Finding("compiler", BROKEN, text, "apt install python3-dev (Python.h is needed)")
    return Finding("compiler", OK, shutil.which(command[0]) or command[0])


def _cache() -> Finding:
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    place = next(p for p in (root / "fenics", root, *root.parents) if p.exists())
    if not os.access(place, os.W_OK):
        cure = "set XDG_CACHE_HOME to a folder that can be written: kernels are kept there"
        return Finding("kernel cache", BROKEN, f"{place} cannot be written", cure)
    return Finding("kernel cache", OK, str(root / "fenics"))


def _rivals() -> Finding:
    installed = {d.metadata["Name"].lower() for d in metadata.distributions() if d.metadata["Name"]}
    wrong = [name for name in _RIVALS if name in installed]
    if wrong and "dolfinx-solver-real" in installed:
        cure = f"pip uninstall {' '.join(wrong)}, then reinstall dolfinx-solver-real"
        return Finding("packages", BROKEN, f"{', '.join(wrong)} shadow the stack", cure)
    return Finding("packages", OK, "nothing shadows the DOLFINx wheel")


def _stack() -> Finding:
    works, text = _run([sys.executable, "-c", _STACK])
    cure = "" if works else "reinstall: pip install --force-reinstall dolfinx-solver-real"
    return Finding("libraries", OK if works else BROKEN, text, cure)


def _launcher() -> Finding:
    mpirun = own_mpirun()
    if not has_mpich_wheel():
        return Finding("mpi", OK, "MPI comes from outside this environment: use its own launcher")
    if not mpirun.exists():
        return Finding("mpi", BROKEN, f"{mpirun} is missing", "pip install --force-reinstall mpich")
    works, text = _run([str(mpirun), "-n", "2", sys.executable, "-c", _MEET])
    if not works or text != "2":
        cure = "pip install --force-reinstall mpich mpi4py"
        return Finding("mpi", BROKEN, f"{mpirun} -n 2 answers: {text}", cure)
    return Finding("mpi", OK, f"2 ranks meet under {mpirun}")


def _path_launcher() -> Finding:
    found = shutil.which("mpirun")
    if found is None or not has_mpich_wheel() or Path(found).resolve() == own_mpirun().resolve():
        return Finding("mpirun", OK, found or "none on the PATH")
    return Finding("mpirun", HINT, f"the PATH has {found}", f"start jobs with {own_mpirun()}")


def _threads() -> Finding:
    cores = len(os.sched_getaffinity(0))
    threads = os.environ.get("OMP_NUM_THREADS")
    text = f"{cores} cores, OMP_NUM_THREADS is {threads or 'not set'}"
    if threads == "1" or cores == 1:
        return Finding("threads", OK, text)
    return Finding("threads", HINT, text, "set it to 1: one rank per core is what runs best")


def _opengl() -> Finding:
    from ufd.analysis.render import draws

    backend = draws()
    if backend is None:
        cure = (
            "apt install libosmesa6 (or libegl1) and pip install pyvista; "
            "until then reports draw maps with matplotlib"
        )
        return Finding("opengl", HINT, "spheres cannot be shaded", cure)
    return Finding("opengl", OK, f"PyVista draws with {backend}")

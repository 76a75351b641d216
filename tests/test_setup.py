"""``.ci/setup``: it finds a Python that suits, or says in one line what is missing.

Nothing is installed: each PATH is a folder of links, and the Python that is found only records
how it was called.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from glob import glob
from pathlib import Path

import pytest

SETUP = Path(__file__).parents[1] / ".ci" / "setup"
HIDDEN = "/usr/local/bin/python3.1[2-9]", "/opt/*/bin/python3"
HEADERS = Path(sysconfig.get_path("include")) / "Python.h"

# A Python that suits: it answers questions like the one that runs this test, and stops short of
# creating an environment. {extra} may answer some questions otherwise.
SUITS = """#!/bin/sh
echo "$0 $*" >> "{record}"
[ "$1" != -m ] || exit 7
{extra}
exec "{python}" "$@"
"""
TOO_OLD = "#!/bin/sh\nexit 1\n"

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not shutil.which("gcc"), reason="for Linux with gcc"
)


class Machine:
    """A folder with a PATH and a HOME, on which ``.ci/setup`` is run."""

    def __init__(self, folder: Path) -> None:
        self.path, self.home, self.record = folder / "bin", folder / "home", folder / "record"
        self.folder = folder
        for place in (self.path, self.home):
            place.mkdir()
        for tool in ("uname", "touch", "sh", "gcc"):
            (self.path / tool).symlink_to(shutil.which(tool))

    def add(self, place: Path, text: str) -> Path:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        place.chmod(0o755)
        return place

    def suits(self, place: Path, extra: str = "") -> Path:
        return self.add(place, SUITS.format(record=self.record, python=sys.executable, extra=extra))

    def setup(self, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", str(SETUP), "venv"],
            cwd=self.folder,
            env={"PATH": str(self.path), "HOME": str(self.home), **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
        )

    def refuses(self, *parts: str, **environment: str) -> None:
        """One line on stderr with ``parts``, a failure, and no environment."""
        done = self.setup(**environment)
        assert done.returncode != 0 and done.stdout == ""
        assert done.stderr.count("\n") == 1 and done.stderr.startswith("ufd: "), done.stderr
        for part in parts:
            assert part in done.stderr
        assert not (self.folder / "venv").exists()
        assert not self.record.exists() or " -m venv" not in self.record.read_text()

    def chose(self, python: Path, named: str = "", **environment: str) -> None:
        """``python`` was asked to create the environment, and announced before."""
        done = self.setup(**environment)
        assert done.stderr == "" and f"({named or python})" in done.stdout, done
        assert self.record.read_text().splitlines()[-1] == f"{python} -m venv --clear venv"
        # The stand-in refuses, and a failure there ends the set-up: no half environment is ready.
        assert done.returncode == 7 and not (self.folder / "venv").exists()


@pytest.fixture
def machine(tmp_path) -> Machine:
    return Machine(tmp_path)


def test_no_python(machine):
    """No Python that suits: one line says which is needed and how to get it."""
    if any(glob(pattern) for pattern in HIDDEN):
        pytest.skip("this machine has a Python in a place that is always searched")
    machine.refuses("Python 3.12 or later is needed", "apt install python3.12", "PYTHON=")


def test_only_an_old_python(machine):
    """Old Pythons, and shims that do not start, are passed over."""
    if any(glob(pattern) for pattern in HIDDEN):
        pytest.skip("this machine has a Python in a place that is always searched")
    for name in ("python3", "python3.12", "python3.14"):
        machine.add(machine.path / name, TOO_OLD)
    machine.add(machine.home / ".pyenv/versions/3.11.9/bin/python3", TOO_OLD)
    machine.refuses("Python 3.12 or later is needed")


def test_chosen_python_does_not_work(machine):
    """A PYTHON that does not suit is refused by its name; no other one is taken silently."""
    machine.suits(machine.path / "python3.12")
    machine.refuses("PYTHON=/bin/false is no working Python 3.12 or later", PYTHON="/bin/false")
    machine.refuses("PYTHON=/no/such", PYTHON="/no/such")


def test_no_compiler(machine):
    """Without a C compiler nothing can run: the set-up says so before it installs anything."""
    (machine.path / "gcc").unlink()
    machine.suits(machine.path / "python3.12", 'case "$2" in *CC*) echo gcc; exit;; esac')
    machine.refuses("a C compiler is needed", "gcc was not found", "apt install gcc", "CC")
    machine.refuses("icx was not found", CC="icx -O2")


def test_no_headers(machine):
    """FFCx builds Python extension modules, so Python.h is needed too."""
    absent = 'case "$2" in *get_path*) echo /no/such; exit;; esac'
    machine.suits(machine.path / "python3.12", absent)
    machine.refuses("the headers of python3.12 are missing (/no/such/Python.h)", "python3.12-dev")


def test_no_venv_module(machine):
    """Debian ships Python without venv."""
    machine.suits(machine.path / "python3.12", 'case "$2" in *ensurepip*) exit 1;; esac')
    machine.refuses("lacks the venv module", "python3-venv")


def test_other_platforms(machine):
    """The wheel is for Linux on x86-64; elsewhere conda is named."""
    (machine.path / "uname").unlink()
    machine.add(machine.path / "uname", "#!/bin/sh\necho Darwin arm64\n")
    machine.suits(machine.path / "python3.12")
    machine.refuses("Linux on x86-64 only", "Darwin arm64", "environment.yml")


needs_headers = pytest.mark.skipif(
    not HEADERS.exists() or os.uname().machine != "x86_64", reason="needs Python.h and x86-64"
)


@needs_headers
def test_python_on_the_path(machine):
    """The first versioned Python on the PATH that suits is taken, before python3."""
    machine.suits(machine.path / "python3")
    machine.add(machine.path / "python3.12", TOO_OLD)
    machine.chose(machine.suits(machine.path / "python3.13"), "python3.13")


@needs_headers
@pytest.mark.parametrize(
    ("place", "environment"),
    [
        ("home/.pyenv/versions/3.12.1/bin/python3", {}),
        ("home/.local/share/uv/python/cpython-3.12/bin/python3", {}),
        ("pyenv root/versions/3.13.0/bin/python3", {"PYENV_ROOT": "pyenv root"}),
        ("mine/python", {"PYTHON": "mine/python"}),
    ],
)
def test_hidden_python(machine, place, environment):
    """A newer Python is found where pyenv and uv keep theirs, though python3 is old."""
    machine.add(machine.path / "python3", TOO_OLD)
    hidden = machine.suits(machine.folder / place)
    machine.chose(hidden, **{k: str(machine.folder / v) for k, v in environment.items()})


@needs_headers
def test_chosen_python_is_preferred(machine):
    """PYTHON wins over the PATH."""
    machine.suits(machine.path / "python3.12")
    chosen = machine.suits(machine.folder / "other")
    machine.chose(chosen, PYTHON=str(chosen))

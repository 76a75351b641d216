"""The libraries under the density room: their versions, and forms compiled by them."""

from __future__ import annotations

import shutil
from typing import Any

from mpi4py import MPI

import dolfinx
from dolfinx import fem
from petsc4py import PETSc
from slepc4py import SLEPc

from ufd.exceptions import SetupError
from ufd.launch import c_compiler
from ufd.parallel import agree

# Another job may hold the lock of a cold cache for longer than the default of 10 s.
_JIT_SECONDS = 120


def versions() -> dict[str, str]:
    """Name and version of each library."""
    return {
        "dolfinx": dolfinx.__version__,
        "petsc": ".".join(map(str, PETSc.Sys.getVersion())),
        "slepc": ".".join(map(str, SLEPc.Sys.getVersion())),
        "mpi": " ".join(MPI.Get_library_version().split("\n")[0].strip("\0").split()),
    }


def compiled(comm: MPI.Comm, form: Any) -> fem.Form:
    """Compile a UFL form, once per machine; collective.

    Raises:
        SetupError: If it cannot be compiled, on every rank, with the likely cure.
    """

    def attempt() -> fem.Form:
        try:
            return fem.form(form, jit_options={"timeout": _JIT_SECONDS})
        except Exception as error:  # FFCx raises whatever the compiler, the disk or cffi raise.
            text = f"{type(error).__name__}: {error}".splitlines()[0]
            raise SetupError(f"FFCx could not compile a kernel: {_cure(text)}") from None

    return agree(comm, attempt)


def _cure(text: str) -> str:
    compiler = c_compiler()[0]
    if shutil.which(compiler) is None:
        return f"there is no C compiler {compiler!r}; install gcc (apt install gcc) or set CC"
    return f"{text}; run ufd doctor"

"""Versions of the libraries under the density room."""

from __future__ import annotations

from mpi4py import MPI

import dolfinx
from petsc4py import PETSc
from slepc4py import SLEPc


def versions() -> dict[str, str]:
    """Name and version of each library."""
    return {
        "dolfinx": dolfinx.__version__,
        "petsc": ".".join(map(str, PETSc.Sys.getVersion())),
        "slepc": ".".join(map(str, SLEPc.Sys.getVersion())),
        "mpi": MPI.Get_library_version().split("\n")[0].strip("\0 "),
    }

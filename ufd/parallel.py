"""Ranks and reductions: the one place where numbers of several ranks become one.

mpi4py is imported here before DOLFINx is imported anywhere: with the PyPI wheel it is what
loads the MPI library.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from mpi4py import MPI

from ufd.exceptions import UfdError

T = TypeVar("T")


def total(comm: MPI.Comm, value: Any) -> Any:
    """Sum of a number, or of an array entry by entry, over the ranks."""
    return comm.allreduce(value, op=MPI.SUM)


def largest(comm: MPI.Comm, value: Any) -> Any:
    """Maximum of a number, or of an array entry by entry, over the ranks."""
    if isinstance(value, np.ndarray):
        result = np.empty_like(value)
        comm.Allreduce(value, result, op=MPI.MAX)
        return result
    return comm.allreduce(value, op=MPI.MAX)


def smallest(comm: MPI.Comm, value: float) -> float:
    """Minimum of a number over the ranks."""
    return comm.allreduce(value, op=MPI.MIN)


def on_root(comm: MPI.Comm, action: Callable[[], T]) -> T:
    """Run ``action`` on rank 0 and hand its result, or its error, to every rank."""
    outcome: tuple[bool, Any] = (True, None)
    if comm.rank == 0:
        try:
            outcome = (True, action())
        except (UfdError, OSError) as error:
            outcome = (False, error)
    ok, value = comm.bcast(outcome)
    if not ok:
        raise value
    return value


def agree(comm: MPI.Comm, action: Callable[[], T]) -> T:
    """Run ``action`` on every rank; if it fails on one, raise the same error on all."""
    result, error = None, None
    try:
        result = action()
    except UfdError as caught:
        error = caught
    for failure in comm.allgather(error):
        if failure is not None:
            raise failure
    return result  # type: ignore[return-value]


def abort_on_error(comm: MPI.Comm = MPI.COMM_WORLD) -> None:
    """End all ranks when an exception escapes on one of them; for scripts under mpirun."""

    def hook(kind, error, trace):
        code = error.exit_code if isinstance(error, UfdError) else 1
        text = (
            f"{error}"
            if isinstance(error, UfdError)
            else "".join(traceback.format_exception(kind, error, trace))
        )
        print(f"ufd [rank {comm.rank}]: {text}", file=sys.stderr, flush=True)
        if comm.size > 1:
            comm.Abort(code)

    sys.excepthook = hook

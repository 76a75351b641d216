"""Ranks and reductions: the one place where numbers of several ranks become one.

mpi4py is imported here before DOLFINx is imported anywhere: with the PyPI wheel it is what
loads the MPI library.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
from mpi4py import MPI

from ufd.exceptions import UfdError


def total(comm: MPI.Comm, value: Any) -> Any:
    """Sum of a number, or of an array entry by entry, over the ranks."""
    return value if comm.size == 1 else comm.allreduce(value, op=MPI.SUM)


def largest(comm: MPI.Comm, value: Any) -> Any:
    """Maximum of a number, or of an array entry by entry, over the ranks."""
    if comm.size == 1:
        return value
    if isinstance(value, np.ndarray):
        result = np.empty_like(value)
        comm.Allreduce(value, result, op=MPI.MAX)
        return result
    return comm.allreduce(value, op=MPI.MAX)


def smallest(comm: MPI.Comm, value: float) -> float:
    """Minimum of a number over the ranks."""
    return value if comm.size == 1 else comm.allreduce(value, op=MPI.MIN)


def on_root[T](comm: MPI.Comm, action: Callable[[], T]) -> T:
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


def agree[T](comm: MPI.Comm, action: Callable[[], T]) -> T:
    """Run ``action`` on every rank; if it fails on one, raise the same error on all."""
    result, error = None, None
    try:
        result = action()
    except Exception as caught:  # a user's function may raise anything
        error = caught
    for failure in comm.allgather(error):
        if failure is not None:
            raise failure
    return result  # type: ignore[return-value]


def _message(error: BaseException) -> tuple[str, int]:
    if isinstance(error, UfdError):
        return f"ufd: {error}", error.exit_code
    return "".join(traceback.format_exception(error)).rstrip(), 1


def exit_together(comm: MPI.Comm, error: BaseException, patience: float = 3.0) -> NoReturn:
    """End the job because of ``error``; call it on every rank that caught one.

    If all ranks arrive within ``patience`` seconds, rank 0 speaks for them and all exit with the
    error's code. If not, the others wait in some collective call: this rank speaks and aborts.

    Args:
        comm: A communicator used for nothing else (duplicate one at the start).
        error: What was caught.
        patience: Seconds to wait for the other ranks.
    """
    text, code = _message(error)
    arrival = comm.Ibarrier()
    deadline = time.monotonic() + patience
    while not arrival.Test():
        if time.monotonic() > deadline:
            print(f"{text} (rank {comm.rank})", file=sys.stderr, flush=True)
            comm.Abort(code)
        time.sleep(0.01)
    if comm.rank == 0:
        print(text, file=sys.stderr, flush=True)
    sys.exit(code)


def abort_on_error(comm: MPI.Comm = MPI.COMM_WORLD) -> None:
    """End all ranks when an exception escapes on one of them; for scripts under mpirun."""
    guard = comm.Dup()

    def hook(kind: type, error: BaseException, trace: Any) -> None:
        if isinstance(error, KeyboardInterrupt):
            sys.__excepthook__(kind, error, trace)
        try:
            exit_together(guard, error)
        except SystemExit as end:
            # The interpreter is leaving already, with code 1; make it the error's own.
            MPI.Finalize()
            os._exit(int(end.code or 1))

    sys.excepthook = hook

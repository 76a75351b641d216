"""Ranks and reductions: the one place where numbers of several ranks become one.

mpi4py is imported here before DOLFINx is imported anywhere: with the PyPI wheel it is what
loads the MPI library.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
from mpi4py import MPI

from ufd.exceptions import InputError, UfdError


def total(comm: MPI.Comm, value: Any) -> Any:
    """Sum of a number, or of an array entry by entry, over the ranks."""
    if comm.size == 1:
        return value
    if isinstance(value, np.ndarray):
        # Contiguous: a Fortran array would be summed against a C one.
        share = np.ascontiguousarray(value)
        result = np.empty_like(share)
        comm.Allreduce(share, result, op=MPI.SUM)
        return result
    return comm.allreduce(value, op=MPI.SUM)


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


def share(count: int, comm: MPI.Comm, rank: int | None = None) -> range:
    """The block of ``count`` numbered things that a rank keeps when all keep equal blocks."""
    rank = comm.rank if rank is None else rank
    return range(-(-rank * count // comm.size), -(-(rank + 1) * count // comm.size))


def lookup(
    comm: MPI.Comm, keys: np.ndarray, values: np.ndarray, wanted: np.ndarray, count: int
) -> np.ndarray:
    """Values by key, from whichever rank has them; collective.

    Each rank keeps one block of the keys meanwhile, so that none ever holds all values.

    Args:
        comm: The ranks.
        keys: Of the values on this rank, (n,), from 0 to ``count`` - 1; all ranks' are different.
        values: (n, ...).
        wanted: Keys (m,) whose values this rank asks for.
        count: How many keys there are on all ranks.

    Returns:
        (m, ...); of a key that nobody has, zero.
    """
    block = share(count, comm)

    def home(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        ranks = numbers * comm.size // max(count, 1)
        return np.argsort(ranks, kind="stable"), np.bincount(ranks, minlength=comm.size)

    def to_homes(array: np.ndarray, order: np.ndarray, sizes: np.ndarray) -> list[np.ndarray]:
        return comm.alltoall(np.split(array[order], np.cumsum(sizes)[:-1]))

    keys, wanted = np.asarray(keys, dtype=np.int64), np.asarray(wanted, dtype=np.int64)
    order, sizes = home(keys)
    table = np.zeros((len(block), *values.shape[1:]), dtype=values.dtype)
    for numbers, entries in zip(
        to_homes(keys, order, sizes), to_homes(values, order, sizes), strict=True
    ):
        table[numbers - block.start] = entries
    order, sizes = home(wanted)
    asked = to_homes(wanted, order, sizes)
    answers = comm.alltoall([table[numbers - block.start] for numbers in asked])
    result = np.empty((len(wanted), *values.shape[1:]), dtype=values.dtype)
    result[order] = np.concatenate(answers)
    return result


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


def alike(comm: MPI.Comm, name: str, make: Callable[[], np.ndarray], *, at: float) -> np.ndarray:
    """An argument of a collective evaluation, if ``make`` gives the same one on every rank.

    Args:
        comm: The ranks.
        name: Of the argument, for messages.
        make: Checks it and returns it.
        at: The time of what is evaluated, which must agree too.

    Raises:
        InputError: On all ranks: what ``make`` raises on one of them, or if they differ.
    """
    if comm.size == 1:
        return make()
    result = agree(comm, make)
    words = hashlib.blake2b(repr((result.shape, float(at))).encode())
    words.update(np.ascontiguousarray(result).tobytes())
    mark = words.digest()
    if len(set(comm.allgather(mark))) > 1:
        raise InputError(
            f"{name}: they or the times differ between the ranks; the evaluation is collective: "
            f"give the same {name} and time on every rank, then take what each rank needs"
        )
    return result


def _message(error: BaseException) -> tuple[str, int]:
    if isinstance(error, UfdError):
        return f"ufd: {error}", error.exit_code
    return "".join(traceback.format_exception(error)).rstrip(), 1


def all_arrive(comm: MPI.Comm, patience: float = 3.0) -> bool:
    """Whether every rank of ``comm`` calls this within ``patience`` seconds."""
    arrival = comm.Ibarrier()
    deadline = time.monotonic() + patience
    while not arrival.Test():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _abort(comm: MPI.Comm, error: BaseException) -> NoReturn:
    text, code = _message(error)
    print(f"{text} (rank {comm.rank})", file=sys.stderr, flush=True)
    comm.Abort(code)
    raise error  # never reached


def outcome_of[T](comm: MPI.Comm, action: Callable[[], T]) -> tuple[T | None, str, int]:
    """Run a collective ``action`` and bear its failure, on every rank the same.

    An error that only some ranks meet leaves the others in a collective call of the action, from
    which nothing frees them: then all are aborted, after its message.

    Args:
        comm: Ranks that call this, in a communicator used for nothing else.
        action: May communicate over other communicators.

    Returns:
        Its result on this rank, "" and 0; or None, the line of the first failed rank and the
        exit code of its error (1 for one that was not raised on purpose).
    """
    result, failure = None, None
    try:
        result = action()
    except Exception as error:  # bugs too: the next action may be free of them
        if not all_arrive(comm):
            _abort(comm, error)
        line = traceback.format_exception_only(error)[-1].strip().splitlines()[-1]
        known = isinstance(error, UfdError)
        failure = (str(error), error.exit_code) if known else (line, 1)  # type: ignore[attr-defined]
    else:
        comm.Ibarrier().Wait()
    for each in comm.allgather(failure):
        if each is not None:
            return None, *each
    return result, "", 0


def exit_together(comm: MPI.Comm, error: BaseException, patience: float = 3.0) -> NoReturn:
    """End the job because of ``error``; call it on every rank that caught one.

    If all ranks arrive within ``patience`` seconds, rank 0 speaks for them and all exit with the
    error's code. If not, the others wait in some collective call: this rank speaks and aborts.

    Args:
        comm: A communicator used for nothing else (duplicate one at the start).
        error: What was caught.
        patience: Seconds to wait for the other ranks.
    """
    if not all_arrive(comm, patience):
        _abort(comm, error)
    text, code = _message(error)
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

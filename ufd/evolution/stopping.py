"""What asks a run to stop before its end: a signal to one of its ranks, or the wall clock."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Protocol

import numpy as np
from mpi4py import MPI

from ufd.evolution.evolve import StopReason
from ufd.exceptions import InputError
from ufd.parallel import largest

_IMPORTED = time.monotonic()


class Signals(Protocol):
    """Notes signals from the first step on; `ufd.signals.StopSignals` is one."""

    received: int

    def listen(self) -> None:
        """From now on note a signal instead of ending the process."""


def process_age() -> float:
    """Seconds since this process was started."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - started
    except (OSError, AttributeError):  # no Linux: from the import of this file
        return time.monotonic() - _IMPORTED


class StopRequests:
    """The requests of all ranks, agreed on once per step.

    Args:
        comm: The ranks of the run.
        signals: Notes signals on this rank; None if they are not caught.
        wall_clock: Seconds since the start of the process of rank 0 after which it may be killed.

    Attributes:
        saving: Seconds that the last snapshot took; kept free before the limit.
        moved: Whether a step was taken since the start of the process.
    """

    # Seconds for what follows the last snapshot: a message, and the end of MPI.
    _MARGIN = 1.0

    def __init__(
        self, comm: MPI.Comm, signals: Signals | None = None, wall_clock: float | None = None
    ) -> None:
        self._comm, self._signals = comm, signals
        self._limit = np.inf if wall_clock is None else wall_clock
        # Differences of a clock that is read in no time, not a file per iteration.
        self._born = time.monotonic() - process_age()
        self.saving, self.moved = 0.0, False
        self._longest, self._asked_at = 0.0, np.nan

    def start(self) -> None:
        """Call before the first step: from now on signals are noted."""
        if self._signals is not None:
            self._signals.listen()
        self._asked_at = time.monotonic()

    def _signal(self) -> int:
        return 0 if self._signals is None else self._signals.received

    def _out_of_time(self, needed: float = 0.0) -> bool:
        # Rank 0 decides: clocks, and the starts of processes, differ between ranks.
        if self._comm.rank > 0:
            return False
        age = time.monotonic() - self._born
        return age + needed + 2 * self.saving + self._MARGIN >= self._limit

    def asked(self) -> bool:
        """Whether this rank knows of a reason to stop; not collective, for use within a solve."""
        return self._signal() > 0 or self._out_of_time()

    def agreed(self, due: bool = False) -> tuple[StopReason | None, bool]:
        """The reason to stop, and whether something is ``due`` on any rank; collective.

        Raises:
            InputError: If the wall clock leaves no time for a single step.
        """
        now = time.monotonic()
        self._longest = max(self._longest, now - self._asked_at)
        out = self._out_of_time(1.2 * self._longest)
        signalled, out, due = largest(self._comm, np.array([self._signal(), out, due], dtype=float))
        if signalled:
            return StopReason.SIGNAL, bool(due)
        if out:
            if not self.moved:
                # A job that is put into the queue again by itself would do so for ever.
                raise InputError(
                    f"limits.wall_clock = {self._limit:g}: no time is left for a single step after "
                    "the set-up; give more"
                )
            return StopReason.WALL_CLOCK, bool(due)
        return None, bool(due)

    def go_on(self) -> None:
        """Call when a step begins: what lies between steps does not count as one."""
        self._asked_at = time.monotonic()

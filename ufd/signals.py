"""Signals that ask a long run to stop: noted once it runs, deadly before and when repeated."""

from __future__ import annotations

import os
import signal
import time
from types import FrameType
from typing import Any

_ASKING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
# A launcher and a shell may both pass one signal on: within this time it counts once.
_SAME = 1.0


class Stopped(BaseException):
    """Raised where a signal comes while nothing looks at the note; no error of the program."""


class StopSignals:
    """Notes SIGTERM, SIGUSR1 and SIGINT from `listen` on; a context that ends with the old ways.

    Attributes:
        received: Number of the first signal that was noted, 0 before.
        at_once: Raise `Stopped` when a signal comes, for work that never looks at ``received``.
    """

    def __init__(self) -> None:
        self.received, self.at_once = 0, False
        self._noted_at = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        self._before = {number: signal.getsignal(number) for number in _ASKING}
        # Once loaded, PETSc catches SIGTERM and ends with a page of advice, and MPICH SIGUSR1; a
        # run that has not begun shall just end.
        from mpi4py import MPI  # noqa: F401
        from petsc4py import PETSc  # noqa: F401

        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, self._before[number])
        return self

    def __exit__(self, *_: object) -> None:
        for number, action in self._before.items():
            signal.signal(number, action)

    def listen(self) -> None:
        """From now on note a signal instead of ending the process."""
        for number in _ASKING:
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.received:
            self.received, self._noted_at = number, now
            if self.at_once:
                raise Stopped
        elif now - self._noted_at > _SAME:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

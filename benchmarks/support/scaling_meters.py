"""Clocks, counters and sizes for `mpi_scaling.py`: put around the package from outside."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from ufd.parallel import largest

Array = NDArray[np.float64]
_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


def last_level_cache() -> int:
    """Its bytes; 32 MiB where the kernel does not say."""
    units = {"K": 1 << 10, "M": 1 << 20}
    words = [path.read_text().strip() for path in _CACHES.glob("index*/size")]
    return max((int(w[:-1]) * units[w[-1]] for w in words if w[-1:] in units), default=32 << 20)


def resident() -> int:
    """Bytes of this process in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def peak() -> int:
    """Bytes of this process in memory at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _now() -> Array:
    return np.array([time.process_time(), time.perf_counter()])


class Meter:
    """A function that counts its calls, the iterations that it reports, and its seconds."""

    def __init__(self, action: Callable, iterations: Callable[[Any], int]) -> None:
        self._action, self._count = action, iterations
        self.calls = self.iterations = 0
        self.seconds = np.zeros(2)

    def __call__(self, *arguments: Any) -> Any:
        """Do what the function does."""
        begin = _now()
        outcome = self._action(*arguments)
        self.seconds += _now() - begin
        self.calls += 1
        self.iterations += self._count(outcome)
        return outcome


def metered(owner: Any, name: str, iterations: Callable[[Any], int] = lambda out: 0) -> Meter:
    """Put a meter in the place of a method."""
    meter = Meter(getattr(owner, name), iterations)
    setattr(owner, name, meter)
    return meter


class Counting(MPI.Intracomm):
    """A communicator that counts its reductions."""

    reductions = 0

    def allreduce(self, *arguments: Any, **options: Any) -> Any:
        """See mpi4py."""
        Counting.reductions += 1
        return super().allreduce(*arguments, **options)

    def Allreduce(self, *arguments: Any, **options: Any) -> None:
        """See mpi4py."""
        Counting.reductions += 1
        super().Allreduce(*arguments, **options)


def timed[T](comm: MPI.Comm, action: Callable[[], T]) -> tuple[Array, T]:
    """Seconds on the slowest rank, and the result."""
    comm.Barrier()
    begin = _now()
    result = action()
    return largest(comm, _now() - begin), result

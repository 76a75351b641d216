"""Schedules: which times a run lands on."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np

from ufd.exceptions import InputError

# The least positive time, and step: those of the stages inside it are numbers still.
LEAST_TIME = 1e-300


def landing_times(times: Sequence[float], start: float = 0.0) -> list[float]:
    """Check and return the times to land on.

    Raises:
        InputError: If they are empty, not finite, not increasing, or before ``start``.
    """
    try:
        landing = [float(t) for t in times]
    except (TypeError, ValueError):
        raise InputError(f"times = {times!r} must be a sequence of numbers") from None
    if not landing or not np.all(np.isfinite(landing)):
        raise InputError(f"times = {landing!r} must be finite and not empty")
    if any(b <= a for a, b in itertools.pairwise(landing)) or landing[0] < start:
        raise InputError(f"times = {landing!r} must increase and start at {start:g} or later")
    for t in landing:
        if 0 < t < LEAST_TIME:
            raise InputError(f"times: {t!r} is too small; give 0, or {LEAST_TIME:g} or more")
    return landing


def stored_times(times: Sequence[float]) -> list[float]:
    """Check the times of a run, and put its start before them.

    Raises:
        InputError: See `landing_times`; or if nothing comes after the start.
    """
    landing = landing_times(times)
    if landing[0] > 0:
        landing = [0.0, *landing]
    if landing[-1] == 0:
        raise InputError("times: the last time must be positive")
    return landing


def doubling_times(end: float, count: int = 5) -> list[float]:
    """The start, then ``count`` times that double up to ``end``: where a decay is seen best.

    Raises:
        InputError: If the first of them is too small for a time.
    """
    least = LEAST_TIME * 2 ** (count - 1)
    if end < least:
        raise InputError(f"end = {end!r} is too small; give {least:.2g} or more")
    return [0.0, *(end / 2**k for k in reversed(range(count)))]


def merged(*schedules: Iterable[float], end: float) -> list[float]:
    """One increasing schedule from several, with 0 and ``end``.

    Raises:
        InputError: If a time lies outside [0, end].
    """
    every = {0.0, end, *(float(t) for schedule in schedules for t in schedule)}
    for t in every:
        if not 0 <= t <= end:
            raise InputError(f"times: {t:g} lies outside [0, {end:g}]")
    return sorted(every)

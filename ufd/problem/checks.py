"""Numbers and directions as a user gives them: checked, or refused in one line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ufd.exceptions import InputError

# Times are found again after they were rounded to single precision; a few are listed in full.
_SINGLE, _FEW = 1e-6, 10


def shown(value: Any) -> str:
    """``repr`` on one line."""
    return " ".join(repr(value).split())


def number(owner: str, name: str, value: Any, minimum: float = -math.inf) -> float:
    """A finite number, at least ``minimum``.

    Raises:
        InputError: If it is anything else; the message names ``owner`` and ``name``.
    """
    try:
        result = float(value)
    except (TypeError, ValueError):
        raise InputError(f"{owner}: {name} = {shown(value)} is not a number") from None
    if not math.isfinite(result) or result < minimum:
        bound = "" if minimum == -math.inf else f" and at least {minimum:g}"
        raise InputError(f"{owner}: {name} = {value!r} must be finite{bound}")
    return result


def positive_integer(owner: str, name: str, value: Any) -> int:
    """A positive integer, of Python's or of NumPy's, no truth value.

    Raises:
        InputError: For anything else.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise InputError(f"{owner}: {name} = {shown(value)} must be a positive integer")
    return int(value)


def place_of_time(
    t: Any, times: Sequence[float] | NDArray[np.float64], told: str = "stored; stored times"
) -> int:
    """The index of the nearest of ``times``, if that is ``t`` up to single precision.

    Args:
        t: The time.
        times: Those that are known, in increasing order.
        told: What was not done at another time, and what the known ones are called.

    Raises:
        InputError: If it is no number, or none of them; the message lists them.
    """
    wanted = np.asarray(t if isinstance(t, Real | np.ndarray) else None)
    known = np.asarray(times, dtype=float)
    if wanted.ndim or wanted.dtype.kind not in "iuf":
        raise InputError(f"t = {shown(t)} must be a number")
    away = np.abs(known - float(wanted))
    # Zero has no relative neighbourhood: round-off of the first time after it counts.
    scale = np.where(known > 0, known, 1e-6 * min(known[known > 0], default=0.0))
    if np.any(away <= _SINGLE * scale):
        return int(np.argmin(away))
    raise InputError(f"t = {float(wanted)!r} was not {told}: {_listed(known, away)}")


def _listed(times: NDArray[np.float64], away: NDArray[np.float64]) -> str:
    """Times for a message: all of a few, or the ends and the nearest."""
    text = [f"{t:.10g}" for t in times]
    if len(text) <= _FEW:
        return ", ".join(text)
    nearest = text[int(np.argmin(away))]
    return f"{text[0]}, {text[1]}, ..., {text[-1]} ({len(text)} of them); the nearest is {nearest}"


def real_array(value: Any) -> NDArray[np.float64]:
    """An array of real numbers.

    Raises:
        ValueError: If rows differ in length, or entries are complex or no numbers.
        TypeError: If entries are no numbers.
    """
    found = np.asarray(value)
    if found.dtype.kind in "cSU":
        raise ValueError("complex numbers or text")
    return found.astype(float)


def form(value: Any) -> str:
    """Shape and type of what should be an array of real numbers, for messages."""
    try:
        found = np.asarray(value)
    except ValueError:
        return "rows of different lengths"
    kind = {"c": "complex numbers of ", "O": "objects of ", "U": "text of "}
    return f"{kind.get(found.dtype.kind, '')}shape {found.shape}"


def direction(owner: str, name: str, value: Any) -> NDArray[np.float64]:
    """A vector of two entries or more, divided by its length; shape (ambient_dim,).

    Raises:
        InputError: If it is no vector, zero or not finite; the message names ``owner`` and
            ``name``.
    """
    try:
        vector = real_array(value)
    except (TypeError, ValueError):
        raise InputError(f"{owner}: {name} = {shown(value)} is not a vector") from None
    largest = float(np.max(np.abs(vector), initial=0.0))
    if vector.ndim != 1 or vector.size < 2 or not 0 < largest < math.inf:
        raise InputError(f"{owner}: {name} = {shown(value)} must be a finite, non-zero vector")
    # A power of two changes no digit; lengths then neither overflow nor underflow.
    vector = np.ldexp(vector, -math.frexp(largest)[1])
    return vector / np.linalg.norm(vector)

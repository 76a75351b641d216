"""Numbers and directions as a user gives them: checked, or refused in one line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ufd.exceptions import InputError


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


def place_of_time(t: Any, times: Sequence[float], told: str = "stored; stored times") -> int:
    """The index of a time among ``times``, up to round-off.

    Args:
        t: The time.
        times: Those that are known.
        told: What was not done at another time, and what the known ones are called.

    Raises:
        InputError: If it is none of them; the message lists them.
    """
    for i, known in enumerate(times):
        if abs(known - t) <= 1e-12 * max(1.0, abs(t)):
            return i
    listed = ", ".join(f"{s:g}" for s in times)
    raise InputError(f"t = {t!r} was not {told}: {listed}")


def direction(owner: str, name: str, value: Any) -> NDArray[np.float64]:
    """A vector of two entries or more, divided by its length; shape (ambient_dim,).

    Raises:
        InputError: If it is no vector, zero or not finite; the message names ``owner`` and
            ``name``.
    """
    try:
        vector = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise InputError(f"{owner}: {name} = {shown(value)} is not a vector") from None
    largest = float(np.max(np.abs(vector), initial=0.0))
    if vector.ndim != 1 or vector.size < 2 or not 0 < largest < math.inf:
        raise InputError(f"{owner}: {name} = {shown(value)} must be a finite, non-zero vector")
    # A power of two changes no digit; lengths then neither overflow nor underflow.
    vector = np.ldexp(vector, -math.frexp(largest)[1])
    return vector / np.linalg.norm(vector)

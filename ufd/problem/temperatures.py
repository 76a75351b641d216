"""Temperatures of noisy gradient descent: constant, or annealed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

from ufd.exceptions import InputError
from ufd.problem.checks import number, shown


class Temperature(Protocol):
    """tau as a function of time; it never rises."""

    def at(self, t: float) -> float:
        """tau(t)."""

    def describe(self) -> float | dict[str, float]:
        """For the record of a run."""


@dataclass(frozen=True)
class Constant:
    """The same tau for ever.

    Args:
        value: At least 0.
    """

    value: float

    def at(self, t: float) -> float:
        """See `Temperature`."""
        return self.value

    def describe(self) -> float:
        """See `Temperature`."""
        return self.value


@dataclass(frozen=True)
class Annealing:
    """tau(t) = start/(1 + start/level log(1 + t)): tends to level/log(t) (cf. arXiv 2202.01009).

    Args:
        start: tau(0), positive.
        level: Of the decay, positive.

    Raises:
        InputError: If one is not positive.
    """

    start: float
    level: float

    def __post_init__(self) -> None:
        for name in ("start", "level"):
            value = number("Annealing", name, getattr(self, name))
            if not value > 0:
                raise InputError(f"Annealing: {name} = {value!r} must be positive")
            object.__setattr__(self, name, value)

    def at(self, t: float) -> float:
        """See `Temperature`."""
        return self.start / (1 + self.start / self.level * math.log1p(t))

    def describe(self) -> dict[str, float]:
        """See `Temperature`."""
        return {"start": self.start, "level": self.level}


def temperature_of(owner: str, value: Any) -> Temperature:
    """A temperature from a number, at least 0, or an `Annealing`.

    Raises:
        InputError: For anything else.
    """
    if isinstance(value, Annealing):
        return value
    if callable(value) or isinstance(value, str | dict):
        raise InputError(f"{owner}: temperature = {shown(value)} must be a number or ufd.Annealing")
    return Constant(number(owner, "temperature", value, 0.0))

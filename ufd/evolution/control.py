"""Step-size controllers: they accept or reject what a stepper reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ufd.evolution.schedules import LEAST_TIME
from ufd.exceptions import InputError

# Round-off of one step: no tolerance below it is ever met.
_LEAST_RTOL = 1e-14


@dataclass
class ErrorControl:
    """Proportional-integral control of the relative error per step.

    Args:
        rtol: Bound of the estimate (relative L1(mu) error of one step for the diffusion).
    """

    rtol: float
    safety: float = 0.85
    _previous: float = field(default=1.0, repr=False)
    estimates: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        if not 0 < self.rtol < 1:
            raise InputError(f"rtol = {self.rtol!r} must lie between 0 and 1")
        if self.rtol < _LEAST_RTOL:
            raise InputError(
                f"rtol = {self.rtol!r} is below what double precision gives; use {_LEAST_RTOL:g} "
                "or more"
            )

    def judge(self, error: float | None, order: int) -> tuple[bool, float]:
        """Return whether to accept, and the factor for the next step; error ~ dt^order."""
        scaled = max((error or 0.0) / self.rtol, 1e-8)
        if scaled > 1:
            return False, max(0.2, self.safety * scaled ** (-1 / order))
        factor = self.safety * scaled ** (-0.7 / order) * self._previous ** (0.4 / order)
        self._previous = scaled
        return True, min(5.0, max(0.2, factor))

    def memory(self) -> dict[str, float]:
        """What the next judgement depends on beside its arguments."""
        return {"previous": self._previous}

    def recall(self, memory: Mapping[str, float]) -> None:
        """Go on as if `memory` had just been asked for."""
        self._previous = memory["previous"]


@dataclass(frozen=True)
class FixedStep:
    """Every step has the size ``dt`` (shorter only to land on requested times).

    Args:
        dt: Step size, positive.
    """

    dt: float
    estimates: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        if not 0 < self.dt < float("inf"):
            raise InputError(f"dt = {self.dt!r} must be positive and finite")
        if self.dt < LEAST_TIME:
            raise InputError(f"dt = {self.dt!r} is too small; give {LEAST_TIME:g} or more")

    def judge(self, error: float | None, order: int) -> tuple[bool, float]:
        """See `ErrorControl.judge`."""
        return True, 1.0

    def memory(self) -> dict[str, float]:
        """See `ErrorControl.memory`: nothing."""
        return {}

    def recall(self, memory: Mapping[str, float]) -> None:
        """See `ErrorControl.recall`."""

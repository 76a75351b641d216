"""The only time loop: it moves a system, lands on requested times and calls observers."""

from __future__ import annotations

import enum
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from numbers import Real
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ufd.evolution.control import ErrorControl, FixedStep
from ufd.evolution.schedules import landing_times
from ufd.evolution.steppers import Stepper
from ufd.exceptions import InputError, Interrupted

Array = NDArray[np.float64]


class StopReason(enum.Enum):
    """Why a run ended; the value is a sentence for a person."""

    RUNNING = "The run has not reached its end."
    FINISHED = "The end time was reached."
    STEP_TOO_SMALL = (
        "The step size fell below its bound: no step is accurate enough or none is solved."
    )
    SOLVES_FAIL = "Most solves fail, however small the step: the last failure is in the statistics."
    TOO_MANY_STEPS = "The largest number of steps was reached before the end time."
    SIGNAL = "A signal asked the run to stop; it can be resumed."
    WALL_CLOCK = "The wall-clock limit was reached; the run can be resumed."

    @property
    def resumable(self) -> bool:
        """Whether the run was asked to stop, and did not fail."""
        return self in (StopReason.SIGNAL, StopReason.WALL_CLOCK)


# A run that fails this often, and in half of its steps, creeps and will not arrive.
_FAILURES = 100
# After so many failures on end steps are cut by more: those that a large exponent p asks for at
# first may be tens of orders of magnitude below what was tried.
_PATIENCE, _CUT, _DEEP_CUT = 20, 0.25, 1e-3
# No step is smaller than this, nor than round-off of the time.
_LEAST_STEP = 1e-200


class Observer(Protocol):
    """What looks at a run; called on every rank."""

    def __call__(self, t: float, values: Array, landed: bool) -> None:
        """See a view of the state after an accepted step; ``landed`` on a requested time."""


@dataclass
class Statistics:
    """Counters of a run; ``round_off_from`` is the time from which round-off limits the steps."""

    steps: int = 0
    rejected: int = 0
    failed_solves: int = 0
    newton: int = 0
    krylov: int = 0
    evaluations: int = 0
    largest_mass_defect: float = 0.0
    last_failure: str = ""
    round_off_from: float | None = None
    seconds: float = 0.0

    def as_dict(self) -> dict:
        """The counters by name."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """All that the steps to come depend on, and the counters so far.

    Attributes:
        t: Time.
        values: State on this rank.
        dt: Size of the next step, before it is cut to land.
        slopes: Times and slopes that the last step found.
        control: Memory of the controller.
        system: Memory of the system, arrays by name; empty for systems without one.
        statistics: Counters.
        status: Why the run stopped.
    """

    t: float
    values: Array
    dt: float
    slopes: list[tuple[float, Array]]
    control: dict[str, float]
    system: dict[str, Array]
    statistics: Statistics
    status: StopReason


class Evolution:
    """A state on its way through time.

    Args:
        system: What is moved: it solves implicit stages, or gives slopes.
        stepper: One-step method for such systems.
        control: Accepts or rejects steps.
        values: Initial state, (n,) on this rank, or of any shape.
        dt: First step size.
        observers: Called after the start and after every accepted step.
        max_steps: Bound on accepted plus rejected steps.

    Attributes:
        speaks: Whether notices are given here; on one rank of several.
        asked: Collective; called before every step and after a step that was interrupted: a
            reason to stop, or None.
    """

    def __init__(
        self,
        system: Any,
        stepper: Stepper,
        control: ErrorControl | FixedStep,
        values: Array,
        dt: float,
        observers: Sequence[Observer] = (),
        max_steps: int = 1_000_000,
    ) -> None:
        self.system, self.stepper, self.control = system, stepper, control
        self.t, self.values, self.dt = 0.0, values, dt
        self.observers, self.max_steps = list(observers), max_steps
        self.status, self.statistics = StopReason.RUNNING, Statistics()
        self.asked: Callable[[], StopReason | None] = lambda: None
        self._slopes: list[tuple[float, Array]] = []
        self.started, self.speaks = False, True

    def snapshot(self) -> Snapshot:
        """The run as it is now; later steps do not change it."""
        # Explicit systems remember nothing; what a factor was made of may be overwritten.
        remembered = self.system.memory() if hasattr(self.system, "memory") else {}
        return Snapshot(
            t=self.t,
            values=self.values,
            dt=self.dt,
            slopes=list(self._slopes),
            control=self.control.memory(),
            system={name: array.copy() for name, array in remembered.items()},
            statistics=replace(self.statistics),
            status=self.status,
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from a snapshot as if the run had never been stopped."""
        self.t, self.values, self.dt = snapshot.t, snapshot.values, snapshot.dt
        self._slopes, self.status = list(snapshot.slopes), snapshot.status
        self.statistics = replace(snapshot.statistics)
        self.control.recall(snapshot.control)
        if hasattr(self.system, "recall"):
            self.system.recall(snapshot.system)
        self.started = True

    def _observe(self, landed: bool) -> None:
        view = self.values.view()
        view.flags.writeable = False
        for observer in self.observers:
            observer(self.t, view, landed)

    def start(self) -> None:
        """Show the initial state to the observers, once."""
        if not self.started:
            self.started = True
            self._observe(landed=True)

    def step(self, until: float | None = None) -> bool:
        """Take one accepted step, not past ``until``; False when the run cannot go on.

        A step that is interrupted is discarded: state, step size, memories and counters are those
        before it.
        """
        self.start()
        reason = self.asked()
        if reason is not None:
            self.status = reason
            return False
        before = self.snapshot()
        try:
            landed = self._accepted_step(until)
        except Interrupted:
            self.restore(before)
            self.status = self.asked() or StopReason.SIGNAL
            return False
        if landed is None:
            return False
        self._observe(landed)
        return True

    def _accepted_step(self, until: float | None) -> bool | None:
        """Whether the step landed on ``until``; None if there is no further step."""
        self.status = StopReason.RUNNING
        begin = time.perf_counter()
        stats, failures = self.statistics, 0
        while True:
            if stats.steps + stats.rejected + stats.failed_solves >= self.max_steps:
                self.status = StopReason.TOO_MANY_STEPS
                return None
            remaining = np.inf if until is None else until - self.t
            landed = self.dt >= remaining * (1 - 1e-12)
            dt = self.dt if not landed else remaining
            if not landed and self.control.estimates and 2 * dt > remaining:
                dt = remaining / 2  # two equal steps rather than a sliver at the end
            report = self.stepper.step(
                self.system, self.t, self.values, dt, self._slopes, estimate=self.control.estimates
            )
            stats.newton += report.newton
            stats.krylov += report.krylov
            stats.evaluations += report.evaluations
            if report.failure:
                stats.failed_solves += 1
                failures += 1
                stats.last_failure = report.failure
                accept, factor = False, _CUT if failures <= _PATIENCE else _DEEP_CUT
                self._slopes = []
                if stats.failed_solves > max(_FAILURES, stats.steps // 2):
                    self.status = StopReason.SOLVES_FAIL
                    return None
            else:
                accept, factor = self.control.judge(report.error, self.stepper.estimate_order)
                stats.rejected += not accept
            if accept:
                break
            self.dt = dt * factor
            if self.dt <= max(1e-14 * self.t, _LEAST_STEP):
                self.status = StopReason.STEP_TOO_SMALL
                return None
        if self.control.estimates:
            # A step cut short to land says little about the next one: keep the longer.
            self.dt = max(dt * factor, self.dt) if landed and factor > 1 else dt * factor
        elif isinstance(self.control, FixedStep):
            self.dt = self.control.dt
        self.t = float(until) if landed and until is not None else self.t + dt
        self.values, self._slopes = report.values, report.slopes
        stats.steps += 1
        if stats.round_off_from is None and getattr(self.system, "limited", False):
            stats.round_off_from = self.t
            if self.speaks:
                text = (
                    f"from t = {self.t:.4g} on double precision has fewer digits of what is left "
                    "to decay than rtol asks for: the run goes on with those there are"
                )
                warnings.warn(text, UserWarning, stacklevel=2)
        stats.largest_mass_defect = max(stats.largest_mass_defect, report.mass_defect)
        stats.seconds += time.perf_counter() - begin
        return landed

    def advance(self, to: float) -> bool:
        """Step until exactly t = ``to``; False when the run cannot go on.

        Raises:
            InputError: If ``to`` is not a finite number, or before the current time.
        """
        if not isinstance(to, Real) or not math.isfinite(to) or to < self.t:
            raise InputError(
                f"to = {to!r} must be finite and at least the current time {self.t:.17g}"
            )
        self.start()
        while self.t < to:
            if not self.step(to):
                return False
        return True

    def iterate(self, times: Sequence[float]) -> Iterator[float]:
        """Advance to each of ``times`` in turn and yield it; the status tells how it ended."""
        for target in landing_times(times, self.t):
            if not self.advance(target):
                return
            yield self.t
        self.status = StopReason.FINISHED

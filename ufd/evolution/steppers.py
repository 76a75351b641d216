"""Diagonally implicit Runge-Kutta methods: L-stable, stiffly accurate, no explicit first stage.

A stage solves W - tau F(t, W) = r with tau = gamma dt; its slope is then k = (W - r)/tau, and
the last stage is the new state. Tableaux: SDIRK2, SDIRK3 Alexander (SIAM J. Numer. Anal. 14,
1977), SDIRK4 Hairer & Wanner (Solving ODEs II, table IV.6.5). A stepper advances and reports;
the controller decides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Stage(NamedTuple):
    """Outcome of one implicit solve."""

    values: Array
    newton: int
    krylov: int
    mass_defect: float
    failure: str = ""


class ImplicitSystem(Protocol):
    """A semi-discrete system whose implicit stages can be solved."""

    def stage(self, r: Array, tau: float, t: float, guess: Array) -> Stage:
        """Solve W - tau F(t, W) = r."""

    def norm(self, error: Array, values: Array) -> float:
        """Size of ``error`` relative to ``values``; equal on every rank."""


@dataclass
class Step:
    """What a stepper reports: the new state, the error estimate, its cost, why it failed."""

    values: Array
    error: float | None = None
    newton: int = 0
    krylov: int = 0
    mass_defect: float = 0.0
    failure: str = ""
    slopes: list[tuple[float, Array]] = field(default_factory=list)
    evaluations: int = 0

    def absorb(self, stage: Stage) -> None:
        """Add the cost of one stage, and keep its failure."""
        self.newton += stage.newton
        self.krylov += stage.krylov
        self.mass_defect = max(self.mass_defect, stage.mass_defect)
        self.failure = self.failure or stage.failure
        self.values = stage.values


def _predict(slopes: Sequence[tuple[float, Array]], t: float) -> Array | None:
    """Slope at time t from the last three slopes, by Lagrange extrapolation."""
    if not slopes:
        return None
    recent = slopes[-3:]
    total = np.zeros_like(recent[0][1])
    for i, (ti, ki) in enumerate(recent):
        weight = 1.0
        for j, (tj, _) in enumerate(recent):
            if i != j:
                weight *= (t - tj) / (ti - tj)
        total += weight * ki
    return total


def _kept_near(guess: Array, near: Array) -> Array:
    """A guess between a fifth and five times what is near, whatever its sign."""
    bounds = 0.2 * near, 5 * near
    return np.clip(guess, np.minimum(*bounds), np.maximum(*bounds))


class Stepper(Protocol):
    """A one-step method for one kind of system."""

    @property
    def name(self) -> str:
        """Name in case files."""

    @property
    def order(self) -> int:
        """Order of convergence."""

    @property
    def estimate_order(self) -> int:
        """Power of dt with which the error estimate of a step falls."""

    def step(
        self,
        system: Any,
        t: float,
        values: Array,
        dt: float,
        slopes: Sequence[tuple[float, Array]] = (),
        *,
        estimate: bool = True,
    ) -> Step:
        """Advance from t to t + dt; ``slopes`` are what the last step found."""


@dataclass(frozen=True)
class SDIRK:
    """A singly diagonally implicit method.

    Args:
        name: Name in case files.
        order: Classical order.
        gamma: Diagonal entry of the tableau.
        lower: Strictly lower rows of the tableau.
        error_weights: b minus the embedded weights, whose method has order ``order - 1``.
    """

    name: str
    order: int
    gamma: float
    lower: tuple[tuple[float, ...], ...]
    error_weights: tuple[float, ...]

    def step(
        self,
        system: ImplicitSystem,
        t: float,
        values: Array,
        dt: float,
        slopes: Sequence[tuple[float, Array]] = (),
        *,
        estimate: bool = True,
    ) -> Step:
        """Advance from t to t + dt; ``slopes`` of the last step improve the guesses."""
        tau = self.gamma * dt
        report = Step(values)
        history = list(slopes)
        stages: list[Array] = []
        for row in self.lower:
            time = t + (sum(row) + self.gamma) * dt
            r = values.copy()
            for a, k in zip(row, stages, strict=True):
                r += (a * dt) * k
            slope = _predict(history, time)
            near = report.values
            guess = near if slope is None else _kept_near(r + tau * slope, near)
            report.absorb(system.stage(r, tau, time, guess))
            if report.failure:
                return report
            k = (report.values - r) / tau
            stages.append(k)
            history = [(s, ks) for s, ks in history if s != time] + [(time, k)]
        if estimate:
            error = sum(e * k for e, k in zip(self.error_weights, stages, strict=True))
            report.error = system.norm(dt * np.asarray(error), report.values)
        report.slopes = history[-3:]
        return report

    @property
    def estimate_order(self) -> int:
        """Power of dt with which the error estimate of a step falls."""
        return self.order

    def decay_factor(self, z: Any) -> Any:
        """Stability function R(z), z = -lambda dt; a number or an array."""
        slopes: list[Any] = []
        value: Any = 1.0
        for row in self.lower:
            r = 1.0 + sum(a * k for a, k in zip(row, slopes, strict=True))
            value = r / (1 - self.gamma * z)
            slopes.append(z * value)
        return value


@dataclass(frozen=True)
class BackwardEuler(SDIRK):
    """Backward Euler; under error control two half steps are kept, and their difference from the
    full step is the estimate.
    """

    name: str = "backward_euler"
    order: int = 1
    gamma: float = 1.0
    lower: tuple[tuple[float, ...], ...] = ((),)
    error_weights: tuple[float, ...] = (0.0,)

    @property
    def estimate_order(self) -> int:
        """See `SDIRK.estimate_order`: the step itself, not an embedded method, is halved."""
        return 2

    def step(self, system, t, values, dt, slopes=(), *, estimate=True) -> Step:
        """See `SDIRK.step`."""
        whole = super().step(system, t, values, dt, slopes, estimate=False)
        if not estimate or whole.failure:
            return whole
        first = super().step(system, t, values, dt / 2, slopes, estimate=False)
        if first.failure:
            return first
        second = super().step(
            system, t + dt / 2, first.values, dt / 2, first.slopes, estimate=False
        )
        second.newton += whole.newton + first.newton
        second.krylov += whole.krylov + first.krylov
        second.mass_defect = max(whole.mass_defect, first.mass_defect, second.mass_defect)
        if not second.failure:
            second.error = system.norm(second.values - whole.values, second.values)
        return second


def SDIRK2() -> SDIRK:
    """Two stages, order 2, gamma = 1 - 1/sqrt(2)."""
    g = 1 - 1 / math.sqrt(2)
    return SDIRK("sdirk2", 2, g, ((), (1 - g,)), (1 - g, g - 1))


def SDIRK3() -> SDIRK:
    """Three stages, order 3; gamma is the root 0.4358665... of x^3 - 3x^2 + 3x/2 - 1/6."""
    g = 0.43586652150845899942
    b1, b2 = -(6 * g * g - 16 * g + 1) / 4, (6 * g * g - 20 * g + 5) / 4
    embedded = (g / (1 - g), (1 - 2 * g) / (1 - g), 0.0)
    lower = ((), ((1 - g) / 2,), (b1, b2))
    return SDIRK("sdirk3", 3, g, lower, (b1 - embedded[0], b2 - embedded[1], g))


def SDIRK4() -> SDIRK:
    """Five stages, order 4, gamma = 1/4, with the embedded method of order 3."""
    lower = (
        (),
        (1 / 2,),
        (17 / 50, -1 / 25),
        (371 / 1360, -137 / 2720, 15 / 544),
        (25 / 24, -49 / 48, 125 / 16, -85 / 12),
    )
    error = (25 / 24 - 59 / 48, -49 / 48 + 17 / 96, 125 / 16 - 225 / 32, 0.0, 1 / 4)
    return SDIRK("sdirk4", 4, 1 / 4, lower, error)


STEPPERS = {
    "backward_euler": BackwardEuler,
    "sdirk2": SDIRK2,
    "sdirk3": SDIRK3,
    "sdirk4": SDIRK4,
}

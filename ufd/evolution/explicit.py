"""Explicit one-step methods on a manifold: Euler as published, along geodesics, RK23 and RKC.

Stages are taken in coordinates, with the velocity of the nearest state on the manifold, and the
new state is retracted: the order of the method is kept, since the manifold is invariant under
that extension of the field. A stepper advances and reports; the controller decides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ufd.evolution.steppers import Step

Array = NDArray[np.float64]
Slopes = Sequence[tuple[float, Array]]


class ExplicitSystem(Protocol):
    """A semi-discrete system on a manifold."""

    def slope(self, t: float, values: Array, *, ambient: bool = False) -> Array:
        """Velocity at a state; with its part off the manifold if ``ambient``."""

    def extended(self, t: float, values: Array) -> Array:
        """Velocity at coordinates near the manifold: that of the nearest state."""

    def retract(self, values: Array) -> Array:
        """The nearest state on the manifold."""

    def exponential(self, values: Array, change: Array) -> Array:
        """The state at the end of geodesics."""

    def norm(self, error: Array, values: Array) -> float:
        """Size of an error; equal on every rank."""


def _first_slope(system: ExplicitSystem, t: float, values: Array, slopes: Slopes) -> Array | None:
    """The slope at the start of a step if the last step ended with it."""
    return next((k for s, k in slopes if s == t), None)


class Euler:
    """Explicit Euler, for fixed steps.

    Args:
        retraction: "normalise" moves by the ambient gradient and normalises, as the published
            experiments do: for homogeneous features its radial part rescales a step (by
            1/(1 + dt u g) for ReLU; docs/theory.md section 11). "geodesic" follows great circles
            of the tangential velocity.
    """

    order, estimate_order = 1, 2

    def __init__(self, retraction: str = "geodesic") -> None:
        self._published = retraction == "normalise"
        self.name = "euler_normalised" if self._published else "euler"

    def step(
        self,
        system: ExplicitSystem,
        t: float,
        values: Array,
        dt: float,
        slopes: Slopes = (),
        *,
        estimate: bool = True,
    ) -> Step:
        """Advance from t to t + dt."""
        change = dt * system.slope(t, values, ambient=self._published)
        if self._published:
            after = system.retract(values + change)
        else:
            after = system.exponential(values, change)
        return Step(after, evaluations=1, failure=_finite(after))


class EulerMaruyama:
    """Euler's step along geodesics with the system's noise, for fixed steps: weak order 1."""

    name, order, estimate_order = "euler_maruyama", 1, 2

    def step(
        self,
        system: Any,
        t: float,
        values: Array,
        dt: float,
        slopes: Slopes = (),
        *,
        estimate: bool = True,
    ) -> Step:
        """Advance from t to t + dt."""
        change = dt * system.slope(t, values) + system.increment(t, values, dt)
        after = system.exponential(values, change)
        return Step(after, evaluations=1, failure=_finite(after))


class RK23:
    """Bogacki and Shampine's method of order 3 with its embedded estimate of order 2."""

    name, order, estimate_order = "rk23", 3, 3

    def step(
        self,
        system: ExplicitSystem,
        t: float,
        values: Array,
        dt: float,
        slopes: Slopes = (),
        *,
        estimate: bool = True,
    ) -> Step:
        """Advance from t to t + dt."""
        known = _first_slope(system, t, values, slopes)
        k1 = system.slope(t, values) if known is None else known
        k2 = system.extended(t + dt / 2, values + dt / 2 * k1)
        k3 = system.extended(t + 0.75 * dt, values + 0.75 * dt * k2)
        after = system.retract(values + dt / 9 * (2 * k1 + 3 * k2 + 4 * k3))
        failure = _finite(after)
        if failure:
            return Step(values, failure=failure, evaluations=2 + (known is None))
        k4 = system.slope(t + dt, after)
        error = dt / 72 * (-5 * k1 + 6 * k2 + 8 * k3 - 9 * k4)
        return Step(
            after,
            error=system.norm(error, after),
            evaluations=3 + (known is None),
            slopes=[(t, k1), (t + dt, k4)],
        )


class RKC:
    """The stabilised Runge-Kutta-Chebyshev method of order 2 (Sommeijer, Shampine, Verwer 1997).

    Its stages stretch the stability interval along the negative axis like their square; their
    number follows a spectral radius from power iterations on differences of the velocity.

    Args:
        displacement: Size of those differences in the norm of the system: above the kinks that
            drawn data put into the velocity, below the scale on which it bends.
    """

    name, order, estimate_order = "rkc", 2, 3
    # Accepted steps between two estimates of the spectral radius, and the margin it is given.
    _REFRESH, _MARGIN, _MOST_ITERATIONS = 25, 1.15, 12

    def __init__(self, displacement: float = 1e-3) -> None:
        self._displacement = displacement
        self._direction: Array | None = None
        self._radius, self._radius_at, self._age = 0.0, math.nan, 0

    def step(
        self,
        system: ExplicitSystem,
        t: float,
        values: Array,
        dt: float,
        slopes: Slopes = (),
        *,
        estimate: bool = True,
    ) -> Step:
        """Advance from t to t + dt."""
        known = _first_slope(system, t, values, slopes)
        first = system.slope(t, values) if known is None else known
        report = Step(values, evaluations=int(known is None))
        # A step from where the last one started was rejected: the radius may be the reason.
        if self._direction is None or self._age >= self._REFRESH or self._radius_at == t:
            report.evaluations += self._update_radius(system, t, values, first)
        self._radius_at = t
        if not math.isfinite(self._radius):
            self._direction, report.failure = None, "the velocity is not finite near the state"
            return report
        stages = max(2, math.ceil(math.sqrt(1 + 1.54 * dt * self._radius)))
        end = self._stages(system, t, values, dt, first, stages)
        report.evaluations += stages - 1
        report.failure = _finite(end)
        if report.failure:
            return report
        after = system.retract(end)
        last = system.slope(t + dt, after)
        report.evaluations += 1
        # Before the retraction, which may carry a coordinate around a torus.
        error = 0.8 * (values - end) + 0.4 * dt * (first + last)
        report.values, report.error = after, system.norm(error, after)
        report.slopes = [(t, first), (t + dt, last)]
        self._age += 1
        return report

    @staticmethod
    def _stages(
        system: ExplicitSystem, t: float, y0: Array, dt: float, f0: Array, count: int
    ) -> Array:
        """The recurrence of the stages on shifted Chebyshev polynomials."""
        w0 = 1 + 2 / (13 * count**2)
        # Values and two derivatives of T_0..T_count at w0.
        T, D, S = [1.0, w0], [0.0, 1.0], [0.0, 0.0]
        for _ in range(2, count + 1):
            T.append(2 * w0 * T[-1] - T[-2])
            D.append(2 * w0 * D[-1] - D[-2] + 2 * T[-2])
            S.append(2 * w0 * S[-1] - S[-2] + 4 * D[-2])
        w1 = D[count] / S[count]
        b = [0.0, 0.0, *(S[j] / D[j] ** 2 for j in range(2, count + 1))]
        b[0] = b[1] = b[2]
        before, here = y0, y0 + b[1] * w1 * dt * f0
        c_before, c_here = 0.0, b[1] * w1
        for j in range(2, count + 1):
            mu, nu = 2 * b[j] * w0 / b[j - 1], -b[j] / b[j - 2]
            mu_t = 2 * b[j] * w1 / b[j - 1]
            gamma = -(1 - b[j - 1] * T[j - 1]) * mu_t
            slope = system.extended(t + c_here * dt, here)
            following = (
                (1 - mu - nu) * y0 + mu * here + nu * before + dt * (mu_t * slope + gamma * f0)
            )
            c_before, c_here = c_here, mu * c_here + nu * c_before + mu_t + gamma
            before, here = here, following
        return here

    def _update_radius(self, system: ExplicitSystem, t: float, y: Array, f: Array) -> int:
        """Power iterations on (F(y + h v) - F(y))/h; returns their evaluations."""
        v = self._direction
        if v is None or v.shape != y.shape:
            v = f + 1e-3 * np.sin(1.0 + np.arange(f.size)).reshape(f.shape)
        radius, evaluations = 0.0, 0
        for _ in range(self._MOST_ITERATIONS):
            size = system.norm(v, y)
            if size == 0 or not math.isfinite(size):
                break
            evaluations += 1
            moved = y + (self._displacement / size) * v
            v = (system.extended(t, moved) - f) / self._displacement
            before, radius = radius, system.norm(v, y)
            if abs(radius - before) <= 0.05 * radius:
                break
        self._direction, self._radius, self._age = v, self._MARGIN * radius, 0
        return evaluations


def _finite(values: Array) -> str:
    return "" if np.isfinite(values).all() else "the state is not finite: the step is too long"


EXPLICIT = {
    "euler": Euler,
    "euler_normalised": lambda: Euler("normalise"),
    "euler_maruyama": EulerMaruyama,
    "rk23": RK23,
    "rkc": RKC,
}

"""Explicit steppers on manifolds: orders, stability, error estimates, and what they count.

The field on S^2 is a turn about the pole plus the ascent of the height: z = tanh(t + c) with the
longitude growing at a constant rate.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

import ufd
from ufd.evolution.control import ErrorControl, FixedStep
from ufd.evolution.evolve import Evolution, StopReason

POLE = np.array([0.0, 0.0, 1.0])
STEPPERS = [ufd.RK23, ufd.RKC]


class Flow:
    """A velocity field on a manifold, with the radial part ``pull`` if asked for ambient slopes."""

    def __init__(self, manifold, field, pull=0.0) -> None:
        self.manifold, self._field, self._pull, self.calls = manifold, field, pull, 0

    def slope(self, t, values, *, ambient=False):
        self.calls += 1
        velocity = self.manifold.tangent(values, self._field(t, values))
        return velocity + self._pull * values if ambient else velocity

    def extended(self, t, values):
        return self.slope(t, self.retract(values))

    def retract(self, values):
        return self.manifold.retract(values)

    def exponential(self, values, change):
        return self.manifold.exponential(values, change)

    def norm(self, error, values):
        return float(np.sqrt(np.mean(np.sum(error * error, axis=1))))


class Line:
    """Coordinates without constraint, for linear systems."""

    def retract(self, values):
        return values

    def tangent(self, values, vectors):
        return vectors

    def exponential(self, values, change):
        return values + change


def turning(t, x):
    return (1 + math.cos(t)) * np.cross(POLE, x) + POLE


def start(count: int = 20) -> np.ndarray:
    x = np.random.default_rng(0).normal(size=(count, 3))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def solution(t: float) -> np.ndarray:
    x = start()
    z = np.tanh(t + np.arctanh(x[:, 2]))
    angle = np.arctan2(x[:, 1], x[:, 0]) + t + math.sin(t)
    r = np.sqrt(1 - z**2)
    return np.column_stack([r * np.cos(angle), r * np.sin(angle), z])


def run(stepper, count: int, pull: float = 0.0) -> np.ndarray:
    flow = Flow(ufd.Sphere(2), turning, pull)
    evolution = Evolution(flow, stepper, FixedStep(1 / count), start(), 1 / count)
    assert evolution.advance(1.0) and evolution.statistics.steps == count
    np.testing.assert_allclose(np.linalg.norm(evolution.values, axis=1), 1, rtol=0, atol=4e-16)
    return evolution.values


@pytest.mark.parametrize(
    ("make", "pull", "order"),
    [
        (ufd.Euler, 0.0, 1),
        (lambda: ufd.Euler("normalise"), 0.0, 1),
        (lambda: ufd.Euler("normalise"), 2.0, 1),
        (ufd.RK23, 0.0, 3),
        (ufd.RKC, 0.0, 2),
    ],
)
def test_order_on_the_sphere(make, pull, order):
    """Against the exact solution; every state stays on the sphere to round-off."""
    errors = [np.abs(run(make(), n, pull) - solution(1.0)).max() for n in (40, 80, 160)]
    found = np.log2(np.array(errors[:-1]) / errors[1:])
    assert found == pytest.approx([order] * 2, abs=0.15)
    assert errors[-1] < {1: 0.06, 2: 1e-3, 3: 1e-6}[order]


@pytest.mark.parametrize("make", STEPPERS)
def test_order_of_the_estimate(make):
    """One step of half the size has an eighth of the estimated error, and a smaller true one."""
    stepper, flow, reports = make(), Flow(ufd.Sphere(2), turning), []
    for dt in (0.04, 0.02, 0.01):
        report = stepper.step(flow, 0.0, start(), dt)
        true = flow.norm(report.values - solution(dt), report.values)
        assert true < 3 * report.error
        reports.append(report.error)
    rates = np.log2(np.array(reports[:-1]) / reports[1:])
    assert rates == pytest.approx([stepper.estimate_order] * 2, abs=0.15)


@pytest.mark.parametrize("make", STEPPERS)
@pytest.mark.parametrize("rtol", [1e-4, 1e-6])
def test_error_control(make, rtol):
    """The error at the end is near the tolerance, and falls with it."""
    evolution = Evolution(Flow(ufd.Sphere(2), turning), make(), ErrorControl(rtol), start(), 1e-3)
    assert evolution.advance(1.0)
    error = np.abs(evolution.values - solution(1.0)).max()
    assert error < 30 * rtol and evolution.statistics.steps < 3 * rtol ** (-1 / 3) + 10


def test_normalising_shortens_steps():
    """With a radial part c one published step is a tangential one of size dt/(1 + c dt)."""
    flow, dt, c = Flow(ufd.Sphere(2), turning, 3.0), 0.1, 3.0
    published = ufd.Euler("normalise").step(flow, 0.0, start(), dt).values
    plain = Flow(ufd.Sphere(2), turning)
    shorter = ufd.Euler("normalise").step(plain, 0.0, start(), dt / (1 + c * dt)).values
    np.testing.assert_allclose(published, shorter, rtol=0, atol=1e-15)
    geodesic = ufd.Euler().step(flow, 0.0, start(), dt).values
    travelled = np.arccos(np.sum(geodesic * start(), axis=1))
    speed = np.linalg.norm(plain.slope(0.0, start()), axis=1)
    np.testing.assert_allclose(travelled, dt * speed, rtol=1e-12)


def stiff(radius: float, count: int = 40):
    """Relaxation to cos t at rates from 1 to ``radius``."""
    rates = np.geomspace(1, radius, count)[:, None]
    return Flow(Line(), lambda t, y: -rates * (y - math.cos(t))), rates


@pytest.mark.parametrize("radius", [1e2, 1e4])
def test_chebyshev_is_stable(radius):
    """Rates up to 1e4 at steps 300 times above Euler's: stages grow like the square root."""
    flow, rates = stiff(radius)
    stepper = ufd.RKC()
    evolution = Evolution(flow, stepper, FixedStep(0.05), np.ones(rates.shape), 0.05)
    assert evolution.advance(2.0)
    # The solution of y' = -r (y - cos t): a decaying part and a forced one.
    r = rates
    forced = (r**2 * math.cos(2.0) + r * math.sin(2.0)) / (1 + r**2)
    exact = (1.0 - r**2 / (1 + r**2)) * np.exp(-2 * r) + forced
    np.testing.assert_allclose(evolution.values, exact, rtol=0, atol=2e-3)
    stages = evolution.statistics.evaluations / evolution.statistics.steps
    assert stages < 1.3 * math.sqrt(1.54 * 0.05 * 1.15 * radius) + 4
    assert stepper._radius / stepper._MARGIN == pytest.approx(radius, rel=0.2)


def test_chebyshev_is_second_order_when_stiff():
    """The order does not fall at rates that no step resolves."""
    ends = []
    for count in (20, 40, 80, 1280):
        flow, rates = stiff(1e3)
        evolution = Evolution(flow, ufd.RKC(), FixedStep(1 / count), np.ones(rates.shape), 1.0)
        evolution.dt = 1 / count
        evolution.advance(1.0)
        ends.append(evolution.values)
    errors = [np.abs(end - ends[-1]).max() for end in ends[:-1]]
    rates = np.log2(np.array(errors[:-1]) / errors[1:])
    assert rates == pytest.approx([2, 2], abs=0.4)


def test_chebyshev_under_control():
    """A stiff system within its tolerance, in steps that only accuracy bounds."""
    flow, rates = stiff(1e4)
    evolution = Evolution(flow, ufd.RKC(), ErrorControl(1e-4), np.ones(rates.shape), 1e-3)
    assert evolution.advance(3.0)
    r = rates
    forced = (r**2 * math.cos(3.0) + r * math.sin(3.0)) / (1 + r**2)
    exact = (1.0 - r**2 / (1 + r**2)) * np.exp(-3 * r) + forced
    np.testing.assert_allclose(evolution.values, exact, rtol=0, atol=1e-3)
    assert evolution.statistics.steps < 150


@pytest.mark.parametrize("make", STEPPERS)
def test_around_the_torus(make):
    """Crossing the seam of a torus leaves the estimate, and the way, as anywhere else."""
    torus = ufd.Torus(2, 2.0)

    def field(t, x):
        return np.column_stack([1 + 0.3 * np.sin(np.pi * x[:, 1]), np.full(len(x), -2.0)])

    ends, steps = [], []
    for shift in (0.0, 0.7):
        # The same orbits seen from a shifted origin cross the seam elsewhere.
        moved = Flow(torus, lambda t, x, s=shift: field(t, x - s))
        first = torus.retract(np.array([[1.9, 0.1], [0.5, 1.0], [1.0, 0.01]]) + shift)
        evolution = Evolution(moved, make(), ErrorControl(1e-6), first, 0.01)
        assert evolution.advance(5.0)
        assert ((evolution.values >= 0) & (evolution.values < 2)).all()
        ends.append(torus.retract(evolution.values - shift))
        steps.append(evolution.statistics.steps)
    assert np.abs(torus.shortest(ends[0] - ends[1])).max() < 1e-4 and steps[0] < 1000
    assert abs(steps[0] - steps[1]) <= 0.1 * steps[0]
    y = 0.1 - 2 * 5.0
    x = 1.9 + 5.0 + 0.3 / (2 * np.pi) * (math.cos(np.pi * y) - math.cos(np.pi * 0.1))
    assert np.abs(torus.shortest(ends[0][0] - np.array([x, y]))).max() < 1e-4


@pytest.mark.parametrize("make", [ufd.Euler, *STEPPERS])
def test_evaluations_are_counted(make):
    """Every call of the field is counted, and the last slope of a step starts the next."""
    flow = Flow(ufd.Sphere(2), turning)
    evolution = Evolution(flow, make(), FixedStep(0.02), start(), 0.02)
    evolution.advance(1.0)
    assert evolution.statistics.evaluations == flow.calls
    expected = {"euler": 50, "rk23": 151, "rkc": 50 * 2 + 1}[evolution.stepper.name]
    # RKC may take a third stage, and measures its spectral radius three times.
    assert expected <= flow.calls <= expected + (80 if evolution.stepper.name == "rkc" else 0)


def test_slopes_after_a_rejection():
    """A rejected step keeps its first slope: three evaluations per trial of RK23, not four."""
    flow = Flow(ufd.Sphere(2), turning)
    evolution = Evolution(flow, ufd.RK23(), ErrorControl(1e-7), start(), 0.9)
    evolution.advance(1.0)
    stats = evolution.statistics
    assert stats.rejected > 0
    assert 3 * (stats.steps + stats.rejected) <= flow.calls == stats.evaluations
    assert flow.calls <= 3 * (stats.steps + stats.rejected) + 1 + stats.rejected


@pytest.mark.parametrize("make", STEPPERS)
def test_failures(make):
    """What is not finite is a failed step with its reason; the run ends with it."""

    def field(t, x):
        with np.errstate(over="ignore", invalid="ignore"):
            return x * np.where(np.abs(x) > 1.5, np.inf, 1.0)

    evolution = Evolution(Flow(Line(), field), make(), ErrorControl(1e-3), np.ones((3, 1)), 0.1)
    with np.errstate(invalid="ignore"):
        assert not evolution.advance(1.0)
    assert evolution.status in (StopReason.STEP_TOO_SMALL, StopReason.SOLVES_FAIL)
    assert "is not finite" in evolution.statistics.last_failure.replace("velocity", "state")
    assert 0.2 < evolution.t < math.log(1.5) + 1e-3 and np.isfinite(evolution.values).all()


def test_names():
    """Every explicit stepper is found by the name that it reports."""
    from ufd.evolution.explicit import EXPLICIT

    for name, make in EXPLICIT.items():
        assert make().name == name

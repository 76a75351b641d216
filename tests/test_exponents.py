"""Exponents p next to 1, where w^m/m has a pole, and large ones, whose steps begin tiny."""

from __future__ import annotations

import numpy as np
import pytest
from mpi4py import MPI

import ufd
from ufd.exceptions import InputError
from ufd.fem.discretization import Discretization
from ufd.fem.linear import ShiftedSolver
from ufd.fem.newton import StageSolver
from ufd.fem.surfaces import Circle
from ufd.problem.penalties import PowerPenalty

CIRCLE = ufd.Sphere(1)
UNIFORM = ufd.Uniform(CIRCLE)
NEXT_TO_ONE = [
    0.7 + 0.1 + 0.1 + 0.1,
    1 + 2.3e-16,
    1 - 1e-14,
    1 + 1e-12,
    1 - 1e-9,
    1 + 1e-8,
    1 + 1e-5,
]
RATIOS = np.array([1e-40, 1e-9, 0.03, 1 - 1e-9, 1.0, 1 + 1e-7, 2.0, 50.0, 1e30])


def run(p: float, teacher=None, start=None, times=(0.02, 0.5), **options) -> ufd.Result:
    teacher = teacher or ufd.VonMisesFisher([1, 0], 3.0)
    start = start or ufd.VonMisesFisher([-1, 0.5], 2.0)
    problem = ufd.UltraFastDiffusion(teacher, start, ufd.PowerDivergence(p))
    return ufd.solve(problem, times, **options)


@pytest.fixture(scope="module")
def at_one() -> ufd.Result:
    return run(1.0, cells=8, degree=6)


@pytest.mark.parametrize("p", NEXT_TO_ONE)
def test_next_to_one_is_close_to_one(p, at_one):
    """Solutions differ from that of p = 1 by about |p - 1|, and cost the same."""
    result = run(p, cells=8, degree=6)
    assert result.status is ufd.StopReason.FINISHED and result.stats["failed_solves"] == 0
    assert result.stats["steps"] == at_one.stats["steps"]
    points = CIRCLE.points(np.array([[1.0, 0], [0, 1], [-1, 0], [0.6, -0.8]]))
    for t in result.times:
        ratio = result.density(points, t) / at_one.density(points, t)
        assert np.max(np.abs(ratio - 1)) < 5 * abs(p - 1) + 1e-10


@pytest.mark.parametrize("m", [1e-15, -1e-15, 1e-9, -1e-9, 1e-4, -1e-4, 0.019, -0.019])
def test_the_unknown_keeps_its_digits(m):
    """-(w^m - 1)/m by its series about m = 0, and back."""
    law = ufd.PowerDivergence(1 - m)
    m, log = law.m, np.log(RATIOS)
    powers = np.ones_like(log)
    series, term = np.zeros_like(log), np.ones_like(log)
    for k in range(1, 40):
        term = term * log / k
        series += term * powers
        powers = powers * m
    s = law.unknown(RATIOS)
    assert s == pytest.approx(-series, rel=1e-12, abs=0)
    assert law.ratio(s) == pytest.approx(RATIOS, rel=1e-11)
    assert np.all(s >= law.least_unknown) and np.isneginf(law.least_unknown) == (m > 0)


def test_a_long_stage_next_to_one():
    """Backward Euler over t = 10 from the uniform start, without an M-matrix."""
    space = Discretization(Circle(8, 6), ufd.VonMisesFisher([1, 0], 6.0), MPI.COMM_SELF)
    w = space.initial_ratio(UNIFORM)
    found = []
    for p in (1.0, 1 + 1e-13, 1 + 1e-6):
        solver = StageSolver(space, ufd.PowerDivergence(p), ShiftedSolver(space, "direct"))
        stage = solver.solve(w, 10.0, w)
        assert not stage.failure and stage.newton < 15
        found.append(stage.values)
    assert found[1] == pytest.approx(found[0], rel=1e-9)
    assert found[2] == pytest.approx(found[0], rel=1e-5)


@pytest.mark.parametrize("p", [6.0, 12.0, 20.0])
def test_large_exponents(p):
    """The start needs steps of 1e-30 to 1e-110: the run goes there, and on to the end."""
    start = ufd.VonMisesFisher([1, 0], 7.0)
    result = run(p, UNIFORM, start, [1e-3], cells=24, degree=1, rtol=1e-4)
    assert result.status is ufd.StopReason.FINISHED
    assert result.series["t"][1] < 1e-20
    assert np.all(np.diff(result.series["divergence"]) < 0)
    assert np.max(np.abs(result.series["mass"] - 1)) < 1e-12
    assert result.series["min_ratio"].min() > 0


def test_exponents_beyond_double_precision():
    """One line, with the largest exponent that works; that one does."""
    start = ufd.VonMisesFisher([1, 0], 7.0)
    with pytest.raises(InputError, match=r"p = 60 is too large .* use p up to 28.4,") as caught:
        run(60.0, UNIFORM, start, cells=24, degree=1)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 300
    largest = float(message.split("up to ")[1].split(",")[0])
    assert run(largest, UNIFORM, start, [1e-100], cells=24, degree=1).times == [0.0, 1e-100]


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_the_penalty_is_continuous_in_its_exponent(p):
    """u^p - p u + p - 1 over p (p - 1) loses no digit next to its poles, nor next to u = 1."""
    u = np.array([1e-3, 0.5, 1 - 1e-6, 1.0, 1 + 1e-8, 3.0])
    value = PowerPenalty(p).value(u)
    assert PowerPenalty(p + 1e-13).value(u) == pytest.approx(value, rel=1e-11, abs=0)
    near = np.abs(u - 1) < 1e-4
    assert value[near] == pytest.approx((u[near] - 1) ** 2 / 2, rel=1e-5, abs=0)

"""The solver meets exact and independent solutions: on the circle, and zonal on the sphere."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from support.references import (
    QuantileReference,
    cauchy_mixture,
    kepler_density,
    kepler_ratio,
    zonal_von_mises_fisher,
)

import ufd

CIRCLE, SPHERE = ufd.Sphere(1), ufd.Sphere(2)
ANGLE = np.linspace(-np.pi, np.pi, 997)
POINTS = np.column_stack([np.cos(ANGLE), np.sin(ANGLE)])
AXIS = np.array([0.48, -0.6, 0.64])
PAPER = [(2 / 3, 0.0), (1 / 3, 0.4 * np.pi)]


def kepler(a: float) -> ufd.UltraFastDiffusion:
    start = ufd.density(CIRCLE, kepler_density(a))
    return ufd.UltraFastDiffusion(ufd.Uniform(CIRCLE), start)


def kepler_error(a: float, t: float, norm: float = np.inf, **options) -> float:
    result = ufd.solve(kepler(a), [t], **options)
    assert result.status is ufd.StopReason.FINISHED
    error = result.ratio(POINTS, t) - kepler_ratio(ANGLE, t, a)
    return float(np.linalg.norm(error, norm) / (1 if norm == np.inf else len(error) ** 0.5))


def orders(errors: list[float], factor: float = 2.0) -> list[float]:
    return [float(np.log(a / b) / np.log(factor)) for a, b in itertools.pairwise(errors)]


@pytest.mark.parametrize(
    ("a", "t", "cells", "bound"),
    [(0.5, 0.5, 24, 1e-9), (0.7, 0.3, 48, 1e-9), (0.9, 0.5, 100, 1e-8)],
)
def test_kepler_solution(a, t, cells, bound):
    """192, 384 and 800 nodes of degree 8 reach the Bessel series to the promised error."""
    assert kepler_error(a, t, cells=cells, degree=8, rtol=1e-9) <= bound


def test_divergence_of_the_kepler_solution():
    """E = 1/2 chi2(nu|mu) = a^2 exp(-2t)/4 exactly, at every accepted step."""
    result = ufd.solve(kepler(0.5), [0.5], cells=24, degree=8, rtol=1e-10)
    t = result.series["t"]
    exact = 0.25 * 0.5**2 * np.exp(-2 * t)
    np.testing.assert_allclose(result.series["divergence"], exact, rtol=1e-9)
    np.testing.assert_allclose(result.series["chi2_reverse"], 2 * exact, rtol=1e-9)


def test_degree_one_is_second_order_in_space():
    """The error of chords falls by four with the mesh size halved."""
    errors = [kepler_error(0.5, 0.5, cells=n, degree=1, rtol=1e-9) for n in (32, 64, 128)]
    assert all(abs(order - 2) < 0.15 for order in orders(errors))


@pytest.mark.parametrize(
    ("degree", "coarse", "fine"),
    [(2, 24, 48), (3, 32, 64), (4, 24, 48), (5, 24, 48), (6, 16, 32), (7, 12, 24), (8, 16, 24)],
)
def test_degree_k_has_order_k_plus_one(degree, coarse, fine):
    """The L2 error between the nodes falls at order k + 1 while the solution is resolved."""
    errors = [
        kepler_error(0.5, 0.5, norm=2, cells=n, degree=degree, rtol=1e-11) for n in (coarse, fine)
    ]
    assert errors[1] > 3e-12, "the fine mesh is at round-off: choose coarser ones"
    assert orders(errors, fine / coarse)[0] > degree + 1 - 0.25


@pytest.mark.parametrize(
    ("stepper", "order", "steps"),
    [
        (ufd.BackwardEuler(), 1, (64, 128, 256)),
        (ufd.SDIRK2(), 2, (32, 64, 128)),
        (ufd.SDIRK3(), 3, (16, 32, 64)),
        (ufd.SDIRK4(), 4, (16, 32, 64)),
    ],
    ids=["backward_euler", "sdirk2", "sdirk3", "sdirk4"],
)
def test_order_in_time(stepper, order, steps):
    """With fixed steps each method shows its order on a nonlinear solution."""
    errors = [
        kepler_error(0.5, 0.5, cells=32, degree=8, stepper=stepper, dt=0.5 / n) for n in steps
    ]
    assert errors[-1] > 1e-10
    assert orders(errors)[-1] == pytest.approx(order, abs=0.2)


def test_paper_circle_problem():
    """gamma = 100, 512 nodes of degree 8: 1e-7 pointwise at t = 1 and t = 4."""
    reference = QuantileReference(
        cauchy_mixture([(w, 100.0, c) for w, c in PAPER]), [1.0, 4.0], points=301
    )
    teacher = ufd.Mixture([ufd.AngularCauchy(100, c) for _, c in PAPER], [w for w, _ in PAPER])
    problem = ufd.UltraFastDiffusion(teacher, ufd.Uniform(CIRCLE))
    result = ufd.solve(problem, [1.0, 4.0], cells=64, degree=8, rtol=1e-8)
    for t in (1.0, 4.0):
        error = np.abs(result.ratio(POINTS, t) / reference.ratio(ANGLE, t) - 1)
        assert error.max() <= 1e-7


def test_general_start_and_weight_on_the_circle():
    """A start that is not uniform, a weight that is not: the quantile solution again."""
    reference = QuantileReference(
        cauchy_mixture([(1.0, 10.0, 1.0)]),
        [0.4],
        start=lambda s: -np.pi + 2 * np.pi * s + 0.5 * np.sin(2 * np.pi * s - np.pi),
        points=201,
    )
    problem = ufd.UltraFastDiffusion(
        ufd.AngularCauchy(10, 1.0), ufd.density(CIRCLE, kepler_density(0.5))
    )
    result = ufd.solve(problem, [0.4], cells=48, degree=8, rtol=1e-9)
    np.testing.assert_allclose(result.ratio(POINTS, 0.4), reference.ratio(ANGLE, 0.4), rtol=1e-8)


def test_zonal_start_on_the_sphere():
    """A uniform teacher, mu_0 proportional to 1 + z/2 about an axis that no mesh knows."""
    start = ufd.density(SPHERE, lambda x: 1 + 0.5 * x @ AXIS)
    # The cumulative distribution (z + 1)/2 + (z^2 - 1)/8 = s, solved for z.
    reference = QuantileReference(
        zonal_von_mises_fisher(0), [0.3], start=lambda s: np.sqrt(1 + 8 * s) - 2, points=60
    )
    problem = ufd.UltraFastDiffusion(ufd.Uniform(SPHERE), start)
    assert zonal_error(problem, reference) <= 2e-8


@pytest.mark.parametrize(("kappa", "bound"), [(0.5, 3e-8), (1.0, 1e-6)])
def test_zonal_teacher_on_the_sphere(kappa, bound):
    """A von Mises-Fisher teacher, a uniform start (w0 up to 1.6 and 3.1); 3,458 nodes."""
    reference = QuantileReference(zonal_von_mises_fisher(kappa), [0.3], points=80)
    problem = ufd.UltraFastDiffusion(ufd.VonMisesFisher(AXIS, kappa), ufd.Uniform(SPHERE))
    assert zonal_error(problem, reference) <= bound


def zonal_error(problem: ufd.UltraFastDiffusion, reference: QuantileReference) -> float:
    """Largest error of w at t = 0.3 at random points."""
    points = np.random.default_rng(1).normal(size=(400, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    result = ufd.solve(problem, [0.3], cells=4, degree=6, rtol=1e-8)
    return float(np.abs(result.ratio(points, 0.3) - reference.ratio(points @ AXIS, 0.3)).max())

"""The linear-time model of samples in the plane against the dense one and 50 decimal digits."""

from __future__ import annotations

import time
from decimal import Decimal, localcontext

import numpy as np
import pytest
from mpi4py import MPI

from ufd.exceptions import SolverError
from ufd.particles.circle import CircleModel
from ufd.particles.rows import SampleRows
from ufd.particles.sampled import SampledModel
from ufd.problem.features import ReLU
from ufd.problem.penalties import PowerPenalty, QuadraticPenalty


def circle(angles):
    return np.column_stack([np.cos(angles), np.sin(angles)])


def samples(count, seed=0):
    """Inputs of very different lengths, one of them zero, and noisy values of a network."""
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((count, 2)) * rng.lognormal(sigma=0.7, size=(count, 1))
    if count > 4:
        inputs[3] = 0
    teacher = circle(rng.uniform(0, 2 * np.pi, 6))
    targets = np.maximum(inputs @ teacher.T, 0) @ rng.uniform(0, 0.4, 6)
    return inputs, targets + 0.1 * rng.standard_normal(count)


def features(width, seed=0):
    return circle(np.random.default_rng(seed + 100).uniform(-np.pi, np.pi, width))


def crowded(width):
    """Duplicates, antipodes, neighbours at round-off, and the axes."""
    third = features(width // 3)
    turn = circle(np.arctan2(third[:, 1], third[:, 0]) + 1e-15)
    return np.concatenate([third, -third, turn, [[1, 0], [0, 1], [-1, 0], [0, -1], [1, 0]]])


def both(inputs, targets):
    rows = SampleRows(ReLU(), inputs)
    dense = SampledModel(rows, targets, 1 / len(inputs), MPI.COMM_SELF, {})
    return CircleModel(inputs, targets, {"data": len(inputs)}), dense


def assert_near(found, exact, tolerance):
    scale = np.max(np.abs(exact))
    assert np.max(np.abs(found - exact)) <= tolerance * scale


def assert_same(found, exact, tolerance, forces=slice(None)):
    assert_near(found.outer, exact.outer, tolerance)
    assert_near(found.pressure, exact.pressure, tolerance)
    assert_near(found.force[forces], exact.force[forces], tolerance)
    assert found.misfit == pytest.approx(exact.misfit, rel=tolerance)


@pytest.mark.parametrize("reference", [0.0, 1.0, -0.3])
@pytest.mark.parametrize("count", [1, 5, 300])
@pytest.mark.parametrize("width", [1, 2, 3, 17, 64, 200])
def test_optimum_of_the_dense_model(width, count, reference):
    """The difference is the dense model's: 1e-16/lam of the data, amplified a little."""
    cheap, dense = both(*samples(count))
    omega, penalty = features(width), QuadraticPenalty(reference)
    for lam, tolerance in ((1e-1, 1e-12), (1e-2, 1e-11), (1e-4, 1e-10), (1e-6, 1e-8)):
        found = cheap.optimum(omega, lam, penalty)
        assert_same(found, dense.optimum(omega, lam, penalty), tolerance)
        assert np.array_equal(found.outer, reference + found.pressure)
        across = (omega * found.force).sum(axis=1)
        assert np.abs(across - found.pressure).max() <= 5e-15 * np.abs(found.force).max()


@pytest.mark.parametrize("reference", [0.0, 1.0])
@pytest.mark.parametrize("lam", [1e-1, 1e-4])
def test_ties(lam, reference):
    """Coincident knots, empty arcs, and data on knots: only there is the gradient ambiguous."""
    inputs, targets = samples(80)
    inputs[:8] = [[1, 0], [0, 1], [-1, 0], [0, -1], [2, 0], [-3, -0.0], [-3, 1e-300], [-3, -1e-300]]
    cheap, dense = both(inputs, targets)
    omega, penalty = crowded(60), QuadraticPenalty(reference)
    found = cheap.optimum(omega, lam, penalty)
    assert_same(found, dense.optimum(omega, lam, penalty), 1e-10, slice(0, 60))
    across = (omega * found.force).sum(axis=1)
    assert np.abs(across - found.pressure).max() <= 5e-15 * np.abs(found.force).max()
    assert_near(found.pressure[-1], found.pressure[-5], 1e-13)
    assert_same(cheap.fit(omega, found.outer, lam), found, 1e-10)


def test_data_without_direction():
    """At the origin no feature sees them."""
    found = CircleModel(np.zeros((3, 2)), np.ones(3), {}).optimum(
        features(9), 1e-3, QuadraticPenalty(1.0)
    )
    assert not found.pressure.any() and not found.force.any()
    assert found.misfit == pytest.approx(500)


def in_decimals(inputs, targets, omega, lam, reference):
    """The optimum by Gaussian elimination with 50 digits: v, forces and misfit."""
    decimals = np.vectorize(Decimal, otypes=[object])
    with localcontext() as context:
        context.prec = 50
        x, y, w = decimals(inputs), decimals(targets), decimals(omega)
        count, width, lam = len(x), len(w), Decimal(lam)
        active = np.where(x @ w.T > 0, Decimal(1), Decimal(0))
        phi = (x @ w.T) * active
        start = y - Decimal(reference) * phi.sum(axis=1) / width
        matrix, v = phi.T @ phi / (count * width), phi.T @ start / count
        matrix[np.diag_indices(width)] += lam
        for i in range(width):
            factor = matrix[i + 1 :, i] / matrix[i, i]
            matrix[i + 1 :] -= factor[:, None] * matrix[i]
            v[i + 1 :] -= factor * v[i]
        for i in reversed(range(width)):
            v[i] = (v[i] - matrix[i, i + 1 :] @ v[i + 1 :]) / matrix[i, i]
        alpha = (start - phi @ v / width) / lam
        force = active.T @ (alpha[:, None] * x) / count
        misfit = lam * (alpha @ alpha) / (2 * count)
    return v.astype(float), force.astype(float), float(misfit)


@pytest.mark.skipif(np.finfo(np.longdouble).eps > 1e-18, reason="no extended precision here")
@pytest.mark.parametrize(("lam", "tolerance"), [(1e-2, 1e-15), (1e-8, 2e-12), (1e-10, 2e-10)])
@pytest.mark.parametrize(("width", "count"), [(1, 6), (16, 9), (12, 40), (30, 30)])
def test_small_lam_against_fifty_digits(width, count, lam, tolerance):
    """Extended precision leaves 1e-19/lam; data that a network explains are the hard ones."""
    inputs, noisy = samples(count)
    exact_network = np.maximum(inputs @ features(5, 7).T, 0).mean(axis=1)
    omega = crowded(width - 5) if width == 30 else features(width)
    for targets in (noisy, exact_network):
        for reference in (0.0, 1.0):
            cheap = CircleModel(inputs, targets, {})
            found = cheap.optimum(omega, lam, QuadraticPenalty(reference))
            v, force, misfit = in_decimals(inputs, targets, omega, lam, reference)
            ambiguous = 5 if width == 30 else 0
            assert_near(found.pressure, v, tolerance)
            assert_near(found.force[ambiguous:], force[ambiguous:], tolerance)
            assert found.misfit == pytest.approx(misfit, rel=tolerance)


@pytest.mark.parametrize("count", [1, 5, 300])
@pytest.mark.parametrize("width", [1, 2, 17, 200])
def test_fit_of_given_weights(width, count):
    cheap, dense = both(*samples(count))
    omega, outer = features(width), np.random.default_rng(1).uniform(-1, 3, width)
    for lam in (1.0, 1e-3, 1e-8):
        found = cheap.fit(omega, outer, lam)
        assert_same(found, dense.fit(omega, outer, lam), 1e-12)
        assert np.array_equal(found.outer, outer)


@pytest.mark.parametrize("reference", [0.0, 1.0])
@pytest.mark.parametrize("lam", [1e-1, 1e-3])
def test_force_is_the_gradient_of_the_risk(lam, reference):
    """At the optimum u it is -(1/M) u_j times the force at feature j."""
    inputs, targets = samples(200)
    model, penalty = CircleModel(inputs, targets, {}), QuadraticPenalty(reference)
    angles = np.random.default_rng(2).uniform(0, 2 * np.pi, 12)

    def risk(angles):
        fit = model.optimum(circle(angles), lam, penalty)
        return fit.misfit + penalty.value(fit.outer).mean()

    fit = model.optimum(circle(angles), lam, penalty)
    tangents = circle(angles + np.pi / 2)
    gradient = -fit.outer * (fit.force * tangents).sum(axis=1) / 12
    for j, step in enumerate(1e-6 * np.eye(12)):
        slope = (risk(angles + step) - risk(angles - step)) / 2e-6
        # The gradient jumps where a knot passes a datum.
        assert slope == pytest.approx(gradient[j], abs=1e-6 * np.abs(gradient).max())


def test_reference_that_explains_the_data():
    """Nothing is left to correct, and round-off is no failure."""
    inputs, _ = samples(100)
    for width in (1, 2, 40):
        omega = features(width)
        model = CircleModel(inputs, np.maximum(inputs @ omega.T, 0).mean(axis=1), {})
        for lam in (1e-1, 1e-10):
            found = model.optimum(omega, lam, QuadraticPenalty(1.0))
            assert np.abs(found.pressure).max() < 1e-17 / lam + 1e-15


def test_other_penalties_are_the_dense_model():
    cheap, dense = both(*samples(50))
    omega, penalty = features(8), PowerPenalty(1.5)
    assert_same(cheap.optimum(omega, 0.1, penalty), dense.optimum(omega, 0.1, penalty), 1e-14)
    assert cheap.describe() == {"data": 50}


@pytest.mark.parametrize(("width", "count"), [(1, 5), (40, 9), (30, 30), (200, 50)])
def test_lost_lam_is_refused(width, count):
    model, penalty = CircleModel(*samples(count), {}), QuadraticPenalty(1.0)
    for lam in (1e-17, 1e-30, 1e-300):
        with pytest.raises(SolverError, match=f"lam = {lam:.3g} is lost"):
            model.optimum(features(width), lam, penalty)
    model.optimum(features(width), 1e-13, penalty)


def test_many_samples_are_cheap():
    inputs, targets = samples(100_000)
    omega, penalty = features(1024), QuadraticPenalty(1.0)
    begin = time.perf_counter()
    CircleModel(inputs, targets, {}).optimum(omega, 1e-3, penalty)
    assert time.perf_counter() - begin < 1

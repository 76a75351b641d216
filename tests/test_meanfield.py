"""The mean-field equation: what it conserves, how fast modes decay, what it tends to."""

from __future__ import annotations

import numpy as np
import pytest

import ufd
from ufd.problem.harmonics import basis, degrees
from ufd.problem.kernels import population_kernel

CIRCLE, SPHERE = ufd.Sphere(1), ufd.Sphere(2)
MIXED = ufd.ReLU() + 0.5 * ufd.ReLU(power=2)
BIMODAL = ufd.Mixture([ufd.AngularCauchy(10), ufd.AngularCauchy(10, 0.4 * np.pi)], [2 / 3, 1 / 3])
CAPS = ufd.Mixture([ufd.VonMisesFisher([0, 0, 1], 2), ufd.VonMisesFisher([1, 0, 0], 3)], [0.6, 0.4])
SMALL = 1e-4


def from_uniform(teacher, p: float = 2.0) -> ufd.UltraFastDiffusion:
    start = ufd.Uniform(teacher.manifold)
    return ufd.UltraFastDiffusion(teacher, start, ufd.PowerDivergence(p))


def relu_eigenvalue(dim: int, l: int) -> float:
    """kappa_l of plain ReLU for normal inputs, by hand."""
    if dim == 1:
        return 1 / 8 if l == 1 else 2 / (np.pi * (l * l - 1)) ** 2
    return {0: 3 / 16, 1: 1 / 12, 2: 3 / 256, 4: 3.2552083e-4}[l]


def single_mode(sphere: ufd.Sphere, l: int) -> ufd.UltraFastDiffusion:
    """The uniform teacher, and a start with one small harmonic of degree l."""

    def profile(x: np.ndarray) -> np.ndarray:
        column = np.flatnonzero(degrees(sphere, l) == l)[0]
        return 1 + SMALL * basis(sphere, l, x)[:, column]

    return ufd.UltraFastDiffusion(ufd.Uniform(sphere), ufd.density(sphere, profile))


def decay(run, l: int, times: list[float]) -> float:
    sphere = run.at(0.0).manifold
    column = np.flatnonzero(degrees(sphere, l) == l)[0]
    a, b = (run.at(t).measure.integrate(lambda x: basis(sphere, l, x)[:, column]) for t in times)
    return float(np.log(a / b) / (times[1] - times[0]))


@pytest.mark.parametrize("reference", [1.0, 0.0])
@pytest.mark.parametrize(("l", "lam"), [(1, 1e-1), (2, 1e-2), (4, 1e-2), (4, 1e-4), (8, 1e-2)])
def test_rate_on_the_circle(l, lam, reference):
    """Each mode decays at l^2 kappa_l/(kappa_l + lam), those far below lam hardly, to 0.1 %."""
    kappa, kappa0 = relu_eigenvalue(1, l), relu_eigenvalue(1, 0)
    bias = 1.0 if reference else (kappa0 / (kappa0 + lam)) ** 2
    predicted = l * l * kappa / (kappa + lam) * bias
    times = [0.1 / predicted, 0.6 / predicted]
    run = ufd.meanfield(single_mode(CIRCLE, l), ufd.ReLU(), lam, times, cells=64, degree=8,
                        rtol=1e-7, reference=reference)  # fmt: skip
    assert decay(run, l, times) == pytest.approx(predicted, rel=1e-3)


@pytest.mark.parametrize(("l", "lam"), [(1, 1e-2), (2, 1e-2), (4, 1e-3)])
def test_rate_on_the_sphere(l, lam):
    """The same with l (l + 1), on curved elements, to 0.1 %."""
    kappa = relu_eigenvalue(2, l)
    predicted = l * (l + 1) * kappa / (kappa + lam)
    times = [0.1 / predicted, 0.6 / predicted]
    run = ufd.meanfield(single_mode(SPHERE, l), ufd.ReLU(), lam, times, cells=4, degree=4,
                        rtol=1e-6, harmonics=8)  # fmt: skip
    assert decay(run, l, times) == pytest.approx(predicted, rel=1e-3)


@pytest.mark.parametrize("p", [1.0, 1.5, 3.0])
def test_rate_for_other_penalties(p):
    """Unbiased penalties of every power share the linearised rate."""
    run = ufd.meanfield(
        ufd.UltraFastDiffusion(
            ufd.Uniform(CIRCLE), single_mode(CIRCLE, 2).initial, ufd.PowerDivergence(p)
        ),
        ufd.ReLU(), 1e-2, [0.05, 0.25], cells=48, degree=8, rtol=1e-7,
    )  # fmt: skip
    kappa = relu_eigenvalue(1, 2)
    assert decay(run, 2, [0.05, 0.25]) == pytest.approx(4 * kappa / (kappa + 1e-2), rel=1e-3)


@pytest.mark.parametrize("lam", [1e-2, 1e-4, 0.0])
@pytest.mark.parametrize(("reference", "p"), [(1.0, 2.0), (0.0, 2.0), (1.0, 1.0), (1.0, 3.0)])
def test_kept_in_every_step(reference, p, lam):
    """Mass, positivity and a falling risk, blind feature and seeing one, for every penalty."""
    # Above p = 2 du/dg is infinite where weights vanish, as a blind feature's do for small lam.
    for feature in (MIXED,) if p > 2 and lam < 1e-2 else (ufd.ReLU(), MIXED):
        run = ufd.meanfield(from_uniform(BIMODAL, p), feature, lam, [0.5], cells=96, rtol=1e-4,
                            reference=reference)  # fmt: skip
        assert run.status is ufd.StopReason.FINISHED
        series = run.series
        assert np.abs(series["mass"] - 1).max() < 1e-12
        assert series["min_ratio"].min() > 0
        assert np.diff(series["risk"]).max() < 0
        np.testing.assert_allclose(series["risk"], series["misfit"] + series["divergence"])


def test_kept_on_the_sphere():
    """The same on an icosphere, where the blind part of the density steepens."""
    run = ufd.meanfield(from_uniform(CAPS), ufd.ReLU(), 0.0, [0.5], cells=2, rtol=1e-4)
    assert np.abs(run.series["mass"] - 1).max() < 1e-12
    assert run.series["min_ratio"].min() > 0 and np.diff(run.series["risk"]).max() < 0


@pytest.mark.parametrize("lam", [1e-3, 0.0])
@pytest.mark.parametrize("dt", [0.05, 0.5])
def test_backward_euler_at_any_step(dt, lam):
    """Positive and descending, with steps far beyond what is accurate."""
    run = ufd.meanfield(from_uniform(BIMODAL), ufd.ReLU(), lam, [4 * dt], cells=64, dt=dt,
                        stepper=ufd.BackwardEuler())  # fmt: skip
    assert run.status is ufd.StopReason.FINISHED
    assert run.series["min_ratio"].min() > 0 and np.diff(run.series["risk"]).max() < 0


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0])
def test_limit_of_a_seeing_feature(p):
    """lam = 0 is the diffusion of the same mesh."""
    problem, times = from_uniform(BIMODAL, p), [0.2, 1.0]
    diffusion = ufd.solve(problem, times, cells=64, degree=1, rtol=1e-6)
    limit = ufd.meanfield(problem, MIXED, 0.0, times, cells=65 - 1, rtol=1e-6)
    for t in times:
        points = diffusion.at(t).measure.points
        np.testing.assert_allclose(
            limit.density(points, t), diffusion.density(points, t), rtol=1e-3
        )
        assert ufd.mmd(limit.at(t), diffusion.at(t)) < 1e-5


def test_order_in_lam():
    """First order for data of few degrees, once lam is far below their eigenvalues."""

    def profile(x: np.ndarray) -> np.ndarray:
        return 1 + 0.3 * x[:, 0] + 0.2 * (x[:, 0] ** 2 - x[:, 1] ** 2)

    problem, times = from_uniform(ufd.density(CIRCLE, profile)), [0.3, 1.0]
    feature = ufd.KernelSpectrum(lambda l: 0.2 / (1 + l**2) ** 2)
    diffusion = ufd.solve(problem, times, cells=64, degree=1, rtol=1e-8)
    # Products of the two degrees reach further; eight of them hold the solution to 1e-5.
    lams = 0.01 * 0.2 / (1 + 8**2) ** 2 * np.array([1.0, 0.25, 0.0625])
    for t in times:
        apart = [
            ufd.mmd(ufd.meanfield(problem, feature, lam, times, cells=64, rtol=1e-8).at(t),
                    diffusion.at(t))
            for lam in lams
        ]  # fmt: skip
        orders = np.diff(np.log(apart)) / np.log(0.25)
        np.testing.assert_allclose(orders, 1.0, atol=0.1)


def test_outer_weights_by_the_kernel_itself():
    """The weights solve (T_mu + lam) u = kappa * nu + lam with T_mu dense, in closed form."""
    lam, cells = 1e-2, 256
    run = ufd.meanfield(from_uniform(BIMODAL), MIXED, lam, [0.3], cells=cells, rtol=1e-4)
    measure = run.at(0.3).measure
    x, mu = measure.points, measure.weights
    kernel = population_kernel(MIXED, CIRCLE, "gaussian").values(x @ x.T)[0]
    grid = 2 * np.pi * np.arange(cells) / cells
    nodes = np.column_stack([np.cos(grid), np.sin(grid)])
    nu = np.exp(BIMODAL.log_density(nodes))
    nu /= nu.sum()
    pull = population_kernel(MIXED, CIRCLE, "gaussian").values(x @ nodes.T)[0] @ nu
    dense = np.linalg.solve(kernel * mu + lam * np.eye(cells), pull + lam)
    # The kernel has a kink of the fourth order: its harmonics beyond 127 are 2e-9 of lam.
    np.testing.assert_allclose(run.outer_weights(x, 0.3), dense, atol=2e-6)


def test_a_solver_that_a_script_drives(tmp_path):
    """Steps, states, counters; the saved state is read back with its weights."""
    solver = ufd.MeanFieldSolver(from_uniform(CAPS), features=MIXED, lam=1e-3, cells=2, rtol=1e-3)
    start = solver.risk()
    solver.step()
    assert solver.t > 0 and solver.risk() < start
    state = solver.advance(0.1).copy()
    solver.advance(0.2)
    assert state.t == 0.1 and solver.mass() == pytest.approx(1, abs=1e-12)
    assert solver.stats["steps"] >= 3 and solver.stats["dofs"] == 162
    assert solver.divergence() == solver.functionals()["divergence"]
    points = np.eye(3)
    assert np.all(solver.density(points) > 0) and solver.outer_weights(points).shape == (3,)
    assert solver.ratio(points).shape == (3,)
    solver.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} >= {"fields.npz", "outer.npz"}


def test_saved_and_read(tmp_path):
    """The same states to the last bit, and the same object as the verb returned."""
    run = ufd.meanfield(from_uniform(CAPS), ufd.ReLU(), 1e-3, [0.1], cells=2, rtol=1e-3)
    run.save(tmp_path)
    again = ufd.load(tmp_path)
    assert type(again) is type(run) and again.status is run.status
    points = np.random.default_rng(0).normal(size=(7, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    for name in ("density", "ratio", "outer_weights"):
        np.testing.assert_array_equal(
            getattr(again, name)(points, 0.1), getattr(run, name)(points, 0.1)
        )
    np.testing.assert_array_equal(again.series["risk"], run.series["risk"])
    with pytest.raises(ufd.InputError, match=r"0\.1"):
        again.at(0.05)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lam": -1.0}, "lam = -1.0 must be positive, or 0"),
        ({"lam": np.nan}, "lam"),
        ({"reference": 0.0, "p": 1.0}, "meanfield: reference = 0 is for p = 2 only"),
        ({"harmonics": 0}, "harmonics = 0 must be a positive integer"),
        ({"harmonics": 2.5}, "harmonics = 2.5 must be a positive integer"),
        ({"harmonics": 40}, "harmonics = 40: 64 nodes resolve at most 31"),
        ({"stepper": ufd.RK23()}, "stepper"),
        ({"tolerance": 1.0}, "tolerance = 1.0 must lie between"),
        ({"rtol": 2.0}, "rtol = 2.0"),
        ({"inputs": "cauchy"}, "inputs = 'cauchy'"),
        ({"features": ufd.LaplaceRBF()}, "features"),
        ({"features": ufd.KernelSpectrum(lambda l: 1 - l)}, "KernelSpectrum: eigenvalues"),
        ({"contrast": 0.5}, "contrast = 0.5 must be above 1"),
    ],
)
def test_bad_input(changes, message):
    """One line that names the argument."""
    changes = dict(changes)
    problem = from_uniform(BIMODAL, changes.pop("p", 2.0))
    options = {"features": MIXED, "lam": 1e-3, "cells": 64} | changes
    with pytest.raises(ufd.InputError, match=message) as caught:
        ufd.MeanFieldSolver(problem, **options)
    assert "\n" not in str(caught.value)


def test_no_torus_and_no_source():
    """Where the equation is not solved, it says so."""
    torus = ufd.Torus(1)
    teacher = ufd.PeriodicCauchy(10.0, (0.5,))
    with pytest.raises(ufd.InputError, match=r"ufd\.train"):
        ufd.meanfield(ufd.UltraFastDiffusion(teacher, ufd.Uniform(torus)), MIXED, 1e-3, [1.0])
    driven = ufd.UltraFastDiffusion(
        BIMODAL, ufd.Uniform(CIRCLE), source=lambda t, x: np.zeros(len(x))
    )
    with pytest.raises(ufd.InputError, match="source"):
        ufd.meanfield(driven, MIXED, 1e-3, [1.0])


def test_a_spectrum_knows_no_samples():
    """Particles of such a feature live in the population only."""
    spectrum = ufd.KernelSpectrum(lambda l: 0.2 / (1 + l**2) ** 2)
    with pytest.raises(ufd.InputError, match="population"):
        ufd.train(from_uniform(BIMODAL), spectrum, 1e-2, 8, [0.1], data=16)
    run = ufd.train(from_uniform(BIMODAL), spectrum, 1e-2, 8, [0.1])
    assert run.series["risk"][-1] < run.series["risk"][0]


def test_a_step_too_large_is_refused():
    """Fixed steps of a method of order 4 that would raise the risk end the run, with the reason."""
    sharp = ufd.Mixture([ufd.AngularCauchy(1000), ufd.Uniform(CIRCLE)], [0.9, 0.1])
    run = ufd.meanfield(from_uniform(sharp), MIXED, 1e-5, [50.0], cells=64, dt=50.0)
    if run.status is ufd.StopReason.FINISHED:  # smaller steps were taken instead
        assert run.stats["failed_solves"] > 0
    assert np.diff(run.series["risk"]).max() < 0 and run.series["min_ratio"].min() > 0

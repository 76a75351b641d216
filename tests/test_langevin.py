"""Noisy training: the Fokker-Planck equation, its fixed point and rates, and noisy particles."""

from __future__ import annotations

import numpy as np
import pytest
from mpi4py import MPI

import ufd
from ufd.fem.discretization import Discretization
from ufd.fem.meshes import sphere_mesh
from ufd.meanfield.fitting import FittedFlux
from ufd.meanfield.fixed_point import fixed_point, gibbs_error
from ufd.meanfield.heat import Heat, bernoulli
from ufd.meanfield.neighbours import Neighbours
from ufd.meanfield.solver import MeanFieldSolver
from ufd.problem.penalties import FixedWeights, QuadraticPenalty
from ufd.problem.temperatures import Constant, temperature_of

CIRCLE, SPHERE = ufd.Sphere(1), ufd.Sphere(2)
MIXED = ufd.ReLU() + 0.5 * ufd.ReLU(power=2)


def kappa(l):
    """Eigenvalues of a smooth kernel."""
    return (1.0 + l**2) ** -2


SMOOTH = ufd.KernelSpectrum(kappa)
NARROW = ufd.UltraFastDiffusion(ufd.VonMisesFisher([1, 0], 1.5), ufd.Uniform(CIRCLE))
TILTED = ufd.UltraFastDiffusion(ufd.VonMisesFisher([0, 0.6, 0.8], 1), ufd.Uniform(SPHERE))
TAU = 0.05


@pytest.fixture(scope="module")
def narrow():
    """The run whose rate is known: 2 e_1 = 0.39216 (96 Fourier modes, another code)."""
    return ufd.langevin(
        NARROW, SMOOTH, TAU, [10.0, 60.0, 120.0], inputs="sphere", cells=256, rtol=1e-7
    )


@pytest.mark.parametrize("lam", [None, 1e-2])
@pytest.mark.parametrize(
    ("sphere", "degree", "cells"), [(CIRCLE, 1, 192), (CIRCLE, 3, 192), (SPHERE, 2, 4)]
)
def test_amplitudes(sphere, degree, cells, lam):
    """Lambda_l (tau + kappa_l), with optimal weights Lambda_l (tau + kappa_l/(kappa_l + lam))."""
    start = ufd.ZonalHarmonic(np.eye(sphere.ambient_dim)[0], degree, 1e-3)
    problem = ufd.UltraFastDiffusion(ufd.Uniform(sphere), start)
    eigenvalue = degree * (degree + sphere.dim - 1)
    drift = kappa(degree) if lam is None else kappa(degree) / (kappa(degree) + lam)
    exact = eigenvalue * (TAU + drift)
    run = ufd.langevin(
        problem, SMOOTH, TAU, [1 / exact, 3 / exact], lam=lam, rates=0,
        inputs="sphere", cells=cells, rtol=1e-6,
    )  # fmt: skip
    norms = np.sqrt(run.at_times("chi2"))
    assert np.log(norms[1] / norms[2]) * exact / 2 == pytest.approx(exact, rel=5e-3)


def test_rate_of_the_gap(narrow):
    """G - G* falls at 2 e_1, measured and computed; theirs is 0.39216."""
    assert narrow.local_rate() == pytest.approx(0.39216, rel=2e-4)
    assert narrow.fit_rate().rate == pytest.approx(narrow.local_rate(), rel=5e-3)
    assert narrow.guaranteed_rates()[-1] < narrow.local_rate()
    assert narrow.broken_promises() == []
    assert "kept" in narrow.sentence()


def test_promises_can_be_broken(narrow):
    """A temperature that was not, and a mass that is off, are told."""
    series = narrow.series | {"oscillation": 0 * narrow.series["oscillation"] - 0.2}
    hasty = ufd.langevin(NARROW, SMOOTH, TAU, [0.1], inputs="sphere", cells=64, rates=1)
    hasty.series, hasty.fixed_point = series, narrow.fixed_point
    assert hasty.broken_promises() == ["G - G* leaves the envelope of the log-Sobolev constants"]
    hasty.series = narrow.series | {
        "mass": narrow.series["mass"] + 1e-9,
        "duality_gap": 0.1 * narrow.series["duality_gap"],
    }
    assert len(hasty.broken_promises()) == 2


def test_fixed_point(narrow):
    """Proximal Gibbs to 1e-8, by Fourier sums at the nodes."""
    assert narrow.fixed_point["gibbs_error"] < 1e-8
    x = narrow.at(120.0).space.nodes
    mu = narrow.density(x, 120.0)
    mu /= mu.mean()
    nu = np.exp(1.5 * x[:, 0])
    nu /= nu.mean()
    k = np.arange(1, 120)
    angle = np.arctan2(x[:, 1], x[:, 0])
    waves = np.exp(1j * np.outer(k, angle))
    force = 2 * np.real(((mu - nu) @ waves.conj().T / 256 * kappa(k)) @ waves)
    gibbs = np.exp(-force / TAU)
    np.testing.assert_allclose(mu, gibbs / gibbs.mean(), rtol=1e-7)


@pytest.mark.parametrize("lam", [None, 1e-2])
@pytest.mark.parametrize(("cells", "degree"), [(3, 1), (3, 3)])
def test_sphere(lam, cells, degree):
    """Mass, positivity, the falling energy, the bounds, the rate; two discretisations."""
    end = 30.0 if lam is None else 6.0
    run = ufd.langevin(
        TILTED, MIXED, TAU, [end / 2, end], lam=lam, cells=cells, degree=degree, rtol=1e-5
    )
    series = run.series
    assert np.all(np.abs(series["mass"] - 1) < 1e-12) and np.all(series["min_ratio"] > 0)
    assert np.all(np.diff(series["free_energy"]) <= 1e-12)
    assert run.broken_promises() == []
    assert run.fit_rate().rate == pytest.approx(run.local_rate(), rel=5e-3)
    assert run.guaranteed_rates()[-1] <= run.local_rate()
    bounds = [run.fixed_point[name] for name in ("bakry_emery", "holley_stroock")]
    assert 2 * TAU * max(bounds) <= run.local_rate()


def test_bakry_emery_is_the_curvature():
    """Ric - Hess psi/tau of a known psi: kappa * nu for a linear network."""
    linear = ufd.Activation(lambda t: t, lambda t: np.ones_like(t))
    run = ufd.langevin(TILTED, linear, 0.5, [40.0], cells=3, degree=2, rates=1)
    # psi = b.x on the sphere bends by at most |b| along geodesics.
    half = run.series["oscillation"][-1] / 2
    assert run.fixed_point["bakry_emery"] == pytest.approx(1 - half / 0.5, rel=2e-2)


def test_without_noise_it_is_the_mean_field_equation():
    """The same bits, at lam > 0 and in the limit; and with fixed weights particles agree."""
    for lam in (1e-2, 0.0):
        noisy = ufd.langevin(NARROW, MIXED, 0.0, [0.5], lam=lam, cells=64)
        plain = ufd.meanfield(NARROW, MIXED, lam, [0.5], cells=64)
        for name in plain.series:
            np.testing.assert_array_equal(noisy.series[name], plain.series[name])
        assert noisy.fixed_point is None and "total variation" in noisy.sentence()
    flow = ufd.langevin(NARROW, MIXED, 0.0, [1.0, 4.0], cells=256)
    particles = ufd.train(NARROW, MIXED, None, 256, [1.0, 4.0])
    for t in (1.0, 4.0):
        assert ufd.mmd(flow.at(t), particles.at(t)) == pytest.approx(1.023 / 256, rel=0.03)


def test_as_noise_vanishes():
    """Distances to the equation without noise fall with tau: exponential fitting tends to it."""
    still = ufd.langevin(NARROW, MIXED, 0.0, [1.0], lam=1e-2, cells=256)
    far = [
        ufd.mmd(ufd.langevin(NARROW, MIXED, tau, [1.0], lam=1e-2, rates=0, cells=256).at(1.0),
                still.at(1.0))
        for tau in (1e-1, 1e-2, 1e-3)
    ]  # fmt: skip
    assert far[1] < 0.15 * far[0] and far[2] < 0.3 * far[1]


@pytest.mark.parametrize("penalty", [FixedWeights(), QuadraticPenalty(1.0)])
@pytest.mark.parametrize("degree", [1, 3])
def test_derivatives_of_the_flux(penalty, degree):
    """Against differences; what flows sums to zero, and nothing flows at the Gibbs measure."""
    space = Discretization(sphere_mesh(2, 1, degree), TILTED.teacher, MPI.COMM_SELF)
    pairs, heat = Neighbours(space), Heat(space, Constant(0.3))
    flux = FittedFlux(space, pairs, penalty, heat)
    rng = np.random.default_rng(0)
    w, g = np.exp(rng.normal(size=space.size)), rng.normal(size=space.size)

    def value(w, g):
        return flux.value(w, penalty.minimiser(g), g)

    u = penalty.minimiser(g)
    found = flux.linearised(w, u, g, penalty.response(u))
    assert value(w, g).sum() == pytest.approx(0, abs=1e-13)
    h = 1e-6
    dw, dg = rng.normal(size=(2, space.size))
    by_w = (value(w + h * dw, g) - value(w - h * dw, g)) / (2 * h)
    by_g = (value(w, g + h * dg) - value(w, g - h * dg)) / (2 * h)
    np.testing.assert_allclose(pairs.matrix(*found.in_w) @ dw, by_w, atol=1e-8)
    np.testing.assert_allclose(found.in_g @ dg, by_g, atol=1e-8)
    if degree == 1:
        fixed = np.exp(heat.log_gibbs(flux.potential(u, g), 0.3))
        np.testing.assert_allclose(value(fixed, g), 0, atol=1e-14)


def test_bernoulli():
    """x/(e^x - 1) and its derivative, small, large and between."""
    x = np.array([-700.0, -30, -1, -2e-3, -1e-3, -1e-5, 0, 1e-5, 1e-3, 2e-3, 1, 30, 700])
    value, slope = bernoulli(x)
    long = x[(abs(x) > 0) & (abs(x) < 100)].astype(np.longdouble)
    exact = long / np.expm1(long)
    inside = (abs(x) > 0) & (abs(x) < 100)
    np.testing.assert_allclose(value[inside], exact.astype(float), rtol=1e-12)
    derivative = (1 - exact * np.exp(long)) / np.expm1(long)
    np.testing.assert_allclose(slope[inside], derivative.astype(float), rtol=1e-6, atol=1e-12)
    assert value[6] == 1 and slope[6] == -0.5 and np.isfinite(value).all()


def test_fixed_point_from_anywhere():
    """Backward Euler with growing steps finds it from the start as from the end."""
    solver = MeanFieldSolver(
        NARROW, features=SMOOTH, lam=None, temperature=TAU, inputs="sphere", cells=64
    )
    w = fixed_point(solver.system, solver.evolution.values)
    assert gibbs_error(solver.system, w) < 1e-8
    solver.advance(200.0)
    np.testing.assert_allclose(w, solver.evolution.values, rtol=1e-6)


def test_annealing():
    """The temperature falls as written, and so does the free energy; no fixed point is claimed."""
    cooling = ufd.Annealing(0.05, 0.02)
    run = ufd.langevin(NARROW, MIXED, cooling, [1.0, 20.0], cells=64)
    t = run.series["t"]
    np.testing.assert_allclose(run.series["temperature"], 0.05 / (1 + 2.5 * np.log1p(t)))
    assert np.all(np.diff(run.series["free_energy"]) <= 1e-12)
    hot = ufd.langevin(NARROW, MIXED, 0.05, [20.0], cells=64, rates=0)
    assert run.series["total_variation"][-1] < hot.series["total_variation"][-1]
    with pytest.raises(ufd.InputError, match="no fixed point is known"):
        run.local_rate()


@pytest.mark.mpi
def test_over_ranks(comm, shared_tmp):
    """The same run on any number of ranks, saved by them and read back; its rates too."""
    options = {"cells": 1, "degree": 1, "rtol": 1e-3, "tolerance": 1e-11, "rates": 1}
    shared = ufd.langevin(TILTED, MIXED, TAU, [1.0], comm=comm, **options)
    alone = ufd.langevin(TILTED, MIXED, TAU, [1.0], comm=MPI.COMM_SELF, **options)
    np.testing.assert_allclose(shared.series["free_energy"], alone.series["free_energy"], rtol=1e-8)
    for name, value in alone.fixed_point.items():
        if name != "gibbs_error":
            np.testing.assert_allclose(shared.fixed_point[name], value, rtol=1e-6)
    shared.save(shared_tmp, comm)
    comm.Barrier()
    again = ufd.load(shared_tmp, comm=comm)
    assert again.sentence() == shared.sentence()
    x = np.eye(3)
    np.testing.assert_allclose(again.density(x, 1.0), shared.density(x, 1.0), rtol=1e-12)
    assert list(again.outer_weights(x, 1.0)) == [1, 1, 1]


@pytest.mark.parametrize(
    ("manifold", "rate"), [(CIRCLE, 1), (SPHERE, 2), (ufd.Sphere(4), 4), (ufd.Torus(2, 2.0), None)]
)
def test_brownian_motion(manifold, rate):
    """Without forces a first harmonic decays at tau times its eigenvalue."""
    if rate is None:
        feature, rate = ufd.GaussianRBF(0.5, 1e-9), (2 * np.pi / 2.0) ** 2
        teacher = ufd.Uniform(manifold)
        start, wave = np.zeros((4000, 2)), lambda x: np.cos(np.pi * x[:, 0])
        data = 16
    else:
        feature, teacher, data = 1e-9 * ufd.ReLU(), ufd.Uniform(manifold), None
        start = np.repeat(np.eye(manifold.ambient_dim)[:1], 4000, axis=0)
        wave, data = lambda x: x[:, 0], 16
    problem = ufd.UltraFastDiffusion(teacher, ufd.Uniform(manifold))
    end = 0.5 / rate
    run = ufd.train(
        problem, feature, None, 4000, [end], temperature=1.0, dt=end / 50, start=start, data=data,
        target=(start[:1], [1.0]),
    )  # fmt: skip
    values = wave(run.features(end))
    error = values.std() / np.sqrt(len(values))
    assert values.mean() == pytest.approx(np.exp(-0.5), abs=4 * error + 0.01)


def test_ornstein_uhlenbeck():
    """R^d with weight decay and a linear network: mean and variance in closed form."""
    plane, tau, decay, width = ufd.Euclidean(2), 0.1, 0.5, 4096
    linear = ufd.Activation(lambda t: t, lambda t: np.ones_like(t))
    problem = ufd.UltraFastDiffusion(ufd.Gaussian(plane), ufd.Gaussian(plane, 0.3, 1.0))
    inputs = np.random.default_rng(4).normal(size=(64, 2))
    times = [0.5, 3.0]
    run = ufd.train(
        problem, linear, None, width, times, data=inputs, target=([[1.0, -2.0]], [1.0]),
        temperature=tau, decay=decay, dt=2.5e-3, start="quantile",
    )  # fmt: skip
    C = inputs.T @ inputs / 64
    A, goal = C + decay * np.eye(2), C @ [1.0, -2.0]
    rest = np.linalg.solve(A, goal)
    values, vectors = np.linalg.eigh(A)
    start = run.features(0.0)
    for t in times:
        shrink = vectors @ np.diag(np.exp(-t * values)) @ vectors.T
        mean = rest + shrink @ (start.mean(axis=0) - rest)
        spread = tau / decay * (1 - np.exp(-2 * decay * t)) + start.var(axis=0) * np.exp(
            -2 * decay * t
        )
        x = run.features(t)
        assert np.allclose(x.mean(axis=0), mean, atol=4 * np.sqrt(0.2 / width) + 2e-3)
        assert np.allclose(x.var(axis=0), spread, rtol=4 * np.sqrt(2 / width) + 3e-3)


def test_noisy_particles_follow_the_equation():
    """Eight seeds of 512: risk and law within their errors of the Fokker-Planck equation."""
    field = ufd.langevin(NARROW, SMOOTH, TAU, [2.0], rates=0, inputs="sphere", cells=128)
    harmonic = []
    for seed in range(8):
        run = ufd.train(
            NARROW, SMOOTH, None, 512, [2.0], temperature=TAU, dt=0.02, inputs="sphere", seed=seed
        )
        harmonic.append(run.features(2.0).mean(axis=0))
    mean, error = np.mean(harmonic, axis=0), np.std(harmonic, axis=0) / np.sqrt(7)
    x, weights = CIRCLE.quadrature(128)
    exact = (weights * field.density(x, 2.0)) @ x
    assert np.all(np.abs(mean - exact) < 4 * error + 1e-3)


def test_noise_in_every_flow():
    """Optimal outer weights, and such of finite speed, tend to the same law; drawn data too."""
    field = ufd.langevin(NARROW, MIXED, TAU, [1.0], lam=1e-2, rates=0, cells=128)
    x, weights = CIRCLE.quadrature(128)
    exact = float((weights * field.density(x, 1.0)) @ x[:, 0])
    for options in ({}, {"epsilon": 2e-3}, {"data": 256}):
        means = [
            ufd.train(
                NARROW, MIXED, 1e-2, 128, [1.0], temperature=TAU, dt=5e-3, seed=seed, **options
            ).features(1.0)[:, 0].mean()
            for seed in range(4)
        ]  # fmt: skip
        assert np.mean(means) == pytest.approx(exact, abs=0.05), options


@pytest.mark.parametrize("tau", [0.0, 0.01])
def test_a_narrow_teacher(tau):
    """Contrasts of 1e17: equations and unknowns of very different sizes."""
    narrow = ufd.UltraFastDiffusion(ufd.VonMisesFisher([1, 0], 20), ufd.Uniform(CIRCLE))
    run = ufd.langevin(narrow, MIXED, tau, [0.5], lam=1e-2, cells=128, rtol=1e-4, rates=2)
    assert run.status is ufd.StopReason.FINISHED
    assert np.all(np.abs(run.series["mass"] - 1) < 1e-12) and np.all(run.series["min_ratio"] > 0)
    name = "free_energy" if tau else "risk"
    assert np.all(np.diff(run.series[name]) <= 1e-10)


@pytest.mark.mpi
def test_noise_is_the_same_on_every_rank(comm):
    """Samples are shared out, the noise is not."""
    run = ufd.train(
        NARROW, MIXED, 1e-2, 16, [0.1], temperature=TAU, dt=0.01, data=64, comm=comm, seed=3
    )
    assert len({run.features(0.1).tobytes() for _ in comm.allgather(0)}) == 1
    alone = ufd.train(
        NARROW, MIXED, 1e-2, 16, [0.1], temperature=TAU, dt=0.01, data=64, comm=MPI.COMM_SELF,
        seed=3,
    )  # fmt: skip
    np.testing.assert_allclose(run.features(0.1), alone.features(0.1), atol=1e-9)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"temperature": -0.1}, "temperature = -0.1 must be finite and at least 0"),
        ({"temperature": "hot"}, "temperature = 'hot' must be a number or ufd.Annealing"),
        ({"rates": -1}, "rates = -1 must be an integer"),
        ({"lam": -1.0}, "lam = -1.0 must be positive"),
        ({"times": []}, "times = []"),
    ],
)
def test_bad_equation(change, words):
    """One line that names what is wrong."""
    arguments = {"problem": NARROW, "features": MIXED, "temperature": TAU, "times": [1.0]}
    with pytest.raises(ufd.InputError) as error:
        ufd.langevin(**{**arguments, **change})
    assert words in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"temperature": -0.1}, "temperature = -0.1"),
        ({"dt": None}, "dt: missing"),
        ({"stepper": ufd.RKC()}, "noise needs ufd.EulerMaruyama()"),
        ({"lam": None, "epsilon": 0.1}, "lam: missing"),
        ({"decay": -1.0}, "decay = -1.0"),
        ({"epsilon": -1.0}, "epsilon = -1.0 must be positive"),
    ],
)
def test_bad_training(change, words):
    """One line that names what is wrong."""
    arguments = {"lam": 1e-2, "width": 8, "times": [0.1], "temperature": TAU, "dt": 0.01}
    with pytest.raises(ufd.InputError) as error:
        ufd.train(NARROW, MIXED, **{**arguments, **change})
    assert words in str(error.value) and "\n" not in str(error.value)


def test_bad_temperatures_and_spaces():
    """Annealing and R^d say what they need."""
    with pytest.raises(ufd.InputError, match=r"Annealing: level = 0\.0 must be positive"):
        ufd.Annealing(0.1, 0.0)
    assert temperature_of("x", ufd.Annealing(0.2, 1.0)).at(0.0) == 0.2
    line = ufd.Euclidean(1)
    problem = ufd.UltraFastDiffusion(ufd.Gaussian(line), ufd.Gaussian(line))
    with pytest.raises(ufd.InputError, match="target: missing"):
        ufd.train(problem, ufd.ReLU(), None, 4, [0.1], data=4)
    with pytest.raises(ufd.InputError, match="a = Gaussian"):
        ufd.mmd(ufd.Gaussian(line), ufd.Gaussian(line))
    with pytest.raises(ufd.InputError, match="std = 0"):
        ufd.Gaussian(line, 0)

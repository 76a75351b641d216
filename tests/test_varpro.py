"""The inner problem of variable projection and the gradient of what it leaves.

Outer weights and scaled residuals against elimination in 50 digits, the gradient of the reduced
risk against differences of fourth order.
"""

from __future__ import annotations

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
from mpi4py import MPI

import ufd
from ufd.particles.data import build_model, choose_data
from ufd.particles.flows import Training
from ufd.particles.population import PopulationModel
from ufd.particles.rows import SampleRows
from ufd.particles.sampled import SampledModel
from ufd.problem.kernels import population_kernel
from ufd.problem.penalties import PowerPenalty, QuadraticPenalty, penalty_of
from ufd.problem.potentials import teacher_potential

MIXED = ufd.ReLU() + 0.5 * ufd.ReLU(power=2)
SOFT = ufd.Activation(lambda t: np.exp(t) + t**2, lambda t: np.exp(t) + 2 * t)
EPS = np.finfo(float).eps
PENALTIES = {
    "unbiased": QuadraticPenalty(1.0),
    "biased": QuadraticPenalty(0.0),
    **{f"p = {p:g}": PowerPenalty(p) for p in (0.0, 0.5, 1.0, 1.5, 3.0)},
}
# Where features live, how many, of how many samples (None: the population), of which kernel.
SETTINGS = {
    "circle, primal": (ufd.Sphere(1), 8, 40, None),
    "circle, dual": (ufd.Sphere(1), 24, 9, None),
    "circle, closed": (ufd.Sphere(1), 12, None, "closed"),
    "circle, harmonic": (ufd.Sphere(1), 60, None, "harmonic"),
    "S2, primal": (ufd.Sphere(2), 10, 50, None),
    "S2, closed": (ufd.Sphere(2), 12, None, None),
    "S4, primal": (ufd.Sphere(4), 10, 50, None),
    "S4, closed": (ufd.Sphere(4), 12, None, None),
    "torus, primal": (ufd.Torus(2, 4.0), 10, 50, None),
    "torus, dual": (ufd.Torus(2, 4.0), 30, 12, None),
}


def points_on(manifold, count: int, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=(count, manifold.ambient_dim))
    return manifold.retract(2 * x)


def clustered(count: int) -> np.ndarray:
    """Pairs on S^2 at a distance of about 1e-4: a kernel matrix that is nearly singular."""
    first = points_on(ufd.Sphere(2), count // 2, 4)
    return np.concatenate([first, first + 1e-4 * points_on(ufd.Sphere(2), count // 2, 9)])


def teacher_on(manifold):
    if isinstance(manifold, ufd.Torus):
        return ufd.PeriodicCauchy(2.0, [1.0] * manifold.dim, manifold.period)
    return ufd.VonMisesFisher(np.arange(1.0, manifold.dim + 2), 2.0)


def model_of(name: str, lam: float, feature=MIXED):
    """A model, its manifold and features for it."""
    manifold, width, count, kernel = SETTINGS[name]
    if kernel == "harmonic":
        feature = SOFT
    if isinstance(manifold, ufd.Torus):
        feature = ufd.GaussianRBF(0.8)
    rng = np.random.default_rng(3)
    target = None if kernel else (points_on(manifold, 5, 1), np.full(5, 0.2))
    if name == "S2, closed":
        target = None
    data = choose_data(manifold, feature, teacher_on(manifold), count, "gaussian", target, rng)
    model = build_model(data, manifold, lam, width, MPI.COMM_SELF, kernel)
    assert kernel is None or model.describe()["kernel"] == kernel
    return model, manifold, points_on(manifold, width, 4)


@pytest.mark.parametrize("lam", [1e-1, 1e-2, 1e-3])
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("name", SETTINGS)
def test_gradient_of_the_reduced_risk(name, penalty, lam):
    """d risk/d omega_j = -u_j grad g(omega_j)/M along geodesics, to 1e-8 of its size."""
    model, manifold, omega = model_of(name, lam)
    training = Training(model, lam, PENALTIES[penalty], manifold)
    rng, h = np.random.default_rng(7), 1e-4
    directions = manifold.tangent(omega, rng.normal(size=omega.shape))

    def risk(s: float) -> float:
        moved = manifold.exponential(omega, s * directions)
        return training.risk(model.optimum(moved, lam, training.penalty))

    far, near = risk(2 * h) - risk(-2 * h), risk(h) - risk(-h)
    fit = model.optimum(omega, lam, training.penalty)
    terms = -fit.outer * np.einsum("ij,ij->i", fit.force, directions) / len(omega)
    assert (8 * near - far) / (12 * h) == pytest.approx(
        terms.sum(), abs=1e-8 * max(np.abs(terms).sum(), 1e-3)
    )


def exact(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Gaussian elimination of an object array of decimals, with pivots."""
    a = np.column_stack([matrix, right])
    n = len(a)
    for k in range(n):
        pivot = k + int(np.argmax(np.abs(a[k:, k])))
        a[[k, pivot]] = a[[pivot, k]]
        for i in range(k + 1, n):
            a[i, k:] -= a[i, k] / a[k, k] * a[k, k:]
    x = np.array([Decimal(0)] * n)
    for k in reversed(range(n)):
        x[k] = (a[k, n] - a[k, k + 1 : n] @ x[k + 1 :]) / a[k, k]
    return x


def decimals(values: np.ndarray) -> np.ndarray:
    flat = [Decimal(float(v)) for v in np.ravel(values)]
    return np.array(flat, dtype=object).reshape(np.shape(values))


LAMS = [10.0**-k for k in range(1, 11)]


def population(width: int):
    """Kernel matrix and potential at some points, and their model."""
    sphere = ufd.Sphere(2)
    kernel, omega = population_kernel(MIXED, sphere, "gaussian"), sphere.retract(clustered(width))
    potential = teacher_potential(kernel, teacher_on(sphere))
    gram, b = kernel.values(omega @ omega.T)[0], potential.at(omega)[0]
    return PopulationModel(kernel, potential, {}), omega, gram, b


def sampled(width: int, count: int):
    """Samples of a smooth network at features of it, and their model."""
    sphere, rng = ufd.Sphere(2), np.random.default_rng(6)
    x, omega = rng.normal(size=(count, 3)), sphere.retract(clustered(width))
    y = MIXED.activation(x @ points_on(sphere, 40, 8).T).mean(axis=1)
    model = SampledModel(SampleRows(MIXED, x), y, 1 / count, MPI.COMM_SELF, {})
    return model, omega, x, y


def backward(matrix, u, right) -> float:
    matrix, u = matrix.astype(np.longdouble), u.astype(np.longdouble)
    size = np.linalg.norm(matrix.astype(float)) * np.linalg.norm(u.astype(float))
    missed = np.linalg.norm((matrix @ u - right).astype(float))
    return missed / (size + np.linalg.norm(np.asarray(right, dtype=float)))


@pytest.mark.parametrize("reference", [0.0, 1.0])
@pytest.mark.parametrize("lam", LAMS)
def test_backward_error(lam, reference):
    """(G/M + lam) u = b + lam reference to 1e-13, for every model and lam down to 1e-10."""
    penalty = QuadraticPenalty(reference)
    model, omega, gram, b = population(60)
    u = model.optimum(omega, lam, penalty).outer
    eye = np.eye(60, dtype=np.longdouble)
    assert backward(gram / np.longdouble(60) + lam * eye, u, b + lam * reference) < 1e-13
    for count in (200, 30):
        model, omega, x, y = sampled(60, count)
        phi = MIXED.activation(x @ omega.T).astype(np.longdouble)
        gram, b = phi.T @ phi / count, phi.T @ y / count
        u = model.optimum(omega, lam, penalty).outer
        assert backward(gram / 60 + lam * eye, u, b + lam * reference) < 1e-13


@pytest.mark.parametrize("lam", LAMS[::3])
def test_forward_error_of_the_population(lam):
    """Outer weights against 50 digits: at most 100 eps times the condition number."""
    model, omega, gram, b = population(24)
    fit = model.optimum(omega, lam, QuadraticPenalty(1.0))
    with localcontext() as context:
        context.prec = 50
        m = decimals(gram) / 24 + decimals(lam * np.eye(24))
        u = exact(m, decimals(b) + Decimal(lam)).astype(float)
    error = np.linalg.norm(fit.outer - u) / np.linalg.norm(u)
    assert error < min(100 * EPS * np.linalg.cond(gram / 24 + lam * np.eye(24)), 1e-9)


@pytest.mark.parametrize(("width", "count"), [(24, 80), (24, 16)])
@pytest.mark.parametrize("lam", LAMS[::3])
def test_forward_error_of_samples(lam, width, count):
    """Outer weights and forces against 50 digits: refinement keeps digits that lam would take."""
    model, omega, x, y = sampled(width, count)
    fit = model.optimum(omega, lam, QuadraticPenalty(1.0))
    features = MIXED.activation(x @ omega.T)
    with localcontext() as context:
        context.prec = 50
        phi, y = decimals(features), decimals(y)
        start = y - phi.sum(axis=1) / width
        rows = phi @ phi.T / (width * count) + decimals(lam * np.eye(count))
        alpha = exact(rows, start) if count < 30 else None
        if alpha is None:
            small = phi.T @ phi / (width * count) + decimals(lam * np.eye(width))
            v = exact(small, phi.T @ start / count)
            alpha = (start - phi @ v / width) / Decimal(lam)
        v = (phi.T @ alpha / count).astype(float)
        alpha = alpha.astype(float)
    force = MIXED.slope(x @ omega.T).T @ (alpha[:, None] * x) / count
    assert np.linalg.norm(fit.outer - 1 - v) < 1e-10 * np.linalg.norm(v)
    assert np.linalg.norm(fit.pressure - v) < 1e-10 * np.linalg.norm(v)
    assert np.linalg.norm(fit.force - force) < 1e-11 * np.linalg.norm(force)
    expected = lam / 2 * float(alpha @ alpha) / count
    assert fit.misfit == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("lam", [1e-1, 1e-3, 1e-6])
@pytest.mark.parametrize("p", [0.0, 0.5, 1.0, 1.5, 3.0])
@pytest.mark.parametrize("kind", ["population", "samples"])
def test_optimality(kind, p, lam):
    """f'(u) = (b - G u/M)/lam where u is positive; where u rests at zero f' is larger."""
    penalty = PowerPenalty(p)
    if kind == "population":
        model, omega, gram, b = population(40)
    else:
        model, omega, x, y = sampled(40, 100)
        phi = MIXED.activation(x @ omega.T)
        gram, b = phi.T @ phi / 100, phi.T @ y / 100
    fit = model.optimum(omega, lam, penalty)
    u = fit.outer
    assert (u > 0).all() and fit.newton > 0
    wide = gram.astype(np.longdouble)
    pressure = ((b - wide @ u / 40) / lam).astype(float)
    free = u > 2e-12
    # The equation holds to round-off of its terms: of size b, divided by lam.
    scale = 1e-13 / lam + 1e-10 * np.abs(penalty.slope(u))
    assert (np.abs(pressure - penalty.slope(u))[free] <= scale[free]).all()
    assert (pressure <= penalty.slope(u) + scale).all()
    better = penalty.value(u).mean() + fit.misfit
    for factor in (0.99, 1.01):
        other = penalty.value(factor * u).mean() + model.fit(omega, factor * u, lam).misfit
        assert other > better


@pytest.mark.parametrize("name", SETTINGS)
def test_fit_at_the_optimum(name):
    """Given its own weights, a model finds the pressure, force and misfit of the optimum."""
    for penalty in (QuadraticPenalty(1.0), PowerPenalty(1.0)):
        model, _, omega = model_of(name, 1e-2)
        best = model.optimum(omega, 1e-2, penalty)
        again = model.fit(omega, best.outer, 1e-2)
        np.testing.assert_allclose(again.pressure, penalty.slope(best.outer), rtol=0, atol=1e-11)
        np.testing.assert_allclose(again.force, best.force, rtol=0, atol=1e-11)
        assert again.misfit == pytest.approx(best.misfit, rel=1e-10, abs=1e-15)


def test_primal_is_dual():
    """One row more or less than features: the same weights and forces by the other system."""
    model, omega, x, y = sampled(30, 29)
    doubled = SampledModel(
        SampleRows(MIXED, np.tile(x, (2, 1))), np.tile(y, 2), 1 / 58, MPI.COMM_SELF, {}
    )
    for lam in (1e-2, 1e-5, 1e-9):
        dual, primal = (m.optimum(omega, lam, QuadraticPenalty(1.0)) for m in (model, doubled))
        for a, b in ((dual.outer, primal.outer), (dual.force, primal.force)):
            assert np.linalg.norm(a - b) < 1e-9 * np.linalg.norm(a)


@pytest.mark.parametrize("p", [2.0, 1.0])
def test_risk_falls_by_the_work_of_the_flow(p):
    """d risk/dt = -mean |u grad g|^2: the drop is its integral by Simpson's rule."""
    problem = ufd.UltraFastDiffusion(
        ufd.VonMisesFisher([1, 0], 1.0), ufd.Uniform(ufd.Sphere(1)), ufd.PowerDivergence(p)
    )
    options = {"features": MIXED, "lam": 1e-2, "width": 16, "stepper": ufd.RK23(), "dt": 0.01}
    solver = ufd.VarProSolver(problem, comm=MPI.COMM_SELF, **options)
    risks, powers = [], []
    for _ in range(41):
        values = solver.evolution.values
        powers.append(float(np.mean(np.sum(solver.system.slope(0, values) ** 2, axis=1))))
        risks.append(solver.risk())
        solver.step()
    assert (np.diff(risks) < 0).all()
    weights = np.array([1, *[4, 2] * 19, 4, 1]) * 0.01 / 3
    assert risks[0] - risks[-1] == pytest.approx(weights @ powers, rel=1e-5)


def test_penalties():
    """Slopes and curvatures by differences; p = 0 and 1 are limits; 1 is where f and f' vanish."""
    u, h = np.array([0.2, 0.9, 1.0, 1.7, 4.0]), 1e-5
    for penalty in PENALTIES.values():
        slope = (penalty.value(u + h) - penalty.value(u - h)) / (2 * h)
        np.testing.assert_allclose(penalty.slope(u), slope, rtol=0, atol=1e-8)
        curvature = (penalty.slope(u + h) - penalty.slope(u - h)) / (2 * h)
        np.testing.assert_allclose(penalty.curvature(u), curvature, rtol=1e-7)
        if penalty != QuadraticPenalty(0.0):
            assert penalty.value(np.ones(1))[0] == penalty.slope(np.ones(1))[0] == 0
    for p in (0.0, 1.0):
        near, limit = PowerPenalty(p + 1e-7), PowerPenalty(p)
        np.testing.assert_allclose(near.value(u), limit.value(u), rtol=0, atol=1e-6)
        np.testing.assert_allclose(near.slope(u), limit.slope(u), rtol=0, atol=1e-6)
    two = penalty_of(ufd.PowerDivergence(2), 1)
    np.testing.assert_allclose(PowerPenalty(2.0).value(u), two.value(u), rtol=0, atol=1e-15)
    assert penalty_of(ufd.PowerDivergence(2), 0.5).reference == 0.5


@pytest.mark.parametrize("penalty", ["unbiased", "p = 1"])
def test_lost_regularisation(penalty):
    """Twice the same feature and a lam below round-off: refused with lam in the message."""
    sphere = ufd.Sphere(1)
    omega, lam = sphere.retract(np.ones((4, 2))), 1e-300
    for count in (None, 30):
        data = choose_data(
            sphere,
            ufd.ReLU(),
            teacher_on(sphere),
            count,
            "gaussian",
            None,
            np.random.default_rng(0),
        )
        model = build_model(data, sphere, 1e-2, 4, MPI.COMM_SELF, None)
        with pytest.raises(ufd.SolverError) as caught:
            model.optimum(omega, lam, PENALTIES[penalty])
        assert f"lam = {lam:.3g}" in str(caught.value) and "\n" not in str(caught.value)
    assert math.isfinite(model.optimum(omega, 1e-2, PENALTIES[penalty]).misfit)

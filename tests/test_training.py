"""`ufd.train` and `VarProSolver`: conventions, published iterations, seeds, files, refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from mpi4py import MPI

import ufd

CIRCLE, MIXED = ufd.Sphere(1), ufd.ReLU() + 0.5 * ufd.ReLU(power=2)
PROBLEM = ufd.UltraFastDiffusion(ufd.VonMisesFisher([1, 0], 1.0), ufd.Uniform(CIRCLE))
SAMPLES = np.random.default_rng(8).normal(size=(50, 2))
ATOMS = np.array([[0.6, 0.8], [-1.0, 0.0], [0.0, -1.0]]), np.array([0.5, 0.3, 0.2])
DT = 2.0**-10
PUBLISHED = {"stepper": ufd.Euler("normalise"), "dt": DT, "data": SAMPLES, "target": ATOMS}


def solver(**changes) -> ufd.VarProSolver:
    options = {"features": ufd.ReLU(), "lam": 1e-2, "width": 8, "comm": MPI.COMM_SELF}
    return ufd.VarProSolver(changes.pop("problem", PROBLEM), **options | changes)


def targets(x: np.ndarray) -> np.ndarray:
    return np.maximum(x @ ATOMS[0].T, 0) @ ATOMS[1]


def residual_of(theta: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """F - y at the samples, and the features, as the published code computes them."""
    phi = np.maximum(SAMPLES @ theta.T, 0)
    return phi @ u / len(u) - targets(SAMPLES), phi


def best(theta: np.ndarray, lam: float, reference: float) -> np.ndarray:
    phi, width, count = np.maximum(SAMPLES @ theta.T, 0), len(theta), len(SAMPLES)
    matrix = phi.T @ phi / (width * count) + lam * np.eye(width)
    return np.linalg.solve(matrix, phi.T @ targets(SAMPLES) / count + lam * reference)


def gradients(theta: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """E[r grad phi_j] for every feature."""
    return ((SAMPLES @ theta.T > 0) * residual[:, None]).T @ SAMPLES / len(SAMPLES)


@pytest.mark.parametrize("reference", [1.0, 0.0])
def test_published_variable_projection(reference):
    """Fifty steps of the published iteration: gradient times M dt, then normalise."""
    run = solver(reference=reference, **PUBLISHED)
    theta, lam = run.state.features.copy(), 1e-2
    for _ in range(50):
        u = best(theta, lam, reference)
        r, _ = residual_of(theta, u)
        risk_gradient = u[:, None] * gradients(theta, r) / (lam * len(u))
        theta = theta - len(u) * DT * risk_gradient
        theta /= np.linalg.norm(theta, axis=1, keepdims=True)
        run.step()
    assert run.t == 50 * DT
    np.testing.assert_allclose(run.state.features, theta, rtol=0, atol=1e-10)
    np.testing.assert_allclose(run.state.outer_weights, best(theta, lam, reference), atol=1e-10)


@pytest.mark.parametrize("reference", [1.0, 0.0])
def test_published_two_timescales(reference):
    """epsilon = dt = 2^-10: u -= E[r phi] + lam f'(u), theta -= 2^-10 u/lam E[r grad phi]."""
    run = solver(reference=reference, epsilon=DT, **PUBLISHED)
    theta, lam = run.state.features.copy(), 1e-2
    u = best(theta, lam, reference)
    np.testing.assert_allclose(run.state.outer_weights, u, rtol=0, atol=1e-12)
    for _ in range(50):
        r, phi = residual_of(theta, u)
        moved = theta - DT * u[:, None] / lam * gradients(theta, r)
        u = u - phi.T @ r / len(r) - lam * (u - reference)
        theta = moved / np.linalg.norm(moved, axis=1, keepdims=True)
        run.step()
    np.testing.assert_allclose(run.state.features, theta, rtol=0, atol=1e-10)
    np.testing.assert_allclose(run.state.outer_weights, u, rtol=0, atol=1e-10)


def test_two_timescales_tend_to_one():
    """The distance to variable projection is linear in epsilon."""
    options = {"features": MIXED, "width": 32, "lam": 1e-2, "stepper": ufd.RK23(), "rtol": 1e-6}
    limit = solver(**options).advance(0.5).features
    errors = []
    for epsilon in (1e-3, 5e-4, 2.5e-4):
        features = solver(epsilon=epsilon, **options).advance(0.5).features
        errors.append(np.abs(features - limit).max())
    ratios = np.array(errors[:-1]) / errors[1:]
    assert ratios == pytest.approx([2, 2], rel=0.15)


def test_full_batches():
    """A batch of all samples without momentum is the run on all of them."""
    whole, batches = solver(**PUBLISHED), solver(batch=len(SAMPLES), **PUBLISHED)
    for _ in range(20):
        whole.step(), batches.step()
    np.testing.assert_allclose(batches.state.features, whole.state.features, rtol=0, atol=1e-12)
    small = [solver(batch=10, seed=s, **PUBLISHED).advance(20 * DT).features for s in (0, 0, 1)]
    assert np.array_equal(small[0], small[1]) and np.abs(small[0] - small[2]).max() > 1e-4
    fresh = solver(batch=30, **PUBLISHED | {"data": None}).advance(5 * DT)
    assert np.isfinite(fresh.features).all()


def test_momentum():
    """u = m u_before + (1 - m) v, v the fit of the batch, and the force is that of u."""
    run = solver(batch=len(SAMPLES), momentum=0.75, **PUBLISHED)
    theta, lam = run.state.features.copy(), 1e-2
    u = best(theta, lam, 1.0)
    for _ in range(20):
        u = 0.75 * u + 0.25 * best(theta, lam, 1.0)
        r, _ = residual_of(theta, u)
        theta = theta - DT * u[:, None] / lam * gradients(theta, r)
        theta /= np.linalg.norm(theta, axis=1, keepdims=True)
        run.step()
    np.testing.assert_allclose(run.state.features, theta, rtol=0, atol=1e-10)
    np.testing.assert_allclose(run.state.outer_weights, u, rtol=0, atol=1e-10)


def test_conventions():
    """t = 0 is stored, times are landed on, risk = misfit + divergence, shapes and names."""
    seen: list[tuple[float, bool]] = []
    run = ufd.train(
        PROBLEM,
        MIXED,
        lam=1e-2,
        width=24,
        times=[0.1, 0.25],
        observers=[lambda t, values, landed: seen.append((t, landed))],
        comm=MPI.COMM_SELF,
    )
    assert run.times == [0.0, 0.1, 0.25] == [t for t, landed in seen if landed]
    assert run.status is ufd.StopReason.FINISHED and run.stats["width"] == 24
    names = {"t", "risk", "misfit", "divergence", "min_outer", "max_outer"}
    assert set(run.series) == names and run.series["t"].tolist() == [t for t, _ in seen]
    np.testing.assert_allclose(
        run.series["risk"], run.series["misfit"] + run.series["divergence"], rtol=1e-14
    )
    assert (np.diff(run.series["risk"]) < 0).all()
    for t in run.times:
        features, outer = run.features(t), run.outer_weights(t)
        assert features.shape == (24, 2) and outer.shape == (24,)
        np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=0, atol=4e-16)
        measure = run.at(t).measure
        assert measure.weights.sum() == pytest.approx(1) and measure.points is features
    at_end = solver(features=MIXED, width=24).advance(0.25)
    np.testing.assert_allclose(run.features(0.25), at_end.features, rtol=0, atol=1e-4)
    with pytest.raises(ufd.InputError, match=r"0\.3 was not stored; stored times: 0, 0\.1, 0\.25"):
        run.at(0.3)


def test_towards_the_teacher():
    """In a long run outer weights tend to one and the features to the teacher."""
    run = ufd.train(PROBLEM, MIXED, 1e-3, 96, [3.0], comm=MPI.COMM_SELF)
    distances = [ufd.mmd(run.at(t).measure, PROBLEM.teacher) for t in (0.0, 3.0)]
    # The diffusion itself is at 0.0357 then.
    assert distances[1] == pytest.approx(0.0357, rel=0.1) and distances[0] > 0.4
    assert abs(run.series["max_outer"][-1] - 1) < 0.1 and run.series["divergence"][-1] < 5e-3


def test_files(tmp_path):
    """What is saved is read back to the last bit."""
    options = {"data": 40, "target": 7, "comm": MPI.COMM_SELF, "seed": 3}
    run = ufd.train(PROBLEM, MIXED, 1e-2, 12, [0.05, 0.1], **options)
    run.save(tmp_path / "run", MPI.COMM_SELF)
    again = ufd.load(tmp_path / "run", comm=MPI.COMM_SELF)
    assert again.times == run.times and again.status is run.status
    assert again.configuration == run.configuration
    assert again.provenance["seed"] == 3 and again.summary()["kind"] == "particles"
    for name, column in run.series.items():
        assert np.array_equal(again.series[name], column)
    for t in run.times:
        assert np.array_equal(again.features(t), run.features(t))
        assert np.array_equal(again.outer_weights(t), run.outer_weights(t))
    (tmp_path / "run" / "particles.npz").unlink()
    with pytest.raises(ufd.StorageError, match=r"particles\.npz"):
        ufd.load(tmp_path / "run", comm=MPI.COMM_SELF).features(0.1)


def test_seeds():
    """Equal seeds draw alike, others differently; quantiles draw nothing."""

    def drawn(**changes) -> np.ndarray:
        return solver(features=MIXED, **changes).advance(0.05).features

    for options in ({"start": "iid"}, {"data": 30}, {"target": 5}):
        first, second, other = (drawn(seed=s, **options) for s in (1, 1, 2))
        assert np.array_equal(first, second) and np.abs(first - other).max() > 1e-4
    assert np.array_equal(drawn(seed=1), drawn(seed=2))
    assert np.array_equal(solver().state.features, ufd.quantiles(PROBLEM.initial, 8))
    # The start does not depend on what else is drawn.
    starts = [solver(start="iid", seed=4, data=n).state.features for n in (None, 20, 30)]
    assert np.array_equal(starts[0], starts[1]) and np.array_equal(starts[0], starts[2])
    given = ufd.quantiles(PROBLEM.teacher, 8)
    assert np.array_equal(solver(start=given).state.features, given)


BATCH = {"batch": 5, "stepper": ufd.Euler(), "dt": 0.1, "data": SAMPLES}
NAN = np.where(np.arange(100).reshape(50, 2) == 7, np.nan, SAMPLES)
SOURCE = ufd.UltraFastDiffusion(
    PROBLEM.teacher, PROBLEM.initial, source=lambda t, x: np.zeros(len(x))
)
TORUS = ufd.UltraFastDiffusion(ufd.PeriodicCauchy(1.0, [0.2]), ufd.Uniform(ufd.Torus(1)))
ENTROPY = ufd.UltraFastDiffusion(PROBLEM.teacher, PROBLEM.initial, ufd.PowerDivergence(1))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        *(({"lam": lam}, f"lam = {lam!r}") for lam in (0, -1.0, math.nan, math.inf, "x")),
        *(({"width": w}, f"width = {w!r}") for w in (0, -3, 1.5, "8", None, True)),
        ({"data": np.zeros((5, 3))}, "data: samples of shape (5, 3) given, (N, 2) needed"),
        ({"data": np.zeros((0, 2))}, "data: samples of shape (0, 2)"),
        ({"data": "all"}, "data: samples of text of shape ()"),
        ({"data": 0}, "data = 0"),
        ({"data": NAN}, "data: row 3"),
        ({"features": "relu"}, "features = 'relu' must be a feature"),
        ({"features": None}, "features = None"),
        ({"features": ufd.ReLU}, "features = "),
        ({"features": ufd.LaplaceRBF()}, "features: RadialBump"),
        ({"features": ufd.Step(), "data": 20}, "a step has no gradient"),
        ({"inputs": "x"}, "inputs = 'x'"),
        ({"problem": ENTROPY, "reference": 0}, "reference = 0 is for p = 2 only"),
        ({"reference": math.nan}, "reference = nan"),
        ({"start": "random"}, "start = 'random'"),
        ({"start": ufd.quantiles(PROBLEM.initial, 7)}, "start: 7 points for width = 8"),
        ({"start": np.ones((8, 2))}, "points: row 0 has length 1.41421"),
        *(({"epsilon": e}, f"epsilon = {e!r}") for e in (0.0, -1, math.nan, "x")),
        ({**BATCH, "momentum": 1}, "momentum = 1 must lie in [0, 1)"),
        ({**BATCH, "momentum": -0.1}, "momentum = -0.1"),
        ({**BATCH, "batch": 51}, "batch = 51 is larger than the 50 samples"),
        ({**BATCH, "batch": 2.5}, "batch = 2.5"),
        ({**BATCH, "epsilon": 0.1}, "leave epsilon out"),
        ({**BATCH, "stepper": None}, "batch: mini-batches"),
        ({"stepper": ufd.Euler()}, "dt: missing"),
        ({**BATCH, "dt": None}, "dt: missing"),
        ({"dt": -0.1}, "dt = -0.1"),
        ({"rtol": 0.0}, "rtol = 0.0"),
        ({"stepper": ufd.SDIRK2()}, "must be explicit"),
        ({"stepper": "rkc"}, "stepper = 'rkc'"),
        ({"target": "x"}, "target = 'x'"),
        ({"target": 0}, "target = 0"),
        ({"target": (ATOMS[0], [1.0])}, "target: 3 points and weights of shape (1,)"),
        ({"target": (2 * ATOMS[0], ATOMS[1])}, "points: row 0 has length 2"),
        ({"kernel": "gauss"}, "kernel = 'gauss'"),
        ({"kernel": "closed", "data": 9}, "kernel = 'closed'"),
        *(({"seed": s}, f"seed = {s!r}") for s in (-1, 1.5, "x")),
        ({"problem": SOURCE}, "particles know no source"),
        ({"problem": TORUS}, "lives on a Sphere"),
        ({"problem": TORUS, "features": ufd.LaplaceRBF()}, "need samples"),
    ],
)
def test_refusals(changes, words):
    """One line that names the key and the value."""
    with pytest.raises(ufd.InputError) as caught:
        solver(**changes)
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("times", [[], [0.0], [-1.0], [0.2, 0.1], [math.nan], 3.0, "soon"])
def test_times_are_refused(times):
    """Before anything is computed."""
    with pytest.raises(ufd.InputError, match="times"):
        ufd.train(PROBLEM, MIXED, 1e-2, 8, times, comm=MPI.COMM_SELF)


def test_a_torus_has_particles_only():
    """Tori are for particles: the finite element solver says so, the particles run."""
    with pytest.raises(ufd.InputError) as caught:
        ufd.solve(TORUS, [0.1])
    assert "Torus" in str(caught.value) and "\n" not in str(caught.value)
    run = ufd.train(
        TORUS, ufd.LaplaceRBF(0.2), 1e-2, 16, [0.1], data=60, inputs="gaussian", comm=MPI.COMM_SELF
    )
    assert run.features(0.1).shape == (16, 1) and (np.diff(run.series["risk"]) < 0).all()

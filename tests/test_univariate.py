"""Few neurons on an interval at two timescales."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from mpi4py import MPI
from scipy.integrate import quad, solve_ivp
from scipy.stats import binom, fisher_exact

import ufd
from ufd.jumps.descent import Descent
from ufd.jumps.flow import NeuronFlow
from ufd.jumps.limit import LimitFlow, limit_path
from ufd.jumps.neurons import Neurons, Ramp, SmoothStep
from ufd.problem.recovery import condition, probability

# The target of arXiv 2304.09576.
STEPS = ufd.StepTarget(np.linspace(0.2, 0.8, 5), [4, -4, 2, -2, 4], start=1.0)
RAMPS = ufd.RampTarget([0.3, 0.5, 0.7], [1, -2, 3])
ETA = 4e-3


@pytest.mark.parametrize(("target", "unit"), [(STEPS, SmoothStep(0.05)), (RAMPS, Ramp())])
def test_loss_and_its_derivatives(target, unit):
    """Against adaptive quadrature, and against differences."""
    rng = np.random.default_rng(1)
    m, neurons = 7, Neurons(target, unit)
    a, u = rng.normal(size=m + 1), rng.random(m)

    def error(x: float) -> float:
        z = np.array([x]) - u
        return float((target(x) - a[0] - unit.value(z) @ a[1:]) ** 2)

    breaks = np.sort([*target.positions, *(u[:, None] + unit.breaks).ravel()])
    knots = [0.0, *breaks[(breaks > 0) & (breaks < 1)], 1.0]
    exact = sum(quad(error, *ends, epsabs=1e-13)[0] for ends in pairwise(knots))
    assert neurons.loss(a, u) == pytest.approx(exact, rel=1e-10)
    y, h = np.concatenate([a, u]), 1e-6
    gradient, hessian = neurons.derivatives(a, u)
    np.testing.assert_array_equal(gradient, neurons.gradient(a, u))
    for k, e in enumerate(np.eye(len(y))):
        ends = [(z[: m + 1], z[m + 1 :]) for z in (y + h * e, y - h * e)]
        up, down = (neurons.loss(*end) for end in ends)
        assert (up - down) / (2 * h) == pytest.approx(gradient[k], abs=1e-7)
        up, down = (neurons.gradient(*end) for end in ends)
        np.testing.assert_allclose((up - down) / (2 * h), hessian[k], atol=1e-5)


@pytest.mark.parametrize("epsilon", [1.0, 1e-3])
def test_flow_against_scipy(epsilon):
    """The corridor's SDIRK4 against Radau of another library, at tight tolerances."""
    m = 6
    run = ufd.univariate(STEPS, m, 0.05, epsilon, times=[0.01, 0.03], rtol=1e-9, seeds=[4])
    flow = NeuronFlow(Neurons(STEPS, SmoothStep(0.05)), m, epsilon, 1e-12)
    start = np.concatenate([np.zeros(m + 1), run.positions(0.0)[0, 0]])
    found = solve_ivp(
        lambda t, y: flow.slope(y), (0, 0.03), start,
        method="Radau", t_eval=[0.01, 0.03], rtol=1e-10, atol=1e-12,
    )  # fmt: skip
    for t, y in zip(found.t, found.y.T, strict=True):
        np.testing.assert_allclose(run.positions(t)[0, 0], y[m + 1 :], atol=2e-8)
        loss = Neurons(STEPS, SmoothStep(0.05)).loss(*flow.parts(y))
        assert run.losses(t)[0] == pytest.approx(loss, rel=1e-6)


def test_limit_invariant_and_arrival():
    """d_L^3 - d_R^3 to 1e-10; the nearer neuron arrives, the farther stops where that says."""
    target = ufd.StepTarget([0.4], [2.0])
    left, right = 0.09, 0.15
    flow = LimitFlow(target, np.array([0.4 + right, 0.9, 0.4 - left, 0.05]))
    invariant = left**3 - right**3
    while np.isnan(flow.reached[0]):
        u = flow.positions
        assert (0.4 - u[2]) ** 3 - (u[0] - 0.4) ** 3 == pytest.approx(invariant, abs=1e-10)
        assert list(u[[1, 3]]) == [0.9, 0.05]
        flow.advance(flow.t + 0.002)
    assert flow.positions[2] == 0.4
    assert flow.positions[0] - 0.4 == pytest.approx((-invariant) ** (1 / 3), abs=1e-10)
    assert flow.loss() == pytest.approx(0, abs=1e-28)
    # Arrival by quadrature: d_R = (d_L^3 - c)^(1/3) on the way, time = int ds/J^2 (s/d_R)^2.
    time, _ = quad(
        lambda d: (1 + d / (d**3 - invariant) ** (1 / 3)) ** 2 / 4, 0, left, epsabs=1e-13
    )
    assert flow.reached[0] == pytest.approx(time, abs=1e-10)
    # Equal distances meet the bound 2 s/J^2, up to the cube root of rounding in the invariant.
    even = ufd.StepTarget([0.5], [2.0])
    _, _, reached = limit_path(even, np.array([0.4, 0.6]), [1.0])
    assert reached[0] == pytest.approx(2 * 0.2 / 4, abs=1e-5)


def test_limit_of_any_data():
    """Losses never rise, and no configuration is stuck between events."""
    rng = np.random.default_rng(0)
    for _ in range(60):
        n = rng.integers(1, 7)
        target = ufd.StepTarget(np.sort(rng.random(n)), 2 * rng.normal(size=n), 1.0)
        _, losses, _ = limit_path(target, rng.random(rng.integers(1, 14)), [0, 0.01, 0.1, 1, 10])
        assert np.all(np.diff(losses) < 1e-12)


def test_condition_suffices_and_the_bound_holds():
    """In the limit every start that meets the condition recovers every jump in time."""
    run = ufd.univariate(STEPS, 24, times=[0.3], seeds=60)
    meets, found = run.condition(), run.recovered().all(axis=1)
    assert 10 < meets.sum() < 60 and found[meets].all()
    reached, bounds = run.recovery_times()
    assert np.isnan(bounds[~meets]).all()
    assert np.all(reached[meets] <= bounds[meets] * (1 + 1e-9))
    # Simulated positions meet the condition as often as the multinomial sum says.
    starts = np.random.default_rng(5).random((4000, 24))
    count = int(condition(STEPS, starts).sum())
    low, high = binom.interval(0.9999, 4000, run.probability())
    assert low <= count <= high


@pytest.mark.parametrize(("m", "known"), [(20, 0.336), (30, 0.796), (40, 0.949), (60, 0.9973)])
def test_probability(m, known):
    """Of two neurons in every piece of the published target."""
    assert probability(STEPS, m) == pytest.approx(known, abs=5e-4)


def test_flow_tends_to_the_limit():
    """As eta and eps vanish together positions tend to those of the limit."""
    t, seeds = [0.005], [3]
    limit = ufd.univariate(STEPS, 20, times=t, seeds=seeds).positions()
    far = [
        abs(ufd.univariate(STEPS, 20, eta, eps, times=t, seeds=seeds).positions() - limit).max()
        for eta, eps in ((8e-3, 4e-4), (2e-3, 2.5e-5))
    ]
    assert far[1] < 0.3 * far[0] < 0.01


def test_loss_floor():
    """At eps = 2e-5 every jump is found, up to the floor (eta/28) sum J^2."""
    run = ufd.univariate(STEPS, 20, ETA, 2e-5, times=[0.035], seeds=[3])
    assert run.recovered().all()
    assert run.floor() == pytest.approx(8e-3, rel=1e-12)
    assert run.losses()[0] == pytest.approx(run.floor(), rel=0.05)
    assert "1 of 1 runs recover every jump" in run.sentence()


def test_descent_is_its_plain_loop():
    """The compiled loop takes the steps that the definition says, whatever the blocks."""
    targets = [STEPS, ufd.StepTarget([0.5], [1.0])]
    start = np.random.default_rng(2).random((2, 5))
    one = Descent(targets, start, 0.05, 0.5, 1e-2, 0.7, np.random.default_rng(8))
    two = Descent(targets, start, 0.05, 0.5, 1e-2, 0.7, np.random.default_rng(8))
    one.advance(300)
    two.advance(113)
    two.advance(187)
    np.testing.assert_array_equal(one.positions, two.positions)
    rng = np.random.default_rng(8)
    u, a, unit = start.copy(), np.zeros(11), SmoothStep(0.05)
    for _ in range(300):
        *x, noise = rng.random(3)
        z = np.array(x)[:, None] - u
        s = unit.value(z).ravel()
        y = sum(float(f(each)) for f, each in zip(targets, x, strict=True)) + 0.7 * (2 * noise - 1)
        r = a[0] + a[1:] @ s - y
        u = u + 2 * 0.5 * 1e-2 * r * a[1:].reshape(2, 5) * (np.abs(z) < 0.025) / 0.05
        a = a - 2 * 1e-2 * r * np.concatenate([[1.0], s])
    np.testing.assert_allclose(one.positions, u, atol=1e-12)
    np.testing.assert_allclose(one.weights, a, atol=1e-12)


def test_descent_of_ramps_is_its_plain_loop():
    """The same for ramps."""
    start = np.random.default_rng(2).random((1, 5))
    run = Descent([RAMPS], start, 0.0, 0.5, 1e-2, 0.0, np.random.default_rng(8))
    run.advance(200)
    rng = np.random.default_rng(8)
    u, a = start[0].copy(), np.zeros(6)
    for _ in range(200):
        x, _ = rng.random(2)
        s = np.maximum(x - u, 0)
        r = a[0] + a[1:] @ s - float(RAMPS(x))
        u = u + 2 * 0.5 * 1e-2 * r * a[1:] * (x > u)
        a = a - 2 * 1e-2 * r * np.concatenate([[1.0], s])
    np.testing.assert_allclose(run.positions[0], u, atol=1e-12)
    np.testing.assert_allclose(run.weights, a, atol=1e-12)


@pytest.mark.slow
def test_recovery_table():
    """Counts of 20 seeds at eps = 1, 0.1, 0.01 against those of another implementation."""
    for epsilon, known in ((1.0, 0), (0.1, 18), (0.01, 19)):
        run = ufd.univariate(
            STEPS, 20, ETA, epsilon, method="descent", times=[3.0], seeds=range(1, 21)
        )
        count = int(run.recovered().all(axis=1).sum())
        assert fisher_exact([[count, 20 - count], [known, 20 - known]]).pvalue > 0.01


def test_descent_in_two_dimensions():
    """Sums of functions: the loss is that of many samples."""
    target = [STEPS, ufd.StepTarget([0.5], [1.0])]
    run = ufd.univariate(
        target, 6, 0.05, 0.5, method="descent", times=[0.5], h=1e-3, noise=0.2, seeds=[1]
    )
    u, a = run.positions()[0], run.paths[0].weights[-1]
    x = np.random.default_rng(0).random((400_000, 2))
    f = a[0] + sum(
        SmoothStep(0.05).value(x[:, d, None] - u[d]) @ a[1 + 6 * d : 7 + 6 * d] for d in (0, 1)
    )
    squares = (f - target[0](x[:, 0]) - target[1](x[:, 1])) ** 2
    error = squares.std() / np.sqrt(len(squares))
    assert run.losses()[0] == pytest.approx(squares.mean(), abs=4 * error)


@pytest.mark.mpi
def test_seeds_over_ranks(comm, shared_tmp):
    """The same runs on any number of ranks, saved and read back."""
    options = {"times": [0.01, 0.1], "seeds": [5, 1, 3, 8], "method": "descent", "h": 1e-3}
    shared = ufd.univariate(STEPS, 9, 0.05, 0.5, comm=comm, **options)
    alone = ufd.univariate(STEPS, 9, 0.05, 0.5, comm=MPI.COMM_SELF, **options)
    np.testing.assert_array_equal(shared.positions(), alone.positions())
    shared.save(shared_tmp, comm)
    comm.Barrier()
    again = ufd.load(shared_tmp, comm=comm)
    assert again.sentence() == shared.sentence()
    np.testing.assert_array_equal(again.losses(0.01), shared.losses(0.01))
    assert [path.seed for path in again.paths] == [1, 3, 5, 8]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epsilon": 0}, "epsilon = 0 must be positive"),
        ({"epsilon": -1.0}, "epsilon = -1.0 must be positive"),
        ({"epsilon": None}, "epsilon: missing"),
        ({"eta": None}, "eta: missing"),
        ({"eta": 0.2}, "eta = 0.2 is wider than a piece of the target (0.15)"),
        ({"neurons": 0}, "neurons = 0 must be a positive integer"),
        ({"method": "sgd"}, "method = 'sgd' must be one of"),
        ({"target": "x"}, "target = 'x' must be ufd.StepTarget"),
        ({"target": [STEPS, STEPS]}, "several targets are for method='descent'"),
        ({"target": RAMPS}, "ramps have no width"),
        ({"target": RAMPS, "method": "limit"}, "known for steps only"),
        ({"method": "limit"}, "leave both out"),
        ({"seeds": [2, 2]}, "must be different"),
        ({"seeds": 0}, "seeds = 0"),
        ({"h": 0.0}, "h = 0.0 must be positive"),
        ({"noise": -1}, "noise = -1"),
        ({"times": [0.0]}, "the last time must be positive"),
    ],
)
def test_bad_input(change, words):
    """One line that names what is wrong."""
    arguments = {"target": STEPS, "neurons": 20, "eta": ETA, "epsilon": 0.1, "times": [0.1]}
    with pytest.raises(ufd.InputError) as error:
        ufd.univariate(**{**arguments, **change})
    assert words in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("positions", "changes", "words"),
    [
        ([0.5, 0.2], [1, 1], "must increase within"),
        ([0.5], [1, 1], "1 positions and 2 changes"),
        ([], [], "one at least"),
        ([0.5], [0.0], "must not be zero"),
        ([1.0], [1.0], "must increase within"),
        (0.5, [1.0], "must be a list of numbers"),
        (["a"], [1.0], "is not a number"),
    ],
)
def test_bad_target(positions, changes, words):
    """One line that names what is wrong."""
    with pytest.raises(ufd.InputError, match=words):
        ufd.StepTarget(positions, changes)

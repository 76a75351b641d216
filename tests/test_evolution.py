"""The corridor: the methods have their order and stability, and the one time loop keeps its word.

A loop lands exactly on requested times, shows every accepted step to its observers, and says why
it stopped. No finite elements: the systems here are solved in closed form.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

import numpy as np
import pytest

import ufd
from ufd.evolution.control import ErrorControl, FixedStep
from ufd.evolution.evolve import Evolution, StopReason
from ufd.evolution.observers import Progress, Recorder
from ufd.evolution.schedules import doubling_times, landing_times, merged
from ufd.evolution.steppers import SDIRK, STEPPERS, Stage

METHODS = [make() for make in STEPPERS.values()]
each_method = pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)


def tableau(method: SDIRK) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A, b (its last row: the methods are stiffly accurate) and c."""
    A = method.gamma * np.eye(len(method.lower))
    for row, entries in zip(A, method.lower, strict=True):
        row[: len(entries)] = entries
    return A, A[-1], A.sum(axis=1)


def order_conditions(A: np.ndarray, b: np.ndarray, c: np.ndarray) -> list[list[float]]:
    """Defects by order, one for each rooted tree with up to four nodes."""
    return [
        [b.sum() - 1],
        [b @ c - 1 / 2],
        [b @ c**2 - 1 / 3, b @ A @ c - 1 / 6],
        [
            b @ c**3 - 1 / 4,
            b @ (c * (A @ c)) - 1 / 8,
            b @ A @ c**2 - 1 / 12,
            b @ A @ A @ c - 1 / 24,
        ],
    ]


def largest_defect(conditions: list[list[float]]) -> float:
    return max((abs(d) for tree in conditions for d in tree), default=0.0)


@each_method
def test_order_conditions(method):
    """All trees up to the order, and not all of the next; the embedded weights one order less."""
    A, b, c = tableau(method)
    defects = order_conditions(A, b, c)
    assert largest_defect(defects[: method.order]) < 2e-15
    assert method.order == 4 or largest_defect([defects[method.order]]) > 1e-3
    if method.order > 1:
        embedded = order_conditions(A, b - np.array(method.error_weights), c)
        assert largest_defect(embedded[: method.order - 1]) < 2e-15
        assert largest_defect([embedded[method.order - 1]]) > 1e-3


def stability(method: SDIRK, z: complex) -> complex:
    """R(z) from the tableau."""
    A, b, _ = tableau(method)
    return 1 + z * b @ np.linalg.solve(np.eye(len(b)) - z * A, np.ones(len(b)))


@each_method
def test_l_stability(method):
    """|R(iy)| <= 1, no pole to the left, R(-infinity) = 0; decay_factor is that function."""
    assert method.gamma > 0 and math.isclose(tableau(method)[2][-1], 1)
    for y in np.logspace(-4, 6, 1000):
        assert abs(stability(method, 1j * y)) <= 1 + 1e-14
    for z in (-1e12, -1e15):
        assert abs(method.decay_factor(z)) < 1e-10
    for z in (-1e-3, -0.1, -1, -7, -100.0):
        assert method.decay_factor(z) == pytest.approx(stability(method, z), abs=1e-13)


@each_method
def test_decay_factor_is_an_exponential_to_the_order(method):
    """R(z) - exp(z) = O(z^(order + 1)), and no better."""
    errors = [abs(method.decay_factor(z) - math.exp(z)) for z in (-0.04, -0.02)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(method.order + 1, abs=0.15)


@dataclass
class Falling:
    """dw/dt = -2 t w^2, w = 1/(1/w(0) + t^2); its stages are quadratic equations.

    Solves with a step above ``limit`` fail; ``calls`` are the step sizes tau that were tried.
    """

    limit: float = math.inf
    calls: list[float] = field(default_factory=list)

    def stage(self, r, tau, t, guess) -> Stage:
        self.calls.append(tau)
        assert guess.shape == r.shape and (guess > 0).all()
        if tau > self.limit:
            return Stage(guess, 5, 0, 0.0, "too long")
        return Stage(2 * r / (1 + np.sqrt(1 + 8 * tau * t * r)), 2, 1, 1e-14)

    def norm(self, error, values) -> float:
        return float(np.abs(error).max() / np.abs(values).max())


START = np.array([0.5, 1.0, 4.0])


def exact(t: float) -> np.ndarray:
    return 1 / (1 / START + t * t)


def evolution(control, dt=0.1, *, stepper=None, system=None, **options) -> Evolution:
    stepper = stepper or ufd.SDIRK4()
    return Evolution(system or Falling(), stepper, control, START.copy(), dt, **options)


@each_method
def test_order_of_convergence(method):
    """On a nonlinear equation that depends on time."""
    errors = []
    for steps in (40, 80, 160):
        run = evolution(FixedStep(1 / steps), 1 / steps, stepper=method)
        assert run.advance(1.0) and run.statistics.steps == steps
        errors.append(np.abs(run.values - exact(1)).max())
    orders = [math.log2(errors[0] / errors[1]), math.log2(errors[1] / errors[2])]
    assert orders[-1] == pytest.approx(method.order, abs=0.15)


@each_method
def test_tolerance_proportionality(method):
    """The error is proportional to the tolerance, for backward Euler to its square root.

    There the estimate is of second order, and not that of a method one order lower.
    """
    power = 0.5 if method.order == 1 else 1.0
    exponents = [method.order + k for k in (1, 3, 5)]
    errors, steps = [], []
    for exponent in exponents:
        run = evolution(ErrorControl(10.0**-exponent), 1e-3, stepper=method)
        assert run.advance(2.0)
        errors.append(np.abs(run.values / exact(2.0) - 1).max())
        steps.append(run.statistics.steps)
        assert errors[-1] < 10 * 10.0 ** (-exponent * power)
    assert steps == sorted(set(steps))
    for coarse, fine in itertools.pairwise(errors):
        assert math.log10(coarse / fine) == pytest.approx(2 * power, abs=0.3)


@dataclass
class Watcher:
    """Keeps what an observer is shown."""

    seen: list[tuple[float, np.ndarray, bool]] = field(default_factory=list)

    def __call__(self, t, values, landed) -> None:
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 0
        self.seen.append((t, values.copy(), landed))

    def times(self, *, landed_only: bool = False) -> list[float]:
        return [t for t, _, landed in self.seen if landed or not landed_only]


TIMES = [0.1, 0.30000000000000004, 0.7, 1 / 3 + 0.5, 3.0]
CONTROLS = {"adaptive": lambda: ErrorControl(1e-5), "fixed": lambda: FixedStep(0.07)}


@pytest.mark.parametrize("control", CONTROLS)
def test_landing(control):
    """Requested times are met to the last bit and marked; no step goes past one."""
    watcher = Watcher()
    run = evolution(CONTROLS[control](), 0.07, observers=[watcher])
    assert run.status is StopReason.RUNNING
    for target, t in zip(TIMES, run.iterate(TIMES), strict=True):
        assert t == run.t == target == watcher.seen[-1][0]
        np.testing.assert_allclose(run.values, exact(t), rtol=1e-4)
    assert run.status is StopReason.FINISHED
    times = watcher.times()
    assert times[0] == 0 and times == sorted(set(times))
    assert watcher.times(landed_only=True) == [0.0, *TIMES]
    assert len(times) == run.statistics.steps + 1 > 20
    if control == "fixed":
        assert np.diff(times).max() <= 0.07 * (1 + 1e-12)


def test_landing_in_one_step():
    """t + (target - t) may miss the target by a bit: neither that nor a second step happens."""
    times = np.cumprod(1 + 3 * np.random.default_rng(0).random(40)) * 1e-3
    run = evolution(FixedStep(1e30), 1e30, stepper=ufd.BackwardEuler())
    assert list(run.iterate(times)) == times.tolist() and run.statistics.steps == 40


def test_a_step_cut_short_is_forgotten():
    """After a landing steps go on as long as before."""
    run = evolution(FixedStep(0.25), 0.25, observers=[watcher := Watcher()])
    list(run.iterate([0.3, 0.8]))
    np.testing.assert_allclose(watcher.times(), [0, 0.25, 0.3, 0.55, 0.8])
    run = evolution(ErrorControl(1e-3), 0.2)
    run.advance(1e-6)
    assert run.t == 1e-6 and run.dt >= 0.2


def test_no_sliver_before_a_landing():
    """Under error control what remains is halved, rather than leaving a tiny last step."""
    run = evolution(ErrorControl(0.5), 0.2, observers=[watcher := Watcher()])
    run.advance(0.21)
    np.testing.assert_allclose(watcher.times(), [0, 0.105, 0.21])


def test_steps_without_an_end():
    """``step`` alone takes one accepted step of the size that is due."""
    run = evolution(FixedStep(0.125), 0.125, observers=[watcher := Watcher()])
    assert run.step() and run.t == 0.125 and run.step() and run.t == 0.25
    assert [landed for _, _, landed in watcher.seen] == [True, False, False]
    assert run.advance(0.25) and run.t == 0.25 and run.statistics.steps == 2


def test_times_that_cannot_be_advanced_to():
    """Refused in one line with the current time, before anything moves."""
    run = evolution(FixedStep(0.125), 0.125, observers=[watcher := Watcher()])
    assert run.advance(0.25)
    for to in (math.nan, math.inf, -math.inf, 0.2, -1, "1", None):
        with pytest.raises(ufd.InputError) as caught:
            run.advance(to)
        expected = f"to = {to!r} must be finite and at least the current time 0.25"
        assert str(caught.value) == expected
    assert run.t == 0.25 == watcher.times()[-1] and run.statistics.steps == 2
    assert run.advance(np.float64(0.5)) and run.advance(np.int64(1)) and run.t == 1


def test_status_of_a_run_that_goes_on():
    """A step after the end, or after a stop, makes it run again; a landing finishes it."""
    run = evolution(FixedStep(0.125), 0.125)
    assert list(run.iterate([0.25])) == [0.25] and run.status is StopReason.FINISHED
    assert run.step() and run.status is StopReason.RUNNING and run.t == 0.375
    assert list(run.iterate([0.5])) == [0.5] and run.status is StopReason.FINISHED
    assert run.advance(0.5) and run.status is StopReason.FINISHED  # nothing to do
    run.max_steps = 4
    assert not run.step() and run.status is StopReason.TOO_MANY_STEPS
    run.max_steps = 10
    assert run.advance(0.75) and run.status is StopReason.RUNNING


def test_observers_in_order():
    """All see every state, one after the other, the start once."""
    calls = []
    observers = [lambda t, values, landed, i=i: calls.append((t, i)) for i in range(3)]
    run = evolution(ErrorControl(1e-4), observers=observers)
    run.start()
    run.start()
    assert calls == [(0.0, 0), (0.0, 1), (0.0, 2)]
    run.advance(1.0)
    assert [i for _, i in calls] == [0, 1, 2] * (run.statistics.steps + 1)
    assert all(calls[k][0] == calls[k + 1][0] for k in range(0, len(calls), 3))


def test_rejected_steps():
    """A first step that is far too long is rejected, counted, and tried again shorter."""
    system, watcher = Falling(), Watcher()
    run = evolution(ErrorControl(1e-8), 1.0, system=system, observers=[watcher])
    assert run.step()
    rejected = run.statistics.rejected
    tried = system.calls[::5]
    assert rejected == len(tried) - 1 >= 1 and run.statistics.steps == 1
    assert all(b < a for a, b in itertools.pairwise(tried))
    assert watcher.times() == [0.0, run.t] and run.t == pytest.approx(4 * tried[-1])
    assert run.statistics.newton == 2 * len(system.calls)
    assert run.statistics.krylov == len(system.calls)
    assert run.statistics.largest_mass_defect == 1e-14


@pytest.mark.parametrize("control", CONTROLS)
def test_failed_solves(control):
    """A solve that fails is counted and tried with a quarter of the step."""
    system = Falling(limit=0.01)
    run = evolution(CONTROLS[control](), 0.8, system=system)
    assert run.step()
    assert run.statistics.failed_solves == 3 and run.statistics.last_failure == "too long"
    assert system.calls[:4] == pytest.approx([0.2, 0.05, 0.0125, 0.003125])
    assert run.t == pytest.approx(0.0125)
    assert run.statistics.newton == 3 * 5 + 2 * (len(system.calls) - 3)


@pytest.mark.parametrize(
    ("reason", "limit", "max_steps"),
    [
        (StopReason.SOLVES_FAIL, 1e-4, 10**6),  # a step longer fails: it creeps
        (StopReason.STEP_TOO_SMALL, 0.0, 10**6),  # no step is short enough
        (StopReason.TOO_MANY_STEPS, math.inf, 7),
        (StopReason.TOO_MANY_STEPS, 0.0, 7),
    ],
)
@pytest.mark.parametrize("control", CONTROLS)
def test_stop_reasons(control, reason, limit, max_steps):
    """A run that cannot go on yields no more times, and its status says why, in a sentence."""
    run = evolution(CONTROLS[control](), 0.07, system=Falling(limit), max_steps=max_steps)
    assert list(run.iterate([10.0])) == [] and run.status is reason and run.t < 10
    counts = run.statistics
    if max_steps == 7:
        assert counts.steps + counts.rejected + counts.failed_solves == 7
    else:
        assert counts.last_failure == "too long"
    text = reason.value
    assert text[0].isupper() and text[-1] == "." and "\n" not in text


def test_no_step_is_accurate_enough(monkeypatch):
    """The loop ends in the state in which it began."""
    monkeypatch.setattr(Falling, "norm", lambda *_: 1.0)
    run = evolution(ErrorControl(1e-6))
    assert not run.advance(1.0) and run.status is StopReason.STEP_TOO_SMALL
    assert run.t == 0 and (run.values == START).all() and run.statistics.rejected > 10


def test_controls():
    """Accepted at the tolerance; factors grow as errors shrink, within bounds; bad values named."""
    control = ErrorControl(1e-4)
    assert control.judge(1e-4, 4)[0] and not control.judge(1.01e-4, 4)[0]
    factors = [ErrorControl(1e-4).judge(e, 4)[1] for e in (1e3, 1.0, 1e-3, 9e-5, 1e-7, 0.0, None)]
    assert factors == sorted(factors) and factors[0] == 0.2 and factors[-1] == 5.0
    assert ErrorControl(1e-4).judge(9e-5, 4)[1] < 1
    assert FixedStep(0.3).judge(1e9, 4) == (True, 1.0)
    for rtol in (0, 1, -1e-3, math.nan):
        with pytest.raises(ufd.InputError, match=f"rtol = {rtol!r} must"):
            ErrorControl(rtol)
    for dt in (0, -1.0, math.inf, math.nan):
        with pytest.raises(ufd.InputError, match=f"dt = {dt!r} must"):
            FixedStep(dt)


@each_method
def test_determinism(method):
    """Two runs agree in every bit of every step."""
    records = []
    for _ in range(2):
        watcher = Watcher()
        list(evolution(ErrorControl(1e-5), stepper=method, observers=[watcher]).iterate(TIMES))
        records.append(watcher.seen)
    assert len(records[0]) == len(records[1])
    for (t, values, landed), (t2, values2, landed2) in zip(*records, strict=True):
        assert (t, landed) == (t2, landed2) and values.tobytes() == values2.tobytes()


def test_schedules():
    """Increasing, with both ends; times that double; anything else is refused by name."""
    assert landing_times((1, 2.5), 1.0) == [1.0, 2.5] and landing_times(np.arange(3)) == [0, 1, 2]
    assert doubling_times(8.0, 3) == [0.0, 2.0, 4.0, 8.0] and len(doubling_times(1.0)) == 6
    assert merged([0.5, 0.25], (1, 0.5), end=2.0) == [0.0, 0.25, 0.5, 1.0, 2.0]
    assert merged(end=3.0) == [0.0, 3.0]
    for times in ([], [math.nan], [1, math.inf], [1, 1], [2, 1], [0.5], 3.0, ["a"], [[1]]):
        with pytest.raises(ufd.InputError, match="times = "):
            landing_times(times, 1.0)
    for outside in (-0.1, 2.1, math.nan, math.inf):
        with pytest.raises(ufd.InputError, match=f"times: {outside:g} lies outside \\[0, 2\\]"):
            merged([1.0, outside], end=2.0)


def test_recorder():
    """Series of named functionals over the accepted steps, the start included."""
    recorder, watcher = Recorder(lambda w: {"top": w.max(), "sum": w.sum()}), Watcher()
    run = evolution(ErrorControl(1e-4), observers=[recorder, watcher])
    run.advance(1.0)
    assert recorder.series.keys() == {"t", "top", "sum"}
    np.testing.assert_array_equal(recorder.series["t"], watcher.times())
    np.testing.assert_array_equal(recorder.series["sum"], [w.sum() for _, w, _ in watcher.seen])
    assert recorder.series["top"][0] == 4 and len(recorder.series["top"]) > 5


@pytest.mark.parametrize("bar", [None, False, True])
def test_progress(capsys, bar):
    """One line at each requested time; what only a terminal can show is shown on demand only."""
    progress = Progress(1.0, bar)
    list(evolution(FixedStep(0.125), 0.125, observers=[progress]).iterate([0.5, 1.0]))
    progress.close()
    out, err = capsys.readouterr()
    assert "\r" not in out and "\x1b" not in out
    assert "100 %" in err if bar else not err
    words = [line.split() for line in out.splitlines()]
    assert [w[2:4] for w in words] == [["0", "0"], ["0.5", "4"], ["1", "8"]]

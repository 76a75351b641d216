"""Rates: fitted to a decay with an honest error, refused with a reason, as steps make them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support.rate_curves import correlated

import ufd
from ufd.analysis.rates import RateFit, discrete_rate, fit_rate, log_decay
from ufd.evolution.steppers import STEPPERS

T = np.linspace(0, 10, 201)


@pytest.mark.parametrize("size", [1e-200, 1e-9, 1.0, 1e200])
@pytest.mark.parametrize("rate", [0.5, 2.0, 4.0])
def test_exact_exponential(rate, size):
    """To 1e-12, whatever the size of the values, at equal and at unequal times."""
    for t in (T, 10 * (T / 10) ** 2):
        fit = fit_rate(t, size * np.exp(-rate * t))
        assert fit.rate == pytest.approx(rate, rel=1e-12)
        assert 0 <= fit.stderr < 1e-12 and fit.window[1] == 10 and fit.points >= 6


@pytest.mark.parametrize("count", [60, 200, 1000])
@pytest.mark.parametrize("share", [-0.3, 0.1, 1.0, 5.0, 50.0])
@pytest.mark.parametrize("second", [1.8, 3.0, 8.0])
def test_two_exponentials(share, second, count):
    """exp(-t) plus a faster mode: late values are used, and the error covers what is missed."""
    if share < 0 and -share * second > 1:
        share = -0.9 / second  # the values must fall from the start
    t = np.linspace(0, 14, count)
    fit = fit_rate(t, np.exp(-t) + share * np.exp(-second * t))
    assert abs(fit.rate - 1) <= 5 * fit.stderr + 1e-14
    assert fit.rate == pytest.approx(1, abs=1e-2) and fit.window[0] > 2


def noisy(seed: int, correlation: float, size: float = 2e-3) -> np.ndarray:
    """exp(-2t) with first-order autoregressive noise in its logarithm."""
    noise = correlated(np.random.default_rng(seed), 400, correlation)
    return np.exp(-2 * np.linspace(0, 10, 400) + size * noise)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.8])
def test_correlated_noise(correlation):
    """The true rate lies within three standard errors in 36 of 40 trials at least."""
    deviations = []
    for seed in range(40):
        fit = fit_rate(np.linspace(0, 10, 400), noisy(seed, correlation))
        deviations.append(abs(fit.rate - 2) / fit.stderr)
    assert np.mean(np.array(deviations) < 3) >= 0.9
    assert np.median(deviations) > 0.1  # an error that is far too large is useless too


def test_window():
    """Only the times between its ends count; it may hold less than a factor of ten."""
    values = np.where(T < 4, np.exp(-3 * T), np.exp(-8 - T))
    fit = fit_rate(T, values, window=(4.0, 6.0))
    assert fit.rate == pytest.approx(1, rel=1e-12)
    assert fit.window == pytest.approx((4, 6)) and fit.points == 41
    early = fit_rate(T, values, window=(0, 3.92))
    assert early.rate == pytest.approx(3, rel=1e-12) and early.window == pytest.approx((0, 3.9))
    assert fit_rate(T, values, window=(-math.inf, 3.92)) == early
    assert fit_rate(T, np.exp(-0.01 * T), window=(0, 10)).rate == pytest.approx(0.01)


def test_a_window_with_a_drift():
    """A given window is taken for one exponential, as long as that can be believed."""
    fit = fit_rate(T, np.exp(-T) * (1 + np.exp(-2 * T)), window=(1.5, 10))
    assert abs(fit.rate - 1) <= 2 * fit.stderr < 0.2
    with pytest.raises(ufd.InputError, match=r"uncertain by .* %: the rate still changes"):
        fit_rate(T, 1 / (1 + T) ** 2, window=(0, 10))


def test_between_values():
    """Like a window, but told by values; the order of the two does not matter."""
    values = np.where(T < 4, np.exp(-3 * T), np.exp(-8 - T))
    top, bottom = np.exp(-12.0), np.exp(-14.0)
    fit = fit_rate(T, values, between=(1.001 * top, 0.999 * bottom))
    assert fit.rate == pytest.approx(1, rel=1e-12)
    assert fit.window == pytest.approx((4, 6)) and fit.points == 41
    assert fit_rate(T, values, between=(0.999 * bottom, 1.001 * top)) == fit
    assert fit == fit_rate(T, values, window=(3.99, 6.01))
    early = fit_rate(T, 1e-30 * values, between=(math.inf, 1e-35))
    assert early.rate == pytest.approx(3, rel=1e-12) and early.window[0] == 0


def test_kind_makes_a_mode_rate():
    """Half the rate of a quadratic functional, that of an amplitude; nothing without a kind."""
    for kind, order in (("quadratic", 2), ("amplitude", 1)):
        fit = fit_rate(T, np.exp(-3 * T), kind=kind)
        assert fit.kind == kind and fit.mode_rate == fit.rate / order
        assert fit.as_dict()["kind"] == kind
    with pytest.raises(ufd.InputError, match=r"^fit_rate: kind was not given"):
        fit_rate(T, np.exp(-3 * T)).mode_rate  # noqa: B018


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_floor(noise):
    """What follows the first value at or below the floor is round-off."""
    rng = np.random.default_rng(0)
    values = np.exp(-2 * T) + 1e-8 * (1 + noise * rng.normal(size=T.size))
    fit = fit_rate(T, values, floor=1e-5)
    assert fit.rate == pytest.approx(2, abs=5 * fit.stderr) and fit.rate == pytest.approx(
        2, rel=0.01
    )
    assert fit.window[1] < math.log(1e5) / 2 + 0.1
    with pytest.raises(ufd.InputError, match=r"^fit_rate: the (values grow|rate is uncertain)"):
        fit_rate(T, values)


def test_default_floor():
    """Twenty decades below the largest value there is nothing but round-off."""
    values = np.exp(-8 * T) + 1e-21
    assert fit_rate(T, values).rate == pytest.approx(8, rel=1e-3)
    dead = np.exp(-2 * T) * (T < 5)
    assert fit_rate(T, dead).rate == pytest.approx(2, rel=1e-12)


DECAY = np.exp(-T)


@pytest.mark.parametrize(
    ("t", "values", "options", "reason"),
    [
        (T[:5], DECAY[:5], {}, "5 times and 5 values; give two arrays of one length, 6 at least"),
        (T, DECAY[1:], {}, "201 times and 200 values"),
        (T.reshape(3, 67), DECAY.reshape(3, 67), {}, "give two arrays"),
        (3.0, 1.0, {}, "give two arrays"),
        (T[::-1], DECAY, {}, "times must increase"),
        (T * 0, DECAY, {}, "times must increase"),
        (np.where(T == 5, np.nan, T), DECAY, {}, "all numbers must be finite"),
        (T, np.where(T == 5, np.inf, DECAY), {}, "all numbers must be finite"),
        (T, 0 * T, {}, "0 values lie above the floor"),
        (T, -DECAY, {}, "0 values lie above the floor"),
        (T, DECAY * (T < 0.2), {}, "4 values lie above the floor"),
        (T, DECAY, {"floor": 0.9}, "3 values lie above the floor 9.0e-01; 6 needed"),
        (T, DECAY, {"window": (20, 30)}, "window = (20, 30) holds 0 of the times; 6 needed"),
        (T, DECAY, {"window": (3, 1)}, "window = (3, 1) holds 0 of the times"),
        (T, DECAY, {"window": (3, 3.2)}, "holds 5 of the times"),
        (T, DECAY, {"window": (3, 9), "floor": 1e-3}, "at t = 6.95 the value 9.6e-04 is at or"),
        (T, DECAY * (T != 5), {"window": (3, 9)}, "at t = 5 the value 0.0e+00 is at or below"),
        (T, 1 / DECAY, {"window": (3, 9)}, "the values grow at t = 3.05"),
        (T, DECAY + 0.01 + 0.005 * np.sin(5 * T), {"window": (3, 9)}, "the values grow at t = "),
        (T, DECAY, {"window": (3, 9), "between": (1, 0.1)}, "are both given; give one"),
        (T, DECAY, {"between": (0.5, 0.45)}, "between = (0.5, 0.45) holds 2 of the times; 6 need"),
        (T, DECAY, {"between": (20, 30)}, "between = (20, 30) holds 0 of the times; 6 needed"),
        (T, DECAY, {"between": (0.1, 1e-4), "floor": 1e-3}, "at t = 6.95 the value 9.6e-04 is at"),
        (T, 1 / DECAY, {"between": (9, 2)}, "the values grow at t = 0.75"),
        (T, 1 / DECAY, {}, "the values grow by a factor 2.2e+04; only a decay has a rate"),
        (T, np.exp(-0.2 * T), {}, "the values fall by a factor 7.39 only; 10 needed"),
        (T, 1 / (1 + T) ** 2, {}, "uncertain by 83.6 %: the rate still changes"),
        (T[:61], (DECAY + 5 * DECAY**3)[:61], {}, "the rate still changes"),
        (T, np.maximum(np.exp(-2 * T), 1e-6), {}, "the rate still changes"),
        (T, np.exp(-2 * T) + 1e-6 + 1e-7 * np.sin(40 * T), {}, "the values grow at t = 6.95"),
    ],
)
def test_refusals(t, values, options, reason):
    """One line with the one thing that is wrong."""
    with pytest.raises(ufd.InputError) as caught:
        fit_rate(t, values, **options)
    text = str(caught.value)
    assert text.startswith("fit_rate: ") and reason in text and "\n" not in text


def test_as_dict():
    """Plain values for JSON."""
    fit = RateFit(2.0, 0.1, (1.0, 2.0), 7)
    assert fit.as_dict() == {
        "rate": 2.0,
        "stderr": 0.1,
        "parts": {},
        "window": [1.0, 2.0],
        "points": 7,
        "kind": None,
    }


METHODS = [(ufd.BackwardEuler(), 0.2), (ufd.SDIRK2(), 0.5), (ufd.SDIRK3(), 0.5)]


@pytest.mark.parametrize("p", [1.0, 2.0])
@pytest.mark.parametrize(("stepper", "dt"), METHODS, ids=["backward_euler", "sdirk2", "sdirk3"])
def test_rate_of_fixed_steps_is_the_discrete_one(stepper, dt, p):
    """A run decays at -2 log R(-lambda dt)/dt, which differs from 2 lambda by the time step."""
    circle = ufd.Sphere(1)
    start = ufd.density(circle, lambda x: 1 + 0.5 * x[:, 0])
    problem = ufd.UltraFastDiffusion(ufd.Uniform(circle), start, ufd.PowerDivergence(p))
    result = ufd.solve(problem, [15.0], cells=8, degree=8, stepper=stepper, dt=dt, modes=2)
    gap = result.excited_mode.eigenvalue
    assert gap == pytest.approx(1, abs=1e-9)
    discrete = -2 * math.log(stepper.decay_factor(-gap * dt)) / dt
    assert abs(discrete - 2 * gap) > 5e-3
    for name in ("divergence", "chi2", "chi2_reverse"):
        assert result.fit_rate(name).rate == pytest.approx(discrete, rel=1e-4)


def test_a_rise_at_the_start_does_not_hide_the_decay():
    """Windows grow backwards until the values rise; what was found later stands."""
    t = np.linspace(0, 12, 200)
    fit = ufd.fit_rate(t, np.exp(-t) - 0.9 * np.exp(-3 * t))
    assert abs(fit.rate - 1) < 5 * fit.stderr
    assert fit.window[0] > 1


@pytest.mark.parametrize("name", sorted(STEPPERS))
@pytest.mark.parametrize("rate", [0.1, 1.0, 6.0])
def test_discrete_rate_of_equal_steps(name, rate):
    """-log |R(-rate dt)|/dt, twice that for a quadratic functional, of the method's order."""
    dt, factor = 0.2, STEPPERS[name]().decay_factor
    exact = -math.log(abs(factor(-rate * dt))) / dt
    for count in (2, 3, 50):
        t = 3 + dt * np.arange(count)
        assert discrete_rate(rate, t, name) == pytest.approx(exact, rel=1e-12)
        quadratic = discrete_rate(rate, t, name, kind="quadratic")
        assert quadratic == pytest.approx(2 * exact, rel=1e-12)
    short = [abs(discrete_rate(1, [0, h], name) - 1) for h in (0.1, 0.05)]
    assert math.log2(short[0] / short[1]) == pytest.approx(STEPPERS[name]().order, abs=0.2)


def test_discrete_rate_of_backward_euler_by_hand():
    """log(1 + x)/dt; under error control two half steps, 2 log(1 + x/2)/dt."""
    t = np.linspace(0, 2, 5)
    assert discrete_rate(3, t, "backward_euler") == pytest.approx(2 * math.log(2.5), rel=1e-14)
    controlled = discrete_rate(3, t, "backward_euler", controlled=True)
    assert controlled == pytest.approx(4 * math.log(1.75), rel=1e-14)
    for name in ("sdirk2", "sdirk3", "sdirk4"):
        assert discrete_rate(3, t, name) == discrete_rate(3, t, name, controlled=True)


@pytest.mark.parametrize("controlled", [False, True])
@pytest.mark.parametrize("name", sorted(STEPPERS))
def test_discrete_rate_of_unequal_steps(name, controlled):
    """The slope of the line through the logarithm of the product of R: what a fit finds."""
    t = np.cumsum(np.geomspace(0.01, 0.5, 30))
    halves = 2 if controlled and name == "backward_euler" else 1
    factor, value = STEPPERS[name]().decay_factor, [1.0]
    for dt in np.diff(t):
        value.append(value[-1] * factor(-2 * dt / halves) ** halves)
    values = np.abs(value)
    exact = -np.polyfit(t, np.log(values), 1)[0]
    assert discrete_rate(2, t, name, controlled=controlled) == pytest.approx(exact, rel=1e-10)
    rates = np.linspace(1, 3, 29)
    steps = log_decay(name, rates, np.diff(t), controlled)
    x = -rates[7] * (t[8] - t[7]) / halves
    assert steps[7] == pytest.approx(halves * math.log(abs(factor(x))), rel=1e-13)


@pytest.mark.parametrize(
    ("t", "name", "reason"),
    [
        ([0, 1], "euler", "'euler' and 1 steps"),
        ([0], "sdirk2", "0 steps given"),
        ([], "sdirk2", "0 steps given"),
        ([0, 1, 1], "sdirk2", "increasing times needed"),
        ([0, 1, 0.5], "sdirk2", "increasing times needed"),
        ([0, math.nan], "sdirk2", "increasing times needed"),
    ],
)
def test_discrete_rate_refuses(t, name, reason):
    """No step, no such method, times that do not increase."""
    with pytest.raises(ufd.InputError, match=r"^discrete_rate: ") as caught:
        discrete_rate(1.0, t, name)
    assert reason in str(caught.value)

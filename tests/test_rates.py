"""Rates: fitted to a decay with an honest error, refused with a reason, predicted by modes."""

from __future__ import annotations

import math

import numpy as np
import pytest

import ufd
from ufd.analysis.rates import RateFit, clusters, first_excited, fit_rate

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
    rng = np.random.default_rng(seed)
    noise = np.empty(400)
    level = rng.normal()
    for i, kick in enumerate(math.sqrt(1 - correlation**2) * rng.normal(size=400)):
        level = correlation * level + kick
        noise[i] = level
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


def test_a_window_is_taken_at_its_word():
    """No drift is too large inside a given window, but the error says so."""
    fit = fit_rate(T, 1 / (1 + T) ** 2, window=(0, 10))
    assert 0.2 < fit.rate < 2 and fit.stderr > 0.3


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
    with pytest.raises(ufd.InputError, match=r"^fit_rate: the (values grow|rate still changes)"):
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
        (T, 1 / DECAY, {}, "the values fall by a factor 1 only; 10 needed"),
        (T, np.exp(-0.2 * T), {}, "the values fall by a factor 7.39 only; 10 needed"),
        (T, 1 / (1 + T) ** 2, {}, "the rate still changes by 55.4 % within the latest window"),
        (T[:61], (DECAY + 5 * DECAY**3)[:61], {}, "the rate still changes by"),
        (T, np.maximum(np.exp(-2 * T), 1e-6), {}, "the rate still changes by"),
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
    assert fit.as_dict() == {"rate": 2.0, "stderr": 0.1, "window": [1.0, 2.0], "points": 7}


def test_clusters():
    """Eigenvalues that agree to 1e-6 belong together; a chain of close ones is one cluster."""
    assert clusters([]) == [] and clusters([3.0]) == [[0]]
    assert clusters([2, 2 + 1e-9, 2 + 2e-9, 6, 6, 6.1]) == [[0, 1, 2], [3, 4], [5]]
    assert clusters([1, 1 + 2e-6]) == [[0], [1]] and clusters([1e3, 1e3 + 5e-4]) == [[0, 1]]


EIGENVALUES = np.array([1.0, 1.0, 2.5, 4.0, 4.0 + 1e-9])
TIMES = np.linspace(0, 3, 7)


def run_with(start: np.ndarray, rest: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Amplitudes that decay on their own, and |w - 1|^2 with a further part beyond the modes."""
    amplitudes = start * np.exp(-np.outer(TIMES, EIGENVALUES))
    return amplitudes, (amplitudes**2).sum(axis=1) + (rest * np.exp(-9 * TIMES)) ** 2


@pytest.mark.parametrize(
    ("start", "index", "multiplicity"),
    [
        ([0, 0.3, 0.1, 0.1, 0], 0, 2),
        ([1e-3, 0, 1, 0, 0], 0, 2),
        ([1e-9, -1e-9, 0.2, 0.1, 0], 2, 1),
        ([1e-12, 0, 1e-10, 0, 0.2], 3, 2),
        ([0, 0, 0, 0.1, -0.2], 3, 2),
    ],
)
def test_first_excited(start, index, multiplicity):
    """The lowest eigenspace with a share above the threshold, its part projected in full."""
    amplitudes, chi2 = run_with(np.array(start))
    mode = first_excited(EIGENVALUES, amplitudes, chi2)
    assert (mode.index, mode.multiplicity) == (index, multiplicity)
    assert mode.eigenvalue == pytest.approx(EIGENVALUES[index], rel=1e-8)
    part = np.linalg.norm(amplitudes[:, index : index + multiplicity], axis=1)
    assert mode.share == pytest.approx((part / np.sqrt(chi2)).max(), abs=1e-8)


def test_a_faint_slow_mode_wins():
    """A share of 5e-8 at the start grows above the threshold, while the distance is resolved."""
    mode = first_excited(EIGENVALUES, *run_with(np.array([1e-8, 0, 0, 0, 0.2])))
    assert mode.index == 0 and 1e-6 < mode.share < 1e-3


def test_no_excited_mode():
    """None of the modes, nothing at all, or a share below what was asked for: no mode."""
    assert first_excited(EIGENVALUES, *run_with(np.full(5, 1e-12))) is None
    assert first_excited(EIGENVALUES, np.zeros((7, 5)), np.zeros(7)) is None
    assert first_excited(EIGENVALUES, np.zeros((0, 5)), np.zeros(0)) is None
    amplitudes, chi2 = run_with(np.array([0, 0.1, 0, 0, 1.0]))
    assert first_excited(EIGENVALUES, amplitudes[:1], chi2[:1], threshold=0.2).index == 3
    assert first_excited(EIGENVALUES, amplitudes, chi2, threshold=2.0) is None


def test_late_round_off_excites_nothing():
    """Where the distance is not resolved any more, shares are noise over noise."""
    amplitudes, chi2 = run_with(np.array([0, 0, 1.0, 0, 0]), rest=0.0)
    amplitudes, chi2 = np.vstack([amplitudes, np.full(5, 1e-15)]), np.append(chi2, 1e-29)
    assert first_excited(EIGENVALUES, amplitudes, chi2).index == 2


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

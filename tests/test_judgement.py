"""The judgement of rates: long pre-asymptotic stretches are refused, what would do is said."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from support import rate_curves, rate_population

import ufd
from ufd.analysis.advice import TooShort
from ufd.analysis.claims import rate_claim
from ufd.analysis.judgement import LARGEST
from ufd.analysis.lines import parting, trend
from ufd.analysis.report import summary_lines, write_report

V, CIRCLE = ufd.VonMisesFisher, ufd.Sphere(1)
THREE = ufd.UltraFastDiffusion(
    ufd.Mixture([V([1, 0], 4.0), V([0.3, 1], 8.0), ufd.Uniform(CIRCLE)], [0.5, 0.25, 0.25]),
    V([-1, 0.5], 2.0),
)
TURNED = ufd.UltraFastDiffusion(V([1, 0], 1.0), V([0, 1], 2.0))


@pytest.fixture(scope="module")
def early():
    """Too short for a rate, though both its curves look straight."""
    return ufd.solve(THREE, [1.0, 3.0, 6.0], modes=6)


def test_a_long_stretch_before_the_linear_regime(early):
    """Nearly constant local rates while |w - 1| is large are no rates."""
    for name in ("amplitude", "divergence", "chi2"):
        with pytest.raises(TooShort, match=r"^fit_rate: .*integrate"):
            early.fit_rate(name)


@pytest.mark.parametrize("end", [3.0, 4.0])
def test_two_drifts_that_cancel(end):
    """A window with a minimum of the local rate looks straight; both kinds of run refuse it."""
    for modes in (0, 8):
        result = ufd.solve(TURNED, [end], modes=modes)
        with pytest.raises(TooShort):
            result.fit_rate()


def test_headlines_carry_no_refused_number(early, tmp_path):
    """Page, Markdown and terminal say why there is no rate, and give none."""
    claim = rate_claim(early)
    assert claim["fitted"] is None and claim["verdict"] == "short"
    assert claim["verdict_text"].startswith("Too short for a comparison: ")
    (line,) = (line for line in summary_lines(early) if line.startswith("fitted rate"))
    assert "none: |w - 1| is " in line
    # Only what a run with its fields has can be drawn.
    write_report(early, tmp_path)
    assert "No rate is given: |w - 1| is " in (tmp_path / "report.md").read_text()


@pytest.mark.parametrize("problem", [THREE, TURNED])
def test_what_would_do_does(problem):
    """Integrated to the time that the refusal names, the run has its rate."""
    end = 3.0
    for _ in range(3):
        result = ufd.solve(problem, [end], modes=6)
        try:
            fit = result.fit_rate("amplitude")
            break
        except TooShort as refusal:
            named = re.search(r"integrate to about t = ([\d.e+]+)", str(refusal))
            end = float(named[1]) if named else 3 * end
    predicted = result.excited_mode.eigenvalue
    assert abs(fit.rate - predicted) <= max(2 * fit.stderr, 5e-4 * predicted)


def test_parts_of_the_error():
    """They add up in quadrature; known neighbours are told apart from the rest."""
    result = ufd.solve(TURNED, [8.0], modes=6)
    for name in ("amplitude", "divergence"):
        fit = result.fit_rate(name)
        assert set(fit.parts) == {
            "statistical", "window", "neighbours", "nonlinearity", "time steps"
        }  # fmt: skip
        assert fit.stderr == pytest.approx(math.hypot(*fit.parts.values()))
        assert fit.as_dict()["parts"] == fit.parts
    coarse = ufd.solve(TURNED, [12.0], modes=6, stepper=ufd.BackwardEuler(), dt=0.1)
    fit = coarse.fit_rate("amplitude")
    # What the stepper makes of the eigenvalue is what is missed, and it is the whole error.
    missed = coarse.excited_mode.eigenvalue - fit.rate
    assert fit.parts["time steps"] == pytest.approx(missed, rel=1e-2)
    assert fit.parts["time steps"] > 0.99 * fit.stderr


def test_random_problems():
    """None of the rates of five problems is wrong, and few are refused that need not be."""
    found = [rate for seed in range(5000, 5005) for rate in rate_population.judged(seed, 1)]
    accepted, due = [r for r in found if r.accepted], [r for r in found if r.due]
    assert len(accepted) > 12 and not any(r.wrong for r in accepted)
    assert sum(not r.accepted for r in due) <= 0.15 * len(due)
    assert np.median([r.error for r in accepted]) < 0.01


def test_the_population_knows_its_truth():
    """Its eigenvalues are those of tables, and of other codes (docs/theory.md)."""
    rates, shares = rate_population.modes_of(V([1, 0], 2.0), ufd.Uniform(CIRCLE))
    assert rates[:2] == pytest.approx([1.647365, 1.647365], rel=1e-6) and shares[0] > 0.1
    rates, _ = rate_population.modes_of(V([0, 0, 1], 4.0), ufd.Uniform(ufd.Sphere(2)))
    assert rates[:3] == pytest.approx([4.089847, 4.089847, 5.118553], rel=1e-6)


@pytest.mark.parametrize("name", list(rate_curves.families()))
def test_coverage(name):
    """Where a rate is given, the truth lies within two standard errors (the benchmark counts)."""
    found = rate_curves.coverage(name, draws=16, first=7000)
    assert found.accepted < 5 or found.covered >= 0.8
    if "second" not in name and "floor" not in name and "0.002" in name:
        assert found.accepted >= 12 and found.error < 0.05


def test_an_emerging_mode():
    """A trend that speeds up tells how far the slower rate is; one that slows down, the limit."""
    t, blur = np.linspace(0, 6, 61), np.zeros(61)
    late = trend(t, np.log(np.exp(-1.4 * t) + 1e-5 * np.exp(-t)), blur, 1e-7, smooth=True)
    assert not late.settles and late.offset == pytest.approx(0.4, rel=0.1)
    relaxing = trend(t, np.log(np.exp(-t) + 0.1 * np.exp(-2 * t)), blur, 1e-7, smooth=True)
    assert relaxing.settles and 0 < relaxing.offset < 0.03
    pure = trend(t, -t, blur, 1e-7, smooth=True)
    assert pure.settles and pure.offset == 0


def test_sup_and_inf_that_part():
    """Two amplitudes of one mode have one rate: what makes them part grows at its own."""
    t = np.linspace(0, 5, 51)
    growing = 1e-3 * np.exp(0.4 * t)
    assert parting(t, np.log1p(growing) - np.log1p(-growing), 1e-6) == pytest.approx(0.4, rel=0.05)
    fading = 1e-3 * np.exp(-0.4 * t)
    assert parting(t, np.log1p(fading) - np.log1p(-fading), 1e-6) == 0


@pytest.mark.parametrize("dt", [2.0, 6.0])
def test_steps_too_long(dt):
    """Steps of more than an e-folding do not tell a mode from a faster one."""
    result = ufd.solve(TURNED, [60.0], modes=6, dt=dt)
    with pytest.raises(ufd.InputError, match="take smaller steps"):
        result.fit_rate("amplitude")


def test_a_given_window_is_answered_as_one():
    """What would do is another window, not a longer run; a constant has no rate."""
    result = ufd.solve(TURNED, [8.0], modes=6)
    with pytest.raises(ufd.InputError, match="give a later window") as caught:
        result.fit_rate(window=(0, 2))
    assert not isinstance(caught.value, TooShort)
    t = np.linspace(0, 10, 101)
    for flat in (np.full(101, 2.0), np.where(t < 3, np.exp(-t), np.exp(-3))):
        with pytest.raises(ufd.InputError, match="the values do not decay from t = 4 to"):
            ufd.fit_rate(t, flat, window=(4, 9))


def test_no_longer_run_helps_where_values_end():
    """Behind a floor there is nothing to integrate to."""
    t = np.linspace(0, 10, 101)
    with pytest.raises(ufd.InputError, match="resolved no further") as caught:
        ufd.fit_rate(t, np.exp(-t), floor=0.2)
    assert not isinstance(caught.value, TooShort)


def test_linear_flow():
    """For p = 0 an amplitude has its rate from the start, however large w - 1 is."""
    problem = ufd.UltraFastDiffusion(ufd.Uniform(CIRCLE), V([1, 0], 8.0), ufd.PowerDivergence(0.0))
    result = ufd.solve(problem, [2.5], modes=6)
    assert result.fit_rate("amplitude").rate == pytest.approx(1, rel=1e-5)
    with pytest.raises(TooShort):
        result.fit_rate("divergence")


def test_dense_noisy_values():
    """Steps smaller than the scatter are no growth."""
    t, rng = np.linspace(0, 20, 2000), np.random.default_rng(1)
    fit = ufd.fit_rate(t, np.exp(-t + 0.01 * rng.normal(size=2000)))
    assert abs(fit.rate - 1) <= 2 * fit.stderr < 0.02


@pytest.mark.parametrize(
    ("options", "part"),
    [({"kind": "cubic"}, "kind = 'cubic'"), ({"floor": math.nan}, "floor = nan"),
     ({"window": (1, 2, 3)}, "window = (1, 2, 3)"), ({"between": 3}, "between = 3")],
)  # fmt: skip
def test_arguments(options, part):
    """What cannot be used is named."""
    t = np.linspace(0, 5, 60)
    with pytest.raises(ufd.InputError, match=r"^fit_rate: ") as caught:
        ufd.fit_rate(t, np.exp(-t), **options)
    assert part in str(caught.value)


def test_too_uncertain():
    """Above a tenth of the rate an error is a refusal, which names the largest part."""
    t = np.linspace(0, 5, 60)
    noise = 0.02 * np.random.default_rng(0).normal(size=60)
    with pytest.raises(ufd.InputError, match="uncertain by") as caught:
        ufd.fit_rate(t, np.exp(-0.6 * t + np.minimum(noise, 0.01)))
    assert len(str(caught.value)) < 300
    fit = ufd.fit_rate(t, np.exp(-0.6 * t) * (1 + 1e-3 * np.exp(-2 * t)))
    assert fit.stderr <= LARGEST * fit.rate

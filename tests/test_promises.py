"""Promises broken on purpose: the monitor names the functional and the time, and is not fooled."""

from __future__ import annotations

import numpy as np
import pytest

import ufd
from ufd.analysis.guarantees import Scheme, broken_mass, monitor
from ufd.problem.guarantees import GUARANTEED

CIRCLE, SPHERE = ufd.Sphere(1), ufd.Sphere(2)
# Teachers, and a direction whose coordinate excites the gap.
TEACHERS = {
    "circle": (ufd.Uniform(CIRCLE), [0.6, 0.8]),
    "von_mises": (ufd.VonMisesFisher([1, 0], 1.0), [0, 1]),
    "sphere": (ufd.Uniform(SPHERE), [0.6, 0, 0.8]),
}
PAIRS = {
    "certified": {"stepper": ufd.BackwardEuler(), "degree": 1},
    "sdirk4": {"stepper": ufd.SDIRK4(), "degree": 4, "rtol": 1e-6},
}
CELLS = {("certified", 1): 40, ("certified", 2): 1, ("sdirk4", 1): 8, ("sdirk4", 2): 2}


def tilted(teacher, across, a: float, m: float, **more) -> ufd.UltraFastDiffusion:
    """w0 proportional to 1 + a times a coordinate."""
    axis = np.array(across)
    start = ufd.density(
        teacher.manifold, lambda x: (1 + a * x @ axis) * np.exp(teacher.log_density(x))
    )
    return ufd.UltraFastDiffusion(teacher, start, ufd.PowerDivergence(1 - m), **more)


@pytest.mark.parametrize("m", [-3, -1, 0, 1])
@pytest.mark.parametrize("pair", sorted(PAIRS))
@pytest.mark.parametrize("name", sorted(TEACHERS))
def test_a_gap_five_percent_too_high_is_caught(name, pair, m):
    """By every functional, at every amplitude; the true gap and one 1 % too low pass."""
    teacher, across = TEACHERS[name]
    dim = teacher.manifold.dim
    options = {"cells": CELLS[pair, dim], **PAIRS[pair]}
    gap = ufd.spectral_gap(teacher, cells=options["cells"], degree=options["degree"])[0]
    if pair == "certified":
        options["dt"] = 0.05 / gap
    for a in (0.2, 0.1, 0.05):
        problem = tilted(teacher, across, a, m)
        result = ufd.solve(problem, [12 / gap], modes=1, guarantees=True, **options)
        assert result.excited_mode.index == 0
        caught = result.guarantees(1.05 * gap)
        assert [g.functional for g in caught] == list(GUARANTEED)
        for guarantee in caught:
            assert guarantee.certified == (pair == "certified")
            assert not guarantee.holds, (a, guarantee.functional)
            assert "broken at t = " in guarantee.sentence()
        for claimed in (0.99 * gap, gap, None):
            for guarantee in result.guarantees(claimed):
                assert guarantee.holds, (a, guarantee.sentence())
                assert guarantee.margin >= -guarantee.allowance
        assert result.broken_promises() == []


@pytest.fixture(scope="module")
def run():
    """A certified run on the circle, with everything recorded."""
    problem = tilted(*TEACHERS["von_mises"], 0.2, -1)
    options = {"modes": 1, "guarantees": True, "dt": 0.1, "cells": 40}
    return ufd.solve(problem, [4.0], **options, **PAIRS["certified"])


@pytest.mark.parametrize("first", [0, 7, 40])
@pytest.mark.parametrize("factor", [1.01, 0.99, 1 + 2e-8, np.nan])
def test_lost_mass_is_named_at_once(run, monkeypatch, first, factor):
    """From the very time on at which it is off, by 1 % or by 2e-8."""
    assert run.broken_promises() == [] and broken_mass(run.series) is None
    mass = run.series["mass"].copy()
    mass[first:] *= factor
    monkeypatch.setitem(run.series, "mass", mass)
    t = run.series["t"][first]
    assert broken_mass(run.series) == t
    (sentence,) = run.broken_promises()
    assert sentence == f"the mass is off by more than 1e-8 from t = {t:.4g} on"


@pytest.mark.parametrize("name", GUARANTEED)
def test_a_functional_that_stalls_is_named_at_once(run, monkeypatch, name):
    """One step in which one functional keeps its value, and it alone is reported, at that time."""
    values = run.series[name].copy()
    values[20:] *= values[19] / values[20]
    monkeypatch.setitem(run.series, name, values)
    broken = [g for g in run.guarantees() if not g.holds]
    assert [g.functional for g in broken] == [name]
    assert broken[0].broken_at == run.series["t"][20]
    (sentence,) = run.broken_promises()
    assert sentence.startswith(f"the certificate of {name} is broken at t = 2:")


def drifting(m: float, rise: float) -> dict[str, np.ndarray]:
    """Series of w = 1 + a(t) cos on the uniform circle: the gap mode, which grows from t = 1 on."""
    t = np.linspace(0, 2, 41)
    a = 0.1 * np.exp(-np.minimum(t, 1) * 1.3 + np.maximum(t - 1, 0) * rise)
    angle = 2 * np.pi * np.arange(64) / 64
    w, law = 1 + a[:, None] * np.cos(angle), ufd.PowerDivergence(1 - m)
    series = {"t": t, "min_ratio": w.min(axis=1), "max_ratio": w.max(axis=1)}
    series |= {"chi2": a**2 / 2, "hminus1": a**2 / 2}
    series |= {
        "lyapunov": law.lyapunov(w).mean(axis=1),
        "divergence": law.integrand(w).mean(axis=1),
    }
    return series


@pytest.mark.parametrize("m", [-3, -1, 0, 0.5, 1])
@pytest.mark.parametrize("rise", [0.0, 0.01, 3.0])
def test_a_drift_is_caught_in_its_first_step(m, rise):
    """Decay up to t = 1, then w stands still or drifts away: every functional says so at once."""
    series = drifting(m, rise)
    for certified, stepper, rtol in (
        (True, "backward_euler", None),
        (True, "backward_euler", 1e-4),
        (False, "sdirk4", 1e-6),
        (False, "sdirk2", None),
    ):
        scheme = Scheme(stepper, rtol, certified, 1e-9)
        found = monitor(series, ufd.PowerDivergence(1 - m), 1.0, scheme)
        assert [g.functional for g in found] == list(GUARANTEED)
        for guarantee in found:
            assert guarantee.broken_at == series["t"][21], (stepper, guarantee.functional)
            assert guarantee.excess > 0.5


def test_round_off_breaks_nothing():
    """Once the distance is not resolved, nothing is expected of it any more."""
    series = drifting(-1, 0.0)
    for name, scale in (("chi2", 1), ("hminus1", 1), ("lyapunov", 2), ("divergence", 2)):
        late = series["t"] > 1
        series[name] = series[name] / series[name][0]
        series[name][late] = 0.9 * 1e-16 / scale
    scheme = Scheme("sdirk4", 1e-6, False, 1e-9)
    assert all(g.holds for g in monitor(series, ufd.PowerDivergence(2), 1.0, scheme))
    finer = Scheme("sdirk4", 1e-6, False, 1e-10)
    assert not any(g.holds for g in monitor(series, ufd.PowerDivergence(2), 1.0, finer))


def test_what_is_promised_for_a_step():
    """The envelope: 1/(1 + r dt) certified, two half steps under control, else at most exp."""
    series = drifting(1, 0.0)
    dt, m = 0.05, ufd.PowerDivergence(0)
    for scheme, step in (
        (Scheme("backward_euler", None, True, 1e-9), 1 / (1 + 2 * dt)),
        (Scheme("backward_euler", 1e-4, True, 1e-9), 1 / (1 + dt) ** 2),
        (Scheme("backward_euler", None, False, 1e-9), 1 / (1 + dt) ** 2),
        (Scheme("backward_euler", 1e-4, False, 1e-9), 1 / (1 + dt / 2) ** 4),
    ):
        for guarantee in monitor(series, m, 1.0, scheme):
            if guarantee.functional == "divergence":
                continue  # for m = 1 less is promised, by kappa
            steps = guarantee.envelope[1:] / guarantee.envelope[:-1]
            np.testing.assert_allclose(steps, step, rtol=1e-12)
            assert guarantee.envelope[0] == series[guarantee.functional][0]
            assert guarantee.start == guarantee.end == pytest.approx(2, rel=1e-15)
    (chi2, *_) = monitor(series, m, 1.0, Scheme("sdirk4", 1e-6, False, 1e-9))
    slowest = max(np.exp(-2 * dt), ufd.SDIRK4().decay_factor(-dt) ** 2)
    np.testing.assert_allclose(chi2.envelope[1:] / chi2.envelope[:-1], slowest, rtol=1e-12)


def test_without_a_gap_or_with_a_source_nothing_is_promised():
    """A run without modes refuses with the remedy; with a source nothing is promised or broken."""
    options = {"dt": 0.1, "cells": 12, "degree": 1, "stepper": ufd.BackwardEuler()}
    plain = ufd.solve(tilted(*TEACHERS["circle"], 0.2, -1), [0.5], **options)
    with pytest.raises(ufd.InputError, match=r"no spectrum was asked for: set modes$"):
        plain.guarantees()
    assert plain.broken_promises() == [] and plain.modes is None
    assert [g.functional for g in plain.guarantees(1.0)] == ["chi2", "lyapunov", "divergence"]

    def source(t: float, points: np.ndarray) -> np.ndarray:
        return np.cos(t) * points[:, 0]

    problem = tilted(*TEACHERS["circle"], 0.2, -1, source=source)
    driven = ufd.solve(problem, [0.5], modes=1, **options)
    for gap in (None, 1.0):
        with pytest.raises(ufd.InputError, match=r"for this run; its problem has a source$"):
            driven.guarantees(gap)
    assert driven.broken_promises() == []


def test_guarantees_find_the_gap_unasked():
    """guarantees=True alone records the H^-1 distance and the gap."""
    options = {"dt": 0.1, "cells": 12, "degree": 1, "stepper": ufd.BackwardEuler()}
    problem = tilted(*TEACHERS["circle"], 0.2, -1)
    result = ufd.solve(problem, [0.5], guarantees=True, **options)
    assert len(result.spectrum["eigenvalues"]) == 1 and len(result.guarantees()) == 4
    assert result.series["hminus1"].shape == result.series["t"].shape

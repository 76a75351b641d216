"""Whole trajectories and late times against theory (docs/theory.md, sections 3 and 4)."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import CubicSpline

import ufd

CIRCLE, SPHERE = ufd.Sphere(1), ufd.Sphere(2)


def half_dual_norm(solver: ufd.DiffusionSolver) -> float:
    """1/2 |mu_0 - nu|^2 in H^-1_nu: one dense solve with the pencil (K, D)."""
    D = solver.space.D
    h = D * (solver.evolution.values - 1)
    pointer, columns, values = solver.space.K.getValuesCSR()
    K = np.zeros((len(D), len(D)))
    K[np.repeat(np.arange(len(D)), np.diff(pointer)), columns] = values
    return 0.5 * float(h @ np.linalg.solve(K + np.outer(D, D), h))


@pytest.mark.parametrize(
    ("teacher", "options"),
    [
        (ufd.AngularCauchy(10, 0.7), {"cells": 32, "degree": 8}),
        (ufd.VonMisesFisher([0.6, 0, 0.8], 1.0), {"cells": 2, "degree": 8}),
        (ufd.VonMisesFisher([0.6, 0, 0.8], 1.0), {"cells": 2, "degree": 1}),
    ],
    ids=["circle", "sphere", "icosphere"],
)
def test_integral_of_chi2_is_the_dual_norm(teacher, options):
    """int_0^inf chi2(nu|mu_t) dt = 1/2 |mu_0 - nu|^2 in H^-1_nu, on every mesh."""
    problem = ufd.UltraFastDiffusion(teacher, ufd.Uniform(teacher.manifold))
    exact = half_dual_norm(ufd.DiffusionSolver(problem, **options))
    result = ufd.solve(problem, [12.0], rtol=1e-8, **options)
    t, chi2 = result.series["t"], result.series["chi2_reverse"]
    assert chi2[-1] < 1e-8 * exact
    assert CubicSpline(t, chi2).integrate(0, 12) == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize(
    ("teacher", "across", "end", "options"),
    [
        (ufd.VonMisesFisher([0.6, 0.8], 0.5), [0.8, -0.6], 10.0, {"cells": 12, "degree": 8}),
        (ufd.VonMisesFisher([0.6, 0, 0.8], 0.5), [0, 1, 0], 6.0, {"cells": 2, "degree": 8}),
    ],
    ids=["circle", "sphere"],
)
@pytest.mark.parametrize("p", [0.0, 0.5, 1.0, 2.0, 3.0])
def test_late_rate_is_twice_the_excited_eigenvalue(teacher, across, end, options, p):
    """For every p the divergence decays at twice the gap, to 5e-5, if w0 - 1 excites it."""

    def tilted(x: np.ndarray) -> np.ndarray:
        return (1 + 0.5 * x @ np.array(across)) * np.exp(teacher.log_density(x))

    start = ufd.density(teacher.manifold, tilted)
    problem = ufd.UltraFastDiffusion(teacher, start, ufd.PowerDivergence(p))
    result = ufd.solve(problem, [1.0, end], rtol=1e-6, modes=3, **options)
    mode, fit = result.excited_mode, result.fit_rate()
    assert mode.index == 0
    assert mode.multiplicity == 2
    # What is left is the neighbouring mode, excited at second order.
    assert fit.rate == pytest.approx(2 * mode.eigenvalue, rel=5e-5)


def test_symmetry_hides_the_gap():
    """Teacher and start share an axis: the gap mode is not excited, the first zonal one is."""
    teacher = ufd.VonMisesFisher([0, 0, 1], 1.0)
    problem = ufd.UltraFastDiffusion(teacher, ufd.Uniform(SPHERE))
    result = ufd.solve(problem, [0.5, 6.0], cells=2, degree=8, modes=4)
    mode = result.excited_mode
    assert mode.eigenvalue == pytest.approx(2.199712, abs=1e-5)
    assert result.spectrum["eigenvalues"][0] == pytest.approx(2.148765, abs=1e-5)
    assert result.fit_rate().rate == pytest.approx(2 * mode.eigenvalue, rel=1e-3)


@pytest.mark.parametrize(("dim", "cells"), [(1, 12), (2, 2)])
@pytest.mark.parametrize("p", [1.0, 2.0, 3.0])
def test_second_harmonic_is_slaved(dim, cells, p):
    """w0 = 1 + a z: the coefficient of z^2 - 1/(n+1) follows the second-order formula."""
    a, t, n = 1e-3, 0.4, dim
    sphere = ufd.Sphere(dim)
    start = ufd.density(sphere, lambda x: 1 + a * x[:, 0])
    problem = ufd.UltraFastDiffusion(ufd.Uniform(sphere), start, ufd.PowerDivergence(p))
    state = ufd.solve(problem, [t], cells=cells, degree=8, rtol=1e-10).at(t)

    def harmonic(x: np.ndarray) -> np.ndarray:
        return x[:, 0] ** 2 - 1 / (n + 1)

    uniform = ufd.Measure(state.space.nodes, state.space.D)
    measured = state.measure.integrate(harmonic) / uniform.integrate(lambda x: harmonic(x) ** 2)
    decay = np.exp(-2 * n * t) - np.exp(-2 * (n + 1) * t)
    assert measured == pytest.approx(p * (n + 1) / 2 * a**2 * decay, rel=1e-3)


@pytest.mark.parametrize(("dim", "cells"), [(1, 12), (2, 2)])
@pytest.mark.parametrize("p", [0.0, 0.5, 1.0, 2.0, 3.0])
def test_the_slaved_harmonic_has_no_rate_of_its_own(dim, cells, p):
    """a = 0.05: the formula to a^2 = 0.25 % at all times, 0 for p = 0; its own rate is refused."""
    a, n, axis = 0.05, dim, np.array([0.6, 0.8] if dim == 1 else [0.6, 0, 0.8])
    sphere, times = ufd.Sphere(dim), [0.1 / dim, 0.3 / dim, 0.6 / dim, 1 / dim, 1.5 / dim]
    start = ufd.ZonalHarmonic(axis, 1, a)
    problem = ufd.UltraFastDiffusion(ufd.Uniform(sphere), start, ufd.PowerDivergence(p))
    second = 2 if dim == 1 else 3  # the first mode of degree 2
    options = {"degree": 8, "rtol": 1e-8, "modes": 4 if dim == 1 else 8}
    result = ufd.solve(problem, times, cells=cells, **options)

    def harmonic(x: np.ndarray) -> np.ndarray:
        return (x @ axis) ** 2 - 1 / (n + 1)

    for t in times:
        state = result.at(t)
        uniform = ufd.Measure(state.space.nodes, state.space.D)
        measured = state.measure.integrate(harmonic) / uniform.integrate(lambda x: harmonic(x) ** 2)
        decay = np.exp(-2 * n * t) - np.exp(-2 * (n + 1) * t)
        assert measured == pytest.approx(p * (n + 1) / 2 * a**2 * decay, rel=a**2, abs=1e-10)
    if p:
        with pytest.raises(ufd.InputError, match=rf"is slaved: it ends at the rate {2 * n},"):
            result.fit_mode(second)
        assert result.modes.master(second) == (pytest.approx(2 * n, rel=1e-9), True)
    else:
        assert result.modes.master(second) is None
    # The first mode keeps its own rate.
    assert result.modes.master(0) is None
    assert result.fit_mode(0, window=(0.3 / n, 1.5 / n)).rate == pytest.approx(n, rel=5e-3)


def test_linear_case_is_the_heat_equation():
    """p = 0 on the uniform sphere: each harmonic decays at its own eigenvalue, exactly."""
    start = ufd.density(SPHERE, lambda x: 1 + 0.5 * x[:, 0] + 0.3 * (x[:, 1] * x[:, 2]))
    problem = ufd.UltraFastDiffusion(ufd.Uniform(SPHERE), start, ufd.PowerDivergence(0))
    result = ufd.solve(problem, [0.3], cells=3, degree=6, rtol=1e-9)
    x = np.random.default_rng(3).normal(size=(100, 3))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    exact = 1 + 0.5 * np.exp(-0.6) * x[:, 0] + 0.3 * np.exp(-1.8) * x[:, 1] * x[:, 2]
    np.testing.assert_allclose(result.ratio(x, 0.3), exact, atol=1e-7)


def test_equilibrium_stays():
    """R11: mu_0 = nu for 1,000 steps: w stays within 1e-13 of 1."""
    teacher = ufd.VonMisesFisher([0.6, 0.8], 3.0)
    solver = ufd.DiffusionSolver(
        ufd.UltraFastDiffusion(teacher, teacher), cells=64, degree=1, dt=0.1
    )
    for _ in range(1000):
        state = solver.step()
    assert np.abs(state.values - 1).max() <= 1e-13


def test_very_long_runs_do_not_drift():
    """R12: to t = 10^6: the mass holds to 1e-12, and no rate is read off the floor."""
    teacher = ufd.VonMisesFisher([0.6, 0.8], 5.0)
    problem = ufd.UltraFastDiffusion(teacher, ufd.Uniform(CIRCLE))
    result = ufd.solve(problem, [1e6], cells=16, degree=8, rtol=1e-5)
    assert result.status is ufd.StopReason.FINISHED
    assert np.abs(result.series["mass"] - 1).max() <= 1e-12
    floor = result.series["divergence"] < 1e-18
    with pytest.raises(ufd.InputError, match="fit_rate"):
        ufd.fit_rate(result.series["t"][floor], result.series["divergence"][floor], floor=1e-18)

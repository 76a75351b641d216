"""The extra Newton step of a stage: at p = 1, where s = -log w vanishes at equilibrium, too."""

from __future__ import annotations

import numpy as np
import pytest
from mpi4py import MPI

import ufd
from ufd.fem.discretization import Discretization
from ufd.fem.linear import ShiftedSolver
from ufd.fem.meshes import sphere_mesh
from ufd.fem.newton import StageSolver

CIRCLE = ufd.Sphere(1)


@pytest.mark.parametrize("p", [1.0, 2.0, 0.5])
@pytest.mark.parametrize(("amplitude", "tau"), [(1e-4, 0.1), (1e-5, 0.1), (1e-8, 0.01)])
def test_the_extra_step_is_taken_where_s_vanishes(amplitude, tau, p):
    """A stage solved to 1e-9 is right to 1e-12: it is measured in w whether the step is small."""
    space = Discretization(sphere_mesh(1, 24, 8), ufd.Uniform(CIRCLE), MPI.COMM_SELF)
    angle = np.arctan2(space.nodes[:, 1], space.nodes[:, 0]) - np.arctan2(0.8, 0.6)
    r = 1 + amplitude * np.cos(4 * angle)
    r /= space.integrate(r)

    def solved(tolerance: float) -> np.ndarray:
        linear = ShiftedSolver(space)
        stage = StageSolver(space, ufd.PowerDivergence(p), linear, tolerance).solve(r, tau, r)
        assert not stage.failure
        return stage.values

    np.testing.assert_allclose(solved(1e-9), solved(1e-14), rtol=0, atol=1e-12)


def test_a_fast_mode_falls_to_round_off():
    """p = 1, cos 4 theta, eigenvalue 16: chi2 falls at every step, to below 1e-16."""
    start = ufd.ZonalHarmonic([0.6, 0.8], 4, 0.3)
    problem = ufd.UltraFastDiffusion(ufd.Uniform(CIRCLE), start, ufd.PowerDivergence(1))
    result = ufd.solve(problem, [1.1], cells=24, degree=8, rtol=1e-6)
    chi2 = result.series["chi2"]
    assert (np.diff(chi2) < 0).all() and chi2[-1] < 1e-16


def test_multigrid_is_polished_too():
    """A fit of a run with multigrid meets the stepper's rate as one with a factorisation does."""
    start = ufd.ZonalHarmonic([0.6, 0, 0.8], 1, 0.3)
    problem = ufd.UltraFastDiffusion(ufd.Uniform(ufd.Sphere(2)), start)
    options = {"cells": 2, "degree": 4, "dt": 0.05, "modes": 3}
    for linear in ("multigrid", "direct"):
        result = ufd.solve(problem, [8.0], linear=linear, **options)
        fit = result.fit_rate()
        assert fit.rate == pytest.approx(result.discrete_rate(2.0, fit), rel=1e-6)

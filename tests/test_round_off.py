"""Tolerances near the end of double precision: steps do not follow the noise of stages."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from mpi4py import MPI

import ufd
from ufd.exceptions import InputError
from ufd.fem.accuracy import StepError
from ufd.fem.discretization import Discretization
from ufd.fem.surfaces import Circle

CIRCLE = ufd.Sphere(1)
PEAKS = [ufd.AngularCauchy(10.0, 0.0), ufd.AngularCauchy(10.0, 0.4 * np.pi)]
PAPER = ufd.UltraFastDiffusion(ufd.Mixture(PEAKS, [2 / 3, 1 / 3]), ufd.Uniform(CIRCLE))
pytestmark = pytest.mark.filterwarnings("ignore:from t = .* on double precision:UserWarning")
# Close to equilibrium from the start.
CLOSE = ufd.UltraFastDiffusion(
    ufd.Uniform(CIRCLE), ufd.density(CIRCLE, lambda x: (1 + 1e-5 * x[:, 0]) / (2 * np.pi))
)
FEATURES = ufd.ReLU() + ufd.Step()


def steps(problem, rtol: float, end: float, **options) -> dict:
    result = ufd.solve(problem, [end], rtol=rtol, **options)
    assert result.status is ufd.StopReason.FINISHED
    return result.stats


def test_steps_grow_with_the_digits_only():
    """A digit more costs 10^(1/4) as many steps, down to the last that there is."""
    options = {"cells": 40, "degree": 8}
    coarse, fine = (steps(PAPER, rtol, 16.0, **options)["steps"] for rtol in (1e-8, 1e-9))
    assert 500 < coarse < 600 and fine < 2 * coarse


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0])
@pytest.mark.parametrize("mesh", [{"cells": 8, "degree": 6}, {"cells": 64, "degree": 1}])
def test_near_equilibrium(p, mesh):
    """From |w - 1| = 1e-5 to 1e-9: few steps at any tolerance, and the rate of the mode is kept."""
    problem = ufd.UltraFastDiffusion(CLOSE.teacher, CLOSE.initial, ufd.PowerDivergence(p))
    for rtol in (1e-9, 1e-11, 1e-13):
        result = ufd.solve(problem, [1.0, 9.0], rtol=rtol, **mesh)
        assert result.status is ufd.StopReason.FINISHED
        assert result.stats["steps"] < 600 and result.stats["rejected"] < 10
        t, size = result.series["t"], np.sqrt(result.series["chi2"])
        rate = -np.log(size[-1] / size[0]) / t[-1]
        assert rate == pytest.approx(1.0, abs=3e-4 if mesh["degree"] == 1 else 1e-5)


def test_the_run_says_so_once():
    """In the statistics and in one line; coarser tolerances have nothing to say."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert steps(CLOSE, 1e-8, 6.0, cells=8, degree=6)["round_off_from"] is None
        assert not told
        since = steps(CLOSE, 1e-10, 6.0, cells=8, degree=6)["round_off_from"]
    assert 0.1 < since < 0.4
    (notice,) = told
    assert str(notice.message).startswith(f"from t = {since:.4g} on double precision")


def test_the_size_of_an_error():
    """Relative to |w|, to 100 |w - 1|, to 1e-5 |w|, and never below the noise."""
    space = Discretization(Circle(4, 2), ufd.Uniform(CIRCLE), MPI.COMM_SELF)
    one = np.ones(space.owned)
    wave = space.nodes[:, 0] / (space.D @ np.abs(space.nodes[:, 0]))
    for distance, scale in ((0.5, 1.0), (1e-4, 1e-2), (1e-9, 1e-5)):
        size = StepError(space, 1e-6, 1e-13)
        assert size(1e-8 * one, one + distance * wave) == pytest.approx(1e-8 / scale, rel=1e-9)
        assert not size.limited
        close = StepError(space, 1e-10, 1e-13)
        scale = max(scale, 1e-3)
        assert close(1e-8 * one, one + distance * wave) == pytest.approx(1e-8 / scale, rel=1e-9)
        assert close.limited == (distance == 1e-9)


@pytest.mark.parametrize("rtol", [1e-6, 1e-9])
def test_the_mean_field_equation(rtol):
    """Its stages are noisier; it goes on all the same."""
    solver = ufd.MeanFieldSolver(CLOSE, features=FEATURES, lam=1e-3, cells=32, rtol=rtol)
    solver.advance(16.0)
    assert solver.t == 16.0 and solver.stats["rejected"] < 10 and solver.stats["steps"] < 600
    assert solver.stats["round_off_from"] is not None


SOLVERS = {
    "diffusion": lambda rtol: ufd.DiffusionSolver(CLOSE, rtol=rtol, cells=8, degree=6),
    "mean field": lambda rtol: ufd.MeanFieldSolver(
        CLOSE, features=FEATURES, lam=1e-2, rtol=rtol, cells=32
    ),
    "particles": lambda rtol: ufd.VarProSolver(
        CLOSE, features=FEATURES, lam=1e-2, width=4, rtol=rtol
    ),
}


@pytest.mark.parametrize("kind", SOLVERS)
def test_no_such_digits(kind):
    """One line, with the least tolerance that works: a step is taken with that."""
    for rtol in (1e-15, 1e-30, 5e-324):
        with pytest.raises(InputError, match=r"rtol = .* below what double .*; use 1e-14 or more"):
            SOLVERS[kind](rtol)
    try:
        solver = SOLVERS[kind](1e-14)
    except InputError as refused:
        assert "\n" not in str(refused)
        solver = SOLVERS[kind](float(str(refused).split("use ")[1].split()[0]))
    solver.step()
    assert solver.t > 0

"""A kept factor that cannot solve a stage gives way to factorisations, by itself and for good."""

from __future__ import annotations

import pytest
from mpi4py import MPI

import ufd
from ufd.fem.discretization import Discretization
from ufd.fem.linear import ShiftedSolver
from ufd.fem.surfaces import Icosphere


def concentrated(linear: str | None = None, p: float = 2.0) -> ufd.DiffusionSolver:
    """A teacher whose density ranges over 24 orders of magnitude, and a start close to it."""
    teacher, initial = (ufd.VonMisesFisher([0, 0, 1], kappa) for kappa in (28.0, 30.0))
    problem = ufd.UltraFastDiffusion(teacher, initial, ufd.PowerDivergence(p))
    solver = ufd.DiffusionSolver(problem, cells=4, degree=6, linear=linear)
    solver.evolution.max_steps = 40
    return solver


@pytest.mark.parametrize("p", [2.0, pytest.param(3.0, marks=pytest.mark.slow)])
def test_takes_over(p):
    """Newton judges nodes that the norms of CG forget; the run ends where exact solves lead."""
    kept, exact = concentrated(p=p), concentrated("direct", p)
    for solver in (kept, exact):
        solver.advance(0.02)
        assert solver.t == 0.02 and solver.stats["failed_solves"] == 0
    assert kept.stats["linear_escalations"] == 1
    assert kept.stats["steps"] == exact.stats["steps"]
    assert kept.divergence() == pytest.approx(exact.divergence(), rel=1e-7)


def test_restored():
    """A restored run goes on with the method that it had then."""
    evolution = concentrated().evolution
    linear = evolution.system.linear
    before = evolution.snapshot()
    linear.taken_over = True
    after = evolution.snapshot()
    evolution.restore(before)
    assert not linear.taken_over and not linear.exact
    evolution.restore(after)
    assert linear.taken_over and linear.exact


def test_never_for_large_or_exact(monkeypatch):
    """Factors of a mesh that is too large are not tried, and exact methods have none to try."""
    space = Discretization(Icosphere(2), ufd.Uniform(ufd.Sphere(2)), MPI.COMM_SELF)
    assert not ShiftedSolver(space, "direct").can_take_over
    solver = ShiftedSolver(space, "frozen")
    assert solver.can_take_over
    monkeypatch.setattr("ufd.fem.linear._FACTORS_LIMIT", 100)
    assert not solver.can_take_over

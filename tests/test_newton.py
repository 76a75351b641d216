"""Stages far from equilibrium: inexact Newton with multigrid against exact Newton with factors.

Teachers and states with contrasts up to 1e43, steps from 1e-6 to 100, the state itself as guess and
guesses that are wrong by orders of magnitude. What a stage of a certified pair owes is checked too:
mass, the maximum principle, and that no iteration is given up.
"""

from __future__ import annotations

import functools

import numpy as np
import pytest
from mpi4py import MPI

import ufd
from ufd.exceptions import Interrupted
from ufd.fem import newton
from ufd.fem.discretization import Discretization
from ufd.fem.linear import ShiftedSolver
from ufd.fem.newton import StageSolver
from ufd.fem.surfaces import CubedSphere, Icosphere
from ufd.parallel import largest, smallest, total

NORTH, SOUTH = [0, 0, 1], [0, 0, -1]
UNIFORM = ufd.Uniform(ufd.Sphere(2))
CAPS = [ufd.VonMisesFisher(pole, 50.0) for pole in (NORTH, SOUTH)]
# Teacher and initial density.
HARSH = {
    "two caps from uniform": (ufd.Mixture(CAPS, [0.5, 0.5]), UNIFORM),
    "uniform from a cap, 1e43": (UNIFORM, ufd.VonMisesFisher(NORTH, 50.0)),
    "opposite caps": (ufd.VonMisesFisher(NORTH, 10.0), ufd.VonMisesFisher(SOUTH, 10.0)),
}
STEPS = [1e-6, 1e-2, 1.0, 100.0]
each_case = pytest.mark.parametrize("name", HARSH)


def start(name: str, surface, comm: MPI.Comm) -> tuple[Discretization, np.ndarray]:
    """A discretisation and the initial ratio, of mass 1."""
    teacher, initial = HARSH[name]
    space = Discretization(surface, teacher, comm)
    w = np.exp(initial.log_density(space.nodes) - space.log_nu)
    return space, w / space.integrate(w)


@functools.cache
def problem(name: str, level: int = 3) -> tuple[Discretization, np.ndarray]:
    return start(name, Icosphere(level), MPI.COMM_SELF)


def stages(space: Discretization, choice: str, p: float = 2.0, **options) -> StageSolver:
    return StageSolver(space, ufd.PowerDivergence(p), ShiftedSolver(space, choice), **options)


def owes(solver: StageSolver, w: np.ndarray, stage) -> None:
    """A solved stage of backward Euler from w: no failure, mass, maximum principle, few counts."""
    space, values = solver.space, stage.values
    assert not stage.failure and solver.linear.escalations == 0
    assert stage.mass_defect < 1e-9
    assert abs(space.integrate(values) - 1) < 1e-12
    gate = 1e-12 + stage.mass_defect
    low, high = (
        (smallest(space.comm, v.min(initial=np.inf)), largest(space.comm, v.max(initial=0.0)))
        for v in (w, values)
    )
    assert low[0] * (1 - gate) <= high[0] and high[1] <= low[1] * (1 + gate)
    assert stage.krylov <= 8 * stage.newton and stage.newton <= 40


@each_case
@pytest.mark.parametrize("level", [3, 4])
@pytest.mark.parametrize("dt", STEPS)
def test_harsh_stages(name, level, dt):
    """Both ways end, within their bounds, and agree: in L1(nu), and node by node."""
    space, w = problem(name, level)
    found = []
    for choice in ("multigrid", "direct"):
        solver = stages(space, choice)
        stage = solver.solve(w, dt, w)
        owes(solver, w, stage)
        found.append(stage.values)
        assert stage.krylov > 0 or choice == "direct"
    ours, exact = found
    assert space.D @ np.abs(ours - exact) < 1e-9
    # On the finer mesh the solution itself moves by more than 1e-8 with the last bits of the data.
    np.testing.assert_allclose(ours, exact, rtol=1e-8 if level == 3 else 1e-7)


@each_case
def test_harsh_stages_on_a_fine_level(name):
    """Level 5, multigrid alone: counts are as on the coarse ones."""
    space, w = problem(name, 5)
    solver = stages(space, "multigrid")
    owes(solver, w, solver.solve(w, 1e-2, w))


@pytest.mark.mpi
@each_case
def test_harsh_stages_over_the_ranks(name, comm):
    """The same on any number of ranks, in about as many iterations."""
    space, w = start(name, Icosphere(3), comm)
    alone, w_alone = problem(name)
    solver, single = stages(space, "multigrid"), stages(alone, "multigrid")
    for dt in (1e-2, 1.0):
        stage, expected = solver.solve(w, dt, w), single.solve(w_alone, dt, w_alone)
        owes(solver, w, stage)
        assert abs(stage.newton - expected.newton) <= 2
        assert abs(stage.krylov - expected.krylov) <= 0.15 * expected.krylov + 5
        place = np.empty(alone.size)
        place[alone.input_index] = expected.values
        np.testing.assert_allclose(stage.values, place[space.input_index], rtol=1e-8)


@pytest.mark.parametrize("p", [0.5, 1.0, 3.0])
@each_case
def test_other_divergences(name, p):
    """p = 1 and 3, and p = 1/2, whose solution may be nearly empty at nodes."""
    space, w = problem(name)
    found = []
    for choice in ("multigrid", "direct"):
        solver = stages(space, choice, p)
        stage = solver.solve(w, 1e-2, w)
        assert not stage.failure and stage.mass_defect < 1e-9
        assert solver.linear.escalations == 0
        found.append(stage.values)
    assert space.D @ np.abs(found[0] - found[1]) < 1e-8


@pytest.mark.parametrize("name", [name for name in HARSH if "two caps" not in name])
@pytest.mark.parametrize("kind", ["noise", "half of the sphere"])
def test_stages_with_negative_data(name, kind):
    """r may be negative at nodes, as in later stages: W is positive and has the mass of r."""
    space, w = problem(name)
    if kind == "noise":
        r = w * (4 * np.random.default_rng(0).random(space.size) - 1)
    else:
        above = space.nodes[:, 2] > 0.3
        shares = [space.integrate(w * half) for half in (above, ~above)]
        r = np.where(above, w, -0.9 * w * shares[0] / shares[1])
    r /= space.integrate(r)
    assert r.min() < -40
    found = []
    for choice in ("multigrid", "direct"):
        solver = stages(space, choice)
        stage = solver.solve(r, 1e-2, np.abs(r))
        assert not stage.failure and stage.values.min() > 0
        assert solver.linear.escalations == 0 and stage.mass_defect < 1e-9
        assert space.integrate(stage.values) == pytest.approx(1, rel=1e-12)
        found.append(stage.values)
    assert space.D @ np.abs(found[0] - found[1]) < 1e-8
    assert "has no mass" in stages(space, "direct").solve(-np.abs(r), 1e-2, w).failure


@each_case
@pytest.mark.parametrize("choice", ["multigrid", "direct"])
@pytest.mark.parametrize("factor", [1e6, 1e-6], ids=["too high", "too low"])
def test_poor_guesses(name, choice, factor):
    """A million times off, everywhere: the same solution, from below where the guess fails."""
    space, w = problem(name)
    for dt in (1e-2, 1.0):
        solver = stages(space, choice)
        expected, stage = solver.solve(w, dt, w), solver.solve(w, dt, factor * w)
        assert not stage.failure and solver.linear.escalations == 0
        np.testing.assert_allclose(stage.values, expected.values, rtol=1e-8)


@each_case
@pytest.mark.parametrize("choice", ["multigrid", "direct"])
def test_noisy_guesses(name, choice):
    """Up to a million times off either way, from node to node: convergence from below is sure."""
    space, w = problem(name)
    solver = stages(space, choice)
    expected = solver.solve(w, 1.0, w).values
    for seed in range(6):
        noise = np.random.default_rng(seed).random(space.size) - 0.5
        stage = solver.solve(w, 1.0, w * 1e12**noise)
        assert not stage.failure, f"seed {seed}: {stage.failure}"
        np.testing.assert_allclose(stage.values, expected, rtol=1e-8)


def test_the_start_from_below_is_taken_when_the_guess_fails(monkeypatch):
    """Once, with what both attempts cost; not where the first one succeeds."""
    space, w = problem("uniform from a cap, 1e43")
    attempts, attempt = [], StageSolver._solve

    def followed(self, r, tau, guess, s, *further):
        stage = attempt(self, r, tau, guess, s, *further)
        attempts.append((s, stage))
        return stage

    monkeypatch.setattr(StageSolver, "_solve", followed)
    solver = stages(space, "multigrid")
    solver.solve(w, 1e-2, w)
    assert len(attempts) == 1
    attempts.clear()
    guess = np.full_like(w, 1e-3)
    stage = solver.solve(w, 1e-2, guess)
    (high, failed), (low, solved) = attempts
    assert failed.failure and not solved.failure and not stage.failure
    assert np.array_equal(low, np.minimum(high, 1 / w)) and (low < high).any()
    assert stage.newton == failed.newton + solved.newton
    assert stage.krylov == failed.krylov + solved.krylov


@pytest.mark.parametrize("choice", ["multigrid", "direct", "frozen"])
def test_a_stage_depends_on_what_is_remembered_only(choice):
    """As after a restart: a stage that is solved at once has the same bits in a new object."""
    space, w = problem("opposite caps")
    used = stages(space, choice, tolerance=1e-6)
    near = 1 + 1e-7 * space.nodes[:, 0]
    near /= space.integrate(near)
    used.solve(w, 0.05, w)
    fresh = stages(space, choice, tolerance=1e-6)
    fresh.linear.recall(used.linear.memory())
    found = [solver.solve(near, 0.05, near) for solver in (used, fresh)]
    assert [stage.newton for stage in found] == [0, 0]
    assert np.array_equal(found[0].values, found[1].values)


@pytest.mark.parametrize("choice", ["multigrid", "direct", "frozen"])
def test_a_stage_depends_on_what_is_remembered_only_far_from_the_end(choice):
    """The same for stages that take iterations."""
    space, w = problem("opposite caps")
    used = stages(space, choice)
    w = used.solve(w, 0.05, w).values
    fresh = stages(space, choice)
    fresh.linear.recall(used.linear.memory())
    one, other = (solver.solve(w, 0.05, w) for solver in (used, fresh))
    assert one.newton > 2 and one[1:] == other[1:]
    assert np.array_equal(one.values, other.values)


@pytest.mark.mpi
def test_a_solve_can_be_interrupted(comm):
    """One rank that is asked is enough, at the first iteration or later; all raise."""
    space, w = start("opposite caps", Icosphere(2), comm)
    for patience in (0, 3):
        solver, asked = stages(space, "direct"), []

        def stop(patience: int = patience, asked: list = asked) -> bool:
            asked.append(None)
            return comm.rank == comm.size - 1 and len(asked) > patience

        solver.interrupted = stop
        with pytest.raises(Interrupted):
            solver.solve(w, 1.0, w)
        assert len(asked) == patience + 1
    assert total(comm, 1) == comm.size


def test_inexact_newton_asks_for_no_more_than_it_deserves(monkeypatch):
    """Tolerances fall with the square of the residual's fall, and none is below what is needed."""
    space, w = problem("two caps from uniform")
    solver = stages(space, "multigrid")
    asked, solve = [], ShiftedSolver.solve

    def followed(self, b, rtol):
        asked.append(rtol)
        return solve(self, b, rtol)

    monkeypatch.setattr(ShiftedSolver, "solve", followed)
    assert solver._forcing(1e-2, np.inf) == solver._forcing(1e-2, 1e-2) == newton._LOOSEST
    assert solver._forcing(1e-3, 1e-2) == pytest.approx(0.009)
    assert solver._forcing(1e-6, 1e-1) == pytest.approx(0.1 * 1e-11 / 1e-6)
    assert solver._forcing(1e-10, 1e-2) == pytest.approx(0.01)
    assert stages(space, "multigrid", tolerance=1e-16)._forcing(1e-2, 1e4) == newton._TIGHTEST
    stage = solver.solve(w, 1e-2, w)
    assert not stage.failure and len(asked) >= stage.newton > 3
    corrections = [rtol for rtol in asked if rtol != newton._FULL_RTOL]
    assert max(corrections) == newton._LOOSEST and min(corrections) >= newton._TIGHTEST


@pytest.mark.parametrize("choice", ["multigrid", "frozen", "direct"])
def test_curved_elements(choice):
    """Degree 4, where K is no M-matrix: a smooth stage, solved alike by every method."""
    teacher, initial = ufd.VonMisesFisher(NORTH, 3.0), ufd.VonMisesFisher([1, 0, 0], 3.0)
    space = Discretization(CubedSphere(3, 4), teacher, MPI.COMM_SELF)
    w = np.exp(initial.log_density(space.nodes) - space.log_nu)
    w /= space.integrate(w)
    for dt in (1e-4, 1e-2, 1.0):
        solver, exact = stages(space, choice), stages(space, "direct")
        stage, expected = solver.solve(w, dt, w), exact.solve(w, dt, w)
        assert not stage.failure and solver.linear.escalations == 0
        assert stage.mass_defect < 1e-9
        np.testing.assert_allclose(stage.values, expected.values, rtol=1e-8)

"""What the certified pair guarantees at every step, and what every pair does (R9, R10, R11).

Degree 1 with backward Euler on meshes whose K is an M-matrix: mass, positivity, maximum principle,
comparison, contraction in L1 and H^-1, energy decrease, for nu and w0 with contrasts up to 1e15
and steps from 1e-8 to 1e3. The gate is 1e-12 plus the recorded mass factor.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mpi4py import MPI
from scipy.spatial import cKDTree

import ufd
from ufd.evolution.steppers import STEPPERS
from ufd.fem.discretization import Discretization
from ufd.fem.linear import ShiftedSolver
from ufd.fem.meshes import sphere_mesh
from ufd.fem.newton import StageSolver

GATE = 1e-12
EXAMPLES = settings(
    max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
LOG15 = 15 * np.log(10)


@dataclass(frozen=True, eq=False)
class Nodal:
    """A density given by its logarithm at the nodes of one mesh."""

    manifold: ufd.Sphere
    nodes: np.ndarray
    logarithm: np.ndarray

    def log_density(self, points: np.ndarray) -> np.ndarray:
        return self.logarithm[cKDTree(self.nodes).query(points)[1]]

    def axes(self) -> None:
        return None

    def describe(self) -> None:
        return None


@functools.cache
def mesh(dim: int, cells: int):
    return sphere_mesh(dim, cells, 1)


@st.composite
def cases(draw, dims=(1, 2), exponents=(2.0, 1.0, 3.0, 0.5), limit=LOG15):
    """A discretisation with a rough teacher, two rough states of one mass, a time step."""
    dim = draw(st.sampled_from(dims))
    surface = mesh(dim, 40 if dim == 1 else 1)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    contrast = draw(st.floats(0, limit))
    log_nu = rough(rng, surface.points, contrast)
    teacher = Nodal(ufd.Sphere(dim), surface.points, log_nu)
    space = Discretization(surface, teacher, MPI.COMM_SELF)
    law = ufd.PowerDivergence(draw(st.sampled_from(exponents)))
    stages = StageSolver(space, law, ShiftedSolver(space))
    states = []
    for _ in range(2):
        w = np.exp(rough(rng, space.nodes, draw(st.floats(0, limit))))
        states.append(w / (space.D @ w))
    return stages, states, 10 ** draw(st.floats(-8, 3))


def rough(rng, points: np.ndarray, contrast: float) -> np.ndarray:
    """White noise, a bump, or a step, of the given range."""
    kind = rng.integers(3)
    direction = rng.normal(size=points.shape[1])
    z = points @ (direction / np.linalg.norm(direction))
    values = [rng.normal(size=len(points)), z, np.sign(z)][kind]
    spread = np.ptp(values)
    return (values - values.max()) * (contrast / spread if spread else 0.0)


def euler(stages: StageSolver, w: np.ndarray, dt: float) -> tuple[np.ndarray, float]:
    """One step of backward Euler, and the gate that its mass factor allows."""
    stage = stages.solve(w, dt, w)
    assert not stage.failure, stage.failure
    assert stage.newton <= 40
    return stage.values, GATE + stage.mass_defect


@EXAMPLES
@given(cases())
def test_mass_range_and_energy(case):
    """Mass to 1e-12, positivity, maximum principle, decrease of the divergence."""
    stages, (w, _), dt = case
    assert stages.space.is_m_matrix
    D, law = stages.space.D, stages.divergence
    new, gate = euler(stages, w, dt)
    assert abs(D @ new - D @ w) <= GATE
    assert new.min() > 0
    assert w.min() * (1 - gate) <= new.min()
    assert new.max() <= w.max() * (1 + gate)
    before = D @ law.integrand(w)
    assert D @ law.integrand(new) <= before + gate * max(before, 1.0)


@EXAMPLES
@given(cases())
def test_comparison_and_l1_contraction(case):
    """w <= v stays so; the distance in L1(nu) of two states does not grow."""
    stages, (w, v), dt = case
    D = stages.space.D
    new_w, gate_w = euler(stages, w, dt)
    new_v, gate_v = euler(stages, v, dt)
    gate = gate_w + gate_v
    distance = D @ np.abs(w - v)
    assert D @ np.abs(new_w - new_v) <= distance + gate
    above, gate_above = euler(stages, np.maximum(w, v), dt)
    assert (new_w <= above * (1 + gate_w + gate_above)).all()


@EXAMPLES
@given(cases(dims=(1,)))
def test_dual_norm_contraction_on_the_circle(case):
    """H^-1_nu distances, from fluxes without cancellation, do not grow."""
    stages, (w, v), dt = case
    new_w, gate_w = euler(stages, w, dt)
    new_v, gate_v = euler(stages, v, dt)
    before, after = (dual_norm(stages.space, h) for h in (w - v, new_w - new_v))
    size = max(dual_norm(stages.space, new_w), dual_norm(stages.space, new_v))
    assert after <= before + (gate_w + gate_v) * max(before, size)


@EXAMPLES
@given(cases(dims=(2,), limit=np.log(1e4)))
def test_dual_norm_contraction_on_the_sphere(case):
    """The same with dense linear algebra, which limits the contrast to 1e4 and the gate to 1e-9."""
    stages, (w, v), dt = case
    space = stages.space
    inverse = np.linalg.inv(dense(space) + np.outer(space.D, space.D))

    def squared(h: np.ndarray) -> float:
        return float((space.D * h) @ inverse @ (space.D * h))

    after = squared(euler(stages, w, dt)[0] - euler(stages, v, dt)[0])
    assert after <= squared(w - v) * (1 + 1e-9) + 1e-12


def dense(space: Discretization) -> np.ndarray:
    """K as a dense matrix; one rank."""
    pointer, columns, values = space.K.getValuesCSR()
    K = np.zeros((space.size, space.size))
    K[np.repeat(np.arange(space.size), np.diff(pointer)), columns] = values
    return K


def dual_norm(space: Discretization, h: np.ndarray) -> float:
    """|h| in H^-1_nu on the circle: fluxes q with difference D h and least sum of q^2/k."""
    order = np.argsort(np.arctan2(space.nodes[:, 1], space.nodes[:, 0]))
    edge = -dense(space)[order, np.roll(order, -1)]
    q = np.cumsum((space.D * h)[order])
    q = q - (q / edge).sum() / (1 / edge).sum()
    return float(np.sqrt((q**2 / edge).sum()))


@EXAMPLES
@given(
    name=st.sampled_from(sorted(STEPPERS)),
    degree=st.integers(1, 8),
    p=st.sampled_from([1.0, 2.0, 4.0]),
    dim=st.sampled_from([1, 2]),
    seed=st.integers(0, 2**32 - 1),
    contrast=st.floats(0, 12),
    log_dt=st.floats(-6, 0),
)
def test_every_pair_keeps_mass_and_sign(name, degree, p, dim, seed, contrast, log_dt):
    """Any stepper and degree: mass to 1e-12; for m <= 0 positive, or a step that is rejected."""
    rng = np.random.default_rng(seed)
    mean, other = rng.normal(size=(2, dim + 1))
    teacher = ufd.VonMisesFisher(mean, contrast / 4)
    problem = ufd.UltraFastDiffusion(
        teacher, ufd.VonMisesFisher(other, contrast / 4), ufd.PowerDivergence(p)
    )
    cells = {1: 12, 2: 1 if degree == 1 else 2}[dim]
    solver = ufd.DiffusionSolver(
        problem, cells=cells, degree=degree, stepper=STEPPERS[name](), dt=10**log_dt
    )
    for _ in range(2):
        state = solver.step()
        if solver.status is not ufd.StopReason.RUNNING:
            break
        assert abs(solver.mass() - 1) <= GATE
        assert state.values.min() > 0


def test_a_failed_solve_is_a_smaller_step_and_then_a_reason(monkeypatch):
    """R10: where Newton may not iterate, steps shrink, are counted, and the run says why."""
    monkeypatch.setattr("ufd.fem.newton._MAX_ITERATIONS", 0)
    problem = ufd.UltraFastDiffusion(ufd.VonMisesFisher([1, 0], 2), ufd.Uniform(ufd.Sphere(1)))
    result = ufd.solve(problem, [1.0], cells=16, degree=1)
    assert result.status is ufd.StopReason.SOLVES_FAIL
    assert result.stats["failed_solves"] > 100
    assert "Newton" in result.stats["last_failure"]
    assert result.times == [0.0]


def test_steps_have_a_lower_bound(monkeypatch):
    """R10: if no step is accurate enough, the run stops and says so."""
    monkeypatch.setattr("ufd.fem.diffusion.DiffusionSystem.norm", lambda *_: 1.0)
    problem = ufd.UltraFastDiffusion(ufd.VonMisesFisher([1, 0], 2), ufd.Uniform(ufd.Sphere(1)))
    result = ufd.solve(problem, [1.0], cells=16, degree=1)
    assert result.status is ufd.StopReason.STEP_TOO_SMALL
    assert result.stats["rejected"] > 10


@pytest.mark.parametrize("kappa", [5, 20, 50])
def test_concentrated_teachers_on_the_icosphere(kappa):
    """w0 contrasts up to 1e43: backward Euler gets through, positive and within its bounds."""
    problem = ufd.UltraFastDiffusion(
        ufd.Uniform(ufd.Sphere(2)), ufd.VonMisesFisher([0, 0, 1], kappa)
    )
    solver = ufd.DiffusionSolver(
        problem, cells=3, degree=1, stepper=ufd.BackwardEuler(), dt=0.01, contrast=1e50
    )
    bound = solver.functionals()
    for _ in range(5):
        solver.step()
        now = solver.functionals()
        assert solver.status is ufd.StopReason.RUNNING
        assert abs(now["mass"] - 1) <= GATE
        assert bound["min_ratio"] * (1 - 1e-9) <= now["min_ratio"] <= now["max_ratio"]
        assert now["max_ratio"] <= bound["max_ratio"] * (1 + 1e-9)
        assert now["divergence"] < bound["divergence"]
        bound = now

"""The H^-1_nu norm: exact values, a dense solve, and the identity that it obeys along a run."""

from __future__ import annotations

import numpy as np
import pytest
from mpi4py import MPI
from scipy.interpolate import CubicSpline
from scipy.special import iv

import ufd
from ufd.fem.discretization import Discretization
from ufd.fem.dual_norm import DualNorm
from ufd.fem.meshes import sphere_mesh

CIRCLE, SPHERE = ufd.Sphere(1), ufd.Sphere(2)
AXIS = {1: np.array([0.6, 0.8]), 2: np.array([0.48, 0.6, 0.64])}


def space_of(teacher, cells: int, degree: int, comm: MPI.Comm) -> Discretization:
    return Discretization(sphere_mesh(teacher.manifold.dim, cells, degree), teacher, comm)


def harmonic(space: Discretization, degree: int) -> np.ndarray:
    """The zonal harmonic of a degree around a skew axis, at the owned nodes."""
    z = space.nodes @ AXIS[space.nodes.shape[1] - 1]
    if space.nodes.shape[1] == 2:
        return np.cos(degree * np.arccos(np.clip(z, -1, 1)))
    return np.polynomial.legendre.Legendre.basis(degree)(z)


@pytest.mark.parametrize("linear", ["direct", "multigrid"])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_uniform_circle(comm, k, linear):
    """|a cos k theta|^2 = a^2/(2 k^2), whatever the number of ranks."""
    space = space_of(ufd.Uniform(CIRCLE), 12, 8, comm)
    value = DualNorm(space, linear).squared(0.3 * harmonic(space, k))
    assert value == pytest.approx(0.09 / (2 * k**2), rel=1e-9)


@pytest.mark.parametrize("linear", ["direct", "multigrid"])
@pytest.mark.parametrize("degree", [1, 2, 3])
def test_uniform_sphere(comm, degree, linear):
    """|a P_l|^2 = a^2/((2 l + 1) l (l + 1)), whatever the number of ranks."""
    space = space_of(ufd.Uniform(SPHERE), 2, 8, comm)
    value = DualNorm(space, linear).squared(0.3 * harmonic(space, degree))
    exact = 0.09 / ((2 * degree + 1) * degree * (degree + 1))
    assert value == pytest.approx(exact, rel=2e-8)


@pytest.mark.mpi
def test_weighted_circle(comm):
    """h = L cos = cos - kappa sin^2 for a von Mises density: |h|^2 = int sin^2 dnu."""
    kappa = 2.0
    space = space_of(ufd.VonMisesFisher(AXIS[1], kappa), 16, 8, comm)
    z = space.nodes @ AXIS[1]
    value = DualNorm(space).squared(z - kappa * (1 - z**2))
    # By parts, int sin^2 exp(kappa cos) = int cos exp(kappa cos)/kappa.
    assert value == pytest.approx(iv(1, kappa) / (kappa * iv(0, kappa)), rel=1e-9)


@pytest.mark.mpi
@pytest.mark.parametrize("linear", ["direct", "multigrid"])
def test_constants_do_not_count_and_squares_scale(comm, linear):
    """|h + c| = |h|, |2 h|^2 = 4 |h|^2, |c| = 0, |-h| = |h|, |h|^2 <= Var(h)/gap."""
    teacher = ufd.VonMisesFisher(AXIS[2], 1.5)
    space = space_of(teacher, 2, 4, comm)
    dual = DualNorm(space, linear)
    h = 0.2 * harmonic(space, 1) + 0.1 * harmonic(space, 3) + 0.05 * space.nodes[:, 0]
    value = dual.squared(h)
    assert value > 1e-3
    for shift in (1.0, -7.5, 1e4):
        assert dual.squared(h + shift) == pytest.approx(value, rel=1e-10 * max(1, abs(shift)))
    assert dual.squared(2 * h) == pytest.approx(4 * value, rel=1e-12)
    assert dual.squared(-h) == pytest.approx(value, rel=1e-12)
    assert dual.squared(np.full(space.owned, 3.0)) <= 1e-28
    gap = ufd.spectral_gap(teacher, cells=2, degree=4, comm=comm)[0]
    centred = h - space.integrate(h)
    assert value <= space.integrate(centred**2) / gap


@pytest.mark.parametrize(("dim", "cells", "degree"), [(1, 64, 1), (1, 12, 5), (2, 2, 1), (2, 2, 4)])
def test_direct_is_multigrid(comm, dim, cells, degree):
    """To 1e-8, for a rough h too."""
    space = space_of(ufd.VonMisesFisher(AXIS[dim], 2.0), cells, degree, comm)
    rough = np.sign(space.nodes[:, 0]) * np.sin(17 * space.nodes[:, 1])
    values = [DualNorm(space, linear).squared(rough) for linear in ("direct", "multigrid")]
    assert values[0] == pytest.approx(values[1], rel=1e-8)


@pytest.mark.parametrize(
    ("teacher", "cells", "degree"),
    [
        (ufd.AngularCauchy(10, 0.7), 64, 1),
        (ufd.AngularCauchy(10, 0.7), 16, 8),
        (ufd.VonMisesFisher([0.6, 0, 0.8], 3.0), 2, 1),
        (ufd.VonMisesFisher([0.6, 0, 0.8], 3.0), 2, 6),
    ],
)
def test_dense_solve(teacher, cells, degree):
    """Against h D (K + D D^T)^-1 D h with dense linear algebra, for white noise."""
    space = space_of(teacher, cells, degree, MPI.COMM_SELF)
    pointer, columns, entries = space.K.getValuesCSR()
    K = np.zeros((space.size, space.size))
    K[np.repeat(np.arange(space.size), np.diff(pointer)), columns] = entries
    dual = DualNorm(space)
    for seed in range(3):
        h = np.random.default_rng(seed).normal(size=space.size)
        load = space.D * (h - space.D @ h)
        exact = load @ np.linalg.solve(K + np.outer(space.D, space.D), load)
        assert dual.squared(h) == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize(
    ("teacher", "options"),
    [
        (ufd.AngularCauchy(3, 0.7), {"cells": 24, "degree": 8}),
        (ufd.VonMisesFisher([0.6, 0, 0.8], 1.0), {"cells": 2, "degree": 6}),
        (ufd.VonMisesFisher([0.6, 0, 0.8], 1.0), {"cells": 2, "degree": 1}),
    ],
    ids=["circle", "sphere", "icosphere"],
)
def test_its_decay_is_the_reverse_chi2(teacher, options):
    """m = -1: |w-1|^2 falls by 2 int (w-1)(phi(w)-phi(1)) dnu dt = 2 int chi2_reverse dt."""
    problem = ufd.UltraFastDiffusion(teacher, ufd.Uniform(teacher.manifold))
    result = ufd.solve(problem, [2.0], rtol=1e-8, modes=1, guarantees=True, **options)
    t, hminus1 = result.series["t"], result.series["hminus1"]
    spent = CubicSpline(t, 2 * result.series["chi2_reverse"]).antiderivative()
    np.testing.assert_allclose(hminus1, hminus1[0] - spent(t), rtol=0, atol=1e-6 * hminus1[0])
    assert hminus1[-1] < 0.2 * hminus1[0]


def test_backward_euler_obeys_the_discrete_identity():
    """|w|^2 + |w - r|^2 + 2 dt chi2_reverse = |r|^2 at every step, r the state before."""
    teacher = ufd.AngularCauchy(3, 0.7)
    problem = ufd.UltraFastDiffusion(teacher, ufd.Uniform(CIRCLE))
    options = {"cells": 40, "degree": 1, "stepper": ufd.BackwardEuler(), "dt": 0.2}
    solver = ufd.DiffusionSolver(problem, **options)
    dual, before = DualNorm(solver.space), solver.evolution.values.copy()
    for _ in range(10):
        after = solver.step().values
        spent = 2 * 0.2 * solver.functionals()["chi2_reverse"]
        left = dual.squared(after - 1) + dual.squared(after - before) + spent
        assert left == pytest.approx(dual.squared(before - 1), rel=1e-9)
        before = after.copy()

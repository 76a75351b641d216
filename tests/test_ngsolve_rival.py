"""The rival solves the same equation: it agrees with ufd, keeps the mass, says when it fails."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ufd

pytest.importorskip("ngsolve")

from support import ngsolve_log
from support import ngsolve_rival as rival

SMALL: dict[str, Any] = {"maxh": 0.5, "order": 5, "rtol": 1e-5}


@pytest.fixture(scope="module")
def ours():
    """D(1) of MILD by ufd at a modest resolution."""
    parts = [ufd.VonMisesFisher(mean, kappa) for _, mean, kappa in rival.CASES["mild"]]
    weights = [weight for weight, _, _ in rival.CASES["mild"]]
    problem = ufd.UltraFastDiffusion(ufd.Mixture(parts, weights), ufd.Uniform(ufd.Sphere(2)))
    result = ufd.solve(problem, [1.0], degree=6, cells=3, rtol=1e-6)
    return float(result.series["divergence"][-1])


@pytest.mark.parametrize("unknown", rival.UNKNOWNS)
@pytest.mark.parametrize("method", sorted(rival.METHODS))
def test_agrees(ours, method, unknown):
    outcome = rival.solve("mild", **SMALL | {"rtol": 1e-4}, method=method, unknown=unknown)
    assert outcome.failure == ""
    # log w itself conserves mass within the tolerance of the steps only
    assert abs(outcome.mass_defect) < (1e-4 if unknown == "log w" else 1e-5)
    assert outcome.divergence == pytest.approx(ours, rel=2e-4)


@pytest.mark.parametrize(("method", "order"), [("trbdf2", 2), ("esdirk3", 3), ("esdirk4", 4)])
def test_order_conditions(method, order):
    """Those of the method up to its order, and of the embedded one."""
    tableau = rival.METHODS[method]
    A = np.zeros((len(tableau.rows), len(tableau.rows)))
    for i, row in enumerate(tableau.rows[1:], start=1):
        A[i, :i], A[i, i] = row, tableau.gamma
    b, c = A[-1], A.sum(axis=1)
    assert A @ c == pytest.approx(c**2 / 2, abs=1e-14)
    for weights, reached in ((b, order), (b - tableau.error, tableau.order - 1)):
        for power in range(reached):
            assert weights @ c**power == pytest.approx(1 / (power + 1), abs=1e-13)
    if order == 4:
        assert b @ A @ c**2 == pytest.approx(1 / 12, abs=1e-13)


@pytest.mark.parametrize("unknown", rival.UNKNOWNS)
def test_jacobian_is_exact(unknown):
    """Solving with it undoes the central difference of the residual."""
    space = rival.UNKNOWNS[unknown](rival.CASES["mild"], 0.8, 3, 0)
    generator = np.random.default_rng(0)
    scale = np.abs(space.first[: space.dofs]).mean()
    change, direction = (scale * generator.uniform(-0.03, 0.03, space.dofs) for _ in range(2))
    z = space.first + space.extended(change)
    assert np.all(space.ratio(z) > 0)
    d, r, tau = 1e-5 * space.extended(direction), space.start, 0.05
    difference = space.residual(z + d, r, tau) - space.residual(z - d, r, tau)
    space.factorise(z, r, tau)
    assert space.solve(-difference)[: space.dofs] == pytest.approx(
        2e-5 * direction, abs=1e-10 * scale
    )


def test_shapes_are_those_of_the_sparse_matrix():
    """Values are the sparse product, derivatives give the stiffness matrix, and the adjoint."""
    space = ngsolve_log.Logarithm(rival.CASES["front"], 0.6, 4, 1)
    generator = np.random.default_rng(1)
    coefficients = generator.normal(size=space.dofs)
    values = space._shapes.values(coefficients)
    assert values[0] == pytest.approx(space._B @ coefficients, abs=1e-12)
    tested = generator.normal(size=values.shape)
    assert space._shapes.tested(tested) @ coefficients == pytest.approx((tested * values).sum())
    stiff = rival.Reciprocal(rival.CASES["front"], 0.6, 4, 1)
    z = space.extended(coefficients)
    energy = -coefficients @ space._tested(0.0, 1.0, z)
    assert energy == pytest.approx(coefficients @ (stiff._A @ coefficients), rel=1e-10)


def test_log_keeps_the_mass_only_if_it_is_stepped():
    """The error of log w itself shows in the mass, and falls with the tolerance."""
    plain, finer = (
        rival.solve("mild", maxh=0.6, order=3, rtol=rtol, unknown="log w") for rtol in (1e-3, 1e-5)
    )
    kept = rival.solve("mild", maxh=0.6, order=3, rtol=1e-3, unknown="log w, conserved")
    assert abs(kept.mass_defect) < 0.1 * abs(plain.mass_defect)
    assert abs(finer.mass_defect) < min(1e-5, 0.1 * abs(plain.mass_defect))


@pytest.mark.parametrize("unknown", rival.UNKNOWNS)
def test_fresh_factorises_every_time(unknown):
    lagged = rival.solve("mild", **SMALL, unknown=unknown)
    fresh = rival.solve("mild", **SMALL, fresh=True, unknown=unknown)
    # log w makes one before, for its first slope
    assert fresh.factorisations == fresh.newton + (unknown == "log w")
    assert lagged.factorisations < lagged.newton / 5
    assert lagged.divergence == pytest.approx(fresh.divergence, rel=1e-5)


@pytest.mark.parametrize("unknown", rival.UNKNOWNS)
def test_refinement_helps_a_front(unknown):
    coarse = rival.solve("front", maxh=0.5, order=4, rtol=1e-3, unknown=unknown)
    fine = rival.solve("front", maxh=0.5, order=4, rtol=1e-3, levels=1, unknown=unknown)
    assert fine.dofs > 2 * coarse.dofs
    assert abs(fine.divergence - 0.1324827) < 0.5 * abs(coarse.divergence - 0.1324827)


@pytest.mark.parametrize("unknown", rival.UNKNOWNS)
def test_loose_tolerance(unknown):
    """The first step may need no iteration, and so no factorisation, before its error is wanted."""
    outcome = rival.solve("mild", maxh=0.8, order=2, rtol=0.1, unknown=unknown)
    assert outcome.failure == ""
    assert outcome.divergence == pytest.approx(0.0332, rel=0.05)


@pytest.mark.parametrize("unknown", rival.UNKNOWNS)
def test_failure_is_reported(unknown):
    outcome = rival.solve("mild", **SMALL, limit=0.0, unknown=unknown)
    assert outcome.failure.startswith("out of time at t = 0")
    assert outcome.steps == 0


def test_singular_jacobian_cuts_the_step(monkeypatch):
    """SuperLU's error is a failed stage: the run goes on with a shorter step."""
    linearise, attempts = ngsolve_log.Logarithm._linearise, []

    def sometimes_singular(space, z, r, tau):
        linearise(space, z, r, tau)
        attempts.append(tau)
        if len(attempts) in (6, 7):
            space._values[:] = 0.0

    monkeypatch.setattr(ngsolve_log.Logarithm, "_linearise", sometimes_singular)
    outcome = rival.solve("mild", maxh=0.6, order=3, rtol=1e-3, unknown="log w", limit=20.0)
    assert outcome.failure == ""
    assert len(attempts) == outcome.factorisations + 2
    assert outcome.divergence == pytest.approx(0.0332072, rel=1e-3)

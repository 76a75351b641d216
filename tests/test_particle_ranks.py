"""Samples shared out over any number of ranks: the particles of one rank, the same errors on all.

Sums over the ranks end in another order, so that the last digits differ.
"""

from __future__ import annotations

import numpy as np
import pytest
from mpi4py import MPI

import ufd
from ufd.particles.rows import SampleRows, split
from ufd.particles.sampled import SampledModel
from ufd.problem.penalties import PowerPenalty, QuadraticPenalty
from ufd.problem.potentials import network_output

SPHERE, MIXED = ufd.Sphere(2), ufd.ReLU() + 0.5 * ufd.ReLU(power=2)
TEACHER = ufd.VonMisesFisher([0.48, -0.6, 0.64], 3.0)
PROBLEM = ufd.UltraFastDiffusion(TEACHER, ufd.Uniform(SPHERE))
OPTIONS = {"features": MIXED, "lam": 1e-2, "width": 32, "data": 200, "seed": 5}


def agreed(comm: MPI.Comm, text: str) -> bool:
    return set(comm.allgather(text)) == {text} and "\n" not in text


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("changes", "p"),
    [
        ({}, 2.0),
        ({"target": 9, "start": "iid"}, 2.0),
        ({"epsilon": 1e-2}, 2.0),
        ({"batch": 40, "momentum": 0.5, "stepper": ufd.Euler(), "dt": 0.01}, 2.0),
        ({"stepper": ufd.RK23()}, 1.0),
    ],
)
def test_the_particles_of_one_rank(changes, p, comm):
    """To 1e-12 in the features after a tenth of time, and to the last bit on every rank."""
    problem = ufd.UltraFastDiffusion(TEACHER, PROBLEM.initial, ufd.PowerDivergence(p))
    shared, alone = (
        ufd.VarProSolver(problem, comm=c, **OPTIONS | changes) for c in (comm, MPI.COMM_SELF)
    )
    assert np.array_equal(shared.state.features, alone.state.features)
    ours, single = shared.advance(0.1), alone.advance(0.1)
    np.testing.assert_allclose(ours.features, single.features, rtol=0, atol=1e-12)
    np.testing.assert_allclose(ours.outer_weights, single.outer_weights, rtol=0, atol=1e-10)
    assert shared.stats["steps"] == alone.stats["steps"]
    assert shared.stats["ranks"] == comm.size and alone.stats["ranks"] == 1
    seen = comm.allgather(ours.features.tobytes())
    assert len(set(seen)) == 1
    assert shared.functionals() == pytest.approx(alone.functionals(), rel=1e-10, abs=1e-13)


@pytest.mark.mpi
@pytest.mark.parametrize("lam", [1e-2, 1e-9])
@pytest.mark.parametrize("penalty", [QuadraticPenalty(1.0), QuadraticPenalty(0.0), PowerPenalty(1)])
def test_one_fit(penalty, lam, comm):
    """Weights, forces and misfit of shared rows, at large and at tiny lam, with an empty rank."""
    rng = np.random.default_rng(6)
    omega, x = ufd.quantiles(TEACHER, 12), rng.normal(size=(60, 3))
    y = network_output(MIXED, TEACHER, x)
    lam = max(lam, 1e-3) if isinstance(penalty, PowerPenalty) else lam
    whole = SampledModel(SampleRows(MIXED, x), y, 1 / 60, MPI.COMM_SELF, {})
    # All rows on the first ranks: the last one has none.
    own = split(60, min(comm.rank, comm.size - 1), max(comm.size - 1, 1))
    own = own if comm.size == 1 or comm.rank < comm.size - 1 else slice(0, 0)
    shared = SampledModel(SampleRows(MIXED, x[own]), y[own], 1 / 60, comm, {})
    for ours, single in (
        (shared.optimum(omega, lam, penalty), whole.optimum(omega, lam, penalty)),
        (shared.fit(omega, np.ones(12), lam), whole.fit(omega, np.ones(12), lam)),
    ):
        for name in ("outer", "pressure", "force"):
            expected = getattr(single, name)
            error = np.linalg.norm(getattr(ours, name) - expected)
            assert error <= 1e-11 * max(np.linalg.norm(expected), 1.0)
        assert ours.misfit == pytest.approx(single.misfit, rel=1e-10)


@pytest.mark.mpi
def test_a_run_on_all_ranks(comm, shared_tmp):
    """Trained, saved and loaded together: every rank holds the same run."""
    run = ufd.train(PROBLEM, MIXED, 1e-2, 32, [0.05, 0.1], data=200, seed=5, comm=comm)
    run.save(shared_tmp / "run", comm)
    again = ufd.load(shared_tmp / "run", comm=comm)
    assert np.array_equal(again.features(0.1), run.features(0.1))
    assert again.provenance["seed"] == 5 and again.stats["ranks"] == comm.size
    found = run.series["risk"].tobytes() + run.features(0.1).tobytes()
    assert len(set(comm.allgather(found))) == 1


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": np.full((10, 3), np.nan)}, "data: row 0"),
        ({"data": np.zeros((10, 2))}, "data: samples of shape (10, 2)"),
        ({"lam": -1}, "lam = -1"),
        ({"features": ufd.Step()}, "a step has no gradient"),
        ({"start": "random"}, "start = 'random'"),
        ({"seed": -1}, "seed = -1"),
    ],
)
def test_refusals_on_every_rank(changes, words, comm):
    """The same line on all of them."""
    with pytest.raises(ufd.InputError) as caught:
        ufd.VarProSolver(PROBLEM, comm=comm, **OPTIONS | changes)
    assert words in str(caught.value) and agreed(comm, str(caught.value))


@pytest.mark.mpi
def test_data_that_one_rank_sees(comm):
    """A teacher's function that fails on one rank's samples fails on all, with its words."""
    calls = []

    def sigma(t):
        calls.append(t.shape)
        if comm.rank == comm.size - 1:
            raise ufd.InputError("sigma fails here")
        return np.tanh(t)

    feature = ufd.Activation(sigma, lambda t: 1 / np.cosh(t) ** 2)
    with pytest.raises(ufd.InputError) as caught:
        ufd.VarProSolver(PROBLEM, comm=comm, **OPTIONS | {"features": feature})
    assert str(caught.value) == "sigma fails here" and agreed(comm, str(caught.value))
    assert calls and comm.allreduce(1) == comm.size


@pytest.mark.mpi
def test_lost_regularisation_on_every_rank(comm):
    """Twice the same features and a lam below round-off: all ranks say so."""
    start = np.repeat(ufd.quantiles(TEACHER, 16), 2, axis=0)
    with pytest.raises(ufd.SolverError) as caught:
        ufd.VarProSolver(PROBLEM, comm=comm, **OPTIONS | {"start": start, "lam": 1e-300})
    assert "lam = 1e-300" in str(caught.value) and agreed(comm, str(caught.value))

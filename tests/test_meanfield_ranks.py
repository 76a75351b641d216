"""The mean-field equation over any number of ranks."""

from __future__ import annotations

import numpy as np
import pytest
from mpi4py import MPI

import ufd

MIXED = ufd.ReLU() + 0.5 * ufd.ReLU(power=2)
CIRCLE, SPHERE = ufd.Sphere(1), ufd.Sphere(2)
BIMODAL = ufd.Mixture([ufd.AngularCauchy(10), ufd.AngularCauchy(10, 0.4 * np.pi)], [2 / 3, 1 / 3])
CAPS = ufd.Mixture([ufd.VonMisesFisher([0, 0, 1], 2), ufd.VonMisesFisher([1, 0, 0], 3)], [0.6, 0.4])


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("teacher", "feature", "lam", "mesh"),
    [
        (BIMODAL, ufd.ReLU(), 0.0, {"cells": 64}),
        (BIMODAL, MIXED, 1e-3, {"cells": 8, "degree": 4}),
        (CAPS, MIXED, 1e-3, {"cells": 2}),
        (CAPS, ufd.ReLU(), 1e-2, {"cells": 2, "degree": 3}),
    ],
)
def test_the_run_of_one_rank(teacher, feature, lam, mesh, comm):
    """The same series to 1e-7, and the same state and weights on every rank.

    Stages are solved as far as rounding allows: error estimates, and with them the times of the
    steps, show the tolerance of the stages many times enlarged.
    """
    problem = ufd.UltraFastDiffusion(teacher, ufd.Uniform(teacher.manifold))
    times, options = [0.1], {"rtol": 1e-4, "tolerance": 1e-12, **mesh}
    shared = ufd.meanfield(problem, feature, lam, times, comm=comm, **options)
    alone = ufd.meanfield(problem, feature, lam, times, comm=MPI.COMM_SELF, **options)
    assert shared.stats["steps"] == alone.stats["steps"]
    for name in ("t", "mass", "risk", "chi2", "min_ratio", "max_outer"):
        np.testing.assert_allclose(shared.series[name], alone.series[name], rtol=1e-7, atol=1e-12)
    points = np.random.default_rng(3).normal(size=(9, teacher.manifold.ambient_dim))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    for name in ("density", "outer_weights"):
        values = getattr(shared, name)(points, 0.1)
        np.testing.assert_allclose(values, getattr(alone, name)(points, 0.1), rtol=1e-6)
        assert len({each.tobytes() for each in comm.allgather(values)}) == 1


@pytest.mark.mpi
def test_saved_on_some_ranks_and_read_on_others(comm, tmp_path):
    """What all ranks wrote, each reads alone."""
    place = comm.bcast(tmp_path)
    problem = ufd.UltraFastDiffusion(CAPS, ufd.Uniform(SPHERE))
    run = ufd.meanfield(problem, MIXED, 1e-2, [0.05], comm=comm, cells=2, rtol=1e-3)
    run.save(place, comm)
    points = np.eye(3)
    there = run.density(points, 0.05)
    alone = ufd.load(place, comm=MPI.COMM_SELF)
    np.testing.assert_allclose(alone.density(points, 0.05), there, rtol=1e-12)
    np.testing.assert_allclose(
        alone.outer_weights(points, 0.05), run.outer_weights(points, 0.05), rtol=1e-12
    )
    comm.Barrier()

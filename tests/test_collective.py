"""Evaluation is collective: ranks that ask for different things are told so, all of them."""

from __future__ import annotations

import numpy as np
import pytest

import ufd
from ufd.exceptions import InputError

CIRCLE, SPHERE = ufd.Sphere(1), ufd.Sphere(2)
FEATURES = ufd.ReLU() + ufd.Step()
RUNS = {
    "circle": lambda comm: ufd.solve(problem(CIRCLE), [0.1, 0.2], cells=8, degree=3, comm=comm),
    "icosphere": lambda comm: ufd.solve(problem(SPHERE), [0.1, 0.2], cells=2, degree=1, comm=comm),
    "mean field": lambda comm: ufd.meanfield(
        problem(CIRCLE), FEATURES, 1e-2, [0.1, 0.2], cells=32, comm=comm
    ),
}


def problem(sphere):
    mean = np.eye(sphere.ambient_dim)[0]
    return ufd.UltraFastDiffusion(ufd.VonMisesFisher(mean, 1.0), ufd.Uniform(sphere))


def some(count: int, dim: int, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=(count, dim))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.mpi
@pytest.mark.parametrize("kind", RUNS)
def test_points_that_differ_by_rank(kind, comm):
    """Rows, counts, shapes and times of their own are refused on every rank; then all goes on."""
    run = RUNS[kind](comm)
    dim = 3 if kind == "icosphere" else 2
    x = some(max(comm.size, 2), dim)
    before = run.density(x, 0.2)
    own = {
        "one point each": lambda: run.density(x[comm.rank : comm.rank + 1], 0.2),
        "a bit": lambda: run.ratio(x + (comm.rank == comm.size - 1) * 1e-13, 0.2),
        "counts": lambda: run.ratio(x[: 1 + (comm.rank > 0)], 0.2),
        "times": lambda: run.density(x, 0.2 if comm.rank else 0.1),
        "a state": lambda: run.at(0.1).density(np.roll(x, comm.rank, axis=0)),
        "none": lambda: run.ratio(np.empty((0, dim)) if comm.rank else x, 0.2),
    }
    for ask in own.values():
        if comm.size == 1:
            ask()
            continue
        with pytest.raises(InputError, match="points: they or the times differ") as caught:
            ask()
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
    with pytest.raises(InputError, match="points: "):  # of one rank, told to all
        run.density(x if comm.rank else 2 * x, 0.2)
    np.testing.assert_array_equal(run.density(x, 0.2), before)


@pytest.mark.mpi
def test_solvers_ask_too(comm):
    """A solver that a script drives, and one that was loaded from a file elsewhere, are alike."""
    solver = ufd.DiffusionSolver(problem(CIRCLE), cells=8, degree=3, comm=comm)
    solver.step()
    x = some(4, 2)
    for ask in (solver.ratio, solver.density):
        found = ask(x)
        assert comm.allgather(found.tobytes()) == [found.tobytes()] * comm.size
        if comm.size > 1:
            with pytest.raises(InputError, match="points: they or the times differ"):
                ask(x[comm.rank :])

"""200 random smooth problems obey what is guaranteed: the certified pair, and an accurate one."""

from __future__ import annotations

import numpy as np
import pytest

import ufd
from ufd.problem.guarantees import GUARANTEED

CIRCLE, SPHERE = ufd.Sphere(1), ufd.Sphere(2)


def random_density(rng: np.random.Generator, sphere: ufd.Sphere, contrast: float):
    """exp of a random cubic polynomial of a given range, or a mixture of two bumps."""
    d = sphere.ambient_dim
    if rng.integers(3):
        linear, quadratic, cubic = rng.normal(size=d), rng.normal(size=(d, d)), rng.normal(size=d)
        x = rng.normal(size=(2000, d))
        x /= np.linalg.norm(x, axis=1, keepdims=True)

        def polynomial(x: np.ndarray) -> np.ndarray:
            return x @ linear + np.einsum("ni,ij,nj->n", x, quadratic, x) + (x @ cubic) ** 3

        scale = np.log(contrast) / np.ptp(polynomial(x))
        return ufd.density(sphere, lambda x: np.exp(scale * polynomial(x)))
    share, kappa = rng.uniform(0.2, 0.8), np.log(contrast) / 2
    bumps = [ufd.VonMisesFisher(rng.normal(size=d), kappa) for _ in range(2)]
    return ufd.Mixture(bumps, [share, 1 - share])


def random_problem(
    seed: int, sphere: ufd.Sphere
) -> tuple[ufd.UltraFastDiffusion, np.random.Generator]:
    """Teacher, start and exponent; contrasts up to 20 and 30."""
    rng = np.random.default_rng([seed, sphere.dim])
    m = float(rng.choice([-3, -2, -1, -0.5, 0, 0.25, 0.5, 0.75, 1, rng.uniform(-3, 1)]))
    teacher = random_density(rng, sphere, np.exp(rng.uniform(0.1, 3)))
    start = random_density(rng, sphere, np.exp(rng.uniform(0.1, 3.4)))
    return ufd.UltraFastDiffusion(teacher, start, ufd.PowerDivergence(1 - m)), rng


def check(result: ufd.solve, certified: bool) -> None:
    """Every functional stays below its envelope, and nothing is reported as broken."""
    found = result.guarantees()
    assert [g.functional for g in found] == list(GUARANTEED)
    for guarantee in found:
        assert guarantee.certified == certified
        assert guarantee.holds, guarantee.sentence()
        assert guarantee.end > 0
    assert result.status is ufd.StopReason.FINISHED and result.broken_promises() == []


PROBLEMS = [(1, seed) for seed in range(140)] + [(2, seed) for seed in range(60)]


@pytest.mark.parametrize(("dim", "seed"), PROBLEMS)
def test_random_problems(dim, seed):
    """Certificates of degree 1 with backward Euler, and envelopes of high degree with SDIRK4."""
    problem, rng = random_problem(seed, ufd.Sphere(dim))
    end = rng.uniform(0.3, 2) / dim
    coarse = {"cells": int(rng.integers(40, 81)) if dim == 1 else 1 + seed % 2, "degree": 1}
    coarse |= {"stepper": ufd.BackwardEuler(), "guarantees": True, "modes": 1}
    check(ufd.solve(problem, [end], dt=end / rng.uniform(5, 25), **coarse), True)
    check(ufd.solve(problem, [end], rtol=2e-3, **coarse), True)
    fine = {"cells": 16, "degree": 8} if dim == 1 else {"cells": 3, "degree": 4}
    check(ufd.solve(problem, [end], rtol=1e-5, guarantees=True, modes=1, **fine), False)

"""Rates of noisy training: the same verdict whatever round-off does, on any number of ranks."""

from __future__ import annotations

import numpy as np
import pytest
from mpi4py import MPI

import ufd
from ufd.analysis.langevin_claims import langevin_claim

SPHERE = ufd.Sphere(2)
TEACHER = ufd.VonMisesFisher([0, 0.6, 0.8], 1)
MIXED = ufd.ReLU() + 0.5 * ufd.ReLU(power=2)
LAMS = [None, 0.01]


def run(lam, perturbation=0.0, comm=MPI.COMM_SELF):
    """Noise on the sphere, from a start that is uniform but for a perturbation."""
    start = ufd.Uniform(SPHERE)
    if perturbation:
        start = ufd.ZonalHarmonic(np.eye(3)[0], 1, perturbation)
    return ufd.langevin(
        ufd.UltraFastDiffusion(TEACHER, start), MIXED, 0.5, [12.0], lam=lam, comm=comm,
        cells=2, degree=1, rtol=1e-7,
    )  # fmt: skip


@pytest.mark.parametrize("lam", LAMS)
def test_perturbed_starts(lam):
    """Changes of 1e-14 move neither verdict nor rate; errors stay within 20 % of each other."""
    found = [run(lam, eps) for eps in (0.0, 1e-14, -3e-14, 5e-14)]
    fits = [each.fit_rate() for each in found]
    errors = [fit.stderr for fit in fits]
    assert max(errors) <= 1.2 * min(errors)
    assert np.ptp([fit.rate for fit in fits]) <= min(errors)
    assert {langevin_claim(each)["verdict"] for each in found} == {"agrees"}


@pytest.mark.mpi
def test_over_ranks(comm):
    """One rank or several: the same verdict, errors within 20 % of each other."""
    shared, alone = run(None, comm=comm), run(None)
    fit, other = shared.fit_rate(), alone.fit_rate()
    assert 1 / 1.2 <= fit.stderr / other.stderr <= 1.2
    assert fit.rate == pytest.approx(other.rate, abs=other.stderr)
    assert langevin_claim(shared)["verdict"] == langevin_claim(alone)["verdict"] == "agrees"

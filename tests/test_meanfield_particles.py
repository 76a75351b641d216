"""The mean-field equation against the particles that it describes: another method, other code.

Particles at quantiles are off a smooth density by their own atoms and no more: MMD = 1.0233/M on
the circle, sqrt(pi/3) (docs/theory.md section 13).
"""

from __future__ import annotations

import math

import numpy as np
import pytest

import ufd

TEACHER = ufd.Mixture([ufd.AngularCauchy(10), ufd.AngularCauchy(10, 0.4 * np.pi)], [2 / 3, 1 / 3])
PROBLEM = ufd.UltraFastDiffusion(TEACHER, ufd.Uniform(ufd.Sphere(1)))
MIXED = ufd.ReLU() + 0.5 * ufd.ReLU(power=2)
LAM, TIMES = 1e-3, [0.5, 1.0]


@pytest.fixture(scope="module")
def densities():
    """Curved elements: an error of 1e-6, far below the floor of 4,096 atoms."""
    return ufd.meanfield(PROBLEM, MIXED, LAM, TIMES, cells=48, degree=8, rtol=1e-6)


def excess(width: int, densities, lam=LAM, **options) -> tuple[list[float], list[float]]:
    """MMD in floors, and H^-2 distance of the first sixteen harmonics."""
    options = {"kernel": "harmonic", "rtol": 1e-4} | options
    run = ufd.train(PROBLEM, MIXED, lam, width, TIMES, **options)
    floor = math.sqrt(math.pi / 3) / width
    states = [(run.at(t), densities.at(t)) for t in TIMES]
    return (
        [ufd.mmd(*pair) / floor for pair in states],
        [ufd.sobolev_distance(*pair, 2, degree=16) for pair in states],
    )


@pytest.mark.parametrize("width", [128, 1024])
def test_particles_at_quantiles(width, densities):
    """Only their atoms apart, at two widths; the low harmonics agree to the steps' error."""
    floors, low = excess(width, densities)
    np.testing.assert_allclose(floors, 1.0, atol=2e-3)
    assert max(low) < 1e-4


@pytest.mark.slow
def test_four_thousand_particles(densities):
    """At M = 4096 within what 1024 and 2048 leave: their distance falls like 1/M to it."""
    for width in (1024, 2048, 4096):
        floors, low = excess(width, densities, rtol=1e-5)
        np.testing.assert_allclose(floors, 1.0, atol=2e-3)
        assert max(low) < 1e-5


def test_biased_particles(densities):
    """The biased penalty has a limit of its own, and the particles find it."""
    lam, options = 1e-2, {"cells": 48, "degree": 8, "rtol": 1e-6}
    biased = ufd.meanfield(PROBLEM, MIXED, lam, TIMES, reference=0.0, **options)
    floors, low = excess(256, biased, lam, reference=0.0)
    np.testing.assert_allclose(floors, 1.0, atol=2e-3)
    assert max(low) < 1e-4
    unbiased = ufd.meanfield(PROBLEM, MIXED, lam, TIMES, **options)
    assert ufd.mmd(biased.at(1.0), unbiased.at(1.0)) > 1e-3


def test_outer_weights(densities):
    """u at the particles is u of the equation there."""
    run = ufd.train(PROBLEM, MIXED, LAM, 512, TIMES, kernel="harmonic", rtol=1e-5)
    ours = densities.outer_weights(run.features(1.0), 1.0)
    np.testing.assert_allclose(ours, run.outer_weights(1.0), atol=2e-4)


def test_risk(densities):
    """The risk of many particles is that of the equation, up to their own atoms."""
    run = ufd.train(PROBLEM, MIXED, LAM, 512, TIMES, kernel="harmonic", rtol=1e-5)
    np.testing.assert_allclose(run.at_times("risk"), densities.at_times("risk"), rtol=1e-3)

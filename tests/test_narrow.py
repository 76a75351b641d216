"""Quantiles and W2 of densities narrower than any equispaced table, against error functions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import ndtr

import ufd
from ufd.problem.torus import PeriodicCauchy

CIRCLE, SPHERE = ufd.Sphere(1), ufd.Sphere(2)


def on_circle(angle) -> np.ndarray:
    return np.column_stack([np.cos(angle), np.sin(angle)])


def narrow(angle: float, kappa: float) -> ufd.VonMisesFisher:
    return ufd.VonMisesFisher([math.cos(angle), math.sin(angle)], kappa)


def drawn(seed: int):
    """A mixture of up to four narrow parts away from the cut: weights, angles, concentrations."""
    rng = np.random.default_rng(seed)
    parts = rng.integers(1, 5)
    weights = rng.dirichlet(np.full(parts, 2.0))
    weights /= weights.sum()
    centres = np.sort(rng.uniform(0.5, 5.5, parts))
    kappas = 10.0 ** rng.uniform(*((5, 8) if seed % 2 else (8, 12)), parts)
    law = ufd.Mixture([narrow(*each) for each in zip(centres, kappas, strict=True)], weights)
    return law, weights, centres, kappas


@pytest.mark.parametrize("seed", range(24))
def test_random_mixtures(seed):
    """Quantiles by the normal distribution function, W2 to an atom and to a turned copy."""
    law, weights, centres, kappas = drawn(seed)
    points = ufd.quantiles(law, 200)
    found = np.sort(np.arctan2(points[:, 1], points[:, 0]) % (2 * np.pi))
    level = ndtr((found[:, None] - centres) * np.sqrt(kappas)) @ weights
    # Values of a density of concentration kappa are known to kappa times round-off.
    noise = 2e-16 * kappas.max()
    assert level == pytest.approx((np.arange(200) + 0.5) / 200, abs=1 / kappas.min() + noise)
    away = (centres - 3.0 + np.pi) % (2 * np.pi) - np.pi
    squared = weights @ (away**2 + 1 / kappas)
    got = ufd.wasserstein(law, (on_circle([3.0]), None))
    assert got == pytest.approx(math.sqrt(squared), rel=1e-5 + noise)
    turn = 1e-2 / (1 + seed)
    turned = ufd.Mixture(
        [narrow(*each) for each in zip(centres + turn, kappas, strict=True)], weights
    )
    # What noise adds to one part goes to another across the gap between them.
    lost = math.sqrt(turn**2 + 30 * noise) - turn
    assert ufd.wasserstein(law, turned) == pytest.approx(turn, rel=1e-6, abs=lost)


@pytest.mark.parametrize("kappa", [1e4, 1e6, 1e7, 1e8, 1e10, 1e12])
@pytest.mark.parametrize("angle", [0.0, 1.0, -2.5])
def test_one_peak_and_its_centre(kappa, angle):
    """The standard deviation 1/sqrt(kappa), also where the circle is cut."""
    got = ufd.wasserstein(narrow(angle, kappa), (on_circle([angle]), None))
    expected = 1 / math.sqrt(kappa)
    assert got == pytest.approx(expected, rel=1e-6 + 0.3 / kappa + 2e-14 * kappa)


@pytest.mark.parametrize("gamma", [1e5, 1e8, 1e12])
def test_wide_tails(gamma):
    """The wrapped Cauchy density: its second moment is in its tails."""
    law = ufd.AngularCauchy(gamma, 1.0)

    def weighed(x: float) -> float:
        return x * x * math.sqrt(1 + gamma) / (1 + gamma * math.sin(x / 2) ** 2) / math.pi

    edges = [0.0, *(10.0**k for k in range(-9, 1)), math.pi]
    squared = sum(quad(weighed, a, b, epsabs=0)[0] for a, b in itertools.pairwise(edges))
    got = ufd.wasserstein(law, (on_circle([1.0]), None))
    assert got == pytest.approx(math.sqrt(squared), rel=1e-4)


def test_a_narrow_part_with_little_weight():
    """A peak that no first panel sees, on a broad density: on the circle, a torus and S^2."""
    law = ufd.Mixture([narrow(2.0, 1e12), ufd.Uniform(CIRCLE)], [0.25, 0.75])
    points = ufd.quantiles(law, 1000)
    assert np.sum(points @ on_circle([2.0])[0] > 1 - 1e-9) == pytest.approx(250, abs=1)
    sphere = ufd.Mixture(
        [ufd.VonMisesFisher([0.6, 0.8, 0], 1e9), ufd.VonMisesFisher([0, -1, 1], 3.0)], [0.25, 0.75]
    )
    points = ufd.quantiles(sphere, 400)
    assert np.sum(points @ np.array([0.6, 0.8, 0]) > 1 - 1e-7) == pytest.approx(100, abs=2)
    torus = PeriodicCauchy(1e12, [0.3], 2.0)
    points = ufd.quantiles(torus, 101)
    assert np.median(np.abs(points - 0.3)) < 1e-5


def test_values_alone_do_not_tell():
    """A density known by values only that is narrower than the table is refused, in one line."""

    class Values:
        manifold = CIRCLE

        @staticmethod
        def density(x):
            return np.exp(narrow(1.0, 1e9).log_density(x))

    with pytest.raises(ufd.InputError, match="too narrow") as caught:
        ufd.wasserstein(Values, ufd.Uniform(CIRCLE))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300

"""The energy kernel in harmonics of spheres and tori, and densities and atoms on tori."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad

import ufd
from ufd.problem.distances import energy, minimum_image_discrepancy, mmd
from ufd.problem.expansions import energy_coefficients
from ufd.problem.fourier import torus_energy_coefficients
from ufd.problem.harmonics import zonal_harmonics
from ufd.problem.manifolds import Torus
from ufd.problem.torus import PeriodicCauchy


def on_circle(angles):
    return np.column_stack([np.cos(angles), np.sin(angles)])


@pytest.mark.parametrize("dim", [1, 2, 3, 4, 7])
def test_energy_coefficients(dim):
    """The closed form against adaptive quadrature in the angle, where nothing is singular."""

    def integral(degree):
        def integrand(angle):
            *_, p = zonal_harmonics(dim, degree, np.array(math.cos(angle)))
            return -2 * math.sin(angle / 2) * float(p) * math.sin(angle) ** (dim - 1)

        area, _ = quad(lambda angle: math.sin(angle) ** (dim - 1), 0, math.pi)
        return quad(integrand, 0, math.pi, epsabs=1e-13)[0] / area

    got = energy_coefficients(dim, 8)
    np.testing.assert_allclose(got, [integral(l_) for l_ in range(9)], atol=1e-12)
    k = np.arange(9)
    if dim == 1:
        np.testing.assert_allclose(got, 4 / math.pi / (4 * k**2 - 1), rtol=1e-13)
    if dim == 2:
        exact = 4 / ((2 * k - 1) * (2 * k + 1) * (2 * k + 3))
        np.testing.assert_allclose(got, exact, rtol=1e-13)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_chordal_kernel_on_tori(dim):
    """Its Fourier coefficients are positive, sum to the kernel and are the circle's for dim 1."""
    torus, degree = Torus(dim, 3.0), (400, 60, 24)[dim - 1]
    kernel = torus_energy_coefficients(torus, degree)
    flat = np.delete(kernel.ravel(), kernel.size // 2)
    assert flat.min() > 0
    if dim == 1:
        expected = energy_coefficients(1, degree) * 3 / (2 * math.pi)
        np.testing.assert_allclose(kernel[degree:], expected, rtol=1e-9)
    for at in (0.5, 0.21):
        waves = np.exp(2j * np.pi * at * np.arange(-degree, degree + 1))
        value = kernel.astype(complex)
        for _ in range(dim):
            value = value @ waves
        point = np.full((1, dim), at * 3.0)
        chord = np.linalg.norm(torus.embed(point) - torus.embed(0 * point))
        assert value.real == pytest.approx(-chord, abs=2e-3 if dim == 1 else 6e-3)


@pytest.mark.parametrize("dim", [1, 2])
def test_densities_on_tori(dim):
    """Against a fine grid of atoms, which tends to the density like its spacing."""
    torus = Torus(dim, 3.0)
    law = PeriodicCauchy(4.0, [0.4, 1.0][:dim], 3.0)
    points = np.random.default_rng(3).random((20, dim)) * 3
    assert mmd(law, law) <= 1e-7
    x, w = torus.quadrature(600 if dim == 1 else 60)
    w = w * np.exp(law.log_density(x))
    grid = (x, w / w.sum())
    left = mmd(law, grid)
    assert 0 < left < (2e-3 if dim == 1 else 5e-3)
    assert abs(mmd(law, (points, None)) - mmd(grid, (points, None), manifold=torus)) <= left
    assert energy(law) == pytest.approx(energy(grid, manifold=torus), abs=1e-4)
    if dim == 1:
        # The circle of length 3 is S^1, scaled.
        cauchy = ufd.AngularCauchy(4.0, 0.4 * 2 * math.pi / 3)
        on_sphere = mmd(cauchy, (on_circle(2 * math.pi / 3 * points[:, 0]), None))
        scaled = math.sqrt(3 / (2 * math.pi)) * on_sphere
        assert mmd(law, (points, None)) == pytest.approx(scaled, rel=1e-8)


def test_minimum_image_discrepancy_is_no_metric():
    """It is blind to even modes in dimension 1 and negative in dimension 2; MMD is neither."""
    line = Torus(1)
    # Opposite points against the same turned by a quarter: they differ in modes 2, 6, ..
    a, b = (np.array([[0.0], [0.5]]), None), (np.array([[0.25], [0.75]]), None)
    assert minimum_image_discrepancy(a, b, manifold=line) == pytest.approx(0, abs=1e-7)
    assert mmd(a, b, manifold=line) > 0.1
    torus = Torus(2)
    x, _ = torus.quadrature(32)
    wave = np.cos(4 * np.pi * x[:, 0])
    laws = [(x, (1 + sign * wave) / len(x)) for sign in (1, -1)]
    assert minimum_image_discrepancy(*laws, manifold=torus) < -0.05
    assert mmd(*laws, manifold=torus) > 0.05
    # By hand: one atom against another, 2 |x - y| across the seam.
    c, d = (np.array([[0.05, 0.1]]), None), (np.array([[0.95, 0.1]]), None)
    got = minimum_image_discrepancy(c, d, manifold=torus)
    assert got == pytest.approx(math.sqrt(2 * 0.1))

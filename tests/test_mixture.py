"""The mixture of `make run`, solved by discretisations that share nothing but the equation."""

from __future__ import annotations

import numpy as np
import pytest

import ufd

SPHERE = ufd.Sphere(2)
POINTS = np.random.default_rng(2).normal(size=(500, 3))
POINTS /= np.linalg.norm(POINTS, axis=1, keepdims=True)


def mixture(*, background: float = 0.0) -> ufd.UltraFastDiffusion:
    """0.6 vMF(north, 2) + 0.4 vMF(x-axis, 3), possibly over a uniform background."""
    parts = [ufd.VonMisesFisher([0, 0, 1], 2), ufd.VonMisesFisher([1, 0, 0], 3)]
    weights = [0.6 * (1 - background), 0.4 * (1 - background)]
    if background:
        parts, weights = [*parts, ufd.Uniform(SPHERE)], [*weights, background]
    return ufd.UltraFastDiffusion(ufd.Mixture(parts, weights), ufd.Uniform(SPHERE))


def functionals(cells: int, degree: int, t: float, rtol: float) -> np.ndarray:
    result = ufd.solve(mixture(), [t], cells=cells, degree=degree, rtol=rtol)
    assert result.status is ufd.StopReason.FINISHED
    return np.array([result.series[name][-1] for name in ("chi2", "divergence")])


@pytest.mark.timeout(200)
def test_icosphere_tends_to_spectral_elements():
    """chi2 and the divergence at t = 1/2: P1 converges to degree 6 at second order."""
    fine = functionals(4, 6, 0.5, 1e-6)
    errors = np.array([np.abs(functionals(n, 1, 0.5, 1e-6) - fine) for n in (2, 3, 4)])
    orders = np.log2(errors[:-1] / errors[1:])
    assert (orders[-1] > 1.6).all(), orders


@pytest.mark.timeout(200)
def test_smooth_mixture_agrees_pointwise():
    """With half of the mass uniform (w0 <= 2): degree 8 and degree 6 agree to 1e-8 in w."""
    times = [0.5, 1.0, 4.0]
    first = ufd.solve(mixture(background=0.5), times, cells=3, degree=8, rtol=1e-7)
    second = ufd.solve(mixture(background=0.5), times, cells=5, degree=6, rtol=1e-7)
    for t in times:
        np.testing.assert_allclose(
            first.ratio(POINTS, t), second.ratio(POINTS, t), rtol=0, atol=1e-8
        )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_degree_eight_and_degree_four_agree():
    """chi2 and the divergence at t = 1: 13,826 nodes of degree 8, 24,578 of degree 4, 1e-6."""
    eight, four = functionals(6, 8, 1.0, 1e-7), functionals(16, 4, 1.0, 1e-7)
    np.testing.assert_allclose(eight, four, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_coarser_meshes_are_close():
    """The same at 6,146 nodes: degree 8 within 1e-6 of the fine mesh, degree 4 within 1e-5."""
    fine = functionals(6, 8, 1.0, 1e-7)
    np.testing.assert_allclose(functionals(4, 8, 1.0, 1e-7), fine, rtol=1e-6)
    np.testing.assert_allclose(functionals(8, 4, 1.0, 1e-7), fine, rtol=1e-5)

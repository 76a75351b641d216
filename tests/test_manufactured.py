"""Manufactured solutions on the sphere, about an axis that no mesh knows, for five exponents."""

from __future__ import annotations

import numpy as np
import pytest

import ufd

SPHERE = ufd.Sphere(2)
AXIS = np.array([0.48, -0.6, 0.64])
B, END = 1.5, 0.2
# int z dnu for nu proportional to exp(B z): w = 1 + a (z - MEAN) has mass 1 at all times.
MEAN = 1 / np.tanh(B) - 1 / B
POINTS = np.random.default_rng(0).normal(size=(500, 3))
POINTS /= np.linalg.norm(POINTS, axis=1, keepdims=True)


def amplitude(t: float) -> float:
    return 0.45 * np.cos(3 * t)


def exact(points: np.ndarray, t: float) -> np.ndarray:
    return 1 + amplitude(t) * (points @ AXIS - MEAN)


def manufactured(m: float) -> ufd.UltraFastDiffusion:
    """w = 1 + a(t)(z - mean) with the source that makes it a solution (docs/theory.md)."""

    def source(t: float, points: np.ndarray) -> np.ndarray:
        a, z, w = amplitude(t), points @ AXIS, exact(points, t)
        first, second = a * w ** (m - 1), (m - 1) * a**2 * w ** (m - 2)
        diffusion = (1 - z * z) * second - 2 * z * first + B * (1 - z * z) * first
        return -1.35 * np.sin(3 * t) * (z - MEAN) - diffusion

    teacher = ufd.VonMisesFisher(AXIS, B)
    start = ufd.density(SPHERE, lambda x: exact(x, 0.0) * np.exp(teacher.log_density(x)))
    return ufd.UltraFastDiffusion(teacher, start, ufd.PowerDivergence(1 - m), source)


def error(m: float, **options) -> float:
    result = ufd.solve(manufactured(m), [END], **options)
    assert result.status is ufd.StopReason.FINISHED
    return float(np.abs(result.ratio(POINTS, END) - exact(POINTS, END)).max())


@pytest.mark.parametrize("m", [-3.0, -1.0, 0.0, 0.5, 1.0])
def test_spectral_elements_meet_the_solution(m):
    """1,538 nodes of degree 8 give nine digits, whatever the exponent."""
    assert error(m, cells=2, degree=8, rtol=1e-9) < 1e-8


@pytest.mark.parametrize("m", [-1.0, 0.5])
def test_degree_four_converges(m):
    """Order k + 1 = 5 between two meshes, less 0.3."""
    coarse, fine = (error(m, cells=n, degree=4, rtol=1e-9) for n in (4, 8))
    assert np.log2(coarse / fine) > 4.7


@pytest.mark.parametrize("m", [-1.0, 1.0])
def test_icosphere_converges(m):
    """Second order between two levels of the icosphere."""
    coarse, fine = (error(m, cells=n, degree=1, rtol=1e-7) for n in (2, 3))
    assert 1.7 < np.log2(coarse / fine) < 2.3


@pytest.mark.parametrize("m", [-1.0, 0.5])
def test_source_keeps_the_order_in_time(m):
    """The source is taken at the times of the stages: SDIRK4 keeps its order."""
    coarse, fine = (error(m, cells=2, degree=8, dt=END / n) for n in (4, 8))
    assert np.log2(coarse / fine) > 3.5

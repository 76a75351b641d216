"""Optimal quantisation in this package's terms: teacher, unit of time, and the flow itself.

The equation of Iacobelli and of Iacobelli, Patacchini and Santambrogio is integrated here as
they state it, by Fourier modes on the circle, with nothing of this package but rho.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import ufd
from ufd.problem.densities import Density, density_at

CIRCLE, SPHERE = ufd.Sphere(1), ufd.Sphere(2)
RHO = ufd.density(CIRCLE, lambda x: np.exp(0.6 * x[:, 0] + 0.8 * x[:, 0] * x[:, 1]))


def grid(count: int) -> tuple[np.ndarray, np.ndarray]:
    theta = 2 * np.pi * np.arange(count) / count
    return theta, np.column_stack([np.cos(theta), np.sin(theta)])


def flow_as_published(rho: np.ndarray, r: float, taus: list[float]) -> np.ndarray:
    """f at each of ``taus`` of d_tau f = -r (f (rho f^(-r-1))_x)_x, f = 1/(2 pi) at 0."""
    count = len(rho)
    modes = 1j * np.fft.rfftfreq(count, 1 / count)
    modes[-1] = 0  # the derivative of the highest cosine vanishes on the grid

    def slope(f: np.ndarray) -> np.ndarray:
        return np.fft.irfft(modes * np.fft.rfft(f), count)

    def rate(_: float, f: np.ndarray) -> np.ndarray:
        return -r * slope(f * slope(rho * f ** (-r - 1)))

    start = np.full(count, 1 / (2 * np.pi))
    done = solve_ivp(
        rate, [0, taus[-1]], start, method="Radau", t_eval=taus, rtol=1e-10, atol=1e-13
    )
    assert done.success
    return done.y.T


@pytest.mark.parametrize("r", [0.5, 1, 2])
def test_the_published_equation(r):
    """Their f at tau is our mu at t = scale tau, to 1e-6 at all times on the way to nu."""
    _, x = grid(48)
    scale = ufd.quantisation_time_scale(RHO, r)
    times = [0.1, 0.4, 1.5]
    published = flow_as_published(density_at(RHO, x), r, [t / scale for t in times])
    teacher = ufd.quantisation_teacher(RHO, r)
    problem = ufd.UltraFastDiffusion(teacher, ufd.Uniform(CIRCLE), ufd.PowerDivergence(r + 1))
    result = ufd.solve(problem, times, cells=12, degree=8, rtol=1e-9, modes=0)
    for t, f in zip(times, published, strict=True):
        np.testing.assert_allclose(result.density(x, t), f, rtol=1e-6)
    # The comparison sees a movement: far from the start early, near the end late.
    nu = density_at(teacher, x)
    assert np.abs(published[0] * 2 * np.pi - 1).max() > 1e-2
    assert 1e-4 < np.abs(published[-1] / nu - 1).max() < np.abs(published[0] / nu - 1).max()


@pytest.mark.parametrize("r", [0.25, 1, 3])
@pytest.mark.parametrize("dim", [1, 2, 4])
def test_uniform_weight(dim, r):
    """The teacher is uniform, and t/tau = r (r + 1) |S^n|^r: 2 (4 pi) for r = 1 on the sphere."""
    sphere = ufd.Sphere(dim)
    area = math.exp(sphere.log_area)
    flat = ufd.density(sphere, lambda x: np.ones(len(x)))
    for rho in (ufd.Uniform(sphere), flat, ufd.VonMisesFisher(np.eye(dim + 1)[0], 0.0)):
        scale = ufd.quantisation_time_scale(rho, r)
        assert scale == pytest.approx(r * (r + 1) * area**r, rel=1e-12)
        x = np.eye(dim + 1)
        nu = ufd.quantisation_teacher(rho, r)
        np.testing.assert_allclose(density_at(nu, x), 1 / area, rtol=1e-12)
    assert ufd.quantisation_time_scale(ufd.Uniform(SPHERE), 1) == pytest.approx(8 * math.pi)


WEIGHTS: list[Density] = [
    RHO,
    ufd.AngularCauchy(50.0, 0.3),
    ufd.ZonalHarmonic([1, 2, 2], 3, 0.9),
    ufd.VonMisesFisher([0, 0, 1], 30.0),
    ufd.Mixture([ufd.VonMisesFisher([0, 0, 1], 8.0), ufd.Uniform(SPHERE)], [0.7, 0.3]),
]


@pytest.mark.parametrize("r", [0.5, 2])
@pytest.mark.parametrize("rho", WEIGHTS, ids=lambda rho: type(rho).__name__)
def test_definition(rho, r):
    """nu = rho^(1/(r+1))/g0 and t/tau = r (r + 1) g0^(r+1), g0 by a rule of its own."""
    x, weights = rho.manifold.quadrature(256)
    root = density_at(rho, x) ** (1 / (r + 1))
    g0 = weights @ root
    nu = ufd.quantisation_teacher(rho, r)
    np.testing.assert_allclose(density_at(nu, x), root / g0, rtol=1e-11)
    scale = ufd.quantisation_time_scale(rho, r)
    assert scale == pytest.approx(r * (r + 1) * g0 ** (r + 1), rel=1e-11)
    if rho.axes() is None:
        assert nu.axes() is None and nu.describe() is None
    else:
        np.testing.assert_array_equal(nu.axes(), rho.axes())


def test_concentrated_weights():
    """A von Mises-Fisher weight whose density underflows stays one, with a known constant."""
    rho = ufd.VonMisesFisher([0, 0, 1], 1e6)
    nu = ufd.quantisation_teacher(rho, 1)
    assert nu.describe() == {**rho.describe(), "kappa": 5e5}
    # rho = c exp(kappa (z - 1)), c = kappa/2 pi: g0 = sqrt(c) 2 pi/(kappa/2), g0^2 = 8 pi/kappa.
    assert ufd.quantisation_time_scale(rho, 1) == pytest.approx(2 * 8 * math.pi / 1e6, rel=1e-9)
    # Values of size exp(-2000) do no harm in a general weight either.
    narrow = ufd.VonMisesFisher([1, 2, 2], 1000.0)
    mixed = ufd.Mixture([narrow, narrow], [0.5, 0.5])
    scales = [ufd.quantisation_time_scale(rho, 0.5) for rho in (narrow, mixed)]
    assert scales[1] == pytest.approx(scales[0], rel=1e-11)
    far = -np.array([[1, 2, 2]]) / 3
    ours = ufd.quantisation_teacher(mixed, 0.5).log_density(far)
    assert ours == pytest.approx(ufd.quantisation_teacher(narrow, 0.5).log_density(far), rel=1e-11)


@pytest.mark.parametrize("function", [ufd.quantisation_teacher, ufd.quantisation_time_scale])
@pytest.mark.parametrize(
    ("rho", "r", "words"),
    [
        *((RHO, r, f"r = {r!r} must be") for r in (0, -1.0, math.nan, math.inf)),
        (RHO, "x", "r = 'x' is not a number"),
        (3.0, 1.0, "rho = 3.0 is no density"),
        (ufd.AngularCauchy(1e14), 0.5, "does not settle"),
    ],
)
def test_refusals(function, rho, r, words):
    """One line that names the function, the value and the remedy."""
    with pytest.raises(ufd.InputError) as caught:
        function(rho, r)
    text = str(caught.value)
    assert words in text and text.startswith(f"{function.__name__}: ") and "\n" not in text


def test_a_factor_beyond_double_precision():
    """It is refused rather than returned as infinity."""
    with pytest.raises(ufd.InputError, match=r"leaves double precision for r = 400"):
        ufd.quantisation_time_scale(ufd.Uniform(SPHERE), 400)

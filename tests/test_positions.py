"""Starting positions: their laws by closed forms and by SciPy, and how fast quantiles converge."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special, stats

import ufd
from ufd.problem.densities import Density
from ufd.problem.harmonics import basis, zonal_harmonics
from ufd.problem.manifolds import Torus
from ufd.problem.positions import independent, quantiles
from ufd.problem.torus import PeriodicCauchy

VMF, Cauchy, Wave = ufd.VonMisesFisher, ufd.AngularCauchy, ufd.ZonalHarmonic
S1, S2 = ufd.Sphere(1), ufd.Sphere(2)


def axis_of(dim: int, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng([dim, seed]).normal(size=dim + 1)
    return x / np.linalg.norm(x)


def angles(points: np.ndarray) -> np.ndarray:
    return np.arctan2(points[:, 1], points[:, 0]) % (2 * np.pi)


def middles(count: int) -> np.ndarray:
    return (np.arange(count) + 0.5) / count


def cauchy_cdf(gamma: float, angle: np.ndarray, centre: float) -> np.ndarray:
    """Of the angle, from 0: the Moebius map of the half angle from the mode."""

    def cumulated(a):
        turns = np.round(a / (2 * np.pi))
        half = a / 2 - np.pi * turns
        return turns + np.arctan2(math.sqrt(1 + gamma) * np.sin(half), np.cos(half)) / np.pi

    return cumulated(angle - centre) - cumulated(-centre)


def moment_errors(density: Density, points: np.ndarray, degree: int = 4) -> tuple:
    """E P_l(y.x) over the points less its value, for some y, and its standard error.

    A zonal part about a has the integral P_l(a.y) int P_l(a.x) (Funk-Hecke).
    """
    dim = density.manifold.dim
    y = np.array([axis_of(dim, 100 + k) for k in range(6)])
    values = np.array(list(zonal_harmonics(dim, degree, points @ y.T)))[1:]
    known = np.zeros((degree, len(y)))
    for axis, moments in density.moments(degree):
        shapes = np.array(list(zonal_harmonics(dim, degree, y @ axis)))[1:]
        known += moments[1:, None] * shapes
    return values.mean(axis=1) - known, values.std(axis=1) / math.sqrt(len(points))


def surface_errors(density: Density, points: np.ndarray) -> np.ndarray:
    """Of the harmonic moments of degree <= 4 on S^2, by quadrature."""
    x, weights = S2.quadrature(120)
    values = weights * np.exp(density.log_density(x))
    return np.abs(basis(S2, 4, points).mean(axis=0) - values @ basis(S2, 4, x)).max()


def mixture(dim: int) -> ufd.Mixture:
    parts = [
        VMF(axis_of(dim, 1), 20.0),
        Wave(axis_of(dim, 2), 3, -0.8),
        ufd.Uniform(ufd.Sphere(dim)),
    ]
    return ufd.Mixture(parts, [0.5, 0.3, 0.2])


def wavy(x):
    return np.exp(2 * x[:, 0] * x[:, 1] + x[:, 2])


DENSITIES = [
    *(VMF(axis_of(dim), kappa) for dim in (1, 2, 3, 4, 40) for kappa in (0.0, 3.0, 1000.0)),
    *(Wave(axis_of(dim), degree, 0.9) for dim in (1, 2, 3, 4) for degree in (1, 4)),
    *(ufd.Uniform(ufd.Sphere(dim)) for dim in (1, 2, 3, 40)),
    *(mixture(dim) for dim in (1, 2, 3, 4)),
    Cauchy(1000.0, 2.0),
    ufd.Mixture([Cauchy(30.0), mixture(1)], [0.4, 0.6]),
    ufd.Mixture([VMF(axis_of(3), 9.0), VMF(-axis_of(3), 50.0)], [0.4, 0.6]),
]


def name(density: Density) -> str:
    return f"{type(density).__name__}-{density.manifold.dim}"


@pytest.mark.parametrize("density", DENSITIES, ids=name)
def test_moments_of_draws(density):
    """Within 5 standard errors, on the sphere, as many as asked for."""
    x = independent(density, 20_000, np.random.default_rng(5))
    assert x.shape == (20_000, density.manifold.ambient_dim)
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1, rtol=0, atol=1e-15)
    error, deviation = moment_errors(density, x)
    assert np.all(np.abs(error) < 5 * deviation)


@pytest.mark.parametrize("density", DENSITIES, ids=name)
def test_moments_of_quantiles(density):
    """Far better than the 0.03 of draws, with the same points every time."""
    x = quantiles(density, 1000)
    assert x.shape == (1000, density.manifold.ambient_dim)
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1, rtol=0, atol=1e-15)
    assert np.array_equal(x, quantiles(density, 1000))
    assert np.abs(moment_errors(density, x)[0]).max() < 6e-3


@pytest.mark.parametrize(
    ("gamma", "centre", "kappa"), [(0.0, 0.0, 0.0), (1000.0, 2.0, 40.0), (30.0, 6.0, 1000.0)]
)
def test_law_on_the_circle(gamma, centre, kappa):
    """Kolmogorov-Smirnov and chi-square of draws, by SciPy's von Mises distribution."""
    density = ufd.Mixture([Cauchy(gamma, centre), VMF([1, 0], kappa)], [0.7, 0.3])

    def cdf(angle):
        mises = stats.vonmises(kappa) if kappa else stats.uniform(0, 2 * np.pi)
        return 0.7 * cauchy_cdf(gamma, angle, centre) + 0.3 * (mises.cdf(angle) - mises.cdf(0))

    draws = angles(independent(density, 20_000, np.random.default_rng(3)))
    assert stats.kstest(draws, cdf).pvalue > 1e-3
    counts = np.histogram(cdf(draws), 50, (0, 1))[0]
    assert stats.chisquare(counts).pvalue > 1e-3
    # Neighbours in the order of the answer know nothing of each other.
    assert abs(np.corrcoef(cdf(draws)[:-1], cdf(draws)[1:])[0, 1]) < 5 / math.sqrt(20_000)
    np.testing.assert_allclose(cdf(angles(quantiles(density, 777))), middles(777), atol=1e-10)


@pytest.mark.parametrize("dim", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("kappa", [0.5, 12.0])
def test_against_scipy(dim, kappa):
    """The cosine from the axis, and a coordinate across it, of SciPy's von Mises-Fisher draws."""
    mean = axis_of(dim)
    ours = independent(VMF(mean, kappa), 5000, np.random.default_rng(1))
    theirs = stats.vonmises_fisher(mean, kappa).rvs(5000, random_state=np.random.default_rng(2))
    for direction in (mean, axis_of(dim, 7)):
        assert stats.ks_2samp(ours @ direction, theirs @ direction).pvalue > 1e-3


@pytest.mark.parametrize("centre", [0.0, 0.3, 5.0])
@pytest.mark.parametrize("gamma", [0.0, 1.0, 1000.0, 1e6])
def test_circle_quantiles_are_exact(gamma, centre):
    """The closed distribution function takes the values (i + 1/2)/M, also on a torus."""
    cdf = cauchy_cdf(gamma, angles(quantiles(Cauchy(gamma, centre), 501)), centre)
    np.testing.assert_allclose(cdf, middles(501), rtol=0, atol=1e-10)
    scale = 3 / (2 * np.pi)
    x = quantiles(PeriodicCauchy(gamma, [centre * scale], 3.0), 501)
    assert x.shape == (501, 1) and x.min() >= 0 and x.max() < 3
    cdf = cauchy_cdf(gamma, x[:, 0] / scale, centre)
    np.testing.assert_allclose(cdf, middles(501), rtol=0, atol=1e-10)


@pytest.mark.parametrize("kappa", [0.5, 100.0, 1e5])
def test_polar_quantiles_on_the_sphere(kappa):
    """The angle from the axis has the distribution function (1 - e^(k (t - 1)))/(1 - e^(-2k))."""
    t = quantiles(VMF([0, 0, 1], kappa), 400)[:, 2]
    cdf = np.expm1(kappa * (t - 1)) / math.expm1(-2 * kappa)
    np.testing.assert_allclose(cdf, middles(400), rtol=0, atol=1e-10)


@pytest.mark.parametrize("dim", [3, 4, 17, 1000])
def test_polar_quantiles_in_high_dimensions(dim):
    """(1 - t)/2 of the uniform density has a beta law."""
    t = quantiles(ufd.Uniform(ufd.Sphere(dim)), 300)[:, -1]
    cdf = special.betainc(dim / 2, dim / 2, (1 - t) / 2)
    np.testing.assert_allclose(cdf, middles(300), rtol=0, atol=1e-10)


@pytest.mark.parametrize("count", [1, 2, 7, 64, 1000])
def test_equispaced_for_the_uniform_density(count):
    """MMD^2 for the kernel -|x - y|, pair by pair, is pi/(3 M^2) up to M^-4; E|X - x| = 4/pi."""
    x = quantiles(ufd.Uniform(S1), count)
    np.testing.assert_allclose(angles(x), 2 * np.pi * middles(count), rtol=0, atol=1e-14)
    pairs = np.sqrt(((x[:, None] - x) ** 2).sum(axis=2)).mean()
    assert 4 / np.pi - pairs == pytest.approx(np.pi / (3 * count**2), rel=0.3 / count**2, abs=1e-14)


def test_order_one_on_the_circle():
    """MMD falls like 1/M: |x - y| = 4/pi - (8/pi) sum_k cos(k (x - y))/(4 k^2 - 1)."""
    density = Cauchy(20.0, 1.0)
    k = np.arange(1, 10_001)
    ratio = density.moments(1)[0][1][1]

    def mmd(count):
        turns = np.exp(1j * (angles(quantiles(density, count)) - 1.0))
        powers = np.cumprod(np.broadcast_to(turns[:, None], (count, len(k))), axis=1)
        differences = np.abs(powers.mean(axis=0) - ratio**k)
        return math.sqrt(8 / np.pi * np.sum(differences**2 / (4 * k**2 - 1)))

    assert mmd(25) / mmd(200) == pytest.approx(8, rel=0.05)
    assert 25 * mmd(25) == pytest.approx(math.sqrt(np.pi / 3), rel=0.5)


def test_fibonacci():
    """The uniform density on S^2 takes Fibonacci's lattice, known MMD included."""
    i, z = np.arange(1000), 1 - 2 * middles(1000)
    turn = 2 * np.pi * i * (math.sqrt(5) - 1) / 2
    radius = np.sqrt(1 - z**2)
    x = quantiles(ufd.Uniform(S2), 1000)
    expected = np.column_stack([radius * np.cos(turn), radius * np.sin(turn), z])
    np.testing.assert_allclose(x, expected, rtol=0, atol=1e-11)
    pairs = np.sqrt(np.maximum(2 - 2 * x @ x.T, 0)).mean()
    # The mean distance of two uniform points is 4/3; the error 0.00507 is known of this lattice.
    assert math.sqrt(4 / 3 - pairs) == pytest.approx(0.00507, rel=0.01)


@pytest.mark.parametrize("density", [mixture(2), ufd.density(S2, wavy)], ids=name)
def test_any_density_on_the_sphere(density):
    """Moments of degree <= 4 improve nearly like 1/M, from less than a tenth of 1/sqrt(M)."""
    coarse, fine = (surface_errors(density, quantiles(density, m)) for m in (1000, 8000))
    assert coarse < 3e-3 and fine < coarse / 4
    draws = independent(density, 4000, np.random.default_rng(2))
    assert surface_errors(density, draws) < 4 * 3 / math.sqrt(4000)


def test_function_and_closed_form_agree():
    """The transport of a function about the vertical is that of the zonal density it equals."""
    function = ufd.density(S2, lambda x: np.exp(7 * x[:, 2]))
    expected = quantiles(VMF([0, 0, 1], 7.0), 500)
    np.testing.assert_allclose(quantiles(function, 500), expected, rtol=0, atol=1e-10)


def test_narrow_peaks_are_found():
    """Peaks of width 1/1000 or less hold their share of the points, on the circle and on S^2."""
    axes = {1: [[1, 2], [-3, 1]], 2: [[1, 2, 3], [-1, 1, 1]]}
    for dim, (a, b) in axes.items():
        parts = [VMF(a, 1e6), VMF(b, 1e6), ufd.Uniform(ufd.Sphere(dim))]
        x = quantiles(ufd.Mixture(parts, [0.3, 0.3, 0.4]), 1000)
        for axis in (a, b):
            near = np.sum(x @ axis > math.cos(0.01) * np.linalg.norm(axis))
            assert abs(near - 300) <= 8


@pytest.mark.parametrize(
    "density",
    [
        ufd.Uniform(Torus(2, 2.0)),
        PeriodicCauchy(9.0, [0.3, 1.2], 2.0),
        ufd.Mixture(
            [PeriodicCauchy(9.0, [0.3, 1.2], 2.0), PeriodicCauchy(1.0, [1.3, 0.2], 2.0)],
            [0.4, 0.6],
        ),
        ufd.density(Torus(2, 2.0), lambda x: 1.2 + np.sin(np.pi * (x[:, 0] - 2 * x[:, 1]))),
    ],
    ids=lambda d: type(d).__name__,
)
def test_torus(density):
    """Fourier moments of both kinds of points on a torus of dim 2."""
    torus = density.manifold

    def waves(x):
        turns = [np.pi * (a * x[:, 0] + b * x[:, 1]) for a in range(-2, 3) for b in range(1, 3)]
        return np.exp(1j * np.array(turns))

    grid, weights = torus.quadrature(64)
    expected = waves(grid) @ (weights * np.exp(density.log_density(grid)))
    for x, bound in (
        (quantiles(density, 1000), 6e-3),
        (independent(density, 4000, np.random.default_rng(0)), 5 / math.sqrt(4000)),
    ):
        assert x.min() >= 0 and x.max() < 2 and x.shape[1] == 2
        assert np.abs(waves(x).mean(axis=1) - expected).max() < bound


def test_mixtures_beyond_surfaces_share_the_count():
    """By largest remainders: 10 points at weights 0.25, 0.33 and 0.42 are 3, 3 and 4."""
    torus = [PeriodicCauchy(1e6, [c] * 3) for c in (0.2, 0.5, 0.8)]
    sphere = [VMF(a, 1e6) for a in np.eye(4)[:3]]
    weights = [0.25, 0.33, 0.42]
    x = quantiles(ufd.Mixture(torus, weights), 10)
    assert [np.sum(np.abs(x[:, 0] - c) < 0.1) for c in (0.2, 0.5, 0.8)] == [3, 3, 4]
    x = quantiles(ufd.Mixture(sphere, weights), 10)
    assert np.sum(x > 0.9, axis=0).tolist() == [3, 3, 4, 0]
    assert quantiles(ufd.Mixture(sphere, weights), 1).shape == (1, 4)


def test_draws_follow_the_generator():
    """The same for the same seed, others for another."""
    first, again, other = (
        independent(mixture(2), 50, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again) and not np.any(first == other)


@pytest.mark.parametrize("count", [0, -3, 2.0, True, "5", None, np.nan])
def test_counts_are_positive_integers(count):
    """One line with the value."""
    for draw in (lambda d: quantiles(d, count), lambda d: independent(d, count, None)):
        with pytest.raises(ufd.InputError, match=r"count = .* must be a positive integer"):
            draw(ufd.Uniform(S1))


HIGH = ufd.density(ufd.Sphere(3), wavy)


@pytest.mark.parametrize(
    ("density", "words"),
    [
        (HIGH, "CallableDensity on a manifold of dim = 3 is neither zonal nor a product"),
        (ufd.Mixture([VMF([1, 0, 0, 0], 1.0), HIGH], [0.5, 0.5]), "CallableDensity on a manifold"),
        (3, "density = 3 is no density; use ufd.density"),
        (VMF([0.6, 0.8], 1e16), "density: too rough or too sharp"),
    ],
)
def test_refused_densities(density, words):
    """In one line, by both."""
    for draw in (quantiles, lambda d, n: independent(d, n, np.random.default_rng(0))):
        with pytest.raises(ufd.InputError) as caught:
            draw(density, 10)
        assert words in str(caught.value) and "\n" not in str(caught.value)


def test_other_refusals():
    """Dimensions beyond Sobol's sequence, which draws reach, and a seed for a generator."""
    with pytest.raises(ufd.InputError, match='use start="iid"'):
        quantiles(ufd.Uniform(Torus(30_000)), 2)
    for rng in (0, None, np.random):
        with pytest.raises(ufd.InputError, match=r"rng = .* must be a generator"):
            independent(ufd.Uniform(S1), 2, rng)

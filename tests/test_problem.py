"""The ground floor: densities have mass one and are SciPy's, divergences are their formula.

Values that cannot be used are refused in one line that names them.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.integrate import quad
from scipy.special import gammaln

import ufd
from ufd.problem.densities import density_at

CIRCLE, SPHERE = ufd.Sphere(1), ufd.Sphere(2)
EXPONENTS = [0, 0.25, 0.5, 1, 1.5, 2, 3, 5]


def unit(*values: float) -> np.ndarray:
    return np.array(values) / np.linalg.norm(values)


def first_axis(d: int) -> np.ndarray:
    return slices(np.zeros(1), d)[0]


def points_on(dim: int, count: int = 50, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=(count, dim + 1))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def slices(theta: np.ndarray, d: int) -> np.ndarray:
    """Points of S^(d-1) at the angle theta from the first axis."""
    x = np.zeros((len(theta), d))
    x[:, 0], x[:, 1] = np.cos(theta), np.sin(theta)
    return x


def slice_factor(theta: np.ndarray, d: int) -> np.ndarray:
    """Logarithm of |S^(d-2)| sin(theta)^(d-2), what a slice at the angle theta weighs."""
    area = math.log(2) + (d - 1) / 2 * math.log(math.pi) - gammaln((d - 1) / 2)
    return area + (d - 2) * np.log(np.sin(theta))


def zonal_integral(density, d: int, kappa: float) -> float:
    """Its integral over S^(d-1) by adaptive quadrature in the angle from the first axis."""

    def integrand(angle: float) -> float:
        theta = np.array([angle])
        return float(np.exp(density.log_density(slices(theta, d)) + slice_factor(theta, d))[0])

    width = 8 / math.sqrt(1 + kappa)
    edges = [1e-300, *(e for e in (width, 2 * width) if e < math.pi), math.pi - 1e-15]
    parts = [
        quad(integrand, a, b, epsabs=0, epsrel=1e-12, limit=200)[0]
        for a, b in itertools.pairwise(edges)
    ]
    return math.fsum(parts)


@pytest.mark.parametrize("kappa", [0, 1e-7, 0.3, 5, 50, 500])
@pytest.mark.parametrize("d", range(2, 11))
def test_von_mises_fisher_has_mass_one(d, kappa):
    """Up to R^10 and kappa = 500, by a rule that shares nothing with the normaliser."""
    density = ufd.VonMisesFisher(first_axis(d), kappa)
    assert zonal_integral(density, d, kappa) == pytest.approx(1, abs=1e-11)


@pytest.mark.parametrize(("d", "kappa"), [(120, 1e-5), (400, 1), (10_000, 1000)])
def test_mass_one_where_bessel_functions_underflow(d, kappa):
    """Slices in logarithms; the trapezoidal rule is spectral for a peak inside (0, pi)."""
    mode = math.acos(2 * kappa / (d + math.hypot(d, 2 * kappa)))
    theta = mode + np.linspace(-9, 9, 181) / math.sqrt(d)
    density = ufd.VonMisesFisher(first_axis(d), kappa)
    logs = density.log_density(slices(theta, d)) + slice_factor(theta, d)
    assert np.exp(logs).sum() * (theta[1] - theta[0]) == pytest.approx(1, abs=1e-10)


@pytest.mark.parametrize("kappa", [1e-3, 1, 30, 500])
@pytest.mark.parametrize("d", [2, 3, 4, 7, 10])
def test_von_mises_fisher_is_scipys(d, kappa):
    """Pointwise in logarithms, at random points and at the antipode."""
    mean = points_on(d - 1, 1, seed=d)[0]
    x = np.concatenate([points_on(d - 1), [mean, -mean]])
    ours = ufd.VonMisesFisher(3.7 * mean, kappa).log_density(x)
    np.testing.assert_allclose(ours, stats.vonmises_fisher(mean, kappa).logpdf(x), atol=1e-11)
    if d == 2:
        angle, centre = np.arctan2(x[:, 1], x[:, 0]), np.arctan2(mean[1], mean[0])
        expected = stats.vonmises(kappa, loc=centre).logpdf(angle)
        np.testing.assert_allclose(ours, expected, atol=1e-11)


@pytest.mark.parametrize("d", [2, 3, 5, 50, 1000])
def test_small_and_large_concentrations(d):
    """Kappa = 0 is uniform, kappa = 1e-6 no seam, a large kappa a Gaussian; all stay finite."""
    mean = first_axis(d)
    x = np.concatenate([points_on(d - 1), [mean, -mean]])
    uniform = ufd.Uniform(ufd.Sphere(d - 1)).log_density(x)
    np.testing.assert_allclose(ufd.VonMisesFisher(mean, 0).log_density(x), uniform, rtol=1e-15)
    for kappa in (1e-300, 1e-9, 0.999e-6, 1.001e-6, 1e-5):
        series = uniform + kappa * x[:, 0] - kappa**2 / (2 * d)
        ours = ufd.VonMisesFisher(mean, kappa).log_density(x)
        np.testing.assert_allclose(ours, series, rtol=1e-12, atol=1e-12)
    peaks = {k: ufd.VonMisesFisher(mean, k).log_density(x)[-2:] for k in (500, 1e9, 1e12, 1e300)}
    for kappa, (top, bottom) in peaks.items():
        assert np.isfinite(top) and bottom == pytest.approx(top - 2 * kappa, rel=1e-15)
        if kappa > 1e8:
            gauss = (d - 1) / 2 * math.log(kappa / (2 * math.pi))
            assert top == pytest.approx(gauss, abs=d**2 / kappa)


@pytest.mark.parametrize("gamma", [0.0, 1e-9, 1.0, 100.0, 1e4])
@pytest.mark.parametrize("centre", [0.0, 2.5, -40.0])
def test_angular_cauchy(gamma, centre):
    """The wrapped Cauchy density: SciPy's, with Fourier coefficients rho^|k| and mass 1."""
    root = math.sqrt(1 + gamma)
    rho = gamma / (1 + root) ** 2
    angle = 2 * np.pi * np.arange(8192) / 8192
    x = np.column_stack([np.cos(angle), np.sin(angle)])
    values = density_at(ufd.AngularCauchy(gamma, centre), x)
    if rho > 0:
        expected = stats.wrapcauchy(rho).pdf((angle - centre) % (2 * np.pi))
        np.testing.assert_allclose(values, expected, rtol=1e-9)
    k = np.arange(40)
    coefficients = np.fft.fft(values)[:40] * 2 * np.pi / 8192 * np.exp(1j * k * centre)
    np.testing.assert_allclose(coefficients, rho**k, atol=1e-11)
    assert values.max() / values.min() == pytest.approx(1 + gamma, rel=1e-3)


PARTS = [
    ufd.VonMisesFisher([1, 2, 2], 500),
    ufd.VonMisesFisher([0, -1, 0], 3),
    ufd.Uniform(SPHERE),
]


def test_mixture():
    """Sums in logarithms, mass 1, finite where one part underflows, its table in full."""
    mixture = ufd.Mixture(PARTS, [0.5, 0.3, 0.2])
    x = np.concatenate([points_on(2), [unit(-1, -2, -2)]])
    terms = [w * density_at(part, x) for w, part in zip((0.5, 0.3, 0.2), PARTS, strict=True)]
    np.testing.assert_allclose(density_at(mixture, x), sum(terms), rtol=1e-13)
    x, weights = SPHERE.quadrature(256)
    assert weights @ density_at(mixture, x) == pytest.approx(1, abs=1e-12)
    narrow = ufd.Mixture(PARTS[:1] * 2, [0.5, 0.5]).log_density(-np.asarray(PARTS[0].mean)[None])
    assert narrow == pytest.approx(math.log(500 / (2 * math.pi)) - 1000)
    table = mixture.describe()
    assert table["kind"] == "mixture" and table["weights"] == [0.5, 0.3, 0.2]
    assert [t["kind"] for t in table["components"]] == ["von_mises_fisher"] * 2 + ["uniform"]


@pytest.mark.parametrize("dim", [1, 2, 3, 4, 5])
def test_callables_are_normalised(dim):
    """Any positive function, also of integers; a factor does not matter; it has no table."""
    sphere, x = ufd.Sphere(dim), points_on(dim)
    axis = points_on(dim, 1, seed=1)[0]
    ours = ufd.density(sphere, lambda x: 7e5 * np.exp(0.5 * x @ axis))
    expected = ufd.VonMisesFisher(axis, 0.5).log_density(x)
    np.testing.assert_allclose(ours.log_density(x), expected, atol=1e-12)
    flat = ufd.density(sphere, lambda x: np.ones(len(x), dtype=int))
    np.testing.assert_allclose(flat.log_density(x), -sphere.log_area, atol=1e-12)
    assert ours.describe() is None and ours.manifold == sphere
    assert ufd.Mixture([ours, flat], [0.5, 0.5]).describe() is None


def test_rotations_commute():
    """A density turned by R has at R x the value of the original at x."""
    rotation, _ = np.linalg.qr(np.random.default_rng(4).normal(size=(4, 4)))
    mean, x = unit(1, -1, 2, 0.5), points_on(3)
    here = ufd.VonMisesFisher(mean, 20).log_density(x)
    there = ufd.VonMisesFisher(rotation @ mean, 20).log_density(x @ rotation.T)
    np.testing.assert_allclose(there, here, atol=1e-12)
    turn, x = np.array([[0.6, -0.8], [0.8, 0.6]]), points_on(1)
    here = ufd.AngularCauchy(9, 0.3).log_density(x)
    there = ufd.AngularCauchy(9, 0.3 + math.atan2(0.8, 0.6)).log_density(x @ turn.T)
    np.testing.assert_allclose(there, here, atol=1e-13)


@pytest.mark.parametrize("order", [7, 8])
@pytest.mark.parametrize("dim", [1, 2, 3, 4, 5])
def test_quadrature_is_exact(dim, order):
    """All monomials of degree below the order, against their integrals by Gamma functions."""
    x, weights = ufd.Sphere(dim).quadrature(order)
    assert weights.min() > 0
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1, atol=1e-15)
    for powers in itertools.product(range(order), repeat=dim + 1):
        if sum(powers) >= order or (dim > 3 and sum(powers) < order - 2):
            continue
        exact = 0.0
        if not any(p % 2 for p in powers):
            logs = [gammaln((p + 1) / 2) for p in powers]
            exact = 2 * math.exp(math.fsum(logs) - gammaln((sum(powers) + dim + 1) / 2))
        assert weights @ np.prod(x ** np.array(powers), axis=1) == pytest.approx(exact, abs=1e-13)


def test_numbers_of_any_size_and_kind():
    """The length of a mean does not matter, nor that a number is NumPy's."""
    for size in (5e-324, 1e-200, 1e200, 1.7e308):
        mean = ufd.VonMisesFisher([size, 0, -size], 1).mean
        np.testing.assert_allclose(mean, unit(1, 0, -1), rtol=1e-15)
    assert ufd.VonMisesFisher([0.6, 0.8], 1).describe()["mean"] == [0.6, 0.8]
    assert ufd.Sphere(np.int64(2)) == SPHERE and ufd.PowerDivergence(np.int64(3)).m == -2
    json.dumps(ufd.UltraFastDiffusion(*[ufd.Uniform(ufd.Sphere(np.int64(2)))] * 2).describe())


def test_points():
    """Directions are brought to length 1 when nearly so; anything else is refused by row."""
    assert SPHERE.points([0, 1, 0]).shape == (1, 3) and SPHERE.points(np.empty((0, 3))).size == 0
    x = SPHERE.points((1 + 5e-7) * points_on(2))
    np.testing.assert_allclose(x, points_on(2), atol=1e-15)
    assert SPHERE.points([[1, 1, 1]], tolerance=1.0) == pytest.approx(3**-0.5)


def of_values(value):
    return lambda: ufd.density(SPHERE, lambda x: np.full(len(x), value))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        *((lambda d=d: ufd.Sphere(d), f"dim = {d!r}") for d in (0, -1, 2.0, True, "2", None)),
        *((lambda k=k: ufd.VonMisesFisher([1, 0], k), f"kappa = {k!r}") for k in (-1, math.nan)),
        (lambda: ufd.VonMisesFisher([1, 0], np.eye(2)), "kappa = array"),
        *(
            (lambda m=m: ufd.VonMisesFisher(m, 1), f"mean = {word}")
            for m, word in [
                ([0, 0], "[0, 0]"),
                ([1], "[1]"),
                ([1, math.nan], "[1, nan]"),
                (np.eye(2), "array([["),
                (["a", 1], "['a', 1]"),
                (None, "None"),
            ]
        ),
        *((lambda g=g: ufd.AngularCauchy(g), f"gamma = {g!r}") for g in (-1e-9, math.inf, "x")),
        (lambda: ufd.AngularCauchy(1, math.nan), "centre = nan"),
        (lambda: ufd.Mixture(PARTS, [0.5, 0.5]), "3 components and 2 weights"),
        (lambda: ufd.Mixture([], []), "0 components"),
        (lambda: ufd.Mixture(PARTS, [0.5, 0.5, 0]), "weights = [0.5, 0.5, 0.0]"),
        (lambda: ufd.Mixture(PARTS, [0.5, 0.3, 0.1]), "sum to 0.9"),
        (lambda: ufd.Mixture([PARTS[0], ufd.Uniform(CIRCLE)], [0.5, 0.5]), "dimensions [2, 1]"),
        *((of_values(v), f"value {v:g} at [") for v in (-1.5, 0.0, math.nan, math.inf)),
        (of_values("a"), "returned ndarray"),
        (of_values(1j), "returned ndarray"),
        (lambda: ufd.density(SPHERE, lambda x: "a"), "returned str"),
        (lambda: ufd.density(SPHERE, lambda x: None), "returned NoneType"),
        (lambda: ufd.density(SPHERE, lambda x: 1 + x**2), "shape (512, 3) for 512 points"),
        (lambda: ufd.density(SPHERE, lambda x: 1.0), "shape () for 512 points"),
        (lambda: ufd.density(SPHERE, lambda x: 0.01 + np.abs(x[:, 0])), "does not settle"),
        (lambda: ufd.density(SPHERE, 3), "3 is not a function"),
        *((lambda p=p: ufd.PowerDivergence(p), f"p = {p!r}") for p in (-1, math.nan, "2", True)),
        (lambda: SPHERE.points([[1, 0]]), "shape (1, 2)"),
        (lambda: SPHERE.points([[1, 0, 0], [1, 0, 1e-2]]), "row 1 has length 1.00005"),
        (lambda: SPHERE.points([[0, 0, 1], [0, 0, 0]]), "row 1 has length 0"),
        (lambda: SPHERE.points([[0, math.nan, 0]]), "row 0 has length nan"),
        (lambda: SPHERE.points("abc"), "text of shape () given"),
        (
            lambda: ufd.UltraFastDiffusion(ufd.Uniform(CIRCLE), ufd.Uniform(SPHERE)),
            "lives on Sphere(dim=1) and the initial density on Sphere(dim=2)",
        ),
    ],
)
def test_refusals(build, words):
    """One line, an `InputError`, with the value and where it stood."""
    with pytest.raises(ufd.InputError) as caught:
        build()
    text = str(caught.value)
    assert words in text and "\n" not in text


@settings(max_examples=200, deadline=None, derandomize=True)
@given(p=st.sampled_from(EXPONENTS), log=st.floats(-30, 30))
def test_unknown_and_ratio_are_inverse(p, log):
    """Both ways, over 26 decades of w; the slope is -dw/ds."""
    law, w = ufd.PowerDivergence(p), np.exp(np.array([log]))
    s = law.unknown(w)
    np.testing.assert_allclose(law.ratio(s), w, rtol=1e-12)
    np.testing.assert_allclose(law.unknown(law.ratio(s)), s, rtol=1e-12, atol=1e-13)
    step = 1e-5 * (np.abs(s) if law.m else 1)
    difference = (law.ratio(s - step) - law.ratio(s + step)) / (2 * step)
    np.testing.assert_allclose(difference, law.slope(w), rtol=1e-7)


def exact_integrand(p: float, w: float) -> float:
    """f(1/w) w from the definition of f, with 100 digits."""
    with localcontext(prec=100):
        p, w = Decimal(p), Decimal(w)
        if p == 0:
            return float(w * w.ln() + 1 - w)
        if p == 1:
            return float(w - 1 - w.ln())
        t = 1 / w
        return float(w * (t**p - p * t + p - 1) / (p * (p - 1)))


@pytest.mark.parametrize("p", [*EXPONENTS, 1e-9, 0.49, 1 - 1e-9, 1 + 1e-9, 1 + 1e-15, 10])
def test_divergence_integrand(p):
    """The formula to 1e-12 relatively, from w = 1 + 1e-9 to 12 decades away; zero at 1 only."""
    near = 1 + np.array([1e-9, -1e-9, 3e-5, -0.05, 0.05, -0.21, 0.21, 0.19, -0.19])
    w = np.concatenate([near, 10.0 ** np.arange(-12, 13), np.linspace(0.7, 1.4, 30)])
    w = w[w != 1]
    values = ufd.PowerDivergence(p).integrand(w)
    np.testing.assert_allclose(values, [exact_integrand(p, x) for x in w.tolist()], rtol=1e-12)
    assert (values > 0).all() and ufd.PowerDivergence(p).integrand(np.ones(2)).max() == 0
    assert values[0] == pytest.approx(0.5 * (w[0] - 1) ** 2, rel=1e-7)


@pytest.mark.parametrize("p", [0, 1])
def test_limits_of_the_exponent(p):
    """As p tends to 0 or 1 the divergence tends to that of the limit, linearly."""
    w = np.exp(np.linspace(-2, 2, 101))
    limit = ufd.PowerDivergence(p).integrand(w)
    for step in (1e-3, 1e-6, 1e-9, 1e-12):
        for other in {p + step, abs(p - step)}:
            difference = ufd.PowerDivergence(other).integrand(w) - limit
            assert np.abs(difference).max() <= 30 * step + 1e-14


def test_empty_places():
    """At w = 0 the divergence is finite for p < 1 only, and infinite mass ratios cost infinity."""
    nothing = np.zeros(1)
    for p, value in [(0, 1), (0.25, 4 / 3), (0.5, 2), (1, np.inf), (2, np.inf), (3, np.inf)]:
        with np.errstate(divide="ignore"):
            assert ufd.PowerDivergence(p).integrand(nothing)[0] == pytest.approx(value)
    assert ufd.PowerDivergence(0).integrand(-np.ones(1))[0] == np.inf


def test_problem_is_frozen_and_says_what_it_is():
    """No attribute changes; the table of a case file comes back, unless a function is inside."""
    problem = ufd.UltraFastDiffusion(PARTS[1], ufd.Uniform(SPHERE), ufd.PowerDivergence(3))
    for name in ("teacher", "initial", "divergence", "source", "manifold"):
        with pytest.raises((dataclasses.FrozenInstanceError, AttributeError)):
            setattr(problem, name, None)
    teacher = {"kind": "von_mises_fisher", "mean": [0.0, -1.0, 0.0], "kappa": 3.0}
    table = {"manifold": "sphere", "dim": 2, "p": 3.0, "teacher": teacher}
    assert problem.describe() == {**table, "initial": {"kind": "uniform"}}
    assert problem.manifold == SPHERE
    assert ufd.UltraFastDiffusion(PARTS[1], PARTS[2]).divergence.p == 2
    function = ufd.density(SPHERE, lambda x: 2 + x[:, 0])
    assert ufd.UltraFastDiffusion(PARTS[1], function).describe() is None
    sourced = ufd.UltraFastDiffusion(PARTS[1], PARTS[2], source=lambda t, x: 0 * x[:, 0])
    assert sourced.describe() is None

"""A start in a single mode: mass one, SciPy's polynomials, an eigenfunction, and its table.

And what every density singles out: maps that fix its axes leave it as it is.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import special

import ufd
from ufd.config import problem_from, read_case
from ufd.problem.densities import Density, density_at
from ufd.problem.zonal import zonal_harmonic

DIMS = [1, 2, 3, 5]
COSINES = np.concatenate([np.linspace(-1, 1, 401), np.cos([1e-3, 3.1])])


def points_on(dim: int, count: int = 200, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=(count, dim + 1))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def axis_of(dim: int) -> np.ndarray:
    return points_on(dim, 1, seed=dim)[0]


@pytest.mark.parametrize("degree", [1, 2, 3, 6])
@pytest.mark.parametrize("dim", DIMS)
def test_mass_one_and_the_amplitude_of_its_mode(dim, degree):
    """Exactly by a rule of high order: mass 1, no other mean, projection on P as given."""
    density = ufd.ZonalHarmonic(3 * axis_of(dim), degree, -0.7)
    x, weights = ufd.Sphere(dim).quadrature(2 * degree + 2)
    values = density_at(density, x)
    assert weights @ values == pytest.approx(1, abs=1e-13)
    P = zonal_harmonic(dim, degree, np.clip(x @ axis_of(dim), -1, 1))
    assert weights @ (P * values) / (weights @ P**2) * math.exp(density.manifold.log_area) == (
        pytest.approx(-0.7, abs=1e-12)
    )


@pytest.mark.parametrize("degree", [1, 2, 5, 40])
def test_on_the_circle(degree):
    """The uniform density times 1 + a cos(k (theta - centre))."""
    theta = np.linspace(-7, 7, 500)
    density = ufd.ZonalHarmonic([math.cos(0.4), math.sin(0.4)], degree, 0.3)
    expected = (1 + 0.3 * np.cos(degree * (theta - 0.4))) / (2 * np.pi)
    values = density_at(density, np.column_stack([np.cos(theta), np.sin(theta)]))
    np.testing.assert_allclose(values, expected, rtol=1e-12)


@pytest.mark.parametrize("degree", [1, 2, 3, 7, 30])
@pytest.mark.parametrize("dim", [*DIMS, 40])
def test_polynomials_are_scipys(dim, degree):
    """Chebyshev, Legendre, Gegenbauer divided by its value at 1; P(1) = 1 and |P| <= 1."""
    P = zonal_harmonic(dim, degree, COSINES)
    if dim == 1:
        expected = special.eval_chebyt(degree, COSINES)
    elif dim == 2:
        expected = special.eval_legendre(degree, COSINES)
    else:
        order = (dim - 1) / 2
        expected = special.eval_gegenbauer(degree, order, COSINES)
        expected /= special.eval_gegenbauer(degree, order, 1.0)
    np.testing.assert_allclose(P, expected, rtol=0, atol=1e-12)
    assert P[400] == 1 and np.abs(P).max() == 1


@pytest.mark.parametrize("degree", [1, 2, 3, 6])
@pytest.mark.parametrize("dim", DIMS)
def test_eigenfunction(dim, degree):
    """(1 - z^2) P'' - n z P' = -l (l + n - 1) P, the Laplacian of S^n for functions of z.

    P is a polynomial, so that its derivatives are those of an interpolant.
    """
    P = np.polynomial.Chebyshev.interpolate(lambda z: zonal_harmonic(dim, degree, z), degree)
    z = COSINES[1:-1]
    laplacian = (1 - z**2) * P.deriv(2)(z) - dim * z * P.deriv(1)(z)
    expected = -degree * (degree + dim - 1) * P(z)
    np.testing.assert_allclose(laplacian, expected, rtol=0, atol=1e-11 * degree**4)


@pytest.mark.parametrize("amplitude", [1e-300, 1e-17, 1e-12, -1e-9])
def test_tiny_amplitudes(amplitude):
    """The change of the logarithm is the amplitude times P, where 1 + amplitude P is 1."""
    sphere, x = ufd.Sphere(1), np.array([[1.0, 0.0], [0.6, 0.8], [-1.0, 0.0]])
    density = ufd.ZonalHarmonic([1, 0], 1, amplitude)
    change = density.log_density(x) - ufd.Uniform(sphere).log_density(x)
    np.testing.assert_allclose(change, amplitude * x[:, 0], rtol=1e-8, atol=5e-16)
    assert ufd.ZonalHarmonic([1, 0], 1, 0.0).log_density(x) == pytest.approx(-sphere.log_area)


def test_run_in_one_mode():
    """Towards the uniform teacher, p = 1, a small start decays by its own eigenvalue."""
    sphere, amplitude = ufd.Sphere(2), 1e-6
    start = ufd.ZonalHarmonic([1, 2, -2], 3, amplitude)
    problem = ufd.UltraFastDiffusion(ufd.Uniform(sphere), start)
    result = ufd.solve(problem, times=[0.1], cells=2, degree=6, rtol=1e-8, modes=0)
    x = points_on(2, 20)
    expected = amplitude * math.exp(-1.2) * zonal_harmonic(2, 3, x @ np.asarray(start.axis))
    np.testing.assert_allclose(result.ratio(x, 0.1) - 1, expected, rtol=0, atol=3e-4 * amplitude)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        *(([[1, 0], k, 0.1], f"degree = {k!r} must") for k in (0, -1, 1.0, True, "2", None, 10**5)),
        *(([[1, 0], 1, a], f"amplitude = {a!r}") for a in (1.0, -1.0, 3.0, math.nan, math.inf)),
        ([[1, 0], 1, "x"], "amplitude = 'x' is not a number"),
        ([[0, 0], 1, 0.1], "axis = [0, 0] must be a finite, non-zero vector"),
        ([[1], 1, 0.1], "axis = [1]"),
        ([[1, math.nan], 1, 0.1], "axis = [1, nan]"),
        ([["a", 1], 1, 0.1], "axis = ['a', 1] is not a vector"),
    ],
)
def test_refusals(arguments, words):
    """One line with the value and where it stood."""
    with pytest.raises(ufd.InputError) as caught:
        ufd.ZonalHarmonic(*arguments)
    text = str(caught.value)
    assert words in text and text.startswith("ZonalHarmonic: ") and "\n" not in text


@pytest.mark.parametrize("dim", [1, 2])
def test_table(dim):
    """It describes itself, also inside a mixture, and is built again from that."""
    density = ufd.ZonalHarmonic(5 * axis_of(dim), np.int64(4), -0.25)
    table = density.describe()
    assert table["axis"] == pytest.approx(axis_of(dim).tolist(), abs=1e-15)
    assert table == {**table, "kind": "zonal_harmonic", "degree": 4, "amplitude": -0.25}
    assert type(table["degree"]) is int
    mixed = ufd.Mixture([density, ufd.Uniform(ufd.Sphere(dim))], [0.5, 0.5])
    problem = ufd.UltraFastDiffusion(mixed, density)
    again, x = problem_from(problem.describe()), points_on(dim)
    for name in ("teacher", "initial"):
        before, after = (getattr(p, name).log_density(x) for p in (problem, again))
        np.testing.assert_allclose(after, before, rtol=0, atol=1e-14)


CASE = """[problem]
dim = 1
[problem.teacher]
kind = "uniform"
[problem.initial]
kind = "zonal_harmonic"
axis = [1.0, 0.0]
degree = 2
amplitude = 0.5
"""


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[1.0, 0.0]", "[1.0]", "problem.initial: axis = [1.0] has 1 entries; a sphere of dim = 1"),
        ("[1.0, 0.0]", "[0.0, 0.0]", "problem.initial: ZonalHarmonic: axis = [0.0, 0.0]"),
        ("degree = 2", "degree = 0", "problem.initial.degree = 0"),
        ("degree = 2", "degree = 1.5", "problem.initial.degree = 1.5"),
        ("degree = 2", "degree = 20000", "problem.initial: ZonalHarmonic: degree = 20000"),
        ("degree = 2", "degre = 2", "problem.initial.degre: unknown key; did you mean degree?"),
        ("amplitude = 0.5", "amplitude = 1.0", "problem.initial.amplitude = 1.0"),
        ("amplitude = 0.5", "", "problem.initial.amplitude: missing"),
    ],
)
def test_case_file(tmp_path, old, new, words):
    """What is right arrives; what is wrong is named by its key."""
    path = tmp_path / "case.toml"
    path.write_text(CASE)
    assert read_case(path).problem.build().initial.degree == 2
    path.write_text(CASE.replace(old, new))
    with pytest.raises(ufd.InputError) as caught:
        read_case(path)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def densities(dim: int) -> list[Density]:
    first, second = points_on(dim, 2, seed=10 + dim)
    sphere = ufd.Sphere(dim)
    parts = [
        ufd.VonMisesFisher(first, 3.0),
        ufd.VonMisesFisher(second, 20.0),
        ufd.ZonalHarmonic(second, 3, 0.9),
        ufd.Uniform(sphere),
    ]
    mixtures = [
        ufd.Mixture(pair, [0.3, 0.7])
        for pair in (parts[:2], parts[::2], parts[1:3], [parts[0], parts[3]])
    ]
    nested = ufd.Mixture([mixtures[0], parts[2]], [0.5, 0.5])
    circle = [ufd.AngularCauchy(30.0, 0.7), ufd.AngularCauchy(0.0, 0.7)] if dim == 1 else []
    flat = [ufd.VonMisesFisher(first, 0.0), ufd.ZonalHarmonic(first, 2, 0.0)]
    return [*parts, *mixtures, nested, *circle, *flat]


def maps_that_fix(axes: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """An orthonormal basis across the axes, (j, d), and a random orthogonal map of that part."""
    d = axes.shape[1]
    across = np.eye(d)
    if len(axes):
        _, size, basis = np.linalg.svd(axes)
        across = basis[int((size > 1e-12).sum()) :]
    turn = np.linalg.qr(rng.normal(size=(len(across), len(across))))[0]
    return across, np.eye(d) + across.T @ (turn - np.eye(len(across))) @ across


@pytest.mark.parametrize(
    ("dim", "number"),
    [(dim, i) for dim in (1, 2, 3, 5) for i in range(len(densities(dim)))],
)
def test_invariant_under_maps_that_fix_the_axes(dim, number):
    """A reflection for two axes on S^2, a turn of a plane on S^3; to 1e-12."""
    density, x = densities(dim)[number], points_on(dim)
    axes, rng = density.axes(), np.random.default_rng(number)
    assert axes.shape[1] == dim + 1
    np.testing.assert_allclose(np.linalg.norm(axes, axis=1), 1, rtol=1e-14)
    here = density.log_density(x)
    for _ in range(5):
        across, turn = maps_that_fix(axes, rng)
        np.testing.assert_allclose(turn @ turn.T, np.eye(dim + 1), atol=1e-13)
        np.testing.assert_allclose(density.log_density(x @ turn.T), here, rtol=0, atol=1e-12)
    if len(across) == 1:
        mirror = np.eye(dim + 1) - 2 * across.T @ across
        np.testing.assert_allclose(density.log_density(x @ mirror.T), here, rtol=0, atol=1e-12)
    if len(axes):
        any_map = np.linalg.qr(rng.normal(size=(dim + 1, dim + 1)))[0]
        assert np.abs(density.log_density(x @ any_map.T) - here).max() > 1e-2


def test_axes():
    """As many as there are directions; none without a concentration; None where unknown."""
    sphere = ufd.Sphere(2)
    vmf, wave = ufd.VonMisesFisher([0, 0, 2], 1), ufd.ZonalHarmonic([0, 3, 0], 2, 0.1)
    assert vmf.axes().tolist() == [[0, 0, 1]] and wave.axes().tolist() == [[0, 1, 0]]
    assert ufd.Mixture([vmf, wave], [0.5, 0.5]).axes().tolist() == [[0, 0, 1], [0, 1, 0]]
    nothing = [ufd.Uniform(sphere), ufd.VonMisesFisher([0, 0, 2], 0)]
    for density in (*nothing, ufd.Mixture(nothing, [0.5, 0.5]), ufd.ZonalHarmonic([0, 0, 1], 1, 0)):
        assert density.axes().shape == (0, 3)
    np.testing.assert_allclose(
        ufd.AngularCauchy(2, 0.7).axes(), [[math.cos(0.7), math.sin(0.7)]], rtol=1e-15
    )
    assert ufd.AngularCauchy(0).axes().shape == (0, 2)
    unknown = ufd.density(sphere, lambda x: np.exp(x[:, 0]))
    assert unknown.axes() is None
    for parts in itertools.permutations([unknown, vmf]):
        assert ufd.Mixture(parts, [0.5, 0.5]).axes() is None

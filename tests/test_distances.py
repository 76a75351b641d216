"""Energy distance, Sobolev distance and the torus discrepancy, each against a second way."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

import ufd
from ufd.problem.densities import Density, density_at
from ufd.problem.distances import (
    energy,
    minimum_image_discrepancy,
    mmd,
    sampling_floor,
    sobolev_distance,
)
from ufd.problem.expansions import energy_coefficients
from ufd.problem.harmonics import multiplicities, uniform_rule, zonal_harmonics
from ufd.problem.manifolds import Torus
from ufd.problem.measures import Measure
from ufd.problem.torus import PeriodicCauchy

CIRCLE, SPHERE = ufd.Sphere(1), ufd.Sphere(2)
PEAK = ufd.VonMisesFisher([1, 2, 2], 30.0)
TWO_PEAKS = ufd.Mixture([ufd.AngularCauchy(10.0, 0.3), ufd.AngularCauchy(10.0, 2.0)], [0.7, 0.3])


def on_circle(angles):
    return np.column_stack([np.cos(angles), np.sin(angles)])


def ring(count, start=0.3):
    return on_circle(start + 2 * np.pi * np.arange(count) / count)


def fibonacci(count):
    i = np.arange(count)
    z, turn = 1 - (2 * i + 1) / count, i * math.pi * (3 - math.sqrt(5))
    r = np.sqrt(1 - z**2)
    return np.column_stack([r * np.cos(turn), r * np.sin(turn), z])


def by_all_pairs(x, u, y, v):
    """MMD^2 by its definition."""
    return 2 * u @ cdist(x, y) @ v - u @ cdist(x, x) @ u - v @ cdist(y, y) @ v


def weights_of(count, rng):
    w = rng.random(count) + 0.1
    return w / w.sum()


def as_function(density: Density) -> Density:
    return ufd.density(density.manifold, lambda x: np.exp(density.log_density(x)))


@dataclass
class State:
    """What a solver returns, as far as distances look."""

    law: Density

    @property
    def manifold(self):
        return self.law.manifold

    def density(self, points):
        return density_at(self.law, points)


@dataclass
class Particles:
    measure: Measure


def test_mean_distances_of_uniform_laws():
    """4/pi on the circle, 4/3 on S^2, and the one-coordinate integral above."""
    assert energy(ufd.Uniform(CIRCLE)) == pytest.approx(4 / math.pi, rel=1e-14)
    assert energy(ufd.Uniform(SPHERE)) == pytest.approx(4 / 3, rel=1e-14)
    t, w = uniform_rule(5, 4000)
    expected = w @ np.sqrt(2 - 2 * t)
    assert energy(ufd.Uniform(ufd.Sphere(5))) == pytest.approx(expected, rel=1e-10)
    assert sampling_floor(ufd.Uniform(CIRCLE), 50) == pytest.approx(math.sqrt(4 / math.pi / 50))


def test_sampling_floor_is_the_mean_of_draws():
    """E MMD^2 of M draws from N atoms, by simulation within four standard errors."""
    rng = np.random.default_rng(1)
    x, count = ring(40)[:13], 6
    squares = [mmd((x, None), (x[rng.integers(13, size=count)], None)) ** 2 for _ in range(2000)]
    error = np.std(squares) / math.sqrt(len(squares))
    assert abs(np.mean(squares) - sampling_floor((x, None), count) ** 2) < 4 * error


def test_equispaced_points():
    """MMD^2 = (8/pi) sum_j 1/(4 M^2 j^2 - 1), some pi/(3 M^2)."""
    for count in (1, 2, 7, 100, 1000):
        # sum_j 1/(a^2 j^2 - 1) = (1 - (pi/a) cot(pi/a))/2 with a = 2 M
        angle = math.pi / (2 * count)
        exact = 8 / math.pi * (1 - angle / math.tan(angle)) / 2
        got = mmd((ring(count), None), ufd.Uniform(CIRCLE))
        assert got**2 == pytest.approx(exact, rel=1e-12, abs=4e-15), count
    assert got == pytest.approx(math.sqrt(math.pi / 3) / 1000, rel=1e-6)


@pytest.mark.parametrize(("count", "floor"), [(250, 0.01437), (500, 0.00853), (1000, 0.00507)])
def test_fibonacci_lattice(count, floor):
    """Values measured earlier by other code."""
    assert mmd((fibonacci(count), None), ufd.Uniform(SPHERE)) == pytest.approx(floor, abs=5.1e-6)


ANGLES = st.lists(
    st.sampled_from([0.0, 2 * math.pi, math.pi, 1.0, 1.0 + math.pi, -1e-12, 1e-9])
    | st.floats(-7, 7),
    min_size=1,
    max_size=12,
)


@given(ANGLES, ANGLES, st.integers(0, 100))
@settings(max_examples=60, deadline=None)
def test_sorting_on_the_circle(first, second, seed):
    """Ties, antipodes, both sides of angle 0 and weights, against all pairs."""
    rng = np.random.default_rng(seed)
    x, y = on_circle(np.array(first)), on_circle(np.array(second))
    u, v = weights_of(len(x), rng), weights_of(len(y), rng)
    assert mmd((x, u), (y, v)) ** 2 == pytest.approx(
        max(by_all_pairs(x, u, y, v), 0), abs=1e-14, rel=1e-12
    )


@given(st.integers(0, 10**6), st.sampled_from([1, 2, 4]))
@settings(max_examples=30, deadline=None)
def test_metric(seed, dim):
    """Symmetry and the triangle inequality, with a density as third law."""
    rng = np.random.default_rng(seed)
    laws: list = [ufd.VonMisesFisher(np.eye(dim + 1)[0], 3.0)]
    for count in rng.integers(1, 20, size=2):
        laws.append((ufd.Sphere(dim).retract(rng.normal(size=(count, dim + 1))), None))
    a, b, c = laws
    assert mmd(a, b) == mmd(b, a) and mmd(b, c) == pytest.approx(mmd(c, b), abs=1e-7)
    assert mmd(b, b) <= 1e-7
    for x, y, z in ((a, b, c), (b, c, a), (c, a, b)):
        assert mmd(x, y) <= mmd(x, z) + mmd(z, y) + 1e-7


def test_blocks_do_not_matter(monkeypatch):
    """Long arrays are run through in pieces."""
    a, b = (fibonacci(90), None), (fibonacci(31), None)
    c = as_function(ufd.VonMisesFisher([1, 2, 2], 5.0))
    before = mmd(a, b), mmd(a, c), sobolev_distance(a, b, 2, 6)
    monkeypatch.setattr("ufd.problem.laws._CHUNK", 200)
    assert (mmd(a, b), mmd(a, c), sobolev_distance(a, b, 2, 6)) == pytest.approx(before, rel=1e-9)


def test_density_against_atoms_on_the_circle():
    """The expected distances by a trapezoidal rule that ends at the atoms' own kinks."""
    x = on_circle(2 * np.pi * np.array([0, 3, 4, 9, 20]) / 32)
    w = np.array([0.1, 0.4, 0.2, 0.2, 0.1])
    nodes, weights = np.polynomial.legendre.leggauss(24)
    cuts = 2 * np.pi * np.arange(33) / 32
    angles = (cuts[:-1, None] + np.pi / 32 * (1 + nodes)).ravel()
    y = on_circle(angles)
    v = np.tile(np.pi / 32 * weights, 32) * density_at(TWO_PEAKS, y)
    # Moments by the same panels and the published sum for E|Y - Y'|.
    k = np.arange(1, 61)
    mu = np.exp(-1j * np.outer(k, angles)) @ v
    itself = 4 / math.pi - 8 / math.pi * np.sum(np.abs(mu) ** 2 / (4 * k**2 - 1))
    expected = 2 * w @ cdist(x, y) @ v - w @ cdist(x, x) @ w - itself
    for law in (TWO_PEAKS, as_function(TWO_PEAKS), State(TWO_PEAKS)):
        assert mmd((x, w), law) ** 2 == pytest.approx(expected, rel=1e-12)
        assert energy(law) == pytest.approx(itself, rel=1e-13)


@pytest.mark.parametrize("dim", [2, 3, 5])
def test_density_against_one_atom(dim):
    """An atom on the axis: E|a - X| is an integral over one coordinate."""
    peak = ufd.VonMisesFisher(np.arange(1.0, dim + 2), 30.0)
    nodes, w = np.polynomial.legendre.leggauss(200)
    angle = np.pi / 2 * (1 + nodes)
    w = w * np.exp(30 * (np.cos(angle) - 1)) * np.sin(angle) ** (dim - 1)
    distance = w @ (2 * np.sin(angle / 2)) / w.sum()
    axis = np.asarray(peak.mean)[None]
    assert mmd((axis, None), peak) ** 2 == pytest.approx(2 * distance - energy(peak), rel=1e-12)
    x, v = peak.manifold.quadrature(60 if dim == 2 else 24)
    if dim < 5:
        v = v * density_at(peak, x)
        # Nodes as atoms: the law they sample, within the floor that they leave.
        assert energy((x, v / v.sum())) == pytest.approx(energy(peak), rel=0.01)


@pytest.mark.parametrize("law", [ufd.AngularCauchy(50.0, 0.3), TWO_PEAKS, PEAK])
def test_closed_moments_and_quadrature_agree(law):
    """Density, function and state are one law, also against others."""
    same, points = as_function(law), ring(77) if law.manifold == CIRCLE else fibonacci(77)
    other = ufd.Uniform(law.manifold)
    assert mmd(law, law) <= 1e-7
    assert mmd(law, same) <= 1e-12 and mmd(same, State(law)) <= 1e-12
    assert mmd(same, (points, None)) == pytest.approx(mmd(law, (points, None)), rel=1e-12)
    assert mmd(same, other) == pytest.approx(mmd(law, other), rel=1e-12)
    # Moments below 1e-17 in the energy distance are cut off.
    assert sobolev_distance(law, same, 0) <= 1e-11


def test_density_against_density():
    """Wrapped Cauchy moments r^k exp(-ikc) summed; small distances keep their digits."""
    k = np.arange(1, 2000)
    ratio = math.tan(math.atan(math.sqrt(11)) - math.pi / 4)
    for shift in (1.0, 1e-5):
        gap = ratio**k * np.abs(1 - np.exp(1j * k * shift))
        expected = math.sqrt(8 / math.pi * np.sum(gap**2 / (4 * k**2 - 1)))
        got = mmd(ufd.AngularCauchy(10.0, 0.3), ufd.AngularCauchy(10.0, 0.3 + shift))
        assert got == pytest.approx(expected, rel=1e-9)
    # On S^3 the product of two antipodal peaks' moments changes sign with the degree.
    axis = np.eye(4)[0]
    pair = ufd.VonMisesFisher(axis, 4.0), ufd.VonMisesFisher(-axis, 4.0)
    moments = pair[0].moments(80)[0][1]
    odd = (multiplicities(3, 80) * energy_coefficients(3, 80) * moments**2)[1::2]
    assert mmd(*pair) == pytest.approx(math.sqrt(4 * odd.sum()), rel=1e-12)


def test_measures_are_atoms():
    """Of a `Measure`, or of anything that carries one."""
    x, w = ring(9), weights_of(9, np.random.default_rng(0))
    expected = mmd((x, w), TWO_PEAKS)
    assert mmd(Measure(x, w), TWO_PEAKS) == mmd(TWO_PEAKS, Particles(Measure(x, w))) == expected


def test_sobolev_distance():
    """Single modes, a Green's function and the terms of two atoms."""
    s, k = 1.5, np.arange(1, 65)
    ratio = math.tan(math.atan(math.sqrt(11)) - math.pi / 4)
    expected = math.sqrt(2 * np.sum(ratio ** (2 * k) * (1 + k**2) ** -s))
    law = ufd.AngularCauchy(10.0, 1.0)
    assert sobolev_distance(law, ufd.Uniform(CIRCLE), s) == pytest.approx(expected, rel=1e-12)
    # sum_k |1 - exp(ikt)|^2/(1 + k^2) over all k is a hyperbolic cosine.
    t = 0.7
    green = math.pi / math.sinh(math.pi) * (math.cosh(math.pi) - math.cosh(math.pi - t))
    got = sobolev_distance((ring(1, 0.0), None), (ring(1, t), None), 1, 2**14)
    assert got**2 == pytest.approx(2 * green, rel=1e-4)
    a, b = np.eye(3)[:1], np.array([[0.6, 0.0, 0.8]])
    terms = zonal_harmonics(2, 30, np.array(0.6))
    sums = sum(
        2 * (2 * j + 1) * (1 - float(p)) * (1 + j * (j + 1)) ** -2.0 for j, p in enumerate(terms)
    )
    assert sobolev_distance((a, None), (b, None), 2, 30) == pytest.approx(math.sqrt(sums))


def test_sobolev_distance_of_shares():
    """A measure spread over ranks: its moments are summed by its own reduction."""
    x, w = ring(8), np.full(8, 0.125)
    share = Measure(x[:4], w[:4], lambda a: a * 2)  # the other rank holds the same
    expected = sobolev_distance((x[:4], None), ufd.Uniform(CIRCLE), 1, 40)
    assert sobolev_distance(share, ufd.Uniform(CIRCLE), 1, 40) == pytest.approx(expected)
    with pytest.raises(ufd.InputError, match=r"mmd: a: weights sum to 0.5, not 1"):
        mmd(share, ufd.Uniform(CIRCLE))


NAN = np.array([[1.0, 0.0], [math.nan, 0.0]])
ONE = (ring(1), None)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: mmd(3.0, ONE), "mmd: a = float is no law; give (points, weights)"),
        (lambda: mmd(ONE, (None, None)), "mmd: b: points of shape ()"),
        (lambda: mmd(ONE, ("x", None)), "mmd: b: 'x' is no array of numbers"),
        (lambda: mmd((ring(3), [1.0]), ONE), "weights of shape (1,) for 3 points"),
        (lambda: mmd((ring(2), [1.5, -0.5]), ONE), "weights[1] = -0.5 must not be negative"),
        (lambda: mmd((ring(2), [1, math.nan]), ONE), "weights[1] = nan must not be negative"),
        (lambda: mmd((ring(2), [0.4, 0.4]), ONE), "weights sum to 0.8, not 1; divide"),
        (lambda: mmd((np.empty((0, 2)), None), ONE), "mmd: a has no points; give"),
        (lambda: mmd((NAN, None), ONE), "mmd: a: points: row 1 is not finite"),
        (lambda: mmd((NAN, None), TWO_PEAKS), "mmd: a: points: row 1 has length nan"),
        (lambda: energy((2 * ring(2), None)), "is not of length 1 in R^n, n > 1; give manifold="),
        (lambda: mmd(ONE, (fibonacci(2), None)), "mmd: b: points: shape (2, 3) given, (n, 2)"),
        (lambda: mmd(TWO_PEAKS, PEAK), "b lives on Sphere(dim=2), not on Sphere(dim=1); compare"),
        (lambda: mmd(PEAK, PEAK, manifold=CIRCLE), "a lives on Sphere(dim=2), not on"),
        (lambda: energy(PEAK, manifold=3), "energy: manifold = 3; give a Sphere or a Torus"),
        (lambda: energy(as_function(ufd.Uniform(ufd.Sphere(3)))), "give independent draws"),
        (lambda: energy(PeriodicCauchy(1.0, [0.0] * 4)), "dimension at most 3"),
        (lambda: energy(ufd.AngularCauchy(1e12)), "too concentrated for harmonics of degree 4096"),
        (
            lambda: sampling_floor(PEAK, 0),
            "sampling_floor: count = 0 must be finite and at least 1",
        ),
        (lambda: sobolev_distance(ONE, ONE, 0.5), "s = 0.5 must exceed 0.5"),
        (lambda: sobolev_distance(ONE, ONE, -1), "sobolev_distance: s = -1 must be finite and"),
        (lambda: sobolev_distance(ONE, ONE, 1, 0), "degree = 0 is not a positive integer"),
        (lambda: sobolev_distance((np.eye(4), None), (np.eye(4), None), 2), "S^1 or S^2 needed"),
        (lambda: minimum_image_discrepancy(ONE, ONE, manifold=CIRCLE), "a torus needed, use mmd"),
        (
            lambda: minimum_image_discrepancy(
                PeriodicCauchy(1.0, [0.0]), (np.zeros((1, 1)), None), manifold=Torus(1)
            ),
            "a density given; atoms needed",
        ),
    ],
)
def test_refusals(call, words):
    """One line that names the argument, the value and the remedy."""
    with pytest.raises(ufd.InputError) as caught:
        call()
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_state_that_is_no_probability():
    """Its mass is part of the message."""

    class Half(State):
        def density(self, points):
            return 0.5 * super().density(points)

    with pytest.raises(ufd.InputError, match=r"the density integrates to 0\.5, not 1"):
        energy(Half(TWO_PEAKS))

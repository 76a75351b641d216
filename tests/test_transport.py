"""W2 against closed formulas, an independent library routine, and sets small enough for hand."""

from __future__ import annotations

import math

import numpy as np
import ot
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ufd
from ufd.exceptions import SolverError
from ufd.problem.densities import density_at
from ufd.problem.manifolds import Torus
from ufd.problem.torus import PeriodicCauchy
from ufd.problem.transport import wasserstein

CIRCLE = ufd.Sphere(1)


def on_circle(x):
    """Points at fractions of a turn."""
    angle = 2 * np.pi * np.asarray(x, dtype=float)
    return np.column_stack([np.cos(angle), np.sin(angle)])


def to_uniform(x):
    """The closed formula in units of the length, squared."""
    x = np.sort(x)
    n = len(x)
    i = np.arange(1, n + 1)
    return np.mean(x**2) - np.mean(x) ** 2 + np.sum((n + 1 - 2 * i) * x) / n**2 + 1 / 12


@pytest.mark.parametrize("count", [1, 2, 5, 60, 500])
def test_atoms_and_the_uniform_density(count):
    """The closed formula, for S^1 and a circle of another length."""
    x = np.random.default_rng(count).random(count)
    got = wasserstein((on_circle(x), None), ufd.Uniform(CIRCLE))
    assert got == pytest.approx(2 * math.pi * math.sqrt(to_uniform(x)), rel=1e-9)
    flat = PeriodicCauchy(0.0, [0.0], 3.0)
    got = wasserstein(flat, (3 * x[:, None], None))
    assert got == pytest.approx(3 * math.sqrt(to_uniform(x)), rel=1e-9)


def test_equispaced_atoms():
    """L^2/(12 M^2)."""
    x = 0.013 + np.arange(128) / 128
    got = wasserstein((on_circle(x), None), ufd.Uniform(CIRCLE))
    assert got == pytest.approx(2 * math.pi / 128 / math.sqrt(12), rel=1e-9)


def test_concentration_about_an_atom():
    """All mass goes to one atom at the mode: the second moment of the angle."""
    law = ufd.VonMisesFisher([math.cos(0.4), math.sin(0.4)], 5.0)
    angle = -np.pi + 2 * np.pi * (np.arange(20000) + 0.5) / 20000
    values = density_at(law, on_circle((angle + 0.4) / (2 * np.pi)))
    expected = math.sqrt(np.sum(angle**2 * values) / np.sum(values))
    got = wasserstein(law, (on_circle([0.4 / (2 * np.pi)]), None))
    assert got == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("shift", [0.3, 1.1])
def test_translations(shift):
    """Of atoms by less than half their spacing, and of a mild density by a small angle.

    For densities rho and its turn by eps, W2/eps tends to the square root of
    1 - 4 pi^2/int(1/rho), the least energy of a flow with that transport.
    """
    x = np.array([0.05, 0.3, 0.55, 0.8])
    moved = x + 0.1 * shift
    got = wasserstein((on_circle(x), None), (on_circle(moved), None))
    assert got == pytest.approx(2 * math.pi * 0.1 * shift, rel=1e-12)
    eps = 1e-3 * shift
    a, b = ufd.AngularCauchy(2.0, 1.0), ufd.AngularCauchy(2.0, 1.0 + eps)
    angle = 2 * np.pi * np.arange(4096) / 4096
    inverse = 2 * np.pi * np.mean(1 / density_at(a, on_circle(angle / (2 * np.pi))))
    expected = eps * math.sqrt(1 - 4 * math.pi**2 / inverse)
    assert wasserstein(a, b) == pytest.approx(expected, rel=1e-4)


def test_density_against_itself():
    """Zero, up to the tolerance of the shift."""
    law = ufd.Mixture([ufd.AngularCauchy(100.0, 0.1), ufd.AngularCauchy(10.0, 2.0)], [0.4, 0.6])
    same = ufd.density(CIRCLE, lambda x: np.exp(law.log_density(x)))
    assert wasserstein(law, same) <= 1e-7


def test_densities_against_their_quantiles():
    """Many quantiles as atoms: a second way to every distance."""
    a, b = ufd.AngularCauchy(10.0, 0.1), ufd.VonMisesFisher([-1.0, 0.3], 3.0)
    angle = 2 * np.pi * (np.arange(200000) + 0.5) / 200000

    def atoms(law, count=4000):
        mass = np.cumsum(density_at(law, on_circle(angle / (2 * np.pi))))
        levels = (np.arange(count) + 0.5) / count
        return on_circle(np.interp(levels, mass / mass[-1], angle) / (2 * np.pi)), None

    expected = wasserstein(atoms(a), atoms(b))
    assert wasserstein(a, b) == pytest.approx(expected, rel=1e-5)
    assert wasserstein(a, atoms(b)) == pytest.approx(expected, rel=1e-5)


FRACTIONS = st.lists(
    st.sampled_from([0.0, 0.25, 0.5, 0.75, 0.999]) | st.floats(0, 0.999), min_size=1, max_size=9
)


@given(FRACTIONS, FRACTIONS, st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_atoms_on_the_circle(first, second, seed):
    """Weighted atoms against a linear programme with squared arc lengths, and on a torus."""
    rng = np.random.default_rng(seed)
    x, y = np.array(first), np.array(second)
    u, v = (w / w.sum() for w in (rng.random(len(x)) + 0.1, rng.random(len(y)) + 0.1))
    gap = np.abs(x[:, None] - y)
    expected = math.sqrt(ot.emd2(u, v, np.minimum(gap, 1 - gap) ** 2))
    got = wasserstein((x[:, None], u), (y[:, None], v), manifold=Torus(1))
    assert got == pytest.approx(expected, abs=1e-8, rel=1e-7)
    got = wasserstein((on_circle(x), u), (on_circle(y), v))
    assert got == pytest.approx(2 * math.pi * expected, abs=1e-7, rel=1e-7)
    assert wasserstein((on_circle(x), u), (on_circle(x), u)) <= 1e-9


def test_another_implementation():
    """POT's circular distance, which is the square in units of the length."""
    rng = np.random.default_rng(5)
    x, y = rng.random(300), rng.beta(2, 5, size=200)
    expected = 2 * math.pi * math.sqrt(float(ot.wasserstein_circle(x, y, p=2)[0]))
    assert wasserstein((on_circle(x), None), (on_circle(y), None)) == pytest.approx(
        expected, rel=1e-5
    )


def test_spheres_and_tori_by_hand():
    """Far pairs turned by a small angle; differences across the seam of a torus."""
    eps = 1e-6
    x = np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])
    turn = np.array(
        [[math.cos(eps), -math.sin(eps), 0], [math.sin(eps), math.cos(eps), 0], [0, 0, 1]]
    )
    got = wasserstein((x, [0.5, 0.25, 0.25]), (x @ turn.T, [0.5, 0.25, 0.25]))
    assert got == pytest.approx(eps * math.sqrt(0.5), rel=1e-7)
    pole = np.array([[0.0, 0, 1]])
    assert wasserstein((pole, None), (-pole, None)) == pytest.approx(math.pi)
    got = wasserstein(
        ([[0.1, 0.2]], None), ([[2.9, 0.2], [0.1, 1.7]], None), manifold=Torus(2, 3.0)
    )
    assert got == pytest.approx(math.sqrt((0.2**2 + 1.5**2) / 2))


@pytest.mark.parametrize(
    ("a", "words"),
    [
        (ufd.Uniform(ufd.Sphere(2)), "a density on Sphere(dim=2); atoms needed off the circle"),
        ((np.tile(np.eye(3)[:1], (4001, 1)), None), "4001 points on Sphere(dim=2), at most 4000"),
        ((np.eye(2), None), "wasserstein: b: points: shape (3, 3) given"),
        (3, "wasserstein: a = int is no law"),
    ],
)
def test_refusals(a, words):
    """One line that names the argument, the value and the remedy."""
    with pytest.raises(ufd.InputError) as caught:
        wasserstein(a, (np.eye(3), None))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_solver_that_gives_up(monkeypatch):
    """No number is returned then."""
    monkeypatch.setattr(ot, "emd2", lambda *_, **__: (0.0, {"warning": "numItermax\nreached"}))
    with pytest.raises(SolverError, match=r"wasserstein: numItermax reached"):
        wasserstein((np.eye(3), None), (np.eye(3), None))

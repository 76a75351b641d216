"""Which modes a symmetry forbids, and their names, on meshes that do not have the symmetry."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

import ufd
from ufd.analysis.modes import clusters
from ufd.fem.discretization import Discretization
from ufd.fem.meshes import sphere_mesh
from ufd.fem.spectrum import laplacian_modes
from ufd.fem.symmetry import harmonic_names, stacked_axes, symmetry_of

CIRCLE, SPHERE = ufd.Sphere(1), ufd.Sphere(2)
E1, E2, E3 = np.eye(3)


def turned(seed: int, *directions) -> list[np.ndarray]:
    """Directions after a random rotation; 0 leaves them."""
    matrix = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(directions[0]),) * 2))[0]
    return [np.asarray(d) @ matrix if seed else np.asarray(d) for d in directions]


def spectrum_of(teacher, start, modes: int, comm) -> dict[str, np.ndarray]:
    """What a run of one short step says about its modes."""
    cells = 12 if teacher.manifold.dim == 1 else 3
    problem = ufd.UltraFastDiffusion(teacher, start)
    options = {"cells": cells, "degree": 8, "dt": 1e-3, "stepper": ufd.BackwardEuler()}
    return ufd.solve(problem, [1e-3], modes=modes, comm=comm, **options).spectrum


@pytest.mark.parametrize("seed", [pytest.param(0, marks=pytest.mark.mpi), 1, 2])
def test_one_axis_on_the_sphere(comm, seed):
    """von Mises-Fisher: 2l + 1 modes near each degree, named by their turns around the axis."""
    axis, other = turned(seed, E3, [0.6, 0, 0.8])
    teacher = ufd.VonMisesFisher(axis, 1.0)
    aligned = spectrum_of(teacher, ufd.VonMisesFisher(-axis, 2.0), 15, comm)
    assert list(aligned["names"][:3]) == ["|m| = 1", "|m| = 1", "zonal"]
    np.testing.assert_allclose(aligned["eigenvalues"][:3], [2.148765] * 2 + [2.199712], atol=2e-6)
    counted = Counter(aligned["names"])
    assert counted == {"|m| = 1": 6, "|m| = 2": 4, "|m| = 3": 2, "zonal": 3}
    # An aligned start excites zonal modes only.
    expected = [int(name == "zonal") for name in aligned["names"]]
    assert list(aligned["invariant"]) == expected
    # A tilted one leaves a reflection: one of each pair survives; the names stay.
    tilted = spectrum_of(teacher, ufd.VonMisesFisher(other, 2.0), 15, comm)
    assert list(tilted["names"]) == list(aligned["names"])
    assert list(tilted["invariant"]) == [1] * 15


@pytest.mark.parametrize("seed", [0, 3])
def test_uniform_start_and_opposite_bumps_keep_the_axis(comm, seed):
    """A uniform density singles out nothing, and two opposite bumps single out one axis."""
    (axis,) = turned(seed, E3)
    bumps = ufd.Mixture([ufd.VonMisesFisher(s * axis, 1.0) for s in (1, -1)], [0.3, 0.7])
    for teacher in (ufd.VonMisesFisher(axis, 1.0), bumps):
        found = spectrum_of(teacher, ufd.Uniform(SPHERE), 3, comm)
        assert Counter(found["names"]) == {"|m| = 1": 2, "zonal": 1}
        assert [int(n == "zonal") for n in found["names"]] == list(found["invariant"])


@pytest.mark.parametrize("seed", [0, 4])
def test_two_axes_on_the_sphere(comm, seed):
    """A reflection: 2 even modes and 1 odd one near degree 1; the odd ones are forbidden."""
    first, second, third = turned(seed, E1, [0.6, 0.8, 0], E3)
    parts = [ufd.VonMisesFisher(first, 2.0), ufd.VonMisesFisher(second, 1.0)]
    teacher = ufd.Mixture(parts, [0.6, 0.4])
    found = spectrum_of(teacher, ufd.VonMisesFisher(second - 2 * first, 1.0), 8, comm)
    assert Counter(found["names"][:3]) == {"even": 2, "odd": 1}
    assert Counter(found["names"]) == {"even": 5, "odd": 3}
    assert [int(n == "even") for n in found["names"]] == list(found["invariant"])
    # A third direction: no symmetry is left, and nothing is known.
    free = spectrum_of(teacher, ufd.VonMisesFisher(first + third, 1.0), 8, comm)
    assert list(free["names"]) == list(found["names"])
    assert list(free["invariant"]) == [-1] * 8


@pytest.mark.parametrize("seed", [0, 5])
def test_one_axis_on_the_circle(comm, seed):
    """von Mises: each double eigenvalue has an even and an odd mode, one of them allowed."""
    axis, other = turned(seed, [1.0, 0.0], [0.6, 0.8])
    teacher = ufd.VonMisesFisher(axis, 1.0)
    found = spectrum_of(teacher, ufd.VonMisesFisher(-axis, 2.0), 6, comm)
    assert set(found["names"]) == {"even and odd"} and list(found["invariant"]) == [1] * 6
    free = spectrum_of(teacher, ufd.VonMisesFisher(other, 2.0), 6, comm)
    assert set(free["names"]) == {"even and odd"} and list(free["invariant"]) == [-1] * 6
    # Simple eigenvalues: one name each, and the two take turns.
    angle = float(np.arctan2(axis[1], axis[0]))
    cauchy = spectrum_of(ufd.AngularCauchy(3.0, angle), ufd.Uniform(CIRCLE), 4, comm)
    assert Counter(cauchy["names"]) == {"even": 2, "odd": 2}
    assert [int(n == "even") for n in cauchy["names"]] == list(cauchy["invariant"])
    values = cauchy["eigenvalues"]
    assert len(clusters(values)) == 4


@pytest.mark.mpi
def test_two_axes_on_the_circle(comm):
    """Nothing is left: no names, nothing forbidden."""
    teacher = ufd.Mixture([ufd.AngularCauchy(3.0), ufd.AngularCauchy(3.0, 1.0)], [0.6, 0.4])
    found = spectrum_of(teacher, ufd.Uniform(CIRCLE), 4, comm)
    assert list(found["names"]) == [""] * 4 and list(found["invariant"]) == [-1] * 4


@pytest.mark.parametrize("seed", [0, 6])
def test_uniform_teacher(comm, seed):
    """Degree l, 2l + 1 times on the sphere, twice on the circle; one zonal mode in each."""
    (axis,) = turned(seed, [0.6, 0, 0.8])
    found = spectrum_of(ufd.Uniform(SPHERE), ufd.ZonalHarmonic(axis, 2, 0.3), 15, comm)
    assert list(found["names"]) == ["degree 1"] * 3 + ["degree 2"] * 5 + ["degree 3"] * 7
    assert list(found["invariant"]) == [1] * 15
    (axis,) = turned(seed, [0.6, 0.8])
    circle = spectrum_of(ufd.Uniform(CIRCLE), ufd.ZonalHarmonic(axis, 2, 0.3), 6, comm)
    assert list(circle["names"]) == [f"degree {k}" for k in (1, 1, 2, 2, 3, 3)]
    assert list(circle["invariant"]) == [1] * 6
    two = ufd.Mixture([ufd.VonMisesFisher(e, 1.0) for e in np.eye(3)[:2]], [0.5, 0.5])
    reflected = spectrum_of(ufd.Uniform(SPHERE), two, 8, comm)
    assert list(reflected["invariant"]) == [2] * 3 + [3] * 5
    assert list(reflected["names"]) == ["degree 1"] * 3 + ["degree 2"] * 5


def test_functions_tell_nothing(comm):
    """A start from a function: invariants unknown; a teacher from one: names too."""

    def bump(x: np.ndarray) -> np.ndarray:
        return np.exp(x[:, 2])

    teacher, same = ufd.VonMisesFisher(E3, 1.0), ufd.density(SPHERE, bump)
    start = spectrum_of(teacher, same, 3, comm)
    assert list(start["names"]) == ["|m| = 1", "|m| = 1", "zonal"]
    assert list(start["invariant"]) == [-1] * 3
    for initial in (teacher, same):
        unknown = spectrum_of(same, initial, 3, comm)
        np.testing.assert_allclose(unknown["eigenvalues"], start["eigenvalues"], rtol=1e-9)
        assert list(unknown["names"]) == [""] * 3 and list(unknown["invariant"]) == [-1] * 3
    half = ufd.Mixture([same, teacher], [0.5, 0.5])
    assert half.axes() is None and stacked_axes(np.eye(3), half.axes()) is None


def test_stacked_axes():
    """An orthonormal basis of the span; parallel directions count once, none gives an empty one."""
    skew = stacked_axes(E1[None], (E1 + 1e-3 * E2)[None])
    assert skew.shape == (2, 3)
    np.testing.assert_allclose(skew @ skew.T, np.eye(2), atol=1e-12)
    assert np.abs(skew @ E3).max() == 0
    assert stacked_axes(E1[None], -2 * E1[None], np.empty((0, 3))).shape == (1, 3)
    assert stacked_axes(np.empty((0, 3)), np.empty((0, 3))).shape == (0, 3)
    assert stacked_axes(E1[None], None) is None
    assert ufd.VonMisesFisher(E1, 0).axes().shape == (0, 3)
    assert ufd.ZonalHarmonic(E1, 3, 0.0).axes().shape == (0, 3)


def test_harmonic_names():
    """l(l + n - 1) in reverse, also off by a discretisation error."""
    for dim in (1, 2):
        values = np.array([k * (k + dim - 1) for k in range(1, 30)]) * (1 + 1e-3)
        assert harmonic_names(values, dim) == [f"degree {k}" for k in range(1, 30)]


def test_a_whole_eigenspace_is_named_by_what_it_holds(comm):
    """Groups of several kinds: "zonal and others" of a degree, the count of what is invariant."""
    space = Discretization(sphere_mesh(2, 3, 6), ufd.Uniform(SPHERE), comm)
    modes = laplacian_modes(space, 8)
    groups = clusters(modes.eigenvalues)
    assert [len(g) for g in groups] == [3, 5]
    found = symmetry_of(modes, [groups], stacked_axes(E3[None]))
    assert list(found.invariant) == [1] * 8 and set(found.names) == {"zonal and others"}
    found = symmetry_of(modes, [groups], stacked_axes(E3[None], E1[None]))
    assert list(found.invariant) == [2] * 3 + [3] * 5 and set(found.names) == {"even and odd"}
    assert list(symmetry_of(modes, [groups], None).invariant) == [-1] * 8


@pytest.mark.mpi
def test_a_cut_eigenspace_forbids_nothing(comm):
    """modes = 1 of a double gap, or one of five: what is computed alone has no symmetry of its own.

    The one mode is an arbitrary combination of the even and the odd one, and the start excites it.
    """
    for angle in (0.1, 0.9, 1.7):
        teacher = ufd.VonMisesFisher([np.cos(angle), np.sin(angle)], 1.0)
        problem = ufd.UltraFastDiffusion(teacher, ufd.Uniform(CIRCLE))
        result = ufd.solve(problem, [0.3], cells=12, degree=8, dt=0.1, modes=1, comm=comm)
        found = result.spectrum
        assert found["invariant"][0] != 0 and found["names"][0] in ("", "even and odd")
        assert result.excited_mode.index == 0
    start = ufd.ZonalHarmonic([0.6, 0, 0.8], 2, 0.3)
    cut = spectrum_of(ufd.Uniform(SPHERE), start, 4, comm)
    assert abs(cut["amplitudes"][0, 3]) > 1e-3 and cut["invariant"][3] != 0

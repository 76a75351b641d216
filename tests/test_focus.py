"""Meshes whose nodes are drawn together: conformal, on the sphere, stored and read back."""

from __future__ import annotations

import json

import numpy as np
import pytest
from mpi4py import MPI

import ufd
from ufd.fem.discretization import Discretization
from ufd.fem.meshes import sphere_mesh

AXIS = np.array([0.48, -0.6, 0.64])
MIXTURE = ufd.Mixture(
    [ufd.VonMisesFisher([0, 0, 1], 4), ufd.VonMisesFisher([1, 0, 0], 6)], [0.6, 0.4]
)
PROBLEM = ufd.UltraFastDiffusion(MIXTURE, ufd.Uniform(ufd.Sphere(2)))


def test_the_map_is_conformal():
    """Two orthogonal directions stay orthogonal and are stretched alike, by the stated factors."""
    focus = ufd.Focus(tuple(AXIS), 3.0)
    rng = np.random.default_rng(0)
    x = np.vstack([AXIS, -AXIS, rng.normal(size=(50, 3))])
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    u = np.cross(x, rng.normal(size=x.shape))
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    h, images = 1e-5, []
    for v in (u, np.cross(x, u)):
        ahead, behind = x + h * v, x - h * v
        ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
        behind /= np.linalg.norm(behind, axis=1, keepdims=True)
        images.append((focus(ahead) - focus(behind)) / (2 * h))
    first, second = images
    lengths = np.linalg.norm(first, axis=1)
    np.testing.assert_allclose(lengths, np.linalg.norm(second, axis=1), rtol=1e-8)
    assert np.abs(np.einsum("ij,ij->i", first, second)).max() < 1e-8
    np.testing.assert_allclose(lengths[:2], [1 / 3, 3], rtol=1e-8)
    np.testing.assert_allclose(np.linalg.norm(focus(x), axis=1), 1, atol=1e-15)
    np.testing.assert_allclose(focus(x[:2]), x[:2], atol=1e-15)


def test_factor_one_changes_nothing():
    plain, moved = (sphere_mesh(2, 3, 4, f) for f in (None, ufd.Focus((0, 0, 1), 1.0)))
    np.testing.assert_allclose(moved.points, plain.points, atol=1e-15)


@pytest.mark.mpi
def test_high_order_stays_high_order(comm):
    """Integrals and values between nodes of a moved mesh are as good as of a plain one."""
    surface = sphere_mesh(2, 4, 6, ufd.Focus(tuple(AXIS), 1.5))
    space = Discretization(surface, ufd.VonMisesFisher(AXIS, 2.0), comm)
    assert abs(space.defect) < 1e-8
    x = np.vstack([AXIS, -AXIS, np.eye(3), surface.points[::17]])
    values = space.interpolate(np.exp(space.nodes[:, 0]), x)
    np.testing.assert_allclose(values, np.exp(x[:, 0]), atol=1e-6)


def test_a_front_is_worth_it():
    """The concentrated mixture: D(1) = 0.1324827(1) to 1e-4, where a plain mesh misses 2e-4."""
    errors = []
    for focus in (None, ufd.Focus.where_empty(PROBLEM, 1.7)):
        solver = ufd.DiffusionSolver(PROBLEM, cells=6, degree=4, rtol=1e-3, focus=focus)
        solver.advance(1.0)
        errors.append(abs(solver.divergence() / 0.1324827 - 1))
    assert errors[1] < 1e-4 < 2e-4 < errors[0]


@pytest.mark.mpi
def test_stored_and_read_back(tmp_path, comm):
    """The focus is part of the mesh: a run is read on the nodes that it had."""
    place = comm.bcast(tmp_path)
    focus = ufd.Focus((0, 0, -1), 2.0)
    run = ufd.solve(PROBLEM, [1e-3], cells=2, degree=3, rtol=1e-2, focus=focus, comm=comm)
    run.save(place / "run", comm)
    read = ufd.load(place / "run", comm=comm)
    x = run.at(1e-3).space.surface.points[:9]
    np.testing.assert_array_equal(read.ratio(x, 1e-3), run.ratio(x, 1e-3))
    assert read.configuration["solver"]["focus"] == focus.describe()
    json.dumps(read.configuration)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (((0, 0, 1), 0.5), "focus: factor = 0.5 must be finite and at least 1"),
        (((0, 0, 1), 1e3), "focus: factor = 1000.0 must be at most 100"),
        (((0, 0, 0), 2.0), "focus: direction"),
    ],
)
def test_refused(arguments, words):
    with pytest.raises(ufd.InputError) as caught:
        ufd.Focus(*arguments)
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("mesh", "direction", "words"),
    [
        ((2, 2, 1), (0, 0, 1), "focus: degree 1 keeps the angles of the icosphere"),
        ((2, 2, 4), (0, 1), "must have 3 entries"),
        ((1, 9, 2), (0, 0, 1), "must have 2 entries"),
    ],
)
def test_meshes_it_does_not_fit(mesh, direction, words):
    with pytest.raises(ufd.InputError, match=words):
        sphere_mesh(*mesh, ufd.Focus(direction))


def test_where_the_start_exceeds_the_teacher():
    """To a few degrees: the antipode of a single peak; on the circle too."""
    for axis in (AXIS, np.array([0.6, 0.8])):
        sphere = ufd.Sphere(len(axis) - 1)
        problem = ufd.UltraFastDiffusion(ufd.VonMisesFisher(axis, 3), ufd.Uniform(sphere))
        focus = ufd.Focus.where_empty(problem, 3.0)
        assert np.dot(focus.direction, -axis) > 0.998 and focus.factor == 3.0


def test_in_a_case(case):
    """[solver.focus] with a factor alone chooses its direction."""
    from ufd.config import parse_change, read_case

    changes = [parse_change("solver.focus.factor=1.5"), parse_change("solver.degree=4")]
    options = read_case(case, changes).solver_options()
    assert options["focus"].factor == 1.5


def test_circle_and_mesh_of_its_own():
    points = sphere_mesh(1, 40, 2, ufd.Focus((0, 1), 4.0)).points
    gaps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    assert 12 < gaps.max() / gaps.min() < 17
    mesh = sphere_mesh(2, 2, 3)
    with pytest.raises(ufd.InputError, match=r"focus = .* a mesh is given"):
        ufd.DiffusionSolver(PROBLEM, mesh=mesh, focus=ufd.Focus((0, 0, 1)), comm=MPI.COMM_SELF)


def test_the_second_resolution_has_the_focus_too():
    """Also of a mesh that is given: an error estimate compares like with like."""
    from ufd.fem.surfaces import CubedSphere
    from ufd.solve import check_extras

    focus = ufd.Focus((0, 0, 1), 1.5)
    solver = ufd.DiffusionSolver(PROBLEM, mesh=CubedSphere(2, 3, focus))
    assert check_extras(solver, 0, True) == {"cells": 3, "degree": 3, "focus": focus}

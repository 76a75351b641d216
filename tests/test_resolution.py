"""Teachers, starts and maps that a mesh does not resolve: a finer default, or a refusal."""

from __future__ import annotations

import warnings

import basix
import numpy as np
import pytest
from mpi4py import MPI

import ufd
from ufd.fem import resolving
from ufd.fem.discretization import Discretization
from ufd.fem.meshes import sphere_mesh
from ufd.fem.resolution import CellSamples, off_sphere
from ufd.fem.surfaces import Circle

CIRCLE, SPHERE = (ufd.Uniform(ufd.Sphere(dim)) for dim in (1, 2))
POLE = [0.0, 0.0, 1.0]


def solver(teacher, initial=None, **options) -> ufd.DiffusionSolver:
    initial = initial or ufd.Uniform(teacher.manifold)
    return ufd.DiffusionSolver(ufd.UltraFastDiffusion(teacher, initial), **options)


def refusal(*args, **options) -> str:
    """The message of a problem that is refused: one line, with a remedy."""
    with pytest.raises(ufd.InputError) as caught:
        solver(*args, **options)
    text = str(caught.value)
    assert "\n" not in text and len(text) < 300
    assert "cells" in text
    return text


def spike(kappa: float, dim: int = 2) -> ufd.Mixture:
    mean = [0.3, 0.5, 0.8][: dim + 1]
    return ufd.Mixture([ufd.Uniform(ufd.Sphere(dim)), ufd.VonMisesFisher(mean, kappa)], [0.5, 0.5])


@pytest.mark.parametrize("kappa", [1e3, 1e4, 1e5, 1e6])
def test_half_the_mass_is_missing(kappa):
    """On the sphere a spike between the nodes is refused, on the circle cells are cheap."""
    assert refusal(spike(kappa)).startswith("teacher: the mesh does not resolve it")
    found = solver(spike(kappa, 1))
    assert abs(found.stats["teacher_quadrature_defect"]) < 1e-6
    assert found.stats["teacher_interpolation_error"] < 1e-3


def test_a_heavy_tail_is_resolved():
    """A Cauchy density 2e-3 wide gets the cells that it needs; asked for fewer, it is refused."""
    teacher = ufd.AngularCauchy(1e6)
    assert abs(solver(teacher).stats["teacher_quadrature_defect"]) < 1e-6
    assert "1 nodes across" in refusal(teacher, cells=64)


@pytest.mark.parametrize(("cells", "degree"), [(32, 1), (4, 8)])
@pytest.mark.parametrize("amplitude", [0.5, 1e-4])
def test_an_aliased_start(cells, degree, amplitude):
    """A mode that the nodes cannot tell from none, however small it is."""
    start = ufd.ZonalHarmonic([1.0, 0.0], 32, amplitude)
    text = refusal(CIRCLE, start, cells=cells, degree=degree)
    assert text.startswith("initial: the mesh does not resolve it")
    assert solver(CIRCLE, start).stats["initial_interpolation_error"] < 1e-5


def test_a_concentrated_teacher():
    """Too steep within a cell: more cells by default, or at once what does."""
    assert (
        solver(ufd.VonMisesFisher(POLE, 40.0), ufd.VonMisesFisher(POLE, 42.0)).describe()["cells"]
        == 7
    )
    text = refusal(ufd.VonMisesFisher(POLE, 60.0), ufd.VonMisesFisher(POLE, 62.0))
    assert "cells = 10 or more, or degree = 1" in text and "metastable" not in text


def test_a_usual_mesh_stays():
    """What is resolved keeps the default mesh, and nothing is said."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for teacher in (ufd.AngularCauchy(1000.0), ufd.VonMisesFisher(POLE, 30.0)):
            found = solver(teacher).space.surface
            assert found.subdivisions == {2: 64, 3: 5}[found.gdim]


def test_said_once():
    """What is resolved to a few per cent runs, with a warning that names the remedy."""
    with pytest.warns(UserWarning, match="teacher: the mesh hardly resolves it: .*use cells"):
        solver(ufd.VonMisesFisher(POLE, 100.0), ufd.VonMisesFisher(POLE, 90.0), degree=1, cells=4)


def test_meanfield_looks_too():
    """The mean-field equation lives on the same meshes."""
    problem = ufd.UltraFastDiffusion(spike(1e5), SPHERE)
    with pytest.raises(ufd.InputError, match="teacher: the mesh does not resolve it"):
        ufd.MeanFieldSolver(problem, features=ufd.ReLU(), lam=1e-3, cells=2)


@pytest.mark.parametrize("degree", sorted(resolving.TOO_STEEP))
def test_where_elements_forget_gradients(degree):
    """On one cell with weight exp(V x) the first rate is V^2/4 + pi^2; elements halve it at most.

    They integrate at their nodes: a slope that vanishes at the heavy ones costs nothing.
    """
    points, weights = basix.make_quadrature(
        basix.CellType.interval, 2 * degree - 1, basix.QuadratureType.gll
    )
    element = basix.create_element(
        basix.ElementFamily.P, basix.CellType.interval, degree, basix.LagrangeVariant.gll_warped
    )
    basis, slopes = element.tabulate(1, points)[..., 0]
    order = basis.argmax(axis=0)

    def share(fall: float) -> float:
        nu = weights * np.exp(fall * (points[:, 0] - 1))
        root = 1 / np.sqrt(nu[order])
        K = slopes.T @ (nu[:, None] * slopes)
        return np.linalg.eigvalsh(root[:, None] * K * root)[1] / (fall**2 / 4 + np.pi**2)

    limit = resolving.TOO_STEEP[degree]
    assert share(0.9 * limit) > 0.5 > share(1.1 * limit)
    assert resolving.STEEP[degree] < limit


@pytest.mark.parametrize(
    ("dim", "cells", "degree", "factor", "most"),
    [(2, 5, 6, 10.0, 8.7), (2, 5, 6, 20.0, 8.7), (1, 64, 8, 100.0, 56.2)],
)
def test_a_focus_that_bends_cells(dim, cells, degree, factor, most):
    """The strongest that does not is said, and accepted."""
    uniform = ufd.Uniform(ufd.Sphere(dim))
    start = ufd.VonMisesFisher(POLE[-dim - 1 :], 2.0)
    options = {"cells": cells, "degree": degree}
    axis = tuple(POLE[-dim - 1 :])
    text = refusal(uniform, start, focus=ufd.Focus(axis, factor), **options)
    assert f"at most {most:g} with {cells} cells of degree {degree}" in text
    with pytest.warns(UserWarning, match="off the sphere by .*; use more cells"):
        solver(uniform, start, focus=ufd.Focus(axis, most), **options)


def test_folded_cells_are_seen():
    """Far too strong a focus turns cells inside out."""
    surface = Circle(4, 8, ufd.Focus((0.8, 0.6), 8.0))
    assert off_sphere(surface, surface.distribute(MPI.COMM_SELF), MPI.COMM_SELF) == np.inf


@pytest.mark.parametrize(("kappa", "dim"), [(1e5, 2), (1e6, 2), (1e6, 1), (1e8, 1)])
def test_a_spike_of_a_function(kappa, dim):
    """Two rules that agree beside a peak settle nothing: right in every direction, or refused."""
    exact = 0.5 * dim * np.log(2 * np.pi / kappa)
    refused = 0
    for mean in np.random.default_rng(0).normal(size=(6, dim + 1)):
        mean /= np.linalg.norm(mean)
        try:
            found = ufd.density(ufd.Sphere(dim), lambda x: 1e-12 + np.exp(kappa * (x @ mean - 1)))  # noqa: B023
        except ufd.InputError as error:
            assert "a peak lies between the nodes" in str(error)
            refused += 1
        else:
            assert found.log_constant == pytest.approx(exact, abs=1e-6)
    assert refused or dim == 1


def test_a_narrow_function():
    """What the rules resolve is integrated as before."""
    found = ufd.density(ufd.Sphere(2), lambda x: 1e-12 + np.exp(1e4 * (x[:, 0] - 1)))
    assert found.log_constant == pytest.approx(np.log(2e-4 * np.pi + 4e-12 * np.pi), abs=1e-10)


@pytest.mark.mpi
@pytest.mark.parametrize(("dim", "cells", "degree"), [(1, 12, 5), (2, 2, 4), (2, 2, 1)])
def test_over_the_ranks(comm, dim, cells, degree):
    """Every rank sees the numbers that one sees alone, and refuses with the others."""
    teacher = ufd.VonMisesFisher([0.6, 0.0, 0.8][-dim - 1 :], 3.0)
    surface = sphere_mesh(dim, cells, degree)

    def looked(ranks: MPI.Comm) -> list[float]:
        grid = surface.distribute(ranks)
        samples = CellSamples(surface, grid, ranks)
        start = ufd.Uniform(teacher.manifold)
        beside = samples.look(start, grid.areas(), teacher)
        return [
            *samples.look(teacher, grid.areas()),
            *beside,
            samples.steepest(teacher),
            samples.nodes_across(teacher),
        ]

    np.testing.assert_allclose(looked(comm), looked(MPI.COMM_SELF), rtol=1e-9, atol=1e-14)
    with pytest.raises(ufd.InputError, match="does not resolve"):
        resolving.resolved(Discretization(surface, spike(1e4, dim), comm))

"""The meshes built in memory, what is assembled on them, and values between their nodes.

Nodes lie on the exact sphere; D is a positive rule of mass 1; K is symmetric, semi-definite, zero
on constants, an M-matrix for degree 1; points are found wherever they lie, on any rank count.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import pytest
from mpi4py import MPI
from scipy.integrate import quad

import ufd
from ufd.fem.discretization import Discretization
from ufd.fem.meshes import SurfaceMesh, sphere_mesh
from ufd.parallel import largest, total

AXES = {1: np.array([0.6, 0.8]), 2: np.array([0.48, -0.6, 0.64])}
# (dimension, cells, degree): the smallest meshes, and some of usual size.
MESHES = [
    *[(1, 3, 1), (1, 40, 1), (1, 3, 8), (1, 7, 5), (1, 12, 4)],
    *[(2, 0, 1), (2, 2, 1), (2, 2, 2), (2, 1, 3), (2, 1, 8), (2, 2, 7), (2, 3, 4)],
]
each_mesh = pytest.mark.parametrize("mesh", MESHES, ids=lambda m: "-".join(map(str, m)))


@dataclass(frozen=True)
class Rough:
    """A teacher with noise of the given contrast from node to node, the same on any rank."""

    manifold: ufd.Sphere
    contrast: float

    def log_density(self, points: np.ndarray) -> np.ndarray:
        noise = np.sin(1e4 * points @ AXES[self.manifold.dim])
        return 0.5 * math.log(self.contrast) * noise

    def axes(self) -> None:
        return None

    def describe(self) -> None:
        return None


def uniform(mesh: tuple[int, int, int], comm: MPI.Comm = MPI.COMM_SELF) -> Discretization:
    return Discretization(sphere_mesh(*mesh), ufd.Uniform(ufd.Sphere(mesh[0])), comm)


def random_points(dim: int, count: int) -> np.ndarray:
    x = np.random.default_rng(0).normal(size=(count, dim + 1))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def apply(space: Discretization, values: np.ndarray) -> np.ndarray:
    x, y = space.K.createVecRight(), space.K.createVecRight()
    x.array = values
    space.K.mult(x, y)
    return y.array.copy()


def cell_edges(surface: SurfaceMesh) -> np.ndarray:
    """Corner pairs of all cells of a triangulated or cubed sphere."""
    pairs = [(0, 1), (1, 2), (2, 0)] if surface.cell_type == "triangle" else [(0, 1), (1, 3)]
    pairs += [] if surface.cell_type == "triangle" else [(3, 2), (2, 0)]
    return np.concatenate([surface.cells[:, list(pair)] for pair in pairs])


@each_mesh
def test_nodes(mesh):
    """As many as promised, all different, on the sphere, in as many cells as promised."""
    dim, cells, degree = mesh
    surface = sphere_mesh(*mesh)
    nodes = cells * degree if dim == 1 else 6 * (cells * degree) ** 2 + 2
    count = cells if dim == 1 else 6 * cells**2
    if (dim, degree) == (2, 1):
        nodes, count = 10 * 4**cells + 2, 20 * 4**cells
    assert surface.points.shape == (nodes, dim + 1) and len(surface.cells) == count
    assert np.abs(np.linalg.norm(surface.points, axis=1) - 1).max() <= 1e-15
    assert len(np.unique(np.round(surface.points, 9) + 0.0, axis=0)) == nodes
    assert np.array_equal(np.unique(surface.cells), np.arange(nodes))
    assert surface.degree == degree and surface.subdivisions == cells


@pytest.mark.parametrize("degree", [2, 3, 5, 8])
def test_cubed_spheres_are_closed_at_many_sizes(degree):
    """Nodes of two faces become one: 6 (cells degree)^2 + 2, for every number of cells."""
    for cells in range(1 + (degree == 2), 30 // degree + 3):
        assert len(sphere_mesh(2, cells, degree).points) == 6 * (cells * degree) ** 2 + 2


@pytest.mark.parametrize("mesh", [m for m in MESHES if m[0] == 2])
def test_every_edge_has_two_cells(mesh):
    """The surface is closed, and is a sphere: corners - edges + cells = 2."""
    surface = sphere_mesh(*mesh)
    edges, count = np.unique(np.sort(cell_edges(surface), axis=1), axis=0, return_counts=True)
    assert (count == 2).all()
    assert len(np.unique(edges)) - len(edges) + len(surface.cells) == 2


@pytest.mark.parametrize("level", range(6))
def test_icosphere_angles(level):
    """Between 54 and 72 degrees at every level, so that all are acute; all turn outwards."""
    surface = sphere_mesh(2, level, 1)
    corners = surface.points[surface.cells]
    outward = np.einsum("ij,ij->i", np.cross(corners[:, 0], corners[:, 1]), corners[:, 2])
    assert outward.min() > 0
    for i in range(3):
        a = corners[:, (i + 1) % 3] - corners[:, i]
        b = corners[:, (i + 2) % 3] - corners[:, i]
        cosine = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        angle = np.degrees(np.arccos(cosine))
        assert angle.min() > 54 - 1e-9 and angle.max() < 72 + 1e-9


@pytest.mark.mpi
@each_mesh
def test_mass_and_stiffness(mesh, comm):
    """D > 0 with sum 1; K symmetric, zero on constants, semi-definite; |grad x|^2 is n in all."""
    space, dim = uniform(mesh, comm), mesh[0]
    assert largest(comm, -space.D.min(initial=np.inf)) < 0
    assert total(comm, space.D.sum()) == pytest.approx(1, abs=1e-14)
    size = largest(comm, np.abs(space.K.getDiagonal().array).max(initial=0.0))
    assert largest(comm, np.abs(apply(space, np.ones(space.owned))).max(initial=0)) < 1e-14 * size
    waves = [np.sin(k * space.nodes @ AXES[dim] + k * space.nodes[:, 0]) for k in (1, 3, 50, 700)]
    images = [apply(space, wave) for wave in waves]
    energy = total(comm, np.array([[u @ v for v in images] for u in waves]))
    np.testing.assert_allclose(energy, energy.T, atol=1e-13 * np.abs(energy).max())
    assert np.linalg.eigvalsh(energy).min() > -1e-13 * np.abs(energy).max()
    gradients = [x @ apply(space, np.ascontiguousarray(x)) for x in space.nodes.T]
    assert total(comm, np.array(gradients)).sum() == pytest.approx(dim, rel=1e-12)


@each_mesh
def test_stiffness_has_one_zero_eigenvalue(mesh):
    """The kernel is the constants: the second eigenvalue of (K, D) is near n, none is negative."""
    space = uniform(mesh)
    pointer, columns, values = space.K.getValuesCSR()
    K = np.zeros((space.size, space.size))
    K[np.repeat(np.arange(space.size), np.diff(pointer)), columns] = values
    root = np.sqrt(space.D)
    found = np.linalg.eigvalsh(K / root[:, None] / root)
    assert abs(found[0]) < 1e-14 * found[-1]
    assert found[1] == pytest.approx(mesh[0], rel=0.35 if space.size < 50 else 0.05)


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("mesh", "bound"),
    [
        *[((1, 40, 1), 3e-3), ((1, 12, 4), 1e-9), ((1, 12, 8), 1e-14)],
        *[((2, 2, 1), 3e-2), ((2, 4, 2), 1e-3), ((2, 3, 4), 1e-7), ((2, 4, 6), 1e-13)],
    ],
)
def test_integrals(mesh, bound, comm):
    """The rule integrates a teacher, polynomials, and the harmonics' eigen-relation."""
    dim = mesh[0]
    teacher = ufd.VonMisesFisher(AXES[dim], 2.0)
    space = Discretization(sphere_mesh(*mesh), teacher, comm)
    assert abs(space.defect) <= bound
    mean = total(comm, space.D @ (space.nodes @ AXES[dim]))
    exact = 1 / math.tanh(2) - 1 / 2 if dim == 2 else 0.6977746579640079  # I1(2)/I0(2)
    assert mean == pytest.approx(exact, abs=bound)
    flat = uniform(mesh, comm)
    x = flat.nodes @ AXES[dim]
    assert abs(total(comm, flat.D @ x)) < 1e-14
    assert total(comm, flat.D @ x**2) == pytest.approx(1 / (dim + 1), abs=bound)
    probe = np.exp(flat.nodes[:, 0])
    left, right = total(comm, np.array([probe @ apply(flat, x), dim * probe @ (flat.D * x)]))
    assert left == pytest.approx(right, abs=10 * bound)


@pytest.mark.parametrize("contrast", [1.0, pytest.param(1e20, marks=pytest.mark.mpi)])
@pytest.mark.parametrize("mesh", [(1, 3, 1), (1, 60, 1), *((2, level, 1) for level in range(5))])
def test_degree_one_is_an_m_matrix(mesh, contrast, comm):
    """No off-diagonal entry is positive, however rough the weight; rows sum to zero."""
    space = Discretization(sphere_mesh(*mesh), Rough(ufd.Sphere(mesh[0]), contrast), comm)
    assert space.is_m_matrix
    pointer, columns, values = space.K.getValuesCSR()
    rows = space.first + np.repeat(np.arange(space.owned), np.diff(pointer))
    assert (values[rows != columns] <= 0).all() and (values[rows == columns] > 0).all()
    sums = np.bincount(rows - space.first, values, space.owned)
    assert (np.abs(sums) <= 1e-14 * space.K.getDiagonal().array).all()
    assert not uniform((1, 6, 2), comm).is_m_matrix


@pytest.mark.parametrize("kappa", [0.0, 1e-9, 1.0, 23.0])
@pytest.mark.parametrize("cells", [3, 16, 50])
def test_edge_weights(cells, kappa):
    """Log nu of a von Mises density is linear on a chord: K is exactly 1/int exp(-log nu)."""
    teacher = ufd.VonMisesFisher(AXES[1], kappa)
    space = Discretization(sphere_mesh(1, cells, 1), teacher, MPI.COMM_SELF)
    chord = 2 * math.sin(math.pi / cells)
    shift = space.log_nu[0] - kappa * space.nodes[0] @ AXES[1]
    pointer, columns, values = space.K.getValuesCSR()
    for i, j, value in zip(np.repeat(range(cells), np.diff(pointer)), columns, values, strict=True):
        if i == j:
            continue
        a, b = kappa * space.nodes[[i, j]] @ AXES[1]
        resistance = quad(lambda r, a=a, b=b: math.exp((r - 1) * a - r * b), 0, 1, epsrel=1e-13)[0]
        assert value == pytest.approx(-math.exp(shift) / resistance / chord, rel=1e-11)


def special_points(surface: SurfaceMesh, count: int = 60) -> np.ndarray:
    """Nodes, corners and middles of cells and their edges, axes, diagonals, and antipodes."""
    dim = surface.points.shape[1] - 1
    corners = surface.points[surface.cells[:, : {1: 2, 2: 3}[dim]]]
    if dim == 2:
        edges = surface.points[cell_edges(surface)]
    else:
        edges = corners
    signs = np.array(list(itertools.product((-1, 0, 1), repeat=dim + 1)), dtype=float)
    parts = [
        surface.points[:: max(1, len(surface.points) // count)],
        edges.mean(axis=1)[:: max(1, len(edges) // count)],
        corners.mean(axis=1)[:: max(1, len(corners) // count)],
        signs[np.abs(signs).sum(axis=1) > 0],
        random_points(dim, count),
    ]
    x = np.concatenate([*parts, *(-part for part in parts)])
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.mpi
@each_mesh
def test_evaluation_anywhere(mesh, comm):
    """Every point has a value, the same on all ranks and any rank count; at nodes the node's."""
    dim, _, degree = mesh
    surface, space = sphere_mesh(*mesh), uniform(mesh, comm)

    def function(x: np.ndarray) -> np.ndarray:
        return (x @ AXES[dim]) ** degree + x[:, 0]

    nodes = surface.points[-20:]
    x = np.concatenate([special_points(surface), nodes])
    values = space.interpolate(function(space.nodes), x)
    for other in comm.allgather(values):
        assert np.array_equal(values, other)
    alone = uniform(mesh)
    np.testing.assert_allclose(values, alone.interpolate(function(alone.nodes), x), atol=1e-12)
    np.testing.assert_allclose(values[-len(nodes) :], function(nodes), atol=1e-12)
    both = np.column_stack([function(space.nodes), np.ones(space.owned)])
    np.testing.assert_allclose(
        space.interpolate(both, x), np.column_stack([values, np.ones(len(x))]), atol=1e-12
    )
    constant = space.interpolate(np.full(space.owned, 3.0), x)
    np.testing.assert_allclose(constant, 3, rtol=1e-12)
    assert space.interpolate(function(space.nodes), np.empty((0, dim + 1))).shape == (0,)


@pytest.mark.parametrize(
    ("dim", "degree", "coarse", "fine"),
    [
        *[(1, 1, 12, 24), (1, 2, 12, 24), (1, 4, 12, 24), (1, 7, 10, 20), (1, 8, 8, 12)],
        *[(2, 1, 2, 3), (2, 2, 4, 8), (2, 3, 3, 6), (2, 4, 3, 6), (2, 6, 3, 5), (2, 8, 3, 5)],
    ],
)
def test_interpolation_order(dim, degree, coarse, fine):
    """Polynomials of the element's degree: the error between nodes falls at order k + 1."""
    points, errors = random_points(dim, 1000), []

    def function(x: np.ndarray) -> np.ndarray:
        return (x @ AXES[dim]) ** degree + x[:, 0]

    for cells in (coarse, fine):
        space = uniform((dim, cells, degree))
        error = space.interpolate(function(space.nodes), points) - function(points)
        errors.append(np.linalg.norm(error) / 1000**0.5)
    factor = 2 if (dim, degree) == (2, 1) else fine / coarse
    assert math.log(errors[0] / errors[1], factor) > degree + 1 - 0.25


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("points", "words"),
    [
        ([[1.0, 0.0, 0.1]], "row 0 has length 1.00499"),
        ([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]], "row 1 has length 0"),
        ([[math.nan, 0.0, 0.0]], "row 0 has length nan"),
        ([[1.0, 0.0]], "shape (1, 2) given, (n, 3) needed"),
    ],
)
def test_points_off_the_sphere_are_refused(points, words, comm):
    """By a state and by its density, on every rank, in one line."""
    teacher = ufd.Uniform(ufd.Sphere(2))
    solver = ufd.DiffusionSolver(ufd.UltraFastDiffusion(teacher, teacher), cells=1, degree=3)
    for ask in (solver.ratio, solver.density, solver.state.ratio, solver.state.density):
        with pytest.raises(ufd.InputError) as caught:
            ask(points)
        assert words in str(caught.value) and "\n" not in str(caught.value)
    assert comm.allreduce(1) == comm.size


@pytest.mark.parametrize(("dim", "cells", "degree"), [(1, 5, 3), (2, 1, 1), (2, 2, 4)])
def test_integers_of_numpy(dim, cells, degree):
    """They build the mesh that Python's build, and are stored as Python's."""
    ours = sphere_mesh(dim, np.int64(cells), np.int32(degree))
    np.testing.assert_array_equal(ours.points, sphere_mesh(dim, cells, degree).points)
    assert type(ours.degree) is int and type(ours.subdivisions) is int
    assert (ours.degree, ours.subdivisions) == (degree, cells)


@pytest.mark.parametrize(
    ("dim", "cells", "degree", "words"),
    [
        *((1, 8, k, f"degree = {k!r} must be an integer from 1 to 8") for k in (0, 9, 2.0, True)),
        *((d, 8, 2, f"dim = {d}: finite elements cover the circle") for d in (0, 3)),
        *((1, n, 2, f"cells = {n!r}: the number of cells must") for n in (2, -1, 8.0, "8", 10**7)),
        *((2, n, 1, f"cells = {n!r}: the refinement level must") for n in (-1, 12, 1.0, False)),
        *((2, n, 3, f"cells = {n!r}: the number of cells per cube edge") for n in (0, 5000, 1.5)),
        (2, 1, 2, "must be an integer from 2 to 4096"),
    ],
)
def test_refusals(dim, cells, degree, words):
    """One line that names the argument and its range."""
    with pytest.raises(ufd.InputError) as caught:
        sphere_mesh(dim, cells, degree)
    assert words in str(caught.value) and "\n" not in str(caught.value)

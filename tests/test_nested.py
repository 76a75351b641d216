"""Icospheres over the ranks: the matrices of DOLFINx, in the same bits on any number of ranks."""

from __future__ import annotations

from dataclasses import dataclass

import gathered
import numpy as np
import pytest
from mpi4py import MPI
from scipy import sparse

import ufd
from ufd.fem.discretization import Discretization
from ufd.fem.icosphere import icosahedron, restricted, shared_out
from ufd.fem.nested import NestedMesh
from ufd.fem.surfaces import Icosphere
from ufd.parallel import total

AXIS = np.array([0.48, -0.6, 0.64])


def rough(points: np.ndarray) -> np.ndarray:
    """Noise of contrast 1e20 from node to node, by operations that round alike everywhere."""
    x, y, z = points.T
    return 46.0 * ((1e4 * (0.48 * x - 0.6 * y + 0.64 * z)) % 1.0)


def along(points: np.ndarray) -> np.ndarray:
    """A linear function."""
    x, y, z = points.T
    return 0.3 + 0.48 * x - 0.6 * y + 0.64 * z


@dataclass(frozen=True)
class Rough:
    """The density of `rough`."""

    manifold: ufd.Sphere = ufd.Sphere(2)  # noqa: RUF009  (frozen)

    def log_density(self, points: np.ndarray) -> np.ndarray:
        return rough(points)

    def axes(self) -> None:
        return None

    def describe(self) -> None:
        return None


def same_bits(one: sparse.csr_array, other: sparse.csr_array) -> bool:
    return all(
        np.array_equal(getattr(one, part), getattr(other, part))
        for part in ("indptr", "indices", "data")
    )


def random_points(count: int) -> np.ndarray:
    x = np.random.default_rng(5).normal(size=(count, 3))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.fixture(params=["", "long shared"])
def shares(request, monkeypatch) -> None:
    """Where ranks part: at the usual level, or one later, as on six ranks and more."""
    if request.param:
        monkeypatch.setattr("ufd.fem.nested._FACES_PER_RANK", 200)


def levels_of(grid: NestedMesh) -> list[NestedMesh]:
    """The levels below, from the finest on; asserts that each node belongs to one rank."""
    below = list(reversed(grid._below))
    for level in below:
        assert total(grid.comm, level.owned) == level.size, "nodes that no rank has numbered"
    return below


@pytest.mark.mpi
@pytest.mark.parametrize("level", [0, 1, 2, 3, 4])
def test_nodes_are_those_of_the_whole(level, comm):
    """Each belongs to one rank, in its place; ghosts too; blocks of ranks follow each other."""
    grid, surface = NestedMesh(level, comm), Icosphere(level)
    assert grid.size == len(surface.points) == total(comm, grid.owned)
    counts = comm.allgather(grid.owned)
    assert comm.allgather(grid.first) == [sum(counts[:rank]) for rank in range(comm.size)]
    assert np.array_equal(gathered.nodal(grid, grid.positions[: grid.owned]), surface.points)
    faces = np.concatenate(comm.allgather(grid.faces()))
    assert np.array_equal(faces, surface.cells)
    every = grid.everywhere(grid.positions[: grid.owned])
    assert np.array_equal(every, grid.patch.points)


@pytest.mark.mpi
@pytest.mark.parametrize("level", [0, 2, 4])
def test_matrices_are_those_of_dolfinx(level, comm):
    """D and K of a rough weight, entry by entry to 1e-13 of the row."""
    surface = Icosphere(level)
    ours, theirs = surface.distribute(comm), surface.elements(comm)
    areas = [gathered.nodal(grid, grid.areas()) for grid in (ours, theirs)]
    np.testing.assert_allclose(*areas, rtol=1e-13)
    one, other = (
        gathered.matrix(grid, grid.stiffness(rough(grid.positions))) for grid in (ours, theirs)
    )
    assert np.array_equal(one.indptr, other.indptr) and np.array_equal(one.indices, other.indices)
    np.testing.assert_allclose(one.data, other.data, rtol=1e-13)
    assert np.ptp(np.log(one.diagonal())) > 20


@pytest.mark.mpi
@pytest.mark.parametrize("level", [0, 1, 3, 4])
@pytest.mark.usefixtures("shares")
def test_bits_do_not_depend_on_ranks(level, comm):
    """D, K, interpolation and restriction are those of one rank, to the last bit."""
    found = []
    for ranks in (comm, MPI.COMM_SELF):
        grid = NestedMesh(level, ranks)
        below = levels_of(grid)
        K = gathered.matrix(grid, grid.stiffness(rough(grid.positions)))
        parts, above = [K], grid
        for level_below, coarser in zip(below, grid.hierarchy(rough), strict=True):
            parts += [
                gathered.matrix(level_below, coarser.K),
                gathered.matrix(above, coarser.prolongation, level_below),
                gathered.matrix(level_below, coarser.restriction, above),
            ]
            above = level_below
        found.append((gathered.nodal(grid, grid.areas()), parts))
    (areas, many), (areas_alone, alone) = found
    assert np.array_equal(areas, areas_alone)
    assert len(many) == len(alone) == 1 + 3 * max(0, level - 2)
    assert all(same_bits(one, other) for one, other in zip(many, alone, strict=True))


@pytest.mark.mpi
def test_the_file_of_one_rank(comm, shared_tmp):
    """A discretisation on one rank, by way of a file: D to round-off of its sum, K likewise."""
    place = shared_tmp / "alone.npz"
    if comm.rank == 0:
        alone = Discretization(Icosphere(3), Rough(), MPI.COMM_SELF)
        K = gathered.matrix(alone, alone.K)
        np.savez(place, D=gathered.nodal(alone, alone.D), indices=K.indices, data=K.data)
    comm.Barrier()
    space, stored = Discretization(Icosphere(3), Rough(), comm), np.load(place)
    assert total(comm, space.D.sum()) == pytest.approx(1, abs=1e-14)
    np.testing.assert_allclose(gathered.nodal(space, space.D), stored["D"], rtol=1e-14)
    K = gathered.matrix(space, space.K)
    assert np.array_equal(K.indices, stored["indices"])
    # One rounding of the scale, in the logarithm of the weight.
    np.testing.assert_allclose(K.data, stored["data"], rtol=1e-13)
    assert space.is_m_matrix and space.is_nested


@pytest.mark.mpi
@pytest.mark.usefixtures("shares")
def test_interpolation_between_levels(comm):
    """Old nodes keep their values, new ones take the mean of two; the transpose restricts."""
    grid = NestedMesh(4, comm)
    coarse = levels_of(grid)[0]
    (_, up, down), *_ = grid.hierarchy(rough)
    P = gathered.matrix(grid, up, coarse).toarray()
    R = gathered.matrix(coarse, down, grid).toarray()
    assert np.array_equal(R, P.T)
    old, surface = coarse.size, Icosphere(3)
    assert np.array_equal(P[:old], np.eye(old))
    assert np.array_equal(np.unique(P[old:]), [0.0, 0.5])
    assert (P.sum(axis=1) == 1).all()
    # In the middle of a flat edge a linear function has the mean of its ends.
    values = P @ along(surface.points)
    middles = P @ surface.points
    np.testing.assert_allclose(values, along(middles), atol=1e-15)
    middles /= np.linalg.norm(middles, axis=1, keepdims=True)
    np.testing.assert_allclose(middles, Icosphere(4).points, atol=1e-15)


@pytest.mark.mpi
def test_coarse_matrices_are_those_of_coarse_meshes(comm):
    """The hierarchy of a discretisation has K of the levels below, up to the scale of nu."""
    teacher = ufd.VonMisesFisher(AXIS, 3.0)
    space = Discretization(Icosphere(4), teacher, comm)
    levels = [Discretization(Icosphere(level), teacher, comm) for level in (3, 2)]
    assert space.is_nested and levels[0].is_nested and not levels[1].is_nested
    assert len(space.coarser) == 2 and space.coarser is space.coarser
    for coarser, level in zip(space.coarser, levels, strict=True):
        ratio = total(comm, coarser.K.getDiagonal().array.sum()) / total(
            comm, level.K.getDiagonal().array.sum()
        )
        assert ratio == pytest.approx((1 + level.defect) / (1 + space.defect), rel=1e-12)
        # Nodes of a level lie on ranks and in places of their own: compared as a spectrum is.
        sums = [np.array([K.norm(), K.getDiagonal().norm()]) for K in (coarser.K, level.K)]
        np.testing.assert_allclose(sums[0], ratio * sums[1], rtol=1e-12)


@pytest.mark.mpi
@pytest.mark.parametrize("level", [0, 1, 3])
def test_evaluation(level, comm):
    """Linear on each flat face: exact for linear functions there, continuous, nodes keep values."""
    grid, surface = NestedMesh(level, comm), Icosphere(level)
    nodal = np.sin(9.0 * along(surface.points))
    mine = nodal[grid.input_index]
    corners = surface.points[surface.cells]
    weights = np.random.default_rng(1).dirichlet([1, 1, 1], size=len(corners))
    inside = np.einsum("fc,fcd->fd", weights, corners)
    rays = inside / np.linalg.norm(inside, axis=1, keepdims=True)
    expected = np.einsum("fc,fc->f", weights, nodal[surface.cells])
    found = grid.evaluate(mine, rays)
    np.testing.assert_allclose(found, expected, atol=1e-13)
    np.testing.assert_allclose(grid.evaluate(mine, surface.points), nodal, atol=1e-13)
    for other in comm.allgather(found):
        assert np.array_equal(found, other)
    several = np.column_stack([mine, np.ones(grid.owned)])
    both = grid.evaluate(several, rays)
    np.testing.assert_allclose(both, np.column_stack([found, np.ones(len(rays))]), atol=1e-14)
    # Across an edge the values of both faces meet.
    edges = corners[:, 0] + corners[:, 1]
    edges /= np.linalg.norm(edges, axis=1, keepdims=True)
    across = 1e-9 * np.cross(corners[:, 1] - corners[:, 0], edges)
    across /= np.linalg.norm(across, axis=1, keepdims=True) * 1e9
    sides = [grid.evaluate(mine, edges + sign * across) for sign in (-1, 0, 1)]
    middle = nodal[surface.cells[:, :2]].mean(axis=1)
    for side in sides:
        np.testing.assert_allclose(side, middle, atol=1e-7)
    assert grid.evaluate(mine, np.empty((0, 3))).shape == (0,)
    alone = NestedMesh(level, MPI.COMM_SELF)
    np.testing.assert_array_equal(found, alone.evaluate(nodal[alone.input_index], rays))


@pytest.mark.mpi
def test_order_of_the_output(comm):
    """Values go to the nodes that the written mesh has in their place."""
    space = Discretization(Icosphere(2), Rough(), comm)
    values = along(space.nodes)
    mesh = space.output_mesh
    owned = mesh.geometry.index_map().size_local
    written = along(mesh.geometry.x[:owned])
    np.testing.assert_allclose(space.to_output(values), written, atol=1e-14)
    whole, expected = space.in_input_order(values), along(Icosphere(2).points)
    np.testing.assert_allclose(whole, expected if comm.rank == 0 else [], atol=1e-14)


def test_a_rank_without_faces_evaluates_nothing():
    """More ranks than faces: the others still find every point."""
    mesh = NestedMesh(1, MPI.COMM_SELF)
    x = mesh.positions[:4]
    np.testing.assert_allclose(mesh.evaluate(np.arange(42.0), x), np.arange(4.0), atol=1e-12)
    patch = restricted(shared_out(icosahedron(), 40), 1)  # an odd one of 40 ranks on 20 faces
    mesh.patch, mesh._own_faces = patch, np.zeros(len(patch.faces), dtype=bool)
    assert not len(patch.faces)
    mesh.everywhere = lambda values: np.empty(0)  # type: ignore[method-assign]
    assert (mesh.evaluate(np.empty(0), x) == 0).all()

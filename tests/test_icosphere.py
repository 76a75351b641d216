"""Meshes by arithmetic: the icosphere and the cubed sphere, of which any part follows from numbers.

Whatever a rank makes of its share is compared with the whole, and the whole with geometry.
"""

from __future__ import annotations

import functools
from types import SimpleNamespace

import numpy as np
import pytest

from ufd.fem.icosphere import (
    Patch,
    counts,
    faces_containing,
    icosahedron,
    refined,
    restricted,
    shared_out,
)
from ufd.fem.surfaces import CubedSphere
from ufd.parallel import share

RANKS = range(1, 8)
LEVELS = range(6)


@functools.cache
def whole(level: int) -> Patch:
    """All of a level."""
    return refined(whole(level - 1)) if level else icosahedron()


def kin(patch: Patch) -> np.ndarray:
    """The ends of the edge opposite to each corner, as the faces have them, sorted, (nf, 3, 2)."""
    return np.sort(np.stack([np.roll(patch.faces, -1, 1), np.roll(patch.faces, -2, 1)], axis=2), 2)


@pytest.mark.parametrize("level", LEVELS)
def test_entities_are_numbered_without_gaps(level):
    """As many as promised, sorted, a closed surface; faces and their edges agree."""
    patch = whole(level)
    numbers = patch.vertices, patch.edge_numbers, patch.face_numbers
    assert counts(level) == tuple(map(len, numbers)) == (len(patch.points), *counts(level)[1:])
    assert all(np.array_equal(n, np.arange(len(n))) for n in numbers)
    vertices, edges, faces = counts(level)
    assert vertices - edges + faces == 2
    ends, count = np.unique(kin(patch).reshape(-1, 2), axis=0, return_counts=True)
    assert len(ends) == edges and (count == 2).all()
    assert np.array_equal(np.sort(patch.edges[patch.face_edges], axis=2), kin(patch))
    valence = np.bincount(patch.faces.ravel())
    assert (valence[:12] == 5).all() and (valence[12:] == 6).all()
    assert np.abs(np.linalg.norm(patch.points, axis=1) - 1).max() < 4e-16


@pytest.mark.parametrize("level", LEVELS[:-1])
def test_parents_fix_numbers(level):
    """Vertex V + e is the middle of e; 2e and 2e + 1 its halves; face 4f + i has corner i of f."""
    old, new = whole(level), whole(level + 1)
    vertices, edges, faces = counts(level)
    assert np.array_equal(new.points[:vertices], old.points)
    middles = old.points[old.edges].sum(axis=1)
    middles /= np.linalg.norm(middles, axis=1, keepdims=True)
    np.testing.assert_allclose(new.points[vertices:], middles, rtol=0, atol=4e-16)
    middle = vertices + np.arange(edges)
    for half in range(2):
        parts = new.edges[half : 2 * edges : 2]
        assert np.array_equal(np.sort(parts), np.column_stack([old.edges[:, half], middle]))
    children, inside = new.faces.reshape(faces, 4, 3), new.edges[2 * edges :].reshape(faces, 3, 2)
    across = middle[old.face_edges]
    assert np.array_equal(children[:, 3], across)
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        assert np.array_equal(children[:, i, i], old.faces[:, i])
        assert np.array_equal(children[:, i, j], across[:, k])
        assert np.array_equal(children[:, i, k], across[:, j])
        assert np.array_equal(np.sort(inside[:, i]), np.sort(across[:, [j, k]]))
    corners = new.points[new.faces]
    assert (np.linalg.det(corners) > 0).all()


def shares(ranks: int, start: int, level: int) -> tuple[Patch, list[Patch]]:
    """The whole level, and each rank's part of it, refined apart from a coarse one."""
    everything = shared_out(whole(start), ranks)
    parts = [restricted(everything, rank) for rank in range(ranks)]
    for _ in range(level - start):
        everything = refined(everything)
        parts = [restricted(refined(part), rank) for rank, part in enumerate(parts)]
    return everything, parts


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize(("start", "level"), [(0, 0), (0, 1), (1, 3), (2, 4)])
def test_parts_are_those_of_the_whole(ranks, start, level):
    """Points in bits, edges, faces and owners by number; what surrounds a rank's nodes is there."""
    everything, parts = shares(ranks, start, level)
    owners = [[], [], []]
    for rank, part in enumerate(parts):
        numbers = part.vertices, part.edge_numbers, part.face_numbers
        for mine, number, owner, all_owners in zip(
            owners, numbers, part.owners, everything.owners, strict=True
        ):
            assert (np.diff(number) > 0).all()
            assert np.array_equal(owner, all_owners[number])
            mine.append(number[owner == rank])
        assert np.array_equal(part.points, everything.points[part.vertices])
        assert np.array_equal(part.vertices[part.faces], everything.faces[part.face_numbers])
        assert np.array_equal(part.vertices[part.edges], everything.edges[part.edge_numbers])
        assert np.array_equal(
            part.edge_numbers[part.face_edges], everything.face_edges[part.face_numbers]
        )
        around = (everything.owners[0][everything.faces] == rank).any(axis=1)
        assert np.isin(np.flatnonzero(around), part.face_numbers).all()
    # Each entity belongs to one rank, and that rank has it.
    for mine, count in zip(owners, counts(level), strict=True):
        assert np.array_equal(np.sort(np.concatenate(mine)), np.arange(count))


@pytest.mark.parametrize("ranks", RANKS[1:])
def test_shares_are_equal(ranks):
    """From 64 faces a rank on, faces within 2 %, vertices within 10 %; parts are not the whole."""
    start = 2 if ranks <= 5 else 3
    everything, parts = shares(ranks, start, 5)
    faces = np.bincount(everything.owners[2], minlength=ranks)
    vertices = np.bincount(everything.owners[0], minlength=ranks)
    assert np.abs(faces * ranks / faces.sum() - 1).max() < 0.02
    assert np.abs(vertices * ranks / vertices.sum() - 1).max() < 0.1
    if ranks > 2:
        assert max(len(part.faces) for part in parts) < 1.3 * faces.max()


def special_points(level: int) -> np.ndarray:
    """Random points, then vertices and middles of edges and faces of this level and of level 0."""
    x = np.random.default_rng(level).normal(size=(400, 3))
    parts = [x]
    for patch in (whole(0), whole(level)):
        few = slice(None, None, max(1, len(patch.faces) // 100))
        corners = patch.points[patch.faces[few]]
        parts += [corners[:, 0], corners[:, 0] + corners[:, 1], corners.sum(axis=1)]
        parts += [patch.points[patch.edges[few]].sum(axis=1)]
    x = np.concatenate(parts)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize("level", range(7))
def test_faces_containing(level):
    """Barycentric coordinates in the face that was found are not negative, wherever a point is."""
    patch, x = whole(level), special_points(level)
    number = faces_containing(x, level)
    assert number.shape == (len(x),) and number.dtype == np.int64
    corners = patch.points[patch.faces[number]].transpose(0, 2, 1)
    barycentric = np.linalg.solve(corners, x[..., None])[..., 0]
    assert barycentric.min() > -1e-12
    assert faces_containing(np.empty((0, 3)), level).shape == (0,)
    assert np.array_equal(faces_containing(3.0 * x[:400], level), number[:400])


CUBES = [(cells, degree) for degree in range(2, 9) for cells in range(1 + (degree == 2), 6)]


@pytest.mark.parametrize(("cells", "degree"), CUBES)
def test_nodes_of_cubed_cells(cells, degree):
    """In the two angles of its cube face, every cell is an affine image of the element."""
    surface = CubedSphere(cells, degree)
    reference = surface.element.basix_element.points
    nodes = surface.points[surface.cells]
    centres = nodes.mean(axis=1)
    axis = np.abs(centres).argmax(axis=1)
    every = np.arange(len(nodes))
    assert (np.bincount(axis) == 2 * cells**2).all()
    height = nodes[every, :, axis]
    others = [nodes[every, :, (axis + i) % 3] for i in (1, 2)]
    angles = np.stack([np.arctan2(other, np.abs(height)) for other in others], axis=2)
    at = {tuple(place): node for node, place in enumerate(reference.tolist())}
    origin, right, up = (at[place] for place in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0)))
    sides = [angles[:, node] - angles[:, origin] for node in (right, up)]
    affine = angles[:, origin, None] + sum(
        reference[:, i, None] * side[:, None] for i, side in enumerate(sides)
    )
    np.testing.assert_allclose(angles, affine, rtol=0, atol=1e-14)
    width = np.pi / 2 / cells
    for side in sides:
        np.testing.assert_allclose(np.sort(np.abs(side)), [[0, width]] * len(side), atol=1e-14)
    turn = np.cross(nodes[:, right] - nodes[:, origin], nodes[:, up] - nodes[:, origin])
    assert (np.einsum("ij,ij->i", turn, centres) > 0).all()
    # No two cells in one place.
    assert len(np.unique(np.round(centres, 9) + 0.0, axis=0)) == surface.cell_count


@pytest.mark.parametrize(("cells", "degree"), [(1, 3), (2, 2), (3, 4), (5, 8)])
def test_blocks_of_cubed_spheres(cells, degree):
    """Nodes and cells of any numbers, in any order, are those of the whole, in bits."""
    surface = CubedSphere(cells, degree)
    for size in RANKS:
        ranks = [SimpleNamespace(size=size, rank=rank) for rank in range(size)]
        nodes = [surface.nodes(share(surface.node_count, comm)) for comm in ranks]
        blocks = [surface.connectivity(share(surface.cell_count, comm)) for comm in ranks]
        assert np.array_equal(np.concatenate(nodes), surface.points)
        assert np.array_equal(np.concatenate(blocks), surface.cells)
    some = np.random.default_rng(0).permutation(surface.node_count)[:50]
    assert np.array_equal(surface.nodes(some), surface.points[some])
    assert surface.nodes([]).shape == (0, 3)
    # Symmetric to the last bit: a reflection of the nodes is the nodes.
    for axis in range(3):
        mirrored = surface.points * np.where(np.arange(3) == axis, -1, 1) + 0.0
        order, image = np.lexsort((surface.points + 0.0).T), np.lexsort(mirrored.T)
        assert np.array_equal(surface.points[order] + 0.0, mirrored[image])

"""The icosphere by arithmetic: every vertex, edge and face has a number that its parents fix.

A face f of one level becomes faces 4f to 4f + 3 of the next, an edge e the edges 2e and 2e + 1, and
its middle, moved onto the sphere, is vertex V + e of V old ones. So a rank refines its own faces
alone, numbers agree on all ranks without a word between them, and the children of sorted entities
are sorted. Angles stay between 54 and 72 degrees at every level.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Index = NDArray[np.int32]
Number = NDArray[np.int64]


def counts(level: int) -> tuple[int, int, int]:
    """How many vertices, edges and faces a level has."""
    faces = 20 * 4**level
    return faces // 2 + 2, 3 * faces // 2, faces


@dataclass
class Patch:
    """A part of one level, or all of it. Entities are sorted by number.

    Attributes:
        level: 0 for the icosahedron.
        points: Vertices on the unit sphere, (nv, 3).
        vertices: Their numbers, (nv,).
        edges: Ends of the edges, places in ``points``, (ne, 2).
        edge_numbers: (ne,).
        faces: Corners of the faces, anticlockwise from outside, (nf, 3).
        face_edges: The edge opposite to each corner, places in ``edges``, (nf, 3).
        face_numbers: (nf,).
        owners: Ranks of the vertices, edges and faces: (nv,), (ne,), (nf,).
    """

    level: int
    points: Array
    vertices: Number
    edges: Index
    edge_numbers: Number
    faces: Index
    face_edges: Index
    face_numbers: Number
    owners: tuple[Index, Index, Index]


@cache
def _icosahedron() -> tuple[Array, Index]:
    """Vertices and faces, so ordered that successive faces form connected strips."""
    golden = (1 + 5**0.5) / 2
    points = np.array([[0, a, b * golden] for a in (-1, 1) for b in (-1, 1)], dtype=float)
    points = np.concatenate([np.roll(points, shift, axis=1) for shift in range(3)])
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    near = points @ points.T > 0.4
    faces = np.array(
        [
            (i, j, k) if np.linalg.det(points[[i, j, k]]) > 0 else (i, k, j)
            for i in range(12)
            for j in range(i + 1, 12)
            for k in range(j + 1, 12)
            if near[i, j] and near[j, k] and near[k, i]
        ],
        dtype=np.int32,
    )
    # Five strips of four triangles around the axis through vertex 0, from pole to pole.
    axis = points[0]
    first = points[np.flatnonzero(near[0])[1]]
    second = np.cross(axis, first)
    centres = points[faces].mean(axis=1)
    angle = np.arctan2(centres @ second, centres @ np.cross(second, axis))
    strip = np.floor((np.degrees(angle) - 20) / 72)
    return points, faces[np.lexsort((-centres @ axis, strip))]


def icosahedron() -> Patch:
    """Level 0, all of it on rank 0."""
    points, faces = _icosahedron()
    sides = np.sort(faces[:, [1, 2, 2, 0, 0, 1]].reshape(-1, 2), axis=1)
    edges, face_edges = np.unique(sides, axis=0, return_inverse=True)
    nobody = tuple(np.zeros(n, dtype=np.int32) for n in counts(0))
    return Patch(
        0, points, np.arange(12), edges, np.arange(30), faces,
        face_edges.reshape(-1, 3).astype(np.int32), np.arange(20), nobody,  # type: ignore[arg-type]
    )  # fmt: skip


def shared_out(patch: Patch, ranks: int) -> Patch:
    """A whole level with its faces dealt to the ranks in turn, in equal shares.

    A vertex or an edge belongs to the lowest rank that has a face with it.
    """
    count = len(patch.faces)
    face_owner = (np.arange(count) * ranks // count).astype(np.int32)
    owners = []
    for entities, total in ((patch.faces, len(patch.points)), (patch.face_edges, len(patch.edges))):
        owner = np.full(total, ranks, dtype=np.int32)
        np.minimum.at(owner, entities, face_owner[:, None])
        owners.append(owner)
    return _replace(patch, owners=(*owners, face_owner))


def _replace(patch: Patch, **changes) -> Patch:
    return Patch(**{**vars(patch), **changes})


def refined(patch: Patch) -> Patch:
    """The next level of a patch: each face in four, the middles of edges on the sphere."""
    old_vertices, old_edges, _ = counts(patch.level)
    places, sides = len(patch.points), len(patch.edges)
    a, b = patch.edges.T
    middles = patch.points[a] + patch.points[b]
    middles /= np.sqrt(np.einsum("ij,ij->i", middles, middles))[:, None]
    middle = np.arange(places, places + sides, dtype=np.int32)
    corner, opposite = patch.faces.T, patch.face_edges.T
    mids = [middle[e] for e in opposite]
    inner = 2 * sides + 3 * np.arange(len(patch.faces), dtype=np.int32)
    inside = [inner, inner + 1, inner + 2]

    def half(edge: int, end: int) -> Index:
        """The half of an edge of each face that touches one of its corners."""
        return 2 * opposite[edge] + (patch.edges[opposite[edge], 1] == corner[end])

    vertex_owner, edge_owner, face_owner = patch.owners
    edges = np.empty((2 * sides + 3 * len(patch.faces), 2), dtype=np.int32)
    edges[: 2 * sides : 2] = np.column_stack([a, middle])
    edges[1 : 2 * sides : 2] = np.column_stack([b, middle])
    edge_numbers = np.empty(len(edges), dtype=np.int64)
    edge_numbers[: 2 * sides : 2] = 2 * patch.edge_numbers
    edge_numbers[1 : 2 * sides : 2] = 2 * patch.edge_numbers + 1
    for i in range(3):
        edges[2 * sides + i :: 3] = np.column_stack([mids[(i + 1) % 3], mids[(i + 2) % 3]])
        edge_numbers[2 * sides + i :: 3] = 2 * old_edges + 3 * patch.face_numbers + i
    faces = np.empty((len(patch.faces), 4, 3), dtype=np.int32)
    face_edges = np.empty_like(faces)
    for i in range(3):
        # Corner i keeps its place; the edges that meet there give their middles.
        j, k = (i + 1) % 3, (i + 2) % 3
        places_of = {i: corner[i], j: mids[k], k: mids[j]}
        edges_of = {i: inside[i], j: half(j, i), k: half(k, i)}
        for place in range(3):
            faces[:, i, place] = places_of[place]
            face_edges[:, i, place] = edges_of[place]
        faces[:, 3, i] = mids[i]
        face_edges[:, 3, i] = inside[i]
    return Patch(
        level=patch.level + 1,
        points=np.concatenate([patch.points, middles]),
        vertices=np.concatenate([patch.vertices, old_vertices + patch.edge_numbers]),
        edges=edges,
        edge_numbers=edge_numbers,
        faces=faces.reshape(-1, 3),
        face_edges=face_edges.reshape(-1, 3),
        face_numbers=(4 * patch.face_numbers[:, None] + np.arange(4)).ravel(),
        owners=(
            np.concatenate([vertex_owner, edge_owner]),
            np.concatenate([np.repeat(edge_owner, 2), np.repeat(face_owner, 3)]),
            np.repeat(face_owner, 4),
        ),
    )


def restricted(patch: Patch, rank: int) -> Patch:
    """The faces of one rank and those that touch them: every face around the rank's vertices."""
    touched = np.zeros(len(patch.points), dtype=bool)
    touched[patch.faces[patch.owners[2] == rank]] = True
    keep = touched[patch.faces].any(axis=1)
    if keep.all():
        return patch
    faces, face_edges = patch.faces[keep], patch.face_edges[keep]
    vertices, place = _used(faces, len(patch.points))
    edges, side = _used(face_edges, len(patch.edges))
    vertex_owner, edge_owner, face_owner = patch.owners
    return Patch(
        level=patch.level,
        points=patch.points[vertices],
        vertices=patch.vertices[vertices],
        edges=place[patch.edges[edges]],
        edge_numbers=patch.edge_numbers[edges],
        faces=place[faces],
        face_edges=side[face_edges],
        face_numbers=patch.face_numbers[keep],
        owners=(vertex_owner[vertices], edge_owner[edges], face_owner[keep]),
    )


def _used(entities: Index, count: int) -> tuple[NDArray[np.intp], Index]:
    """Which of ``count`` places occur, and the new place of each that does."""
    used = np.zeros(count, dtype=bool)
    used[entities] = True
    return np.flatnonzero(used), np.cumsum(used, dtype=np.int32) - 1


def faces_containing(points: Array, level: int) -> Number:
    """The number of the face of a level through which the ray of each point passes, (n,)."""
    base, triangles = _icosahedron()
    corners = base[triangles]
    inward = np.cross(np.roll(corners, -1, axis=1), np.roll(corners, -2, axis=1))
    number = np.einsum("fcd,nd->nfc", inward, points).min(axis=2).argmax(axis=1)
    a, b, c = (corners[number, i] for i in range(3))
    for _ in range(level):
        middles = [b + c, c + a, a + b]
        for m in middles:
            m /= np.linalg.norm(m, axis=1, keepdims=True)
        child = np.full(len(points), 3)
        for i in range(3):
            # Beyond the arc between the two middles next to corner i.
            plane = np.cross(middles[(i + 2) % 3], middles[(i + 1) % 3])
            child[np.einsum("ij,ij->i", plane, points) >= 0] = i
        p, q, r = middles
        which = child[:, None]
        a, b, c = (
            np.select([which == 0, which == 1, which == 2], [a, r, q], p),
            np.select([which == 0, which == 1, which == 2], [r, b, p], q),
            np.select([which == 0, which == 1, which == 2], [q, p, c], r),
        )
        number = 4 * number + child
    return number.astype(np.int64)

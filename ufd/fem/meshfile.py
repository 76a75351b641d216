"""A user's closed surface mesh, checked before anything is solved on it."""

from __future__ import annotations

import contextlib
import io
import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ufd.exceptions import InputError, StorageError
from ufd.fem.surfaces import ArrayMesh, SurfaceMesh
from ufd.problem.manifolds import Sphere

Array = NDArray[np.float64]
_log = logging.getLogger(__name__)
_CELL = {1: ("line", "interval"), 2: ("triangle", "triangle")}
# Files carry about eight digits; nodes this close are moved onto the sphere.
_OFF_SPHERE = 1e-6


def read_mesh(path: str | Path, sphere: Sphere) -> SurfaceMesh:
    """Read a closed mesh of the circle (lines) or the sphere (triangles), degree 1.

    Any format that meshio knows; ``.msh`` of gmsh 2 and 4 are tested. Nodes are moved onto the
    exact sphere. Edges with a negative cotangent sum are counted and reported as a warning: with
    them K is no M-matrix and the maximum principle is not guaranteed.

    Raises:
        StorageError: If the file cannot be read.
        InputError: If it is not a closed, oriented mesh of ``sphere``; the message says where.
    """
    if sphere.dim not in _CELL:
        raise InputError(f"mesh: meshes cover the circle and the sphere, and dim = {sphere.dim}")
    points, cells = _read(Path(path), *_CELL[sphere.dim], sphere)
    try:
        points, cells = check_closed(points, cells, sphere)
    except InputError as error:
        raise InputError(f"mesh: {path}: {error}") from None
    surface = ArrayMesh(points, cells, _CELL[sphere.dim][1], 1)
    bad = len(obtuse_edges(surface))
    if bad:
        _log.warning(
            "mesh: %s: %d edges have a negative cotangent sum (obtuse triangles); the maximum "
            "principle is not guaranteed. Flip these edges or use an icosphere.",
            path,
            bad,
        )
    return surface


def _read(path: Path, kind: str, name: str, sphere: Sphere) -> tuple[Array, NDArray[np.int64]]:
    import meshio

    if not path.is_file():
        raise StorageError(f"mesh: cannot read {path}: there is no such file")
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            mesh = meshio.read(path)
    except SystemExit:
        raise StorageError(f"mesh: cannot read {path}: damaged, or of unknown format") from None
    except Exception as error:  # Its readers raise whatever a damaged file leads them to.
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise StorageError(f"mesh: cannot read {path}: {reason}") from None
    kinds = {block.type for block in mesh.cells}
    top = kinds - {"vertex"} - ({"line"} if sphere.dim == 2 else set())
    if top != {kind}:
        raise InputError(
            f"mesh: {path} holds cells {sorted(kinds)}; a mesh of dim = {sphere.dim} needs {kind} "
            "cells of degree 1 only (higher degrees are built in memory: cells and degree)"
        )
    points = np.asarray(mesh.points, dtype=float)
    if points.shape[1] > sphere.ambient_dim and not np.any(points[:, sphere.ambient_dim :]):
        points = points[:, : sphere.ambient_dim]
    return points, np.concatenate([b.data for b in mesh.cells if b.type == kind]).astype(np.int64)


def check_closed(
    points: Array, cells: NDArray[np.int64], sphere: Sphere
) -> tuple[Array, NDArray[np.int64]]:
    """Nodes on the sphere and outward cells of a closed mesh; unused nodes are dropped.

    Raises:
        InputError: If the mesh is open, not oriented, not a manifold, in several pieces,
            degenerate, or off the sphere.
    """
    used, cells = np.unique(cells, return_inverse=True)
    cells = cells.reshape(-1, sphere.dim + 1)
    points = points[used]
    if points.shape[1] != sphere.ambient_dim:
        raise InputError(f"nodes in R^{points.shape[1]}; R^{sphere.ambient_dim} needed")
    radius = np.linalg.norm(points, axis=1)
    worst = int(np.argmax(np.abs(radius - 1)))
    if not abs(radius[worst] - 1) <= _OFF_SPHERE:
        raise InputError(
            f"node {used[worst] + 1} has distance {radius[worst]:.6g} from the origin, not 1; "
            "scale and centre the mesh on the unit sphere"
        )
    points = points / radius[:, None]
    volume = np.linalg.det(points[cells])
    small = int(np.argmin(np.abs(volume)))
    if abs(volume[small]) <= 1e-14 or len(set(cells[small])) <= sphere.dim:
        raise InputError(f"cell {small + 1} is degenerate; remove it")
    _check_manifold(cells, sphere.dim)
    if volume.max() < 0:
        cells, volume = cells[:, ::-1].copy(), -volume
    if volume.min() < 0:
        raise InputError(
            f"cell {int(np.argmin(volume)) + 1} is flipped or folded over; orient all cells alike"
        )
    # Facing outward everywhere, the area counts how often the sphere is covered.
    area = _spherical_area(points, cells)
    whole = np.exp(sphere.log_area)
    if abs(area / whole - 1) > 1e-6:
        raise InputError(f"the cells cover the sphere {area / whole:.4g} times; once is needed")
    return points, cells


def _check_manifold(cells: NDArray[np.int64], dim: int) -> None:
    if dim == 1:
        starts, ends = np.bincount(cells[:, 0]), np.bincount(cells[:, 1])
        degree = np.bincount(cells.ravel())
        if (degree != 2).any():
            raise InputError(
                f"{int((degree < 2).sum())} open ends and {int((degree > 2).sum())} branch points; "
                "a closed curve is needed"
            )
        if (starts != 1).any() or (ends != 1).any():
            raise InputError("neighbouring lines point against each other; orient all alike")
        return
    directed = cells[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    _, uses = np.unique(np.sort(directed, axis=1), axis=0, return_counts=True)
    if (uses > 2).any():
        raise InputError(f"{int((uses > 2).sum())} edges belong to more than two triangles")
    if (uses < 2).any():
        raise InputError(f"{int((uses < 2).sum())} edges are open; a closed surface is needed")
    if len(np.unique(directed, axis=0)) != len(directed):
        raise InputError("neighbouring triangles have opposite orientations; orient all alike")


def _spherical_area(points: Array, cells: NDArray[np.int64]) -> float:
    corners = points[cells]
    if cells.shape[1] == 2:
        return float(np.arccos(np.clip(np.sum(corners[:, 0] * corners[:, 1], axis=1), -1, 1)).sum())
    a, b, c = (corners[:, i] for i in range(3))
    # Solid angle of a triangle (Van Oosterom & Strackee, IEEE Trans. Biomed. Eng. 30, 1983).
    pairs = sum(np.sum(x * y, axis=1) for x, y in ((a, b), (b, c), (c, a)))
    return float(2 * np.arctan2(np.linalg.det(corners), 1 + pairs).sum())


def obtuse_edges(surface: SurfaceMesh) -> NDArray[np.int64]:
    """Edges (k, 2) of a triangle mesh whose two opposite cotangents sum to less than 0."""
    if surface.cell_type != "triangle":
        return np.empty((0, 2), dtype=np.int64)
    edges, weights = [], []
    for i in range(3):
        a, b, apex = (surface.cells[:, (i + k) % 3] for k in range(3))
        u, v = surface.points[a] - surface.points[apex], surface.points[b] - surface.points[apex]
        edges.append(np.sort(np.column_stack([a, b]), axis=1))
        weights.append(np.sum(u * v, axis=1) / np.linalg.norm(np.cross(u, v), axis=1))
    unique, index = np.unique(np.concatenate(edges), axis=0, return_inverse=True)
    total = np.bincount(index.ravel(), weights=np.concatenate(weights))
    return unique[total < -1e-12]

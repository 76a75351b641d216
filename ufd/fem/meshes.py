"""Meshes of the circle and the two-sphere, built in memory.

Degree 1: chords and the triangulated icosphere (angles 54 to 72 degrees at every level, so the
stiffness matrix is an M-matrix). Degree k >= 2: curved intervals and the equiangular cubed sphere
whose geometry nodes are the Gauss-Lobatto-Legendre nodes of the elements, on the exact sphere.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

from mpi4py import MPI

import basix
import basix.ufl
import numpy as np
import ufl
from dolfinx import mesh as dolfinx_mesh
from numpy.typing import NDArray

from ufd.exceptions import InputError

Array = NDArray[np.float64]
MAX_DEGREE = 8


@dataclass(frozen=True)
class SurfaceMesh:
    """A closed mesh as arrays, the same on every rank.

    Attributes:
        points: Nodes, (n, gdim).
        cells: Node numbers, (m, nodes per cell), in the order of the element.
        cell_type: "interval", "triangle" or "quadrilateral".
        degree: Polynomial degree of the geometry and of the functions.
        subdivisions: The number that builds the mesh again; None for a mesh from a file.
    """

    points: Array
    cells: NDArray[np.int64]
    cell_type: str
    degree: int
    subdivisions: int | None = None

    @property
    def element(self):
        """The scalar Lagrange element whose nodes are the geometry nodes."""
        return basix.ufl.element(
            "Lagrange",
            self.cell_type,
            self.degree,
            lagrange_variant=basix.LagrangeVariant.gll_warped,
        )

    def distribute(self, comm: MPI.Comm) -> dolfinx_mesh.Mesh:
        """Partition the mesh over the ranks of ``comm``."""
        coordinate = basix.ufl.blocked_element(self.element, shape=(self.points.shape[1],))
        points, cells = self.points, self.cells
        if comm.rank > 0:
            points, cells = points[:0], cells[:0]
        return dolfinx_mesh.create_mesh(comm, cells, ufl.Mesh(coordinate), points)


def _reference_nodes(cell_type: str, degree: int) -> Array:
    return basix.create_element(
        basix.ElementFamily.P,
        basix.CellType[cell_type],
        degree,
        basix.LagrangeVariant.gll_warped,
    ).points


def circle(cells: int, degree: int) -> SurfaceMesh:
    """The circle in ``cells`` equal arcs; the first starts at the first ambient axis."""
    reference = _reference_nodes("interval", degree)[:, 0]
    angle = 2 * np.pi * (np.arange(cells)[:, None] + reference) / cells
    index = np.arange(cells)[:, None] * degree + np.argsort(np.argsort(reference))
    index %= cells * degree
    points = np.empty((cells * degree, 2))
    points[index.ravel()] = np.column_stack([np.cos(angle.ravel()), np.sin(angle.ravel())])
    return SurfaceMesh(points, index, "interval", degree, cells)


def cubed_sphere(cells: int, degree: int) -> SurfaceMesh:
    """The equiangular cubed sphere, ``cells`` per cube edge: 6 (cells degree)^2 + 2 nodes."""
    reference = _reference_nodes("quadrilateral", degree)
    i, j = (a.reshape(-1, 1) for a in np.meshgrid(np.arange(cells), np.arange(cells)))
    alpha = np.tan(np.pi / 2 * ((i + reference[:, 0]) / cells - 0.5))[..., None]
    beta = np.tan(np.pi / 2 * ((j + reference[:, 1]) / cells - 0.5))[..., None]
    axes = np.eye(3)
    faces = []
    for axis in range(3):
        for sign in (1, -1):
            first, second = axes[(axis + 1) % 3], sign * axes[(axis + 2) % 3]
            face = sign * axes[axis] + alpha * first + beta * second
            faces.append(face / np.linalg.norm(face, axis=-1, keepdims=True))
    nodes = np.concatenate(faces)
    _, first_seen, index = np.unique(
        np.rint(nodes.reshape(-1, 3) * 2.0**30).astype(np.int64),
        axis=0,
        return_index=True,
        return_inverse=True,
    )
    points = nodes.reshape(-1, 3)[first_seen]
    return SurfaceMesh(points, index.reshape(nodes.shape[:2]), "quadrilateral", degree, cells)


def icosphere(level: int) -> SurfaceMesh:
    """The icosahedron, each triangle split in four ``level`` times: 10 4^level + 2 nodes."""
    from scipy.spatial import ConvexHull

    golden = (1 + 5**0.5) / 2
    points = np.array([[0, a, b * golden] for a in (-1, 1) for b in (-1, 1)], dtype=float)
    points = np.concatenate([np.roll(points, shift, axis=1) for shift in range(3)])
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    cells = ConvexHull(points).simplices.astype(np.int64)
    corners = points[cells]
    outward = np.einsum("ij,ij->i", np.cross(corners[:, 0], corners[:, 1]), corners[:, 2]) > 0
    cells[~outward] = cells[~outward][:, ::-1]
    for _ in range(level):
        edges = np.sort(cells[:, [1, 2, 2, 0, 0, 1]].reshape(-1, 2), axis=1)
        unique, index = np.unique(edges, axis=0, return_inverse=True)
        middle = points[unique].sum(axis=1)
        middle /= np.linalg.norm(middle, axis=1, keepdims=True)
        mids = len(points) + index.reshape(-1, 3)
        points = np.concatenate([points, middle])
        a, b, c = cells.T
        m0, m1, m2 = mids.T
        quads = [(a, m2, m1), (m2, b, m0), (m1, m0, c), (m0, m1, m2)]
        cells = np.concatenate([np.column_stack(q) for q in quads])
    return SurfaceMesh(points, cells, "triangle", 1, level)


def default_degree(dim: int) -> int:
    """The degree when none is asked for: high order, for smooth problems."""
    return 8 if dim == 1 else 6


def _default_cells(dim: int, degree: int) -> int:
    """About 500 nodes on the circle, 6,000 on the sphere, 2,562 for degree 1 there."""
    if dim == 1:
        return max(4, round(512 / degree))
    return 4 if degree == 1 else max(1, round(32 / degree))


def _is_whole(value: object) -> bool:
    """Whether a value is an integer, of Python's or of NumPy's."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def checked_cells(dim: int, cells: int | None, degree: int) -> int:
    """The number of cells that `sphere_mesh` would use.

    Raises:
        InputError: If the degree, the number of cells or the dimension is out of range.
    """
    if not _is_whole(degree) or not 1 <= degree <= MAX_DEGREE:
        raise InputError(f"degree = {degree!r} must be an integer from 1 to {MAX_DEGREE}")
    if dim not in (1, 2):
        raise InputError(f"dim = {dim}: finite elements cover the circle (1) and the sphere (2)")
    if cells is None:
        cells = _default_cells(dim, degree)
    if dim == 1:
        what, low, high = "number of cells", 3, 10**6
    elif degree == 1:
        what, low, high = "refinement level", 0, 11
    else:
        # One cell of degree 2 over a whole cube face folds at its corners.
        what, low, high = "number of cells per cube edge", 1 + (degree == 2), 4096
    if not _is_whole(cells) or not low <= cells <= high:
        raise InputError(f"cells = {cells!r}: the {what} must be an integer from {low} to {high}")
    return int(cells)


def sphere_mesh(dim: int, cells: int | None, degree: int) -> SurfaceMesh:
    """The mesh of S^dim for a degree: chords or arcs, icosphere level or cells per cube edge.

    Raises:
        InputError: If the degree, the number of cells or the dimension is out of range.
    """
    cells, degree = checked_cells(dim, cells, degree), int(degree)
    if dim == 1:
        return circle(cells, degree)
    return icosphere(cells) if degree == 1 else cubed_sphere(cells, degree)

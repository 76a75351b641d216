"""Closed meshes of the circle and the two-sphere, before any rank builds its part.

Degree 1: chords and the triangulated icosphere (angles 54 to 72 degrees at every level, so the
stiffness matrix is an M-matrix). Degree k >= 2: curved intervals and the equiangular cubed sphere
whose geometry nodes are the Gauss-Lobatto-Legendre nodes of the elements, on the exact sphere.
Nodes and cells have numbers from which their place follows: each rank makes its own.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from mpi4py import MPI

import basix.ufl
import numpy as np
from basix import LagrangeVariant
from numpy.typing import NDArray

from ufd.fem.distributed import DistributedMesh
from ufd.fem.elements import ElementMesh, element_lattice
from ufd.fem.focus import Focus
from ufd.fem.icosphere import Patch, icosahedron, refined
from ufd.fem.nested import NestedMesh
from ufd.parallel import lookup, share

Array = NDArray[np.float64]
Numbers = Sequence[int] | NDArray[np.int64]


class SurfaceMesh(ABC):
    """A closed mesh that is not built yet.

    Attributes:
        cell_type: "interval", "triangle" or "quadrilateral".
        degree: Polynomial degree of the geometry and of the functions.
        subdivisions: The number that builds the mesh again; None for a mesh from a file.
        gdim: Dimension of the ambient space.
        focus: What moved the nodes, if anything did.
        points: All nodes, (n, gdim); made when asked for.
        cells: All cells as node numbers, (m, nodes per cell), in the order of the element.
    """

    cell_type: str
    degree: int
    subdivisions: int | None
    gdim: int
    focus: Focus | None = None
    points: Array
    cells: NDArray[np.int64]

    @property
    def element(self):
        """The scalar Lagrange element whose nodes are the geometry nodes."""
        return basix.ufl.element(
            "Lagrange",
            self.cell_type,
            self.degree,
            lagrange_variant=LagrangeVariant.gll_warped,
        )

    def identity(self) -> dict[str, Any]:
        """What tells the mesh from others; JSON values."""
        return {
            "cell_type": self.cell_type,
            "degree": self.degree,
            "subdivisions": self.subdivisions,
        }

    @abstractmethod
    def elements(self, comm: MPI.Comm) -> ElementMesh:
        """The mesh over the ranks of ``comm``, by DOLFINx; collective."""

    def distribute(self, comm: MPI.Comm) -> DistributedMesh:
        """What is computed on, over the ranks of ``comm``; collective."""
        return self.elements(comm)


class ArrayMesh(SurfaceMesh):
    """A mesh given by its arrays, the same on every rank.

    Args:
        points: Nodes, (n, gdim).
        cells: Node numbers, (m, nodes per cell), in the order of the element.
        cell_type: "interval", "triangle" or "quadrilateral".
        degree: Polynomial degree.
    """

    subdivisions = None

    def __init__(self, points: Array, cells: NDArray, cell_type: str, degree: int) -> None:
        self.points, self.cells = points, cells
        self.cell_type, self.degree, self.gdim = cell_type, degree, points.shape[1]

    def identity(self) -> dict[str, Any]:
        """See `SurfaceMesh.identity`."""
        digest = hashlib.sha256(np.ascontiguousarray(self.points).tobytes())
        digest.update(np.ascontiguousarray(self.cells).tobytes())
        return super().identity() | {"sha256": digest.hexdigest()}

    def elements(self, comm: MPI.Comm) -> ElementMesh:
        """See `SurfaceMesh.elements`."""
        points = self.points[share(len(self.points), comm)]
        return ElementMesh(points, self.cells[share(len(self.cells), comm)], self.element, comm)


class NumberedMesh(SurfaceMesh):
    """A mesh any part of which follows from numbers.

    Attributes:
        node_count: Number of nodes.
        cell_count: Number of cells.
    """

    node_count: int
    cell_count: int

    def identity(self) -> dict[str, Any]:
        """See `SurfaceMesh.identity`."""
        moved = {} if self.focus is None else {"focus": self.focus.describe()}
        return super().identity() | moved

    @abstractmethod
    def nodes(self, numbers: Numbers) -> Array:
        """Positions of nodes by number before ``focus`` moves them, (n, gdim)."""

    @abstractmethod
    def connectivity(self, numbers: Numbers) -> NDArray[np.int64]:
        """Node numbers of cells by number, (m, nodes per cell)."""

    def _placed(self, numbers: Numbers) -> Array:
        points = self.nodes(numbers)
        return points if self.focus is None else self.focus(points)

    @cached_property
    def points(self) -> Array:  # type: ignore[override]
        """All nodes, (n, gdim)."""
        return self._placed(range(self.node_count))

    @cached_property
    def cells(self) -> NDArray[np.int64]:  # type: ignore[override]
        """All cells, (m, nodes per cell)."""
        return self.connectivity(range(self.cell_count))

    def elements(self, comm: MPI.Comm) -> ElementMesh:
        """See `SurfaceMesh.elements`."""
        points = self._placed(share(self.node_count, comm))
        cells = self.connectivity(share(self.cell_count, comm))
        return ElementMesh(points, cells, self.element, comm)


class Circle(NumberedMesh):
    """The circle in equal arcs; the first starts at the first ambient axis."""

    cell_type, gdim = "interval", 2

    def __init__(self, cells: int, degree: int, focus: Focus | None = None) -> None:
        self.degree, self.subdivisions, self.focus = degree, cells, focus
        self.cell_count, self.node_count = cells, cells * degree
        self._steps, self._along = element_lattice(self.element)

    def nodes(self, numbers: Numbers) -> Array:
        """See `NumberedMesh.nodes`."""
        cell, step = np.divmod(np.asarray(numbers, dtype=np.int64), self.degree)
        angle = 2 * np.pi * (cell + self._along[step]) / self.cell_count
        return np.column_stack([np.cos(angle), np.sin(angle)])

    def connectivity(self, numbers: Numbers) -> NDArray[np.int64]:
        """See `NumberedMesh.connectivity`."""
        start = np.asarray(numbers, dtype=np.int64)[:, None] * self.degree
        return (start + self._steps[:, 0]) % self.node_count


class CubedSphere(NumberedMesh):
    """The equiangular cubed sphere, ``cells`` per cube edge: 6 (cells degree)^2 + 2 nodes.

    Nodes are the points of the lattice {0, ..., n}^3, n = cells degree, on the surface of the
    cube: first those on the two faces across the first axis, then what is left on the others.
    """

    cell_type, gdim = "quadrilateral", 3

    def __init__(self, cells: int, degree: int, focus: Focus | None = None) -> None:
        self.degree, self.subdivisions, self.focus = degree, cells, focus
        self._n = n = cells * degree
        self.cell_count, self.node_count = 6 * cells**2, 6 * n**2 + 2
        self._steps, along = element_lattice(self.element)
        cell, step = np.divmod(np.arange(n + 1), degree)
        angle = np.pi / 2 * ((cell + along[step]) / cells - 0.5)
        # Odd to the last bit: the mesh is symmetric, and its faces lie at 1 and -1 exactly.
        self._slopes = np.tan((angle - angle[::-1]) / 2)
        self._slopes[[0, -1]] = -1.0, 1.0
        # Per axis: nodes of one face along the two other axes, and where they begin.
        self._faces = [(n + 1, n + 1), (n - 1, n + 1), (n - 1, n - 1)]

    def nodes(self, numbers: Numbers) -> Array:
        """See `NumberedMesh.nodes`."""
        left = np.asarray(numbers, dtype=np.int64)
        lattice = np.empty((len(left), 3), dtype=np.int64)
        for axis, (rows, columns) in enumerate(self._faces):
            here = (left >= 0) & (left < 2 * rows * columns)
            face, place = np.divmod(left[here], rows * columns)
            row, column = np.divmod(place, columns)
            first, second = (other for other in range(3) if other != axis)
            lattice[here, axis] = self._n * face
            lattice[here, first] = row + (rows < self._n)
            lattice[here, second] = column + (columns < self._n)
            left = np.where(here, -1, left - 2 * rows * columns)
        cube = self._slopes[lattice]
        return cube / np.linalg.norm(cube, axis=1, keepdims=True)

    def connectivity(self, numbers: Numbers) -> NDArray[np.int64]:
        """See `NumberedMesh.connectivity`."""
        cells = int(self.subdivisions)  # type: ignore[arg-type]
        side, place = np.divmod(np.asarray(numbers, dtype=np.int64), cells**2)
        axis, below = np.divmod(side, 2)
        j, i = np.divmod(place, cells)
        along = i[:, None] * self.degree + self._steps[:, 0]
        across = j[:, None] * self.degree + self._steps[:, 1]
        # Seen from outside, cells turn anticlockwise on both faces of an axis.
        across = np.where(below[:, None], self._n - across, across)
        lattice = np.empty((*along.shape, 3), dtype=np.int64)
        every = np.arange(len(side))
        lattice[every, :, axis] = (self._n * (1 - below))[:, None]
        lattice[every, :, (axis + 1) % 3] = along
        lattice[every, :, (axis + 2) % 3] = across
        return self._numbers(lattice)

    def _numbers(self, lattice: NDArray[np.int64]) -> NDArray[np.int64]:
        result = np.full(lattice.shape[:-1], -1, dtype=np.int64)
        start = 0
        for axis, (rows, columns) in enumerate(self._faces):
            first, second = (lattice[..., other] for other in range(3) if other != axis)
            on_face = lattice[..., axis] % self._n == 0
            face = lattice[..., axis] // self._n
            row, column = first - (rows < self._n), second - (columns < self._n)
            number = start + (face * rows + row) * columns + column
            result = np.where((result < 0) & on_face, number, result)
            start += 2 * rows * columns
        return result


class Icosphere(SurfaceMesh):
    """The icosahedron, each triangle split in four ``level`` times: 10 4^level + 2 nodes."""

    cell_type, degree, gdim = "triangle", 1, 3

    def __init__(self, level: int) -> None:
        self.subdivisions = level

    @cached_property
    def _whole(self) -> Patch:
        patch = icosahedron()
        for _ in range(int(self.subdivisions)):  # type: ignore[arg-type]
            patch = refined(patch)
        return patch

    @property
    def points(self) -> Array:  # type: ignore[override]
        """All nodes, (n, 3)."""
        return self._whole.points

    @property
    def cells(self) -> NDArray[np.int64]:  # type: ignore[override]
        """All faces, (m, 3)."""
        return self._whole.faces.astype(np.int64)

    def distribute(self, comm: MPI.Comm) -> NestedMesh:
        """See `SurfaceMesh.distribute`."""
        return NestedMesh(int(self.subdivisions), comm)  # type: ignore[arg-type]

    def elements(self, comm: MPI.Comm) -> ElementMesh:
        """See `SurfaceMesh.elements`."""
        mesh = self.distribute(comm)
        block = np.array(share(mesh.size, comm))
        points = lookup(comm, mesh.input_index, mesh.positions[: mesh.owned], block, mesh.size)
        return ElementMesh(points, mesh.faces(), self.element, comm)

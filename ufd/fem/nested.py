"""Nested icospheres over the ranks: each refines its own share of a coarse one.

No rank holds more of a fine level than its own part and the faces around it, so every row of D
and K is summed on one rank, in an order that does not depend on how many there are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from mpi4py import MPI

import numpy as np
from numpy.typing import NDArray
from petsc4py import PETSc
from scipy import sparse

from ufd.fem.icosphere import (
    Patch,
    counts,
    faces_containing,
    icosahedron,
    refined,
    restricted,
    shared_out,
)
from ufd.fem.weights import edge_means
from ufd.parallel import lookup, total

Array = NDArray[np.float64]
# Shares of the coarse level differ by one face: this many per rank keep them equal to 2 %.
_FACES_PER_RANK = 64
# The coarsest level of a hierarchy: 162 nodes, factorised in no time.
_COARSEST = 2


class Coarser(NamedTuple):
    """What multigrid needs of a level below another.

    Attributes:
        K: Its stiffness matrix.
        prolongation: From it to the level above.
        restriction: The transpose, stored: products with it sum in a fixed order.
    """

    K: PETSc.Mat
    prolongation: PETSc.Mat
    restriction: PETSc.Mat


class Level:
    """One level: its rows on this rank, and what is assembled there.

    Attributes:
        owned: Number of nodes on this rank; they are numbered as its faces first meet them.
        first: Number of the first of them over all ranks.
        size: Nodes of the level on all ranks.
        positions: Nodes that a weight is needed at, owned ones first, (n, 3).
        input_index: Number of each owned node in the whole mesh, (owned,).
    """

    def __init__(self, patch: Patch, comm: MPI.Intracomm) -> None:
        self.comm, self.patch = comm, patch
        mine = patch.owners[0] == comm.rank
        corners = patch.faces.ravel()
        seen = np.full(len(patch.points), -1, dtype=np.int64)
        seen[corners[::-1]] = np.arange(len(corners) - 1, -1, -1)
        met = corners[seen[corners] == np.arange(len(corners))]
        order = met[mine[met]]
        self.owned, self.size = len(order), counts(patch.level)[0]
        self.first = comm.exscan(self.owned) or 0
        self.input_index = patch.vertices[order]
        self._local = np.concatenate([order, np.flatnonzero(~mine)])
        self.positions = patch.points[self._local]
        numbers = self.first + np.arange(self.owned, dtype=np.int32)
        #: Number over all ranks of each vertex of the patch.
        self.index = self.everywhere(numbers)

    def areas(self) -> Array:
        """A third of the area of the faces around each owned node, (owned,)."""
        patch = self.patch
        lengths = _squared_lengths(patch)
        doubled = np.sqrt(_sixteen_squared_areas(lengths)) / 2
        shares = np.bincount(patch.faces.ravel(), np.repeat(doubled / 6, 3), len(patch.points))
        return shares[self._local[: self.owned]]

    def stiffness(self, log_weight: Array) -> PETSc.Mat:
        """K of degree 1, each edge with the Scharfetter-Gummel mean of the weight.

        Args:
            log_weight: At ``positions``.
        """
        patch = self.patch
        lengths = _squared_lengths(patch)
        # The cotangent at a corner acts on the edge opposite to it.
        quadrupled = np.sqrt(_sixteen_squared_areas(lengths))
        half_sum = lengths.sum(axis=1) / 2
        cotangents = (half_sum[:, None] - lengths) / quadrupled[:, None]
        weights = np.bincount(patch.face_edges.ravel(), cotangents.ravel(), len(patch.edges))
        at_vertices = np.empty(len(patch.points))
        at_vertices[self._local] = log_weight
        a, b = _ends(patch)
        weights *= edge_means(at_vertices[a], at_vertices[b])
        return self._laplacian(a, b, weights)

    def _laplacian(self, a: NDArray, b: NDArray, weights: Array) -> PETSc.Mat:
        """sum over edges of weight (x_a - x_b)^2 as a matrix over all ranks."""
        count = len(self.index)
        sums = np.bincount(a, weights, count) + np.bincount(b, weights, count)
        row, column = np.concatenate([a, b]), np.concatenate([b, a])
        value = np.concatenate([weights, weights])
        if self.owned < count:
            here = self.patch.owners[0][row] == self.comm.rank
            row, column, value = row[here], column[here], value[here]
        place, inside = self.index - self.first, self._local[: self.owned]
        row, column = place[row], self.index[column]
        value = np.concatenate([-value, sums[inside]])
        row = np.concatenate([row, place[inside]])
        column = np.concatenate([column, self.index[inside]])
        return _matrix(
            value, row, column, (self.owned, self.size), (self.owned, self.size), self.comm
        )

    def everywhere(self, values: NDArray) -> NDArray:
        """Owned values, (owned, ...), at all vertices of the patch; collective."""
        result = np.empty((len(self.patch.points), *values.shape[1:]), dtype=values.dtype)
        result[self._local[: self.owned]] = values
        others = self._local[self.owned :]
        numbers = self.patch.vertices[others]
        result[others] = lookup(self.comm, self.input_index, values, numbers, self.size)
        return result

    def prolongation(self, coarse: Level) -> PETSc.Mat:
        """Interpolation from the level below: old nodes keep values, new ones take the mean."""
        # Places differ on a patch that was cut; numbers do not.
        numbers, old = self.input_index, coarse.size
        kept_rows, new_rows = np.flatnonzero(numbers < old), np.flatnonzero(numbers >= old)
        kept = np.searchsorted(coarse.patch.vertices, numbers[kept_rows])
        split = np.searchsorted(coarse.patch.edge_numbers, numbers[new_rows] - old)
        ends = coarse.patch.edges[split]
        row = np.concatenate([kept_rows, new_rows, new_rows])
        column = np.concatenate([kept, ends[:, 0], ends[:, 1]])
        value = np.concatenate([np.ones(len(kept_rows)), np.full(2 * len(new_rows), 0.5)])
        shape = (self.owned, self.size), (coarse.owned, coarse.size)
        return _matrix(value, row, coarse.index[column], *shape, self.comm)


def _ends(patch: Patch) -> NDArray[np.int32]:
    """Both ends of the edges, (2, ne)."""
    return np.ascontiguousarray(patch.edges.T)


def _squared_lengths(patch: Patch) -> Array:
    """Of the edge opposite to each corner, (nf, 3)."""
    a, b = _ends(patch)
    # Coordinate by coordinate: five times faster than rows of three.
    along = [x[a] - x[b] for x in np.ascontiguousarray(patch.points.T)]
    return sum(d * d for d in along)[patch.face_edges]


def _sixteen_squared_areas(squared: Array) -> Array:
    """Heron: 16 A^2 from the squared lengths of three sides; no cancellation in acute faces."""
    p, q, r = squared.T
    return 4 * p * q - (p + q - r) ** 2


def _matrix(value, row, column, rows, columns, comm: MPI.Comm) -> PETSc.Mat:
    local = sparse.coo_matrix((value, (row, column)), shape=(rows[0], columns[1])).tocsr()
    local.sort_indices()
    csr = (local.indptr, local.indices, local.data)
    return PETSc.Mat().createAIJ((rows, columns), csr=csr, comm=comm)


class NestedMesh(Level):
    """The finest level of an icosphere, with those below; see `distributed.DistributedMesh`.

    The levels below it are kept, from the coarsest of a hierarchy on, until that is made.
    """

    def __init__(self, level: int, comm: MPI.Intracomm) -> None:
        shared = 0
        while shared < level and counts(shared)[2] < _FACES_PER_RANK * comm.size:
            shared += 1
        patches = [icosahedron()]
        for _ in range(shared):
            patches.append(refined(patches[-1]))
        whole = shared_out(patches.pop(), comm.size)
        for patch in patches:
            # A vertex of a coarser level is also one of the shared level.
            patch.owners = (whole.owners[0][: len(patch.points)], *patch.owners[1:])
        patches.append(restricted(whole, comm.rank))
        del whole
        for _ in range(level - shared):
            patches.append(restricted(refined(patches[-1]), comm.rank))
        super().__init__(patches.pop(), comm)
        self._below = [Level(patch, comm) for patch in patches[_COARSEST:]]
        self._own_faces = self.patch.owners[2] == comm.rank

    def faces(self) -> NDArray[np.int64]:
        """The faces of this rank as node numbers of the whole mesh, (m, 3)."""
        return self.patch.vertices[self.patch.faces[self._own_faces]]

    def cell_nodes(self) -> NDArray:
        """See `distributed.DistributedMesh`."""
        place = np.empty(len(self._local), dtype=np.int64)
        place[self._local] = np.arange(len(self._local))
        return place[self.patch.faces[self._own_faces]]

    def hierarchy(self, log_weight: Callable[[Array], Array]) -> list[Coarser]:
        """The levels below, from the finest of them on, for multigrid; can be asked for once.

        Args:
            log_weight: Logarithm of the weight at points (n, 3).
        """
        result = []
        above: Level = self
        while self._below:
            level = self._below.pop()
            up = above.prolongation(level)
            down = PETSc.Mat()
            up.transpose(down)
            result.append(Coarser(level.stiffness(log_weight(level.positions)), up, down))
            above = level
        return result

    def evaluate(self, values: Array, points: Array) -> Array:
        """Values (owned, ...) at points of the sphere (n, 3), linear on each flat face.

        The arithmetic of the refinement says which face and which rank: each point is evaluated
        on one rank alone.
        """
        patch, every = self.patch, self.everywhere(values)
        numbers = faces_containing(points, patch.level)
        # One search among sorted numbers, which a rank without faces survives.
        place = np.searchsorted(patch.face_numbers, numbers)
        here = place < len(patch.faces)
        found = place[here]
        here[here] = (patch.face_numbers[found] == numbers[here]) & self._own_faces[found]
        corners = patch.faces[place[here]]
        triangle = patch.points[corners].transpose(0, 2, 1)
        barycentric = np.linalg.solve(triangle, points[here][..., None])[..., 0]
        barycentric /= barycentric.sum(axis=1, keepdims=True)
        result = np.zeros((len(points), *values.shape[1:]))
        result[here] = np.einsum("nc,nc...->n...", barycentric, every[corners])
        return total(self.comm, result)

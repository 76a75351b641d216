"""Curved or flat cells over the ranks, by DOLFINx; see `distributed.DistributedMesh`.

Each rank hands over a block of the nodes and cells; the graph partitioner moves them.
"""

from __future__ import annotations

import math
from functools import cached_property

from mpi4py import MPI

import numpy as np
import ufl
from dolfinx import fem, la
from dolfinx import mesh as dolfinx_mesh
from numpy.typing import NDArray
from petsc4py import PETSc

from ufd.fem.locate import PointLocator
from ufd.fem.low_order import low_order_edges, triangles_between
from ufd.fem.stack import compiled
from ufd.fem.weights import edge_means

Array = NDArray[np.float64]


def element_lattice(element) -> tuple[NDArray[np.int64], Array]:
    """Where the nodes of an element lie.

    Returns:
        Steps along each axis, (nodes, dim), and the places of the steps in [0, 1], (degree + 1,).
    """
    points = element.basix_element.points
    rounded = np.round(points, 12)
    _, first = np.unique(rounded[:, 0], return_index=True)
    along = points[first, 0]
    return np.abs(points[..., None] - along).argmin(axis=-1), along


class ElementMesh:
    """Collocated elements of one degree: the nodes carry geometry, functions and quadrature.

    Args:
        points: This rank's block of the nodes, in the order of the whole mesh, (n, gdim).
        cells: A block of the cells, (m, nodes per cell), in node numbers of the whole mesh.
        element: The scalar Lagrange element (basix.ufl).
        comm: The ranks.

    Attributes:
        owned: Number of nodes on this rank.
        first: Number of the first of them over all ranks.
        size: Nodes on all ranks.
        positions: Owned nodes, then ghosts, (n, gdim), as the mesh has them.
        input_index: Number of each owned node in the whole mesh; the same on any rank count.
    """

    def __init__(self, points: Array, cells: NDArray, element, comm: MPI.Comm) -> None:
        import basix.ufl

        self.comm, self._element = comm, element
        coordinate = basix.ufl.blocked_element(element, shape=(points.shape[1],))
        self.mesh = dolfinx_mesh.create_mesh(comm, cells, ufl.Mesh(coordinate), points)
        self._space = fem.functionspace(self.mesh, element)
        self._map = self._space.dofmap.index_map
        self.owned, self.size = self._map.size_local, self._map.size_global
        self.first = self._map.local_range[0]
        self.positions = self._to_nodes(self.mesh.geometry.x[:, : points.shape[1]])
        index = np.asarray(self.mesh.geometry.input_global_indices, dtype=np.int64)
        self.input_index = self._to_nodes(index)[: self.owned]

    def _to_nodes(self, values: NDArray) -> NDArray:
        """Reorder from geometry nodes to degrees of freedom (owned, then ghosts)."""
        geometry, dofs = self.mesh.geometry.dofmaps[0], self._space.dofmap.list
        result = np.empty_like(values)
        result[dofs.ravel()] = values[geometry.ravel()]
        return result

    def cell_nodes(self) -> NDArray:
        """See `distributed.DistributedMesh`."""
        cells = self.mesh.topology.index_map(self.mesh.topology.dim).size_local
        return self._space.dofmap.list[:cells]

    def _measure(self):
        if self._element.cell_type.name == "triangle":
            metadata = {"quadrature_rule": "vertex", "quadrature_degree": 1}
        else:
            metadata = {
                "quadrature_rule": "GLL",
                "quadrature_degree": 2 * self._element.degree - 1,
            }
        return ufl.Measure("dx", domain=self.mesh, metadata=metadata)

    def areas(self) -> Array:
        """int e_i at the owned nodes, (owned,)."""
        form = compiled(self.comm, ufl.TestFunction(self._space) * self._measure())
        mass = fem.assemble_vector(form)
        mass.scatter_reverse(la.InsertMode.add)
        return mass.array[: self.owned].copy()

    def stiffness(self, log_weight: Array) -> PETSc.Mat:
        """K; for degree 1 with the Scharfetter-Gummel mean of the weight on each edge.

        Args:
            log_weight: At ``positions``.
        """
        u, v = ufl.TrialFunction(self._space), ufl.TestFunction(self._space)
        integrand, dx = ufl.inner(ufl.grad(u), ufl.grad(v)), self._measure()
        if self._element.degree > 1:
            weight = fem.Function(self._space)
            weight.x.array[:] = np.exp(log_weight)
            return self._assembled(weight * integrand * dx)
        K = self._assembled(integrand * dx)
        self._weigh_edges(K, log_weight[: self.owned])
        return K

    def _assembled(self, form) -> PETSc.Mat:
        """The matrix, summed over the ranks in an order that does not change between runs."""
        matrix = fem.assemble_matrix(compiled(self.comm, form))
        matrix.scatter_reverse()
        local, columns = matrix.to_scipy(), matrix.index_map(1)
        numbers = columns.local_to_global(np.arange(columns.size_local + columns.num_ghosts))
        shape = (self.owned, self.size)
        csr = (local.indptr.astype(np.int32), numbers[local.indices].astype(np.int32), local.data)
        return PETSc.Mat().createAIJ((shape, shape), csr=csr, comm=self.comm)

    def _weigh_edges(self, K: PETSc.Mat, log_weight: Array) -> None:
        """Multiply each off-diagonal entry by the mean of the weight on its edge."""
        pointer, columns, values = K.getValuesCSR()
        rows = np.repeat(np.arange(self.owned), np.diff(pointer))
        # A row may reach nodes that are no ghosts here: other ranks added to it.
        reached, place = np.unique(columns, return_inverse=True)
        everywhere, share = K.createVecRight(), PETSc.Vec().createSeq(len(reached))
        everywhere.array = log_weight
        scatter = PETSc.Scatter().create(
            everywhere, PETSc.IS().createGeneral(reached, comm=PETSc.COMM_SELF), share, None
        )
        scatter.scatter(everywhere, share)
        diagonal = rows + self.first == columns
        means = edge_means(log_weight[rows], share.array[place])
        values = np.where(diagonal, 0.0, values * means)
        # ``bincount`` sums rows, so that each row of K sums to zero exactly in exact arithmetic.
        row_sums = np.bincount(rows, weights=values, minlength=self.owned)
        values[diagonal] = -row_sums[rows[diagonal]]
        K.setValuesCSR(pointer, columns, values)
        K.assemble()

    def low_order(self, log_weight: Array) -> PETSc.Mat:
        """Stiffness of degree 1 on the nodes of quadrilaterals; see `low_order`.

        Args:
            log_weight: At ``positions``.
        """
        steps, _ = element_lattice(self._element)
        triangles = self.cell_nodes()[:, triangles_between(steps)].reshape(-1, 3)
        a, b, weights = low_order_edges(self.positions, triangles, log_weight)
        a, b = (self._map.local_to_global(ends).astype(np.int32) for ends in (a, b))
        rows, columns = np.concatenate([a, b, a, b]), np.concatenate([b, a, a, b])
        matrix = PETSc.Mat().create(self.comm)
        matrix.setSizes(((self.owned, self.size), (self.owned, self.size)))
        matrix.setType("aij")
        matrix.setPreallocationCOO(rows, columns)
        matrix.setValuesCOO(np.concatenate([-weights, -weights, weights, weights]))
        return matrix

    @cached_property
    def _locator(self) -> PointLocator:
        return PointLocator(self.mesh, self._element, self._space.dofmap.list)

    def at_positions(self, values: Array) -> Array:
        """Owned values, (owned, ...), at ``positions``; collective."""
        function = fem.Function(self._space)
        shape = values.shape[1:]
        # A rank may own no node: sizes are named, not inferred.
        nodal = np.empty((len(function.x.array), math.prod(shape)))
        for i, column in enumerate(np.reshape(values, (self.owned, math.prod(shape))).T):
            function.x.array[: self.owned] = column
            function.x.scatter_forward()
            nodal[:, i] = function.x.array
        return nodal.reshape(len(nodal), *shape)

    def evaluate(self, values: Array, points: Array) -> Array:
        """Values (owned, ...) at points of the sphere (n, gdim); equal on every rank."""
        return self._locator.evaluate(self.at_positions(values), points, self.comm)

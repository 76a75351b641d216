"""Collocated finite elements: a diagonal mass matrix D and one constant weighted stiffness K.

The quadrature points are the nodes (vertex rule for degree 1, Gauss-Lobatto-Legendre for degree
k >= 2), so D_i = int nu e_i and K_ij = int nu grad e_i . grad e_j give D dw/dt = -K phi(w) with
nothing to assemble in time. For degree 1 each edge carries the Scharfetter-Gummel mean of nu,
computed from log nu, instead of the arithmetic mean: K stays an M-matrix for every positive nu.
"""

from __future__ import annotations

import math
from functools import cached_property

from mpi4py import MPI

import dolfinx.fem.petsc as fem_petsc
import numpy as np
import ufl
from dolfinx import fem
from numpy.typing import NDArray
from petsc4py import PETSc

from ufd.exceptions import InputError
from ufd.fem.locate import PointLocator
from ufd.fem.meshes import SurfaceMesh
from ufd.fem.stack import compiled
from ufd.parallel import agree, largest, smallest, total
from ufd.problem.densities import Density

Array = NDArray[np.float64]


class Discretization:
    """Nodes, D and K of one weight on one mesh, distributed over the ranks.

    Attributes:
        nodes: Owned nodes on the sphere, (n, ambient_dim).
        log_nu: Logarithm of the teacher at the owned nodes, scaled to discrete mass 1.
        D: Diagonal of the mass matrix, (n,); its sum over all ranks is 1.
        K: Weighted stiffness (PETSc matrix).
        is_m_matrix: Whether no off-diagonal entry of K is positive (degree 1 only).
        defect: Discrete integral of the teacher minus 1, before scaling.

    Raises:
        InputError: If the teacher underflows in double precision at a node.
    """

    def __init__(self, surface: SurfaceMesh, teacher: Density, comm: MPI.Comm) -> None:
        self.comm, self.surface = comm, surface
        self.mesh = surface.distribute(comm)
        self.space = fem.functionspace(self.mesh, surface.element)
        self.index_map = self.space.dofmap.index_map
        self.owned = self.index_map.size_local
        self.size = self.index_map.size_global
        gdim = surface.points.shape[1]
        coordinates = self._geometry_to_nodes(self.mesh.geometry.x[:, :gdim])
        directions = coordinates / np.linalg.norm(coordinates, axis=1, keepdims=True)
        log_nu = agree(comm, lambda: teacher.log_density(directions))
        self.nodes = directions[: self.owned]
        top = largest(comm, float(log_nu.max(initial=-np.inf)))
        spread = top - smallest(comm, float(log_nu.min(initial=np.inf)))
        if spread > 690:
            raise InputError(
                "teacher: its density underflows double precision on this mesh "
                f"(log contrast {spread:.0f} > 690); "
                "add a background component or lower the concentration"
            )
        weight = fem.Function(self.space)
        weight.x.array[:] = np.exp(log_nu - top)
        test = ufl.TestFunction(self.space)
        dx = self._measure()
        mass = fem_petsc.assemble_vector(compiled(comm, weight * test * dx))
        mass.ghostUpdate(addv=PETSc.InsertMode.ADD, mode=PETSc.ScatterMode.REVERSE)
        scale = total(comm, float(mass.array.sum()))
        self.defect = scale * np.exp(top) - 1
        self.D: Array = mass.array / scale
        self.log_nu = log_nu[: self.owned] - top - np.log(scale)
        self.K = self._stiffness(weight, scale, dx)
        self.is_m_matrix = surface.degree == 1 and self._no_positive_edge()

    def _geometry_to_nodes(self, values: NDArray) -> NDArray:
        """Reorder from geometry nodes to degrees of freedom (owned, then ghosts)."""
        geometry, dofs = self.mesh.geometry.dofmaps[0], self.space.dofmap.list
        result = np.empty_like(values)
        result[dofs.ravel()] = values[geometry.ravel()]
        return result

    def to_geometry(self, values: Array) -> Array:
        """Owned nodal values in the order of the owned geometry nodes; collective."""
        function = fem.Function(self.space)
        function.x.array[: self.owned] = values
        function.x.scatter_forward()
        result = np.empty(len(self.mesh.geometry.x))
        result[self.mesh.geometry.dofmaps[0].ravel()] = function.x.array[
            self.space.dofmap.list.ravel()
        ]
        return result[: self.mesh.geometry.index_map().size_local]

    @cached_property
    def input_index(self) -> NDArray[np.int64]:
        """Number of each owned node in the mesh as it was built; the same on any rank count."""
        index = np.asarray(self.mesh.geometry.input_global_indices, dtype=np.int64)
        return self._geometry_to_nodes(index)[: self.owned]

    def _measure(self):
        if self.surface.cell_type == "triangle":
            metadata = {"quadrature_rule": "vertex", "quadrature_degree": 1}
        else:
            metadata = {"quadrature_rule": "GLL", "quadrature_degree": 2 * self.surface.degree - 1}
        return ufl.Measure("dx", domain=self.mesh, metadata=metadata)

    def _stiffness(self, weight: fem.Function, scale: float, dx) -> PETSc.Mat:
        u, v = ufl.TrialFunction(self.space), ufl.TestFunction(self.space)
        if self.surface.degree > 1:
            K = fem_petsc.assemble_matrix(
                compiled(self.comm, weight * ufl.inner(ufl.grad(u), ufl.grad(v)) * dx)
            )
            K.assemble()
            K.scale(1 / scale)
            return K
        K = fem_petsc.assemble_matrix(compiled(self.comm, ufl.inner(ufl.grad(u), ufl.grad(v)) * dx))
        K.assemble()
        self._weigh_edges(K)
        return K

    def _weigh_edges(self, K: PETSc.Mat) -> None:
        """Multiply each off-diagonal entry by the Scharfetter-Gummel mean of nu on its edge."""
        pointer, columns, values = K.getValuesCSR()
        first = self.index_map.local_range[0]
        rows = np.repeat(np.arange(self.owned), np.diff(pointer))
        # A row may reach nodes that are no ghosts here: other ranks added to it.
        reached, place = np.unique(columns, return_inverse=True)
        log_nu, share = K.createVecRight(), PETSc.Vec().createSeq(len(reached))
        log_nu.array = self.log_nu
        scatter = PETSc.Scatter().create(
            log_nu, PETSc.IS().createGeneral(reached, comm=PETSc.COMM_SELF), share, None
        )
        scatter.scatter(log_nu, share)
        a, b = self.log_nu[rows], share.array[place]
        half = np.maximum(np.abs(a - b) / 2, 1e-30)
        # 1 / int_0^1 exp(-log nu) along the edge = sqrt(nu_i nu_j) half / sinh(half), log form.
        log_mean = (a + b) / 2 + np.log(2 * half) - half - np.log(-np.expm1(-2 * half))
        diagonal = rows + first == columns
        values = np.where(diagonal, 0.0, values * np.exp(log_mean))
        # ``bincount`` sums rows, so that each row of K sums to zero exactly in exact arithmetic.
        row_sums = np.bincount(rows, weights=values, minlength=self.owned)
        values[diagonal] = -row_sums[rows[diagonal]]
        K.setValuesCSR(pointer, columns, values)
        K.assemble()

    def _no_positive_edge(self) -> bool:
        pointer, columns, values = self.K.getValuesCSR()
        rows = self.index_map.local_range[0] + np.repeat(np.arange(self.owned), np.diff(pointer))
        return largest(self.comm, float(np.max(values[rows != columns], initial=0.0))) <= 0

    def in_input_order(self, values: Array) -> Array:
        """Owned nodal values of all ranks in the numbering of the built mesh; on rank 0 only."""
        shares = self.comm.gather((self.input_index, values))
        result = np.empty(self.size if self.comm.rank == 0 else 0)
        for index, share in shares or ():
            result[index] = share
        return result

    def integrate(self, values: Array) -> float:
        """nu-integral of nodal values."""
        return float(total(self.comm, float(self.D @ values)))

    @cached_property
    def _locator(self) -> PointLocator:
        return PointLocator(self.mesh, self.surface, self.space.dofmap.list)

    def interpolate(self, values: Array, points: Array) -> Array:
        """Finite element functions of owned nodal values at points; equal on every rank.

        Args:
            values: (n,) for one function, (n, k) for several.
            points: (p, ambient_dim) points of the sphere, the same on every rank.

        Returns:
            (p,) or (p, k).
        """
        function = fem.Function(self.space)
        shape = values.shape[1:]
        # A rank may own no node: sizes are named, not inferred.
        nodal = np.empty((len(function.x.array), math.prod(shape)))
        for i, column in enumerate(np.reshape(values, (self.owned, math.prod(shape))).T):
            function.x.array[: self.owned] = column
            function.x.scatter_forward()
            nodal[:, i] = function.x.array
        return self._locator.evaluate(nodal.reshape(len(nodal), *shape), points, self.comm)

"""Collocated finite elements: a diagonal mass matrix D and one constant weighted stiffness K.

The quadrature points are the nodes (vertex rule for degree 1, Gauss-Lobatto-Legendre for degree
k >= 2), so D_i = int nu e_i and K_ij = int nu grad e_i . grad e_j give D dw/dt = -K phi(w) with
nothing to assemble in time. For degree 1 each edge carries the Scharfetter-Gummel mean of nu,
computed from log nu, instead of the arithmetic mean: K stays an M-matrix for every positive nu.
"""

from __future__ import annotations

from functools import cached_property

from mpi4py import MPI

import numpy as np
from dolfinx import mesh as dolfinx_mesh
from numpy.typing import NDArray
from petsc4py import PETSc

from ufd.exceptions import InputError
from ufd.fem.elements import ElementMesh
from ufd.fem.nested import Coarser, NestedMesh
from ufd.fem.surfaces import SurfaceMesh
from ufd.parallel import agree, largest, lookup, smallest, total
from ufd.problem.densities import Density

Array = NDArray[np.float64]
CONTRAST_LIMIT = 1e30


class Discretization:
    """Nodes, D and K of one weight on one mesh, distributed over the ranks.

    Attributes:
        teacher: The weight nu.
        grid: The mesh over the ranks.
        owned: Number of nodes on this rank.
        first: Number of the first of them over all ranks.
        size: Nodes on all ranks.
        input_index: Number of each owned node in the mesh as it was built; the same on any rank
            count.
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
        self.grid = surface.distribute(comm)
        self.owned, self.first, self.size = self.grid.owned, self.grid.first, self.grid.size
        self.input_index = self.grid.input_index
        self.teacher = teacher
        log_nu = self._log_teacher(self.grid.positions)
        top = largest(comm, float(log_nu.max(initial=-np.inf)))
        spread = top - smallest(comm, float(log_nu.min(initial=np.inf)))
        if spread > 690:
            raise InputError(
                "teacher: its density underflows double precision on this mesh "
                f"(log contrast {spread:.0f} > 690); "
                "add a background component or lower the concentration"
            )
        mass = np.exp(log_nu[: self.owned] - top) * self.grid.areas()
        scale = total(comm, float(mass.sum()))
        self.defect = scale * np.exp(top) - 1
        self.D: Array = mass / scale
        self._log_scale = top + np.log(scale)
        log_nu -= self._log_scale
        self.log_nu = log_nu[: self.owned]
        self.nodes = _directions(self.grid.positions[: self.owned])
        self.K = self.grid.stiffness(log_nu)
        self.is_m_matrix = surface.degree == 1 and self._no_positive_edge()

    def _log_teacher(self, positions: Array) -> Array:
        return agree(self.comm, lambda: self.teacher.log_density(_directions(positions)))

    def _log_weight(self, positions: Array) -> Array:
        """log nu at any points of this rank, scaled as ``log_nu`` is; collective."""
        return self._log_teacher(positions) - self._log_scale

    def _no_positive_edge(self) -> bool:
        pointer, columns, values = self.K.getValuesCSR()
        rows = self.first + np.repeat(np.arange(self.owned), np.diff(pointer))
        return largest(self.comm, float(np.max(values[rows != columns], initial=0.0))) <= 0

    @property
    def is_nested(self) -> bool:
        """Whether there are coarser levels of the same family."""
        return isinstance(self.grid, NestedMesh) and self.grid.patch.level > 2

    @cached_property
    def coarser(self) -> list[Coarser]:
        """Levels below a nested mesh, from the finest of them on; collective."""
        assert isinstance(self.grid, NestedMesh)
        return self.grid.hierarchy(self._log_weight)

    @cached_property
    def low_order(self) -> PETSc.Mat | None:
        """Stiffness of degree 1 on the nodes of curved quadrilaterals; collective."""
        if not isinstance(self.grid, ElementMesh) or self.surface.cell_type != "quadrilateral":
            return None
        return self.grid.low_order(self._log_weight(self.grid.positions))

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

    def initial_ratio(self, initial: Density, contrast: float = CONTRAST_LIMIT) -> Array:
        """w = mu/nu of a density at the owned nodes, scaled to discrete mass 1; collective.

        Raises:
            InputError: If sup w/inf w exceeds ``contrast``.
        """
        if not contrast > 1:
            raise InputError(f"contrast = {contrast!r} must be above 1")
        log_w = agree(self.comm, lambda: initial.log_density(self.nodes)) - self.log_nu
        top = largest(self.comm, float(log_w.max(initial=-np.inf)))
        spread = top - smallest(self.comm, float(log_w.min(initial=np.inf)))
        if not spread <= np.log(contrast):
            raise InputError(
                f"initial: the contrast sup(w0)/inf(w0) = 1e{spread / np.log(10):.0f} exceeds "
                f"{contrast:.0e}; mix some of the teacher into the initial density"
            )
        w = np.exp(log_w - top)
        return w / self.integrate(w)

    @cached_property
    def output_mesh(self) -> dolfinx_mesh.Mesh:
        """The mesh as DOLFINx writes it; collective."""
        grid = self.grid
        elements = grid if isinstance(grid, ElementMesh) else self.surface.elements(self.comm)
        return elements.mesh

    def to_output(self, values: Array) -> Array:
        """Owned nodal values in the order of the nodes that ``output_mesh`` owns; collective."""
        geometry = self.output_mesh.geometry
        wanted = geometry.input_global_indices[: geometry.index_map().size_local]
        return lookup(self.comm, self.input_index, values, wanted, self.size)

    def interpolate(self, values: Array, points: Array) -> Array:
        """Finite element functions of owned nodal values at points; equal on every rank.

        Args:
            values: (n,) for one function, (n, k) for several.
            points: (p, ambient_dim) points of the sphere, the same on every rank.

        Returns:
            (p,) or (p, k).
        """
        return self.grid.evaluate(values, points)


def _directions(positions: Array) -> Array:
    return positions / np.linalg.norm(positions, axis=1, keepdims=True)

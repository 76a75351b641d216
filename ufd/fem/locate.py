"""Find the cell that contains a point of the exact sphere, and evaluate there.

A point x lies in a cell when the ray through x meets it: X(xi) = rho x with xi in the reference
cell. Candidates come from a tree of cell centres; Newton's method inverts the curved map.
"""

from __future__ import annotations

from mpi4py import MPI

import basix
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ufd.exceptions import SolverError
from ufd.parallel import largest, total

Array = NDArray[np.float64]
_TOLERANCE = 1e-9


class PointLocator:
    """Evaluates nodal functions of one distributed mesh at arbitrary points."""

    def __init__(self, mesh, element, dofs: NDArray) -> None:
        cells = mesh.topology.index_map(mesh.topology.dim).size_local
        self._gdim = mesh.geometry.dim
        self._dofs = dofs[:cells]
        self._corners = mesh.geometry.x[:, : self._gdim][mesh.geometry.dofmaps[0][:cells]]
        self._element = element.basix_element
        self._simplex = self._element.cell_type is basix.CellType.triangle
        centre = basix.geometry(self._element.cell_type).mean(axis=0)
        basis = self._element.tabulate(0, centre[None])[0, 0, :, 0]
        centres = np.einsum("n,cnd->cd", basis, self._corners)
        self._centre = centre
        self._tree = cKDTree(centres) if cells else None
        reach = np.linalg.norm(self._corners - centres[:, None], axis=2).max(initial=0.0)
        self._reach = 1.01 * reach

    def _pull_back(self, cells: NDArray, points: Array) -> tuple[Array, Array]:
        """Reference coordinates and whether each point lies in its candidate cell."""
        xi = np.tile(self._centre, (len(points), 1))
        rho = np.ones(len(points))
        corners = self._corners[cells]
        dim = xi.shape[1]
        for _ in range(30):
            table = self._element.tabulate(1, xi)[..., 0]
            image = np.einsum("pn,pnd->pd", table[0], corners)
            jacobian = np.empty((len(points), self._gdim, self._gdim))
            for i in range(dim):
                jacobian[:, :, i] = np.einsum("pn,pnd->pd", table[1 + i], corners)
            jacobian[:, :, dim] = -points
            step = np.linalg.solve(jacobian, (rho[:, None] * points - image)[..., None])[..., 0]
            # A wild candidate must not leave the region where the map is invertible.
            size = np.abs(step[:, :dim]).max(axis=1, initial=0.0)
            step *= np.minimum(1, 0.7 / np.maximum(size, 1e-300))[:, None]
            xi = np.clip(xi + step[:, :dim], -0.5, 1.5)
            rho += step[:, dim]
            if not len(points) or np.abs(step).max() < 1e-14:
                break
        residual = np.linalg.norm(image - rho[:, None] * points, axis=1)
        inside = (xi > -_TOLERANCE).all(axis=1) & (rho > 0) & (residual < 1e-9)
        inside &= (xi.sum(axis=1) if self._simplex else xi.max(axis=1)) < 1 + _TOLERANCE
        return xi, inside

    def evaluate(self, values: Array, points: Array, comm: MPI.Comm) -> Array:
        """Nodal values (with ghosts), (nodes, ...), at points (n, gdim); the same on every rank."""
        found = np.zeros(len(points), dtype=bool)
        result = np.zeros((len(points), *values.shape[1:]))
        if self._tree is not None:
            count = min(12, self._tree.n)
            distance, candidates = self._tree.query(points, k=count)
            candidates = candidates.reshape(len(points), count)
            # No cell farther away contains the point, and the pull-back may be singular there.
            near = distance.reshape(len(points), count) <= self._reach
            for column, close in zip(candidates.T, near.T, strict=True):
                todo = np.flatnonzero(~found & close)
                if not len(todo):
                    continue
                xi, inside = self._pull_back(column[todo], points[todo])
                hit = todo[inside]
                basis = self._element.tabulate(0, xi[inside])[0, :, :, 0]
                result[hit] = np.einsum("pn,pn...->p...", basis, values[self._dofs[column[hit]]])
                found[hit] = True
        # A point on a border may be found by two ranks: the highest rank speaks for it.
        owner = largest(comm, np.where(found, comm.rank, -1).astype(np.int64))
        if (owner < 0).any():
            missing = points[np.argmax(owner < 0)].tolist()
            raise SolverError(f"no cell contains the point {missing}")
        result[owner != comm.rank] = 0.0
        return total(comm, result)

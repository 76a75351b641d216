"""Whether a mesh resolves a density: its mass at the nodes, its values between them, its slope.

Elements see a density at their nodes only. Here it is looked at between them too, at the points of
a Gauss rule in every cell, before anything is solved.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from mpi4py import MPI

import basix
import numpy as np
from numpy.typing import NDArray

from ufd.fem.distributed import DistributedMesh
from ufd.fem.elements import element_lattice
from ufd.fem.surfaces import SurfaceMesh
from ufd.parallel import agree, largest, smallest, total
from ufd.problem.densities import Density

Array = NDArray[np.float64]
# Cells that are looked at together.
_CHUNK = 20_000
# Densities as close as this, in L1, are the same.
_SAME = 1e-9


class Look(NamedTuple):
    """What a mesh makes of one density, relative to its mass.

    Attributes:
        defect: Its mass at the nodes minus 1, the mesh's own area apart.
        between: The same at the points between them.
        missed: Integral of the distance to what interpolates its values at the nodes.
    """

    defect: float
    between: float
    missed: float

    @property
    def error(self) -> float:
        """The worst of all; inf for what is not a number."""
        worst = max(abs(self.defect), abs(self.between), self.missed)
        return worst if np.isfinite(worst) else np.inf


class CellSamples:
    """Points between the nodes, in every cell of this rank.

    Args:
        surface: The mesh.
        grid: The same over the ranks.
        comm: The ranks.

    Attributes:
        area: Of the curved cells; equal on every rank.
    """

    def __init__(self, surface: SurfaceMesh, grid: DistributedMesh, comm: MPI.Comm) -> None:
        self.comm, self.surface = comm, surface
        self._grid, self._cells = grid, grid.cell_nodes()
        element = surface.element.basix_element
        flat = surface.cell_type == "triangle"
        points, self._rule = basix.make_quadrature(
            element.cell_type, 1 if flat else 2 * surface.degree + 1
        )
        self._tables = element.tabulate(1, points)[:, :, :, 0]
        self._lines = _lines(surface)
        measured = sum(float((measure @ self._rule).sum()) for _, _, measure, _ in self._parts())
        self.area = float(total(comm, measured))

    def _parts(self) -> Iterator[tuple[NDArray, Array, Array, Array]]:
        """Nodes of some cells; their points (m, q, gdim), areas and tangents (d, m, q, gdim)."""
        for start in range(0, len(self._cells), _CHUNK):
            nodes = self._cells[start : start + _CHUNK]
            place, *rest = np.einsum("tqn,cnd->tcqd", self._tables, self._grid.positions[nodes])
            tangents = np.array(rest)
            gram = np.einsum("icqd,jcqd->cqij", tangents, tangents)
            points = place / np.linalg.norm(place, axis=-1, keepdims=True)
            yield nodes, points, np.sqrt(np.linalg.det(gram)), tangents

    def steepest(self, density: Density) -> float:
        """Largest fall of a density's logarithm along a line of nodes of a cell; collective.

        0 for degree 1, whose weights on edges are made for any fall.
        """
        if not self._lines:
            return 0.0
        logs = agree(self.comm, lambda: _log(density, self._grid.positions))
        falls = (np.ptp(logs[self._cells[:, line]], axis=-1) for line in self._lines)
        return float(largest(self.comm, max(float(fall.max(initial=0.0)) for fall in falls)))

    def look(self, density: Density, areas: Array, beside: Density | None = None) -> Look:
        """Compare a density with what the nodes make of it; collective.

        Args:
            density: The density.
            areas: int e_i at the owned nodes.
            beside: Another one: errors are those of the difference, relative to its size.
        """
        sums = agree(self.comm, lambda: self._sums(density, areas, beside))
        flat, nodes, between, distance, size = total(self.comm, sums)
        if beside is not None:
            if not size > _SAME:
                return Look(0.0, 0.0, 0.0)
            return Look(float(nodes / size), float(between / size), float(distance / size))
        whole = np.exp(density.manifold.log_area)
        return Look(
            float(nodes * whole / flat - 1), float(between * whole / self.area - 1), float(distance)
        )

    def _sums(self, density: Density, areas: Array, beside: Density | None) -> Array:
        """Area and integral by nodes; integrals of the samples, of distances and of the size."""

        def of(points: Array) -> Array:
            values = np.exp(_log(density, points))
            return values if beside is None else values - np.exp(_log(beside, points))

        sums = np.zeros(5)
        with np.errstate(over="ignore", invalid="ignore"):
            values = of(self._grid.positions)
            sums[:2] = areas.sum(), areas @ values[: self._grid.owned]
            for nodes, points, measure, _ in self._parts():
                exact = of(points.reshape(-1, points.shape[-1])).reshape(measure.shape)
                distance = np.abs(values[nodes] @ self._tables[0].T - exact)
                weighed = np.array([exact, distance, np.abs(exact)])
                sums[2:] += np.einsum("icq,cq,q->i", weighed, measure, self._rule)
        return sums

    def nodes_across(self, density: Density) -> int:
        """Nodes where a density is at least half of its largest sample; collective."""
        owned = self._grid.positions[: self._grid.owned]

        def logs() -> tuple[Array, Array]:
            between = [points.reshape(-1, points.shape[-1]) for _, points, _, _ in self._parts()]
            return _log(density, owned), _log(density, np.vstack([owned, *between]))

        at_nodes, everywhere = agree(self.comm, logs)
        top = largest(self.comm, float(everywhere.max(initial=-np.inf)))
        return int(total(self.comm, int((at_nodes > top - np.log(2)).sum())))

    def quotients(self, vectors: Array, weight: Density) -> Array:
        """Rayleigh quotients int nu |grad h|^2 / int nu h^2 by the samples, (k,); collective.

        Elements integrate at their nodes, where the gradient of a function may hide.

        Args:
            vectors: Functions at ``positions``, (n, k).
            weight: nu.
        """

        def sums() -> Array:
            result = np.zeros((2, vectors.shape[1]))
            for nodes, points, measure, tangents in self._parts():
                flat = points.reshape(-1, points.shape[-1])
                nu = measure * self._rule * np.exp(_log(weight, flat)).reshape(measure.shape)
                values, *slopes = np.einsum("tqn,cnk->tcqk", self._tables, vectors[nodes])
                gram = np.einsum("icqd,jcqd->cqij", tangents, tangents)
                inverse = np.linalg.inv(gram)
                squares = np.einsum("icqk,cqij,jcqk->cqk", slopes, inverse, slopes)
                result += np.einsum("icqk,cq->ik", np.array([squares, values**2]), nu)
            return result

        energy, size = total(self.comm, agree(self.comm, sums))
        return np.asarray(energy / size)


def off_sphere(surface: SurfaceMesh, grid: DistributedMesh, comm: MPI.Comm) -> float:
    """Largest distance of curved cells from the sphere; inf if one is folded; collective."""
    element = surface.element.basix_element
    along = np.linspace(0, 1, 2 * surface.degree + 3)
    axes = np.meshgrid(*[along] * element.points.shape[1], indexing="ij")
    tables = element.tabulate(1, np.stack(axes, axis=-1).reshape(-1, len(axes)))[:, :, :, 0]
    cells, worst, least = grid.cell_nodes(), 0.0, np.inf
    for start in range(0, len(cells), _CHUNK // 20):
        corners = grid.positions[cells[start : start + _CHUNK // 20]]
        place, *tangents = np.einsum("tqn,cnd->tcqd", tables, corners)
        if len(tangents) == 1:
            turned = place[..., 0] * tangents[0][..., 1] - place[..., 1] * tangents[0][..., 0]
        else:
            turned = np.einsum("cqd,cqd->cq", np.cross(*tangents), place)
        worst = max(worst, float(np.abs(np.linalg.norm(place, axis=-1) - 1).max()))
        least = min(least, float((turned * np.sign(turned[:, :1])).min()))
    return float(largest(comm, worst)) if smallest(comm, least) > 0 else np.inf


def _log(density: Density, points: Array) -> Array:
    return density.log_density(points / np.linalg.norm(points, axis=1, keepdims=True))


def _lines(surface: SurfaceMesh) -> list[NDArray[np.int64]]:
    """Places in a cell of the nodes on each of its lines; none for degree 1."""
    if surface.degree == 1 or surface.cell_type == "triangle":
        return []
    steps, _ = element_lattice(surface.element)
    if steps.shape[1] == 1:
        return [np.arange(len(steps))]
    return [
        np.flatnonzero(steps[:, axis] == step)
        for axis in (0, 1)
        for step in range(surface.degree + 1)
    ]

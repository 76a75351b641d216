"""Meshes that resolve what is asked of them: a finer default, or a refusal with the remedy."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

from mpi4py import MPI

from ufd.exceptions import InputError
from ufd.fem.discretization import Discretization
from ufd.fem.distributed import DistributedMesh
from ufd.fem.focus import Focus
from ufd.fem.meshes import sphere_mesh
from ufd.fem.resolution import CellSamples, Look, off_sphere
from ufd.fem.surfaces import SurfaceMesh
from ufd.problem.densities import Density

# How far the teacher's logarithm may fall across a cell, by degree: up to where runs need no more
# steps than on finer meshes, and where the elements' own rate on one cell is half of the exact
# one. Beyond, spurious modes hide their gradients between the nodes. Degree 1 bears any fall.
STEEP = {2: 4.5, 3: 5.0, 4: 7.0, 5: 8.5, 6: 10.0, 7: 10.5, 8: 11.0}
TOO_STEEP = {2: 9.25, 3: 11.25, 4: 12.5, 5: 13.25, 6: 13.75, 7: 14.25, 8: 14.75}
# Errors of a density relative to its mass that are refused, and warned of; what a default mesh is
# made finer for, on the circle, where nodes are cheap, and on the sphere.
_CHORDS: dict[str | int, float] = {"gross": 0.25, "notable": 0.05, 1: 0.1, 2: 0.1}
_CURVES: dict[str | int, float] = {"gross": 0.05, "notable": 0.02, 1: 1e-4, 2: 1e-3}
# Nodes up to which it is.
_MOST = {1: 32_768, 2: 14_000}
# A focus that leaves the sphere by more than this bends cells too far.
_OFF, _OFF_SOMEWHAT = 5e-4, 2e-5
# Nodes across the peaks of a density, below which their number is told.
_FEW = 50
_VERBS = {True: "does not resolve", False: "hardly resolves"}


@dataclass(frozen=True)
class Judgement:
    """What a mesh makes of teacher and start.

    Attributes:
        teacher: Of the teacher.
        initial: Of the start, relative to its distance from the teacher.
        steepest: Fall of the teacher's logarithm across a cell.
        degree: Of the mesh.
    """

    teacher: Look
    initial: Look | None
    steepest: float
    degree: int

    @classmethod
    def of(
        cls,
        surface: SurfaceMesh,
        grid: DistributedMesh,
        comm: MPI.Comm,
        teacher: Density,
        initial: Density | None,
    ) -> Judgement:
        """Look at a teacher, and at a start beside it; collective."""
        samples, areas = CellSamples(surface, grid, comm), grid.areas()
        return cls(
            samples.look(teacher, areas),
            None if initial is None else samples.look(initial, areas, teacher),
            samples.steepest(teacher),
            surface.degree,
        )

    @property
    def error(self) -> float:
        """The worse of both."""
        return max(self.teacher.error, self.initial.error if self.initial else 0.0)

    @property
    def limits(self) -> dict[str | int, float]:
        """Errors, as for densities of this degree."""
        return _CHORDS if self.degree == 1 else _CURVES

    def more(self, aim: float, steep: float) -> float:
        """How many times more cells are needed; at most 1 if these are enough."""
        missing = (self.error / aim) ** (1 / (self.degree + 1))
        return max(self.steepest / steep, min(2.0, missing))

    def numbers(self) -> dict[str, float]:
        """For the statistics of a run."""
        named = {
            "teacher_interpolation_error": self.teacher.missed,
            "teacher_log_fall_per_cell": self.steepest,
        }
        if self.initial is not None:
            named["initial_quadrature_defect"] = self.initial.defect
            named["initial_interpolation_error"] = self.initial.missed
        return named


def fitted_surface(
    surface: SurfaceMesh,
    comm: MPI.Comm,
    teacher: Density,
    initial: Density | None = None,
    *,
    most: int | None = None,
    steep: float | None = None,
    aim: float | None = None,
) -> SurfaceMesh:
    """A default mesh, or one of more cells if that resolves the densities and stays cheap.

    Args:
        surface: The default.
        comm: The ranks; collective.
        teacher: The weight.
        initial: The start.
        most: Nodes that are still cheap.
        steep: Fall of the teacher's logarithm across a cell that is borne.
        aim: Error of the densities that is small enough.

    Returns:
        ``surface`` itself, if nothing that is cheap resolves them.
    """
    dim, degree = surface.gdim - 1, surface.degree
    most = _MOST[dim] if most is None else most
    steep = STEEP.get(degree, math.inf) if steep is None else steep
    better = surface
    while True:
        grid = better.distribute(comm)
        judged = Judgement.of(better, grid, comm, teacher, initial)
        more = judged.more(judged.limits[dim] if aim is None else aim, steep)
        if more <= 1:
            return better
        cells = int(better.subdivisions)  # type: ignore[arg-type]
        icosphere = better.cell_type == "triangle"
        wanted = cells + 1 if icosphere else max(cells + 1, math.ceil(min(more, 4.0) * cells))
        nodes = grid.size * (4.0 if icosphere else (wanted / cells) ** dim)
        if nodes > most:
            enough = judged.error <= judged.limits["gross"] and judged.steepest <= steep
            return better if enough else surface
        better = sphere_mesh(dim, wanted, degree, surface.focus)


def resolved(
    space: Discretization, initial: Density | None = None, *, steep: float | None = None
) -> Judgement:
    """Refuse teacher and start if a mesh does not resolve them, and warn if it hardly does.

    Args:
        space: Teacher and mesh; collective.
        initial: The start.
        steep: Fall of the teacher's logarithm across a cell from which to warn.

    Raises:
        InputError: In one line, with what is missing and what helps.
    """
    surface, degree = space.surface, space.surface.degree
    judged = Judgement.of(surface, space.grid, space.comm, space.teacher, initial)
    told = _bent(surface, space.grid, space.comm)
    for name, density, look in (
        ("teacher", space.teacher, judged.teacher),
        ("initial", initial, judged.initial),
    ):
        if density is None or look is None or look.error <= judged.limits["notable"]:
            continue
        across = CellSamples(surface, space.grid, space.comm).nodes_across(density)
        few = f"{across} nodes across its peaks, " if across < min(_FEW, space.size / 4) else ""
        gross = look.error > judged.limits["gross"]
        text = (
            f"{name}: the mesh {_VERBS[gross]} it: {few}integral off by {look.defect:.1e}, values "
            f"between nodes by {look.missed:.1e}; "
            + _more_cells(surface, (2 * look.error / judged.limits[2]) ** (1 / (degree + 1)), 2.5)
        )
        if gross:
            raise InputError(text + ", or a less concentrated density")
        told.append(text)
    usual = STEEP.get(degree, math.inf) if steep is None else steep
    if judged.steepest > usual:
        gross = judged.steepest > TOO_STEEP[degree]
        text = (
            f"teacher: the mesh {_VERBS[gross]} it: its logarithm falls by {judged.steepest:.1f} "
            f"across a cell, and degree {degree} bears {usual:.4g}; "
            f"{_more_cells(surface, judged.steepest / usual)}, or degree = 1"
        )
        if gross:
            raise InputError(text)
        told.append(text)
    for text in told:
        if space.comm.rank == 0:
            warnings.warn(text, UserWarning, stacklevel=3)
    return judged


def _more_cells(surface: SurfaceMesh, factor: float, farthest: float = math.inf) -> str:
    """The remedy: a number of cells, unless so many more are needed that nobody can tell."""
    cells = surface.subdivisions
    if cells is None:
        return "use a finer mesh"
    if factor > farthest:
        return f"use many more cells than {cells}"
    if surface.cell_type == "triangle":
        return f"use cells = {cells + max(1, math.ceil(math.log2(factor)))} or more"
    return f"use cells = {math.ceil(max(factor, 1.1) * cells)} or more"


def _bent(surface: SurfaceMesh, grid: DistributedMesh, comm: MPI.Comm) -> list[str]:
    """Refuse a focus that folds cells or bends them off the sphere.

    Returns:
        What is to be said of one that bends them somewhat.

    Raises:
        InputError: With the strongest that does not.
    """
    focus, cells = surface.focus, surface.subdivisions
    if focus is None or focus.factor == 1.0:
        return []

    def off(factor: float) -> float:
        moved = Focus(focus.direction, factor)
        other = sphere_mesh(surface.gdim - 1, cells, surface.degree, moved)
        return off_sphere(other, other.distribute(comm), comm)

    here = off_sphere(surface, grid, comm)
    if here <= _OFF_SOMEWHAT:
        return []
    # A coarse mesh of low degree is off by as much without a focus.
    plain = off(1.0)
    bound = max(_OFF, 10 * plain)
    if here <= bound:
        text = (
            f"focus: factor = {focus.factor:g} bends the {cells} cells of degree "
            f"{surface.degree} off the sphere by {here:.1e}; use more cells"
        )
        return [text] if here > 3 * plain else []
    low, high = 1.0, focus.factor
    for _ in range(8):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if off(middle) <= bound else (low, middle)
    raise InputError(
        f"focus: factor = {focus.factor:g} bends cells off the sphere or folds them; at most "
        f"{math.floor(10 * low) / 10:g} with {cells} cells of degree {surface.degree}, "
        "or more cells"
    )

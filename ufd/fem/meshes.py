"""Which mesh a degree and a number of cells stand for, and which are possible."""

from __future__ import annotations

from numbers import Integral

from ufd.exceptions import InputError
from ufd.fem.focus import Focus
from ufd.fem.surfaces import Circle, CubedSphere, Icosphere, SurfaceMesh
from ufd.problem.manifolds import Manifold, Sphere

MAX_DEGREE = 8


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


def sphere_mesh(
    dim: int, cells: int | None, degree: int, focus: Focus | None = None
) -> SurfaceMesh:
    """The mesh of S^dim for a degree: chords or arcs, icosphere level or cells per cube edge.

    Args:
        dim: 1 or 2.
        cells: How many, or None for a default.
        degree: Polynomial degree.
        focus: Draws the nodes together; not on the icosphere, whose angles are a promise.

    Raises:
        InputError: If the degree, the number of cells or the dimension is out of range.
    """
    cells, degree = checked_cells(dim, cells, degree), int(degree)
    if focus is not None and dim == 2 and degree == 1:
        raise InputError("focus: degree 1 keeps the angles of the icosphere; use degree 2 or more")
    if focus is not None and len(focus.direction) != dim + 1:
        raise InputError(f"focus: direction = {focus.direction} must have {dim + 1} entries")
    if dim == 1:
        return Circle(cells, degree, focus)
    return Icosphere(cells) if degree == 1 else CubedSphere(cells, degree, focus)


def chosen_surface(
    manifold: Manifold,
    mesh: SurfaceMesh | None,
    cells: int | None,
    degree: int | None,
    focus: Focus | None,
) -> SurfaceMesh:
    """The mesh of a solver: the one that is given, or that of ``cells`` and ``degree``.

    Raises:
        InputError: If there is none of the manifold, or both are given.
    """
    if not isinstance(manifold, Sphere):
        raise InputError(
            f"problem: it lives on {manifold}, and densities are solved for on spheres; "
            "train particles there (ufd.train)"
        )
    if mesh is None:
        return sphere_mesh(
            manifold.dim, cells, default_degree(manifold.dim) if degree is None else degree, focus
        )
    for name, value in (("cells", cells), ("degree", degree), ("focus", focus)):
        if value is not None:
            raise InputError(
                f"{name} = {value!r}: a mesh is given, which has its own; leave it out"
            )
    if mesh.gdim != manifold.ambient_dim:
        raise InputError(
            f"mesh: its nodes lie in R^{mesh.gdim}; the problem needs R^{manifold.ambient_dim}"
        )
    return mesh

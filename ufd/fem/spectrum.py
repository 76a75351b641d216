"""The weighted Laplacian L h = -(1/nu) div(nu grad h): its spectral gap and first modes.

The pencil (K, D) becomes D^-1/2 K D^-1/2 with the constant deflated; SLEPc finds the smallest
eigenvalues by shift-and-invert, and multiplicities are counted by inertia.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from numbers import Integral

from mpi4py import MPI

import numpy as np
from numpy.typing import NDArray
from petsc4py import PETSc
from slepc4py import SLEPc

from ufd.exceptions import InputError, SolverError
from ufd.fem.discretization import Discretization
from ufd.fem.elements import ElementMesh
from ufd.fem.meshes import default_degree, sphere_mesh
from ufd.fem.resolution import CellSamples
from ufd.fem.resolving import TOO_STEEP, fitted_surface, resolved
from ufd.fem.surfaces import SurfaceMesh
from ufd.parallel import largest, total
from ufd.problem.densities import Density
from ufd.problem.manifolds import Sphere

Array = NDArray[np.float64]
_ATTEMPTS = 3
# Parts of a mode's rate that its own mesh may not see: refused, warned of, and small enough for
# the rate to be right.
_SPURIOUS, _NOTABLE, _CERTAIN = 0.5, 0.02, 2e-5
# Two meshes agree; error of the teacher for which a default mesh is made finer, where it is cheap.
_AGREED, _AIM = 5e-4, 1e-4
# Nodes up to which a default mesh is made finer.
_MOST = {1: 65_536, 2: 130_000}


@dataclass(frozen=True, eq=False)
class Modes:
    """First modes of the weighted Laplacian, orthonormal in L2(nu).

    Attributes:
        eigenvalues: Ascending and positive, (count,), with multiplicity.
        vectors: Nodal values on this rank, (count, n).
    """

    space: Discretization
    eigenvalues: Array
    vectors: Array

    def amplitudes(self, values: Array) -> Array:
        """L2(nu) projections of w - 1 on the modes, (count,); collective."""
        return total(self.space.comm, self.vectors @ (self.space.D * (values - 1)))

    def coupling(self, count: int) -> Array:
        """int e_k e_i e_j dnu for the first ``count`` modes, (count, count, count); collective.

        To second order e_i and e_j drive e_k at (1 - m)/2 lambda_k times this.
        """
        e = self.vectors[:count]
        return total(self.space.comm, np.einsum("kx,ix,jx,x->kij", e, e, e, self.space.D))


def laplacian_modes(space: Discretization, count: int) -> Modes:
    """The first ``count`` modes above the constant; collective.

    Raises:
        InputError: If ``count`` is out of range.
        SolverError: If SLEPc does not converge, or the gap is below what double precision
            resolves on this mesh.
    """
    room = space.size - 2
    if isinstance(count, bool) or not isinstance(count, Integral) or not 1 <= count <= room:
        raise InputError(f"count = {count!r} must be an integer from 1 to {room}")
    try:
        found = _first_modes(space, int(count))
    except (PETSc.Error, SystemError) as error:
        raise SolverError(
            f"spectral_gap: the eigenvalue solver failed on {space.size} nodes ({_brief(error)}); "
            "refine the mesh, or use degree = 1"
        ) from None
    hidden = _hidden(found)
    if hidden > _SPURIOUS:
        raise SolverError(
            f"spectral_gap: the mesh does not resolve the teacher: modes hide {hidden:.1g} times "
            "their rate between the nodes; use more cells, or degree = 1"
        )
    if hidden > _NOTABLE and space.comm.rank == 0:
        warnings.warn(
            f"modes: the mesh resolves the first {count} to {hidden:.1g} of their rate only; "
            "use more cells, or ask for fewer",
            UserWarning,
            stacklevel=3,
        )
    return found


def _brief(error: BaseException) -> str:
    return " ".join(str(error).split())[:60]


def _hidden(modes: Modes) -> float:
    """Largest relative change of a Rayleigh quotient that is integrated between the nodes too.

    Elements integrate at their nodes; where the weight falls steeply within a cell, functions
    whose gradients vanish at its heavy nodes seem to cost nothing. Degree 1 has none.
    """
    space = modes.space
    if not isinstance(space.grid, ElementMesh) or space.surface.degree == 1:
        return 0.0
    samples = CellSamples(space.surface, space.grid, space.comm)
    vectors = space.grid.at_positions(modes.vectors.T)
    return float(np.max(np.abs(samples.quotients(vectors, space.teacher) / modes.eigenvalues - 1)))


def _first_modes(space: Discretization, count: int) -> Modes:
    room = space.size - 2
    root = np.sqrt(space.D)
    scale, constant = space.K.createVecRight(), space.K.createVecRight()
    scale.array, constant.array = 1 / root, root
    matrix = space.K.copy()
    matrix.diagonalScale(scale, scale)
    # A few more than asked for: copies of a multiple eigenvalue converge late, and the gap behind
    # the last eigenspace is where they are counted.
    wanted = min(count + 4, room)
    for _ in range(_ATTEMPTS):
        pairs = _smallest(matrix, constant, wanted, room)
        if len(pairs) < count:
            raise SolverError(
                f"spectral_gap: only {len(pairs)} of {count} eigenvalues converged; "
                "ask for fewer or refine the mesh"
            )
        missed = _missed(matrix, [value for value, _ in pairs], count)
        if missed <= 0:
            break
        wanted = min(2 * wanted + missed, room)
    else:
        raise SolverError(
            f"spectral_gap: {missed} eigenvalues are missing among the first {count}; "
            "ask for more or refine the mesh"
        )
    size = largest(space.comm, float(np.max(space.K.getDiagonal().array / space.D, initial=0.0)))
    resolved = 1e3 * np.finfo(float).eps * 2 * size
    if pairs[0][0] < resolved:
        raise SolverError(
            f"spectral_gap: the gap {pairs[0][0]:.1e} is below {resolved:.1e}, what double "
            "precision resolves on this mesh; the teacher has nearly separate parts, so the flow "
            "is metastable and no rate can be given"
        )
    values, vectors = zip(*pairs[:count], strict=True)
    for v in (matrix, scale, constant):
        v.destroy()
    return Modes(space, np.array(values), np.array(vectors) / root)


def split_width(degree: int) -> float:
    """Relative distance by which a usual mesh may split a multiple eigenvalue.

    Measured on the sphere, from the icosphere of level 1 and three cells per cube edge on, for the
    eigenspaces up to degree 3.
    """
    return {1: 3e-3, 2: 1e-3, 3: 1e-5}.get(degree, 1e-6)


def _smallest(
    matrix: PETSc.Mat, constant: PETSc.Vec, wanted: int, room: int
) -> list[tuple[float, Array]]:
    """Eigenpairs of the scaled matrix from the smallest on, without the constant."""
    solver = SLEPc.EPS().create(matrix.comm)
    solver.setOperators(matrix)
    solver.setProblemType(SLEPc.EPS.ProblemType.HEP)
    solver.setDeflationSpace([constant])
    solver.setWhichEigenpairs(SLEPc.EPS.Which.TARGET_MAGNITUDE)
    solver.setTarget(-1.0)
    transform = solver.getST()
    transform.setType("sinvert")
    transform.setShift(-1.0)
    _factorised(transform.getKSP())
    solver.setDimensions(wanted, min(room + 1, max(2 * wanted + 8, 24)))
    solver.setTolerances(1e-13, 2000)
    solver.solve()
    pairs = []
    vector = matrix.createVecRight()
    for i in range(solver.getConverged()):
        value = solver.getEigenpair(i, vector).real
        pairs.append((value, vector.array.copy()))
    vector.destroy()
    solver.destroy()
    return sorted(pairs, key=lambda pair: pair[0])


def _factorised(ksp: PETSc.KSP) -> None:
    ksp.setType("preonly")
    ksp.getPC().setType("cholesky")
    ksp.getPC().setFactorSolverType("mumps")


def _missed(matrix: PETSc.Mat, values: list[float], count: int) -> int:
    """How many of the first ``count`` eigenvalues were not found, by Sylvester's law of inertia.

    A Krylov method sees one vector of an eigenspace until round-off shows it the others. The
    matrix minus a shift behind the last eigenspace has as many negative pivots as there are
    eigenvalues below the shift, the constant's 0 among them.
    """
    behind = [i for i in range(count, len(values)) if values[i] > (1 + 1e-6) * values[i - 1]]
    if not behind:
        return 0
    last = behind[0]
    shifted = matrix.copy()
    shifted.shift(-(values[last - 1] + values[last]) / 2)
    ksp = PETSc.KSP().create(matrix.comm)
    ksp.setOperators(shifted)
    _factorised(ksp)
    ksp.getPC().setFactorSetUpSolverType()
    factor = ksp.getPC().getFactorMatrix()
    # What MUMPS needs to count pivots: null pivots detected, the root front not split.
    factor.setMumpsIcntl(24, 1)
    factor.setMumpsIcntl(13, 1)
    ksp.setUp()
    below = factor.getInertia()[0]
    ksp.destroy()
    shifted.destroy()
    return below - 1 - last


def spectral_gap(
    teacher: Density,
    *,
    cells: int | None = None,
    degree: int | None = None,
    count: int = 1,
    comm: MPI.Comm = MPI.COMM_WORLD,
) -> Array:
    """The first eigenvalues above 0 of -(1/nu) div(nu grad), ascending; collective.

    Args:
        teacher: The weight nu, on the circle or the sphere.
        cells: See `DiffusionSolver`; by default as many as the teacher needs.
        degree: See `DiffusionSolver`.
        count: How many, with multiplicity.
        comm: The ranks that share the work.

    Returns:
        (count,) eigenvalues; the first is the spectral gap, the rate at which w - 1 decays once
        it is small, and half the rate of quadratic functionals.

    Raises:
        InputError: If an argument is out of range, or the mesh does not resolve the teacher.
        SolverError: If the gap is below round-off, or two meshes disagree about it.
    """
    if not isinstance(teacher.manifold, Sphere):
        raise InputError(
            f"spectral_gap: the teacher lives on {teacher.manifold}, and densities are solved for "
            "on spheres"
        )
    dim = teacher.manifold.dim
    surface = sphere_mesh(dim, cells, default_degree(dim) if degree is None else degree)
    bears = TOO_STEEP.get(surface.degree, math.inf)
    if cells is None:
        aim = None if surface.degree == 1 else _AIM
        surface = fitted_surface(
            surface, comm, teacher, most=_MOST[dim], steep=0.9 * bears, aim=aim
        )

    def modes_on(surface: SurfaceMesh) -> Modes:
        space = Discretization(surface, teacher, comm)
        resolved(space, steep=bears)
        return laplacian_modes(space, count)

    found = modes_on(surface)
    while cells is None and _hidden(found) > _CERTAIN:
        before, now = found, int(found.space.surface.subdivisions)  # type: ignore[arg-type]
        more = math.ceil(1.3 * now)
        if before.space.size * (more / now) ** dim > 1.3 * _MOST[dim]:
            raise SolverError(
                f"spectral_gap: {now} cells of degree {surface.degree} do not resolve the teacher "
                f"({before.space.size} nodes); use cells = {more} or more"
            )
        found = modes_on(sphere_mesh(dim, more, surface.degree))
        if np.max(np.abs(before.eigenvalues / found.eigenvalues - 1)) <= _AGREED:
            break
    return found.eigenvalues

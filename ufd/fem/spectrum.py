"""The weighted Laplacian L h = -(1/nu) div(nu grad h): its spectral gap and first modes.

The pencil (K, D) becomes D^-1/2 K D^-1/2 with the constant deflated; SLEPc finds the smallest
eigenvalues by shift-and-invert, and multiplicities are counted by inertia.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

from mpi4py import MPI

import numpy as np
from numpy.typing import NDArray
from petsc4py import PETSc
from slepc4py import SLEPc

from ufd.exceptions import InputError, SolverError
from ufd.fem.discretization import Discretization
from ufd.fem.meshes import default_degree, sphere_mesh
from ufd.parallel import largest, total
from ufd.problem.densities import Density

Array = NDArray[np.float64]
_ATTEMPTS = 3


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
    root = np.sqrt(space.D)
    scale, constant = space.K.createVecRight(), space.K.createVecRight()
    scale.array, constant.array = 1 / root, root
    matrix = space.K.copy()
    matrix.diagonalScale(scale, scale)
    # A few more than asked for: copies of a multiple eigenvalue converge late, and the gap behind
    # the last eigenspace is where they are counted.
    wanted = min(int(count) + 4, room)
    for _ in range(_ATTEMPTS):
        pairs = _smallest(matrix, constant, wanted, room)
        if len(pairs) < count:
            raise SolverError(
                f"spectral_gap: only {len(pairs)} of {count} eigenvalues converged; "
                "ask for fewer or refine the mesh"
            )
        missed = _missed(matrix, [value for value, _ in pairs], int(count))
        if not missed:
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
            "precision resolves on this mesh; the density has nearly separate modes, so the flow "
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
        teacher: The weight nu.
        cells: See `DiffusionSolver`.
        degree: See `DiffusionSolver`.
        count: How many, with multiplicity.
        comm: The ranks that share the work.

    Returns:
        (count,) eigenvalues; the first is the spectral gap, the rate at which w - 1 decays once
        it is small, and half the rate of quadratic functionals.

    Raises:
        InputError: If an argument is out of range.
        SolverError: If the gap is below round-off.
    """
    dim = teacher.manifold.dim
    surface = sphere_mesh(dim, cells, default_degree(dim) if degree is None else degree)
    return laplacian_modes(Discretization(surface, teacher, comm), count).eigenvalues

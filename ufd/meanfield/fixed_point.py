"""Fixed points of noisy training, and the rates at which what is near them comes closer.

Near a fixed point the semi-discrete equation is D dw/dt = -K_m xi, xi = H dw, with K_m the
mobility between nodes and H the second derivative of G per mass: tau/w + F''. Rates e are the
eigenvalues of K_m xi = e D H^-1 xi, both symmetric (derived in docs/theory.md); G - G* falls at
twice the first.
"""

from __future__ import annotations

import numpy as np
from mpi4py import MPI  # noqa: F401  (loads the MPI library before petsc4py)
from numpy.typing import NDArray
from petsc4py import PETSc
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_array
from slepc4py import SLEPc

from ufd.exceptions import SolverError
from ufd.fem.discretization import Discretization
from ufd.fem.spectrum import Modes
from ufd.meanfield.fitting import FittedFlux
from ufd.meanfield.modes import moments
from ufd.meanfield.neighbours import Neighbours
from ufd.meanfield.system import MeanFieldSystem
from ufd.parallel import largest, total

Array = NDArray[np.float64]
_MOST, _FACTOR, _LONGEST = 60, 4.0, 1e3
# Of the differences that give second derivatives.
_SHORT = 1e-3


def fixed_point(system: MeanFieldSystem, w: Array, tolerance: float = 1e-11) -> Array:
    """The fixed point at constant temperature, from a state; collective.

    Backward Euler with growing steps, each of which lowers G.

    Args:
        system: With noise.
        w: Where to start, such as the end of a run.
        tolerance: Bound of int |dw/dt| dnu.

    Raises:
        SolverError: If it is not reached.
    """
    dt = 1.0
    for _ in range(_MOST):
        if unrest(system, w) <= tolerance:
            return w
        system.flux.freeze(w, system.weights(w))
        stage = system.stage(w, dt, 0.0, w)
        if stage.failure:
            dt /= _FACTOR
            continue
        w, dt = stage.values, min(_FACTOR * dt, _LONGEST)
    raise SolverError(
        f"langevin: the fixed point was not reached, {unrest(system, w):.1e} of dw/dt is left; "
        "rates=0 runs without it"
    )


def unrest(system: MeanFieldSystem, w: Array) -> float:
    """Size of dw/dt relative to w, in L1(mu); collective."""
    space = system.space
    return float(total(space.comm, float(space.D @ np.abs(system.slope(w)))))


def gibbs_error(system: MeanFieldSystem, w: Array) -> float:
    """Largest |log mu - log of its proximal Gibbs measure| at the nodes; collective."""
    heat, flux = system.heat, system.flux
    assert heat is not None and isinstance(flux, FittedFlux)
    now = system.weights(w)
    above = np.log(w) - heat.log_gibbs(flux.potential(now.u, now.g), flux.tau)
    return largest(system.space.comm, float(np.max(np.abs(above), initial=0.0)))


class _InverseCurvature:
    """D H^-1 by Woodbury's formula, as a PETSc shell."""

    def __init__(self, system: MeanFieldSystem, w: Array, tau: float) -> None:
        space, outer = system.space, system.outer
        now = system.weights(w)
        self._space, self._Y = space, system.modes.Y
        self._soft, self._u = w / tau, now.u
        # H = tau/w + u Y S^-1 Y^T D u.
        inner = outer.matrix_share(space.D * w * (now.slope + now.u**2 / tau))
        whole = space.comm.allreduce(inner) if space.comm.size > 1 else inner
        self._factor = cho_factor(whole)

    def mult(self, _: PETSc.Mat, x: PETSc.Vec, y: PETSc.Vec) -> None:
        """Called by PETSc: y = D H^-1 x."""
        soft = self._soft * x.array_r
        coefficients = cho_solve(self._factor, moments(self._space, self._Y, self._u * soft))
        y.array = self._space.D * (soft - self._soft * self._u * (self._Y @ coefficients))


def local_modes(system: MeanFieldSystem, w: Array, count: int) -> Modes:
    """The first rates e of what decays near a fixed point, with their modes; collective.

    Args:
        system: With noise, at constant temperature.
        w: The fixed point.
        count: How many, with multiplicity.

    Returns:
        Their eigenvalues e, ascending; vectors are chemical potentials tau log mu - psi.

    Raises:
        SolverError: If SLEPc does not converge.
    """
    space, flux = system.space, system.flux
    assert isinstance(flux, FittedFlux)
    now, tau = system.weights(w), flux.tau
    neighbours = Neighbours(space)
    mobility = _assembled(space, neighbours, flux.mobility(w, now.u, now.g))
    shell = PETSc.Mat().createPython(
        mobility.getSizes(), _InverseCurvature(system, w, tau), comm=space.comm
    )
    shell.setUp()
    # Shifted below all rates, to about the first; near it without the low-rank part.
    shift = tau
    near, diagonal = mobility.copy(), mobility.getDiagonal()
    diagonal.array += shift * space.D * w / tau
    near.setDiagonal(diagonal)
    constant = near.createVecRight()
    constant.set(1.0)
    solver = SLEPc.EPS().create(space.comm)
    solver.setOperators(mobility, shell)
    solver.setProblemType(SLEPc.EPS.ProblemType.GHEP)
    solver.setDeflationSpace([constant])
    solver.setWhichEigenpairs(SLEPc.EPS.Which.TARGET_MAGNITUDE)
    solver.setTarget(-shift)
    transform = solver.getST()
    transform.setType("sinvert")
    transform.setMatMode(SLEPc.ST.MatMode.SHELL)
    transform.setPreconditionerMat(near)
    ksp = transform.getKSP()
    ksp.setType("cg")
    ksp.setTolerances(rtol=1e-12, max_it=2000)
    ksp.getPC().setType("cholesky")
    ksp.getPC().setFactorSolverType("mumps")
    solver.setDimensions(count, max(2 * count + 8, 24))
    solver.setTolerances(1e-10, 500)
    solver.solve()
    if solver.getConverged() < count:
        raise SolverError(f"langevin: {solver.getConverged()} of {count} local rates converged")
    pairs = []
    for i in range(solver.getConverged()):
        value = solver.getEigenpair(i, constant).real
        pairs.append((value, constant.array.copy()))
    values, vectors = zip(*sorted(pairs, key=lambda pair: pair[0])[:count], strict=True)
    return Modes(space, np.array(values), np.array(vectors))


def _assembled(space: Discretization, neighbours: Neighbours, entries: csr_array) -> PETSc.Mat:
    matrix = space.K.duplicate()
    columns = neighbours.numbers.astype(PETSc.IntType)
    pointer = entries.indptr.astype(PETSc.IntType)
    matrix.setValuesCSR(pointer, columns[entries.indices], entries.data)
    matrix.assemble()
    return matrix


def describe_fixed_point(system: MeanFieldSystem, w: Array) -> dict[str, float]:
    """G*, and what is known of mu*: see ``LangevinRun.fixed_point``; collective.

    Args:
        system: With noise, at constant temperature.
        w: The fixed point.
    """
    heat = system.heat
    assert heat is not None
    warmth, sphere, tau = system.warmth(w, 0.0), system.modes.sphere, heat.at(0.0)
    return {
        "minimum": warmth["free_energy"],
        "gibbs_error": gibbs_error(system, w),
        "holley_stroock": sphere.dim * float(np.exp(-warmth["oscillation"] / tau)),
        "bakry_emery": sphere.dim - 1 - _steepest_bend(system, w) / tau,
    }


def _steepest_bend(system: MeanFieldSystem, w: Array) -> float:
    """Largest second derivative of psi along geodesics, over all points and directions.

    By central differences at the nodes of a rule: Bakry and Emery's criterion asks for no more
    digits.
    """
    sphere, c = system.modes.sphere, system.weights(w).c
    x, _ = sphere.quadrature(64 if sphere.dim == 1 else 16)
    basis = _tangent_basis(sphere.dim, x)

    def psi(points: Array) -> Array:
        g = system.modes.at(points) @ c
        u = system.penalty.minimiser(g)
        return u * g - system.penalty.value(u)

    def bend(v: Array) -> Array:
        ends = [sphere.exponential(x, sign * _SHORT * v) for sign in (1, -1)]
        return (psi(ends[0]) - 2 * psi(x) + psi(ends[1])) / _SHORT**2

    own = [bend(v) for v in basis]
    if sphere.dim == 1:
        return float(own[0].max())
    mixed = bend((basis[0] + basis[1]) / np.sqrt(2)) - (own[0] + own[1]) / 2
    middle, half = (own[0] + own[1]) / 2, (own[0] - own[1]) / 2
    return float((middle + np.hypot(half, mixed)).max())


def _tangent_basis(dim: int, x: Array) -> list[Array]:
    """Orthonormal tangent vectors at points of the circle or the sphere."""
    if dim == 1:
        return [np.column_stack([-x[:, 1], x[:, 0]])]
    # The axis that is farthest from each point.
    axis = np.eye(3)[np.argmin(np.abs(x), axis=1)]
    first = axis - np.sum(axis * x, axis=1)[:, None] * x
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    return [first, np.cross(x, first)]

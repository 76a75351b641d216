"""Finite elements of NGSolve on the sphere, and the unknown 1/w, for `ngsolve_rival`."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import ngsolve as ng
import numpy as np
from netgen.csg import CSGeometry, Pnt
from netgen.csg import Sphere as Ball
from netgen.meshing import MeshingStep
from ngsolve.comp import IntegrationRuleSpaceSurface
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array, eye_array, vstack

Array = NDArray[np.float64]
Teacher = Sequence[tuple[float, tuple[float, float, float], float]]  # weight, mean, kappa

# w0 above which level 0, 1, 2, ... of refinement is applied: _SHARP * _GRADING**level
_SHARP, _GRADING = 1.5, 3.0


class StageFailed(Exception):
    """A stage could not be solved; a shorter step may help."""


class CurvedSphere(ABC):
    """Elements, points of quadrature, the factorised Jacobian; a subclass adds the unknown.

    What is stepped in time is a vector y, and a stage solves y = r + tau dy/dt. The coefficients
    of the unknown are kept with what is linear in them and needed at the points, as one vector z.

    Attributes:
        newton: Residual with which a stage is solved, relative to the tolerance of a step.
        dofs: Number of coefficients.
        points: Number of points of quadrature.
        weights: nu times the weights of the quadrature, of sum 1.
        first: z at time 0.
        start: y at time 0.
        initial_slope: dy/dt at time 0.
        tau: Of the factorised Jacobian.
        factorisations: Number of them.
    """

    newton: float
    first: Array
    start: Array
    initial_slope: Array

    def __init__(self, teacher: Teacher, maxh: float, order: int, levels: int) -> None:
        ball = CSGeometry()
        ball.Add(Ball(Pnt(0, 0, 0), 1))
        mesh = ng.Mesh(ball.GenerateMesh(maxh=maxh, perfstepsend=MeshingStep.MESHSURFACE))
        for level in range(levels):
            _refine(mesh, teacher, _SHARP * _GRADING**level)
        mesh.Curve(order)
        self._mesh, self._sphere = mesh, mesh.Boundaries(".*")
        self._space = ng.H1(mesh, order=order, definedon=self._sphere)
        self._rule = IntegrationRuleSpaceSurface(mesh, order=order)
        self._dS = ng.ds(intrules=self._rule.GetIntegrationRules())
        self.dofs, self.points = self._space.ndof, self._rule.ndof
        radius = ng.sqrt(ng.x**2 + ng.y**2 + ng.z**2)
        self._nu_exact = sum(
            scale * ng.exp(k * ((m[0] * ng.x + m[1] * ng.y + m[2] * ng.z) / radius - 1))
            for scale, m, k in _terms(teacher)
        )
        nu = self._at_rule(self._nu_exact)
        one = np.zeros(self.dofs)
        one[: mesh.nv] = 1  # the first shape functions are the vertices', a partition of unity
        self._one = one
        u, v = self._space.TnT()
        weighted = self._weighted(u.Trace())
        self._area = weighted @ one
        self._B = csr_array(diags_array(1 / self._area) @ weighted)
        self._total = float(self._area @ nu)
        self._nu = nu / self._total
        self.weights = self._area * self._nu
        self._jacobian = ng.BilinearForm(self._space)
        self._jacobian += self._integrand(u, v) * self._dS
        self._jacobian.Assemble()
        self._values = self._jacobian.mat.AsVector().FV().NumPy()
        self.tau, self.factorisations = 0.0, 0

    @abstractmethod
    def _integrand(self, u: Any, v: Any) -> Any:
        """Of the part of the Jacobian that is assembled; makes the coefficients it depends on."""

    @abstractmethod
    def _linearise(self, z: Array, r: Array, tau: float) -> None:
        """Set the values of the Jacobian at z."""

    @abstractmethod
    def _invert(self) -> None:
        """Factorise the Jacobian."""

    @abstractmethod
    def _solved(self, rhs: Array) -> Array:
        """The solution with the factorisation at hand."""

    @abstractmethod
    def extended(self, coefficients: Array) -> Array:
        """z: the coefficients, the values at the points, and what else the unknown needs."""

    @abstractmethod
    def residual(self, z: Array, r: Array, tau: float) -> Array:
        """Of the equation of a stage, in units of mass; the Jacobian is minus its derivative."""

    @abstractmethod
    def slope(self, z: Array, r: Array, tau: float) -> Array:
        """dy/dt of a stage that has been solved."""

    @abstractmethod
    def room(self, z: Array, step: Array) -> float:
        """The part of a step, at most 1, after which the unknown is still in its domain."""

    @abstractmethod
    def falls(self, before: Array, after: Array, step: Array) -> bool:
        """Whether a line search accepts a step, from the residuals before and after it."""

    @abstractmethod
    def error(self, defect: Array, z: Array) -> float:
        """Relative L1(mu) norm of w's error, from that of y, damped by the Jacobian."""

    @abstractmethod
    def ratio(self, z: Array) -> Array:
        """w at the points."""

    def at_points(self, z: Array) -> Array:
        """The unknown at the points."""
        return z[self.dofs : self.dofs + self.points]

    def factorise(self, z: Array, r: Array, tau: float) -> None:
        """The Jacobian at z."""
        self._linearise(z, r, tau)
        self._invert()
        self.tau = tau
        self.factorisations += 1

    def solve(self, rhs: Array) -> Array:
        """With the factorisation at hand; extended."""
        return self.extended(self._solved(rhs))

    def functionals(self, z: Array) -> tuple[float, float]:
        """Divergence, and mass less 1."""
        w = self.ratio(z)
        return 0.5 * float(self.weights @ ((w - 1) ** 2 / w)), float(self.weights @ w) - 1

    def _at_rule(self, function: Any) -> Array:
        """Values at the points."""
        values = ng.GridFunction(self._rule)
        values.Interpolate(function, definedon=self._sphere)
        return values.vec.FV().NumPy().copy()

    def _weighted(self, linear: Any) -> csr_array:
        """Values at the points of an expression linear in the trial function, times the areas."""
        form = ng.BilinearForm(trialspace=self._space, testspace=self._rule)
        form += linear * self._rule.TestFunction() * self._dS
        form.Assemble()
        return _csr(form.mat, (self.points, self.dofs))

    def _coefficients_of(self, function: Any) -> Array:
        """Of the best approximation, element by element."""
        u = ng.GridFunction(self._space)
        u.Set(function, definedon=self._sphere)
        return u.vec.FV().NumPy().copy()


class Reciprocal(CurvedSphere):
    """The unknown p = 1/w, stepped as y_i = int nu v_i/p: dy/dt = A p with a constant matrix A.

    Every stage minimises a strictly convex function with the barrier -log p, which keeps p positive
    at all points: the Jacobian tau A + (nu/p^2 u, v) is symmetric and positive definite. At a front
    p has only a kink. The symbolic factorisation is made once. Static condensation was tried: it
    makes assembly dearer than it saves.
    """

    newton = 1e-2

    def __init__(self, teacher: Teacher, maxh: float, order: int, levels: int) -> None:
        super().__init__(teacher, maxh, order, levels)
        u, v = self._space.TnT()
        nu = ng.GridFunction(self._rule)
        nu.vec.FV().NumPy()[:] = self._nu
        stiffness = ng.BilinearForm(self._space)
        stiffness += nu * ng.grad(u).Trace() * ng.grad(v).Trace() * self._dS
        stiffness.Assemble()
        self._A = _csr(stiffness.mat, (self.dofs, self.dofs))
        self._rhs, self._solution = (self._jacobian.mat.CreateColVector() for _ in range(2))
        self._inverse: Any = None
        self._extended = csr_array(vstack([eye_array(self.dofs), self._B, self._A]))
        self._test = csr_array(self._B.T)
        self.start = self._test @ (self._area / self._area.sum())
        self.first = self.extended(self._coefficients_of(self._nu_exact * (4 * math.pi)))
        if self.at_points(self.first).min() <= 0:
            self.first = self.extended(self._one * float(self._nu.min() * 4 * math.pi))
        self.initial_slope = self._flux(self.first)

    def _integrand(self, u: Any, v: Any) -> Any:
        self._coefficient = ng.GridFunction(self._rule)
        return self._coefficient * u.Trace() * v.Trace()

    def _linearise(self, z: Array, r: Array, tau: float) -> None:
        self._coefficient.vec.FV().NumPy()[:] = self._nu / self.at_points(z) ** 2
        self._jacobian.Assemble()
        self._values += tau * self._A.data

    def _invert(self) -> None:
        if self._inverse is None:
            free = self._space.FreeDofs()
            self._inverse = self._jacobian.mat.Inverse(free, inverse="sparsecholesky")
        else:
            self._inverse.Update()

    def _solved(self, rhs: Array) -> Array:
        self._rhs.FV().NumPy()[:] = rhs
        self._solution.data = self._inverse * self._rhs
        return np.asarray(self._solution.FV().NumPy())

    def extended(self, coefficients: Array) -> Array:
        """See `CurvedSphere`; then A p."""
        return self._extended @ coefficients

    def _flux(self, z: Array) -> Array:
        return z[self.dofs + self.points :]

    def residual(self, z: Array, r: Array, tau: float) -> Array:
        """See `CurvedSphere`; the gradient of a convex function."""
        return self._test @ (self.weights / self.at_points(z)) - r - tau * self._flux(z)

    def slope(self, z: Array, r: Array, tau: float) -> Array:
        """See `CurvedSphere`."""
        return self._flux(z)

    def room(self, z: Array, step: Array) -> float:
        """p stays positive."""
        return 0.9 / max(0.9, -float((self.at_points(step) / self.at_points(z)).min()))

    def falls(self, before: Array, after: Array, step: Array) -> bool:
        """The slope along the step may not turn upwards steeply."""
        s = step[: self.dofs]
        return float(after @ s) >= -0.5 * abs(float(before @ s))

    def error(self, defect: Array, z: Array) -> float:
        """See `CurvedSphere`."""
        p = self.at_points(self.solve(defect))
        return float(self.weights @ (np.abs(p) / self.at_points(z) ** 2))

    def ratio(self, z: Array) -> Array:
        """See `CurvedSphere`."""
        return np.asarray(1 / self.at_points(z))


def _csr(matrix: Any, shape: tuple[int, int]) -> csr_array:
    values, columns, rows = matrix.CSR()
    indices, pointers = (np.array(part, dtype=np.int32) for part in (columns, rows))
    return csr_array((np.array(values), indices, pointers), shape=shape)


def _terms(teacher: Teacher) -> list[tuple[float, tuple[float, float, float], float]]:
    """Scale, mean and kappa of nu = sum of scale exp(kappa (mean.x - 1))."""
    return [(a * k / (2 * math.pi * (1 - math.exp(-2 * k))), m, k) for a, m, k in teacher]


def _refine(mesh: ng.Mesh, teacher: Teacher, contrast: float) -> None:
    """Bisect the triangles in whose centre w0 exceeds ``contrast``."""
    for element in mesh.Elements(ng.BND):
        centre = np.mean([mesh[vertex].point for vertex in element.vertices], axis=0)
        centre /= np.linalg.norm(centre)
        nu = sum(a * math.exp(k * (centre @ m - 1)) for a, m, k in _terms(teacher))
        mesh.SetRefinementFlag(element, bool(4 * math.pi * nu * contrast < 1))
    mesh.Refine(mark_surface_elements=True)

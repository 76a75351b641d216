"""The unknown log w, for `ngsolve_rival`.

Written to be as fast as NGSolve and SciPy allow:

- All triangles share a few matrices of shape functions, one for each orientation of the edges.
  Values and gradients at the points are dense products with these: four times faster than one
  sparse matrix, which is as fast as NGSolve's own ``Apply``.
- The exact Jacobian, which is not symmetric, is assembled by NGSolve from coefficients at the
  points: two thirds of the time of ``AssembleLinearization`` of the compiled form.
- It is factorised by SciPy's SuperLU without pivoting, in a symmetric minimum degree ordering: as
  fast as UMFPACK, but a solve takes a quarter of the time, which counts, since a factorisation
  serves for ten solves or more. (PARDISO is not in the wheel. SuperLU finds its ordering, a tenth
  of its time, anew each time.)
"""

from __future__ import annotations

import math
from typing import Any

import ngsolve as ng
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array
from scipy.sparse.linalg import splu

from support.ngsolve_space import Array, CurvedSphere, StageFailed, Teacher

# The cheapest configurations found for each accuracy (all with esdirk4), cheapest first.
LOG_FRONT_GRID: tuple[dict[str, Any], ...] = (
    {"maxh": 0.6, "order": 2, "rtol": 1e-2, "levels": 0},
    {"maxh": 0.5, "order": 3, "rtol": 1e-2, "levels": 0},
    {"maxh": 0.4, "order": 3, "rtol": 1e-2, "levels": 0},
    {"maxh": 0.3, "order": 4, "rtol": 1e-3, "levels": 0},
    {"maxh": 0.3, "order": 4, "rtol": 1e-4, "levels": 1},
    {"maxh": 0.4, "order": 8, "rtol": 1e-5, "levels": 1},
    {"maxh": 0.3, "order": 6, "rtol": 1e-6, "levels": 2},
)
LOG_MILD_GRID: tuple[dict[str, Any], ...] = (
    {"maxh": 0.8, "order": 2, "rtol": 1e-2},
    {"maxh": 0.6, "order": 3, "rtol": 1e-2},
    {"maxh": 0.6, "order": 3, "rtol": 1e-3},
    {"maxh": 0.6, "order": 5, "rtol": 1e-4},
    {"maxh": 0.5, "order": 6, "rtol": 1e-5},
    {"maxh": 0.5, "order": 8, "rtol": 1e-7},
    {"maxh": 0.4, "order": 8, "rtol": 1e-8},
)
# The same for "log w, conserved".
CONSERVED_FRONT_GRID: tuple[dict[str, Any], ...] = (
    {"maxh": 0.6, "order": 2, "rtol": 1e-2, "levels": 0},
    {"maxh": 0.5, "order": 4, "rtol": 1e-2, "levels": 0},
    {"maxh": 0.4, "order": 4, "rtol": 1e-2, "levels": 0},
    {"maxh": 0.3, "order": 4, "rtol": 1e-3, "levels": 0},
    {"maxh": 0.3, "order": 4, "rtol": 1e-4, "levels": 1},
    {"maxh": 0.4, "order": 8, "rtol": 1e-4, "levels": 1},
    {"maxh": 0.3, "order": 6, "rtol": 1e-4, "levels": 2},
)
CONSERVED_MILD_GRID: tuple[dict[str, Any], ...] = (
    {"maxh": 0.8, "order": 2, "rtol": 1e-2},
    {"maxh": 0.6, "order": 3, "rtol": 1e-3},
    {"maxh": 0.5, "order": 5, "rtol": 1e-4},
    {"maxh": 0.5, "order": 6, "rtol": 1e-5},
    {"maxh": 0.5, "order": 8, "rtol": 1e-6},
    {"maxh": 0.4, "order": 8, "rtol": 1e-7},
)
_LONGEST = 2.0  # change of log w in an iteration of Newton's method


class _Shapes:
    """Products with the shape functions and their derivatives at the points, and the transposed.

    Args:
        dofs: (triangles, n), the numbers of their shape functions.
        blocks: (kinds, triangles, q, n), value and derivatives of the functions at the q points.
        size: Number of all shape functions.
    """

    def __init__(self, dofs: NDArray[np.int64], blocks: Array, size: int) -> None:
        self._dofs, self._size = dofs, size
        self._kinds, triangles, self._q, n = blocks.shape
        flat = blocks.swapaxes(0, 1).reshape(triangles, -1)
        _, first, group = np.unique(flat.round(8), axis=0, return_index=True, return_inverse=True)
        self._groups = [
            (np.flatnonzero(group == i), flat[k].reshape(-1, n)) for i, k in enumerate(first)
        ]

    def values(self, coefficients: Array) -> Array:
        """Of shape (kinds, points)."""
        local = coefficients[self._dofs]
        values = np.empty((self._kinds, len(local), self._q))
        for where, block in self._groups:
            product = (local[where] @ block.T).reshape(len(where), self._kinds, self._q)
            values[:, where] = product.swapaxes(0, 1)
        return values.reshape(self._kinds, -1)

    def tested(self, values: Array) -> Array:
        """The transposed product, of shape (dofs,)."""
        values = values.reshape(self._kinds, -1, self._q)
        local = np.empty(self._dofs.shape)
        for where, block in self._groups:
            local[where] = values[:, where].swapaxes(0, 1).reshape(len(where), -1) @ block
        return np.bincount(self._dofs.ravel(), local.ravel(), self._size)


class Logarithm(CurvedSphere):
    """The unknown u = log w, stepped as y = u.

    int nu e^u u_t v + int nu e^-u grad u . grad v = 0

    Positive whatever the coefficients are, but the mass is conserved within the error of the steps
    and of Newton's method only, which adds up and has to be smaller for this reason.
    """

    newton = 1e-3

    def __init__(self, teacher: Teacher, maxh: float, order: int, levels: int) -> None:
        super().__init__(teacher, maxh, order, levels)
        u, jacobian = self._space.TrialFunction(), ng.specialcf.JacobianMatrix(3, 2)
        self._columns = np.array(
            [[self._at_rule(jacobian[i, j]) for i in range(3)] for j in range(2)]
        )
        gram = np.einsum("iap,jap->pij", self._columns, self._columns)
        self._metric = np.ascontiguousarray(np.linalg.inv(gram).transpose(1, 2, 0))
        dofs = np.array([self._space.GetDofNrs(e) for e in self._mesh.Elements(ng.BND)])
        place = dofs.argsort(axis=1).argsort(axis=1)[:, None]  # in the columns of a sparse row
        gradient = ng.grad(u).Trace()
        derivatives = [sum(gradient[i] * jacobian[i, j] for i in range(3)) for j in range(2)]
        blocks = []
        for function in (u.Trace(), *derivatives):
            matrix = self._weighted(function)
            matrix.sort_indices()
            rows = (matrix.data.reshape(self.points, -1) / self._area[:, None]).reshape(
                len(dofs), -1, dofs.shape[1]
            )
            blocks.append(np.take_along_axis(rows, place, axis=2))
        self._shapes = _Shapes(dofs, np.array(blocks), self.dofs)
        columns, rows = (np.array(part, dtype=np.int32) for part in self._jacobian.mat.CSR()[1:])
        # The rows of the Jacobian are the columns of its transpose, which SuperLU factorises.
        self._transpose = (self._values, columns, rows)
        self._known = (np.empty(0), np.empty(0))

        start = self._coefficients_of(-ng.log(self._nu_exact * (4 * math.pi)))
        mass = float(self.weights @ np.exp(self._shapes.values(start)[0]))
        self.first = self.extended(start - math.log(mass) * self._one)
        self._start()

    def _start(self) -> None:
        self.start = self.first[: self.dofs]
        self.factorise(self.first, self.start, 0.0)
        self.initial_slope = self.solve(self._flux(self.first))[: self.dofs]

    def extended(self, coefficients: Array) -> Array:
        """See `CurvedSphere`; then the derivatives on the reference triangle."""
        return np.concatenate([coefficients, self._shapes.values(coefficients).ravel()])

    def _integrand(self, u: Any, v: Any) -> Any:
        self._mass, self._diffusion = ng.GridFunction(self._rule), ng.GridFunction(self._rule)
        self._convection = ng.GridFunction(self._rule**3)
        grad_u, grad_v = ng.grad(u).Trace(), ng.grad(v).Trace()
        flux = self._diffusion * grad_u - self._convection * u.Trace()
        return self._mass * u.Trace() * v.Trace() + flux * grad_v

    def _linearise(self, z: Array, r: Array, tau: float) -> None:
        conductivity = tau * self._nu / self.ratio(z)
        gradient = np.einsum("jp,jap->ap", self._gradient(z), self._columns)
        for function, values in (
            (self._mass, self._nu * self._content(z, r)[1]),
            (self._diffusion, conductivity),
            (self._convection, (conductivity * gradient).ravel()),
        ):
            function.vec.FV().NumPy()[:] = values
        self._jacobian.Assemble()

    def _invert(self) -> None:
        matrix = csc_array(self._transpose, shape=(self.dofs, self.dofs))
        ordering = {"permc_spec": "MMD_AT_PLUS_A", "options": {"SymmetricMode": True}}
        try:
            self._lu = splu(matrix, diag_pivot_thresh=0.0, **ordering)
        except RuntimeError as error:
            raise StageFailed(f"SuperLU: {error}") from error

    def _solved(self, rhs: Array) -> Array:
        return np.asarray(self._lu.solve(rhs, "T"))

    def _gradient(self, z: Array) -> Array:
        """Contravariant components at the points, of shape (2, points)."""
        a, b = z[self.dofs + self.points :].reshape(2, self.points)
        g = self._metric
        return np.stack([g[0, 0] * a + g[0, 1] * b, g[1, 0] * a + g[1, 1] * b])

    def _tested(self, content: Array | float, conductivity: Array | float, z: Array) -> Array:
        """-int nu content v - int nu conductivity grad u . grad v."""
        values = np.empty((3, self.points))
        values[0] = -self.weights * content
        values[1:] = -(self.weights * conductivity) * self._gradient(z)
        return self._shapes.tested(values)

    def _flux(self, z: Array) -> Array:
        return self._tested(0.0, 1 / self.ratio(z), z)

    def _content(self, z: Array, r: Array) -> tuple[Array, Array]:
        """What tau dy/dt adds to the mass at the points, and its derivative with respect to u."""
        if r is not self._known[0]:  # the same for a whole stage
            self._known = (r, self._shapes.values(r)[0])
        w, change = self.ratio(z), self.at_points(z) - self._known[1]
        return w * change, w * (1 + change)

    def residual(self, z: Array, r: Array, tau: float) -> Array:
        """See `CurvedSphere`."""
        return self._tested(self._content(z, r)[0], tau / self.ratio(z), z)

    def slope(self, z: Array, r: Array, tau: float) -> Array:
        """See `CurvedSphere`."""
        return (z[: self.dofs] - r) / tau

    def room(self, z: Array, step: Array) -> float:
        """w changes by a factor of e^2 at most."""
        return _LONGEST / max(_LONGEST, float(np.abs(self.at_points(step)).max()))

    def falls(self, before: Array, after: Array, step: Array) -> bool:
        """The residual may not grow."""
        return float(np.abs(after).sum()) <= float(np.abs(before).sum())

    def error(self, defect: Array, z: Array) -> float:
        """See `CurvedSphere`."""
        u = self.at_points(self.solve(self._mass_of(defect, z)))
        return float((self.weights * self.ratio(z)) @ np.abs(u))

    def _mass_of(self, defect: Array, z: Array) -> Array:
        return self._tested(-self.ratio(z) * self._shapes.values(defect)[0], 0.0, z)

    def ratio(self, z: Array) -> Array:
        """See `CurvedSphere`."""
        return np.exp(self.at_points(z))


class ConservedLogarithm(Logarithm):
    """The unknown u = log w, stepped as y_i = int nu e^u v_i: every stage conserves the mass.

    What Newton's method leaves does not add up, since y is made from the fluxes of the stages.
    """

    newton = 1e-2

    def _start(self) -> None:
        self.start = self._tested(-self.ratio(self.first), 0.0, self.first)
        self.initial_slope = self._flux(self.first)

    def _content(self, z: Array, r: Array) -> tuple[Array, Array]:
        w = self.ratio(z)
        return w, w

    def residual(self, z: Array, r: Array, tau: float) -> Array:
        """See `CurvedSphere`."""
        return super().residual(z, r, tau) + r

    def slope(self, z: Array, r: Array, tau: float) -> Array:
        """See `CurvedSphere`."""
        return self._flux(z)

    def _mass_of(self, defect: Array, z: Array) -> Array:
        return defect

"""Optimal outer weights of a density: a symmetric positive definite system in the harmonics.

u = (f^*)'(g), g = sum_k c_k Y_k, where c minimises
lam/2 sum c_k^2/kappa_k + int f^*(g) dmu - int g dnu (arXiv 2504.18208 for quadratic f; derived in
docs/theory.md for all). For lam = 0 this is the projection on what the feature sees.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ufd.exceptions import SolverError
from ufd.fem.discretization import Discretization
from ufd.meanfield.krylov import FrozenCholesky
from ufd.meanfield.modes import NodalHarmonics, moments
from ufd.meanfield.neighbours import Neighbours
from ufd.parallel import largest, smallest, total
from ufd.problem.penalties import Penalty

Array = NDArray[np.float64]
_MOST_NEWTON, _MOST_HALVINGS = 50, 40
# Guesses may be this rough; weights below this may vanish in one step of Newton's method.
_ROUGH, _NEARLY_ZERO = 1e-6, 0.1


@dataclass(frozen=True, eq=False)
class Weights:
    """Outer weights at the nodes, from their coefficients.

    Attributes:
        c: Coefficients of g in the visible harmonics, (N,), equal on every rank.
        g: f'(u) at the owned nodes.
        u: Outer weights at the owned nodes.
        slope: du/dg = 1/f''(u) at the owned nodes.
    """

    c: Array
    g: Array
    u: Array
    slope: Array


class OuterProblem:
    """Finds the outer weights of densities on one mesh.

    Args:
        space: The mesh and the teacher.
        modes: What the feature sees.
        lam: Regularisation, at least 0.
        penalty: f.
        neighbours: Pairs of nodes, which give rows of neighbours.
    """

    def __init__(
        self,
        space: Discretization,
        modes: NodalHarmonics,
        lam: float,
        penalty: Penalty,
        neighbours: Neighbours,
    ) -> None:
        self.space, self.modes, self.lam, self.penalty = space, modes, lam, penalty
        self.stiffness = lam / modes.eigenvalues
        self._krylov = FrozenCholesky(space.comm, modes.count, "cg")
        # Rows of neighbours too: made again, not sent, each rank those it needs.
        near = neighbours.extended - neighbours.owned
        self.extended_Y = modes.Y
        if near:
            self.extended_Y = modes.at(neighbours.extend(space.nodes))

    @property
    def factorisations(self) -> int:
        """How many Cholesky factors were made."""
        return self._krylov.factorisations

    def weights(self, c: Array) -> Weights:
        """g, u and du/dg at the nodes; u is not finite where f'(u) = g has no solution."""
        g = self.modes.Y @ c
        u = self.penalty.minimiser(g)
        return Weights(c, g, u, self.penalty.response(u))

    def residual(self, w: Array, now: Weights) -> Array:
        """Derivative of what is minimised, lam c/kappa + int Y (u w - 1) dnu, (N,); collective."""
        return self.stiffness * now.c + moments(self.space, self.modes.Y, now.u * w - 1)

    def size(self, residual: Array) -> float:
        """Largest entry of a residual, in the scale of the coefficients."""
        return float(np.max(np.abs(residual) / (1 + self.stiffness)))

    def matrix_share(
        self, diagonal: Array, pairs: csr_array | None = None, damping: Array | float = 1.0
    ) -> Array:
        """This rank's share of diag(lam/kappa) + Y^T (diag + pairs) Y, (N, N); collective.

        The part of the pairs is multiplied by ``damping`` (N,) from both sides.
        """
        Y = self.modes.Y
        share = Y.T @ (diagonal[:, None] * Y)
        if pairs is not None:
            scale = np.broadcast_to(damping, len(share))
            share += scale[:, None] * (Y.T @ (pairs @ self.extended_Y)) * scale
        if self.space.comm.rank == 0:
            share.flat[:: self.modes.count + 1] += self.stiffness
        return share

    def solve(self, w: Array, c: Array, tolerance: float) -> tuple[Weights, int]:
        """The outer weights of w, from a guess of their coefficients, and the CG iterations.

        Raises:
            SolverError: If they are not found.
        """
        now, krylov = self.weights(c), 0
        comm, D = self.space.comm, self.space.D
        # A guess needs no more than single precision.
        Y = self.modes.Y if tolerance < _ROUGH else self.modes.rough
        if largest(comm, int(not np.all(np.isfinite(now.u)))):
            now = self.weights(np.zeros_like(c))
        residual = self.residual(w, now)
        for _ in range(_MOST_NEWTON):
            size = self.size(residual)
            if size <= tolerance:
                return now, krylov
            diagonal = D * w * now.slope
            if self._krylov.stale and not self._krylov.factorise(self.matrix_share(diagonal)):
                break

            def apply(x: Array, diagonal: Array = diagonal) -> Array:
                inner = diagonal / D * (Y @ x.astype(Y.dtype))
                return self.stiffness * x + moments(self.space, Y, inner)

            # One factor of ten more than asked for: quadratic penalties end after one solve.
            step, count, good = self._krylov.solve(
                apply, -residual, max(0.1 * tolerance / size, 1e-12)
            )
            krylov += count
            if not good:
                continue  # with a new factor
            now, residual = self._search(w, now, step, residual)
        raise SolverError(
            f"outer weights: Newton's method left a residual of {self.size(residual):.1e} at "
            f"lam = {self.lam:.3g}"
        )

    def move(self, now: Weights, step: Array, length: float) -> tuple[Weights, float]:
        """A step in c, halved until no weight leaves its domain or falls to zero at once."""
        for _ in range(_MOST_HALVINGS):
            there = self.weights(now.c + length * step)
            # Quadratic penalties never give zero exactly; others only beyond where u vanishes.
            fine = np.isfinite(there.u) & ((there.u != 0) | (np.abs(now.u) < _NEARLY_ZERO))
            if smallest(self.space.comm, int(np.all(fine))):
                break
            length /= 2
        return there, length

    def value(self, w: Array, now: Weights) -> float:
        """What is minimised: lam/2 sum c_k^2/kappa_k + int (u g - f(u)) dmu - int g dnu.

        At the minimum it is minus the risk, off it above by squares of what is missing.
        Collective.
        """
        nodal = w * (now.u * now.g - self.penalty.value(now.u)) - now.g
        inner = total(self.space.comm, float(self.space.D @ nodal))
        return float(self.stiffness @ now.c**2) / 2 + inner

    def _search(
        self, w: Array, now: Weights, step: Array, residual: Array
    ) -> tuple[Weights, Array]:
        """Along a descent direction until the value falls (Armijo), or the residual halves."""
        there, length = self.move(now, step, 1.0)
        start, fall, size = self.value(w, now), float(residual @ step), self.size(residual)
        for _ in range(_MOST_HALVINGS):
            then = self.residual(w, there)
            lower = self.value(w, there) <= start + 1e-4 * length * fall
            if largest(self.space.comm, int(lower or self.size(then) <= 0.5 * size)):
                return there, then
            there, length = self.move(now, step, length / 2)
        return now, residual

"""Empirical models: rows of features (data samples, or harmonics) spread over the ranks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray
from scipy.linalg.blas import dsyrk

from ufd.parallel import total
from ufd.particles.models import Fit
from ufd.particles.ridge import Conditioning, ShiftedGram, needs_refinement, optimal_weights
from ufd.problem.features import Pullback
from ufd.problem.penalties import Penalty, QuadraticPenalty

Array = NDArray[np.float64]


class Rows(Protocol):
    """The rows of this rank: phi(omega_j, row i), and what turns row weights into gradients."""

    def __call__(self, omega: Array) -> tuple[Array, Pullback]:
        """Features (n, M) and their pullback."""


class SampledModel:
    """Least squares over rows: <g, h> = weight * sum over all rows of g h.

    The primal system (M, M) is reduced over the ranks and solved on each; on one rank with fewer
    rows than features the dual system (n, n) is solved instead.

    Args:
        rows: The rows of this rank.
        targets: f* at them, (n,).
        weight: Of a row: 1/N for N samples, 1 for harmonics.
        comm: The ranks that share the rows.
        description: Of the data.
    """

    def __init__(
        self,
        rows: Rows | Callable[[Array], tuple[Array, Pullback]],
        targets: Array,
        weight: float,
        comm: MPI.Comm,
        description: dict[str, Any],
    ) -> None:
        self._rows, self._targets, self._weight = rows, targets, weight
        self._comm, self._description = comm, description
        # Residuals in extended precision save the digits that the division by lam would cost.
        self._conditioning = Conditioning(loss=float(np.finfo(np.longdouble).eps))

    def describe(self) -> dict[str, Any]:
        """See `Model`."""
        return dict(self._description)

    def optimum(self, omega: Array, lam: float, penalty: Penalty) -> Fit:
        """See `Model`."""
        features, pullback = self._rows(omega)
        if not isinstance(penalty, QuadraticPenalty):
            gram = self._gram(features)
            gram = np.triu(gram) + np.triu(gram, 1).T
            target = self._sum(features.T @ self._targets)
            outer, newton = optimal_weights(gram, target, lam, penalty)
            return self._finish(features, pullback, outer, lam)._replace(newton=newton)
        base, width = penalty.reference, len(omega)
        # The residual of u = reference: what the correction v = u - reference has to explain.
        start = self._targets - base * features.sum(axis=1) / width
        if self._comm.size == 1 and len(features) < width:
            alpha, v = self._dual(features, start, lam)
        else:
            alpha, v = self._primal(features, start, lam)
        force = self._sum(pullback(alpha))
        return Fit(base + v, v, force, self._misfit(alpha, lam))

    def fit(self, omega: Array, outer: Array, lam: float) -> Fit:
        """See `Model`."""
        return self._finish(*self._rows(omega), outer, lam)

    def _finish(self, features: Array, pullback: Pullback, outer: Array, lam: float) -> Fit:
        alpha = (self._targets - features @ outer / len(outer)) / lam
        pressure, force = self._sum(features.T @ alpha), self._sum(pullback(alpha))
        return Fit(outer, pressure, force, self._misfit(alpha, lam))

    def _misfit(self, alpha: Array, lam: float) -> float:
        return lam / 2 * float(total(self._comm, self._weight * float(alpha @ alpha)))

    def _sum(self, share: Array) -> Array:
        return total(self._comm, self._weight * share)

    def _gram(self, features: Array) -> Array:
        """G, its upper triangle only: half the work of a product."""
        return total(self._comm, dsyrk(self._weight, features.T))

    def _primal(self, features: Array, start: Array, lam: float) -> tuple[Array, Array]:
        gram = self._gram(features)
        width, size = len(gram), float(np.trace(gram)) / len(gram)
        self._conditioning.check(size, lam)
        factor = ShiftedGram(gram, lam)
        v = factor.solve(self._sum(features.T @ start))
        alpha = (start - features @ v / width) / lam
        if needs_refinement(size, lam):
            alpha, v = self._refine(features, start, lam, factor, alpha, v)
        return alpha, v

    def _refine(
        self,
        features: Array,
        start: Array,
        lam: float,
        factor: ShiftedGram,
        alpha: Array,
        v: Array,
    ) -> tuple[Array, Array]:
        """Refine (alpha, v) of lam alpha + Phi v/M = start, Phi' alpha = v together.

        With residuals in extended precision alpha loses no digits by the division by lam
        (Bjorck's refinement of the augmented system).
        """
        wide, width = features.astype(np.longdouble), len(v)
        for _ in range(4):
            r = (start - wide @ (v / np.longdouble(width)) - np.longdouble(lam) * alpha).astype(
                float
            )
            q = self._sum((wide.T @ alpha).astype(float)) - v
            change = factor.solve(self._sum(features.T @ r) + lam * q)
            v = v + change
            alpha = alpha + (r - features @ change / width) / lam
            if np.linalg.norm(change) <= 1e-15 * np.linalg.norm(v):
                break
        return alpha, v

    def _dual(self, features: Array, start: Array, lam: float) -> tuple[Array, Array]:
        count = len(features)
        # The kernel of the rows, K = Phi Phi' weight/M: ShiftedGram divides by the count.
        width = features.shape[1]
        gram = dsyrk(self._weight * count / width, features, trans=0)
        factor = ShiftedGram(gram, lam)
        alpha = factor.solve(start)
        if needs_refinement(float(np.trace(gram)) / count, lam):
            wide = features.astype(np.longdouble)
            for _ in range(4):
                inner = self._weight / width * (wide.T @ alpha)
                r = (start - wide @ inner - np.longdouble(lam) * alpha).astype(float)
                change = factor.solve(r)
                alpha = alpha + change
                if np.linalg.norm(change) <= 1e-15 * np.linalg.norm(alpha):
                    break
        return alpha, self._weight * (features.T @ alpha)

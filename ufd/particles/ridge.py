"""The inner problem: optimal outer weights for given features.

min over u of |Phi u/M - y|^2/(2 lam) + mean f(u), in terms of the Gram matrix
G_ij = <phi_i, phi_j> and b_i = <phi_i, y>: (b - G u/M)/lam = f'(u) (docs/theory.md section 11).
"""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from ufd.exceptions import SolverError
from ufd.problem.penalties import Penalty

Array = NDArray[np.float64]
logger = logging.getLogger(__name__)
_MOST_NEWTON, _CONVERGED, _SMALL = 100, 1e-13, 1e-5
# Bound of the weights, the size from which they count, and the stiffness of one that rests.
_LEAST, _SLIGHT, _RIGID = 1e-12, 1e-8, 1e30
# Curvature at the bound below which a penalty is soft, weights that may then rest at once, and
# the least curvature that a step reckons with.
_SOFT, _NEAR, _FLAT = 1e6, 1e-2, 1e-8
# Round-off of the objective relative to its linear part.
_ROUND = 1e-15
# Below this lam/|G/M| residuals are summed in extended precision; see `needs_refinement`.
_DELICATE = 1e-7
# Relative error of forces from which a run is warned.
_FEW_DIGITS = 1e-5


def needs_refinement(size: float, lam: float) -> bool:
    """Whether lam is so small against the matrix that residuals divided by it lose digits."""
    return lam < _DELICATE * size


class Conditioning:
    """Warns, once, when regularisation is so small that forces lose most of their digits.

    Args:
        loss: Relative error of a force is about ``loss * |G/M| / lam``.
    """

    def __init__(self, loss: float) -> None:
        self._loss, self._warned = loss, False

    def check(self, size: float, lam: float) -> None:
        """Warn if fewer than five digits are left.

        Args:
            size: Mean eigenvalue scale of the matrix, such as the mean kappa(omega, omega).
            lam: Regularisation.
        """
        error = self._loss * size / lam
        if error > _FEW_DIGITS and not self._warned:
            self._warned = True
            logger.warning(
                "lam = %.3g is near the limit of double precision: the forces on the particles may "
                "be off by %.0e relatively; take a larger lam",
                lam,
                error,
            )


class ShiftedGram:
    """The Cholesky factor of A = G/M + lam diag(shift).

    Args:
        gram: (M, M); only its upper triangle is read.
        lam: Regularisation, positive.
        shift: (M,) positive, or None for ones.

    Raises:
        SolverError: If A is not positive definite in floating point.
    """

    def __init__(self, gram: Array, lam: float, shift: Array | None = None) -> None:
        width = len(gram)
        matrix = gram / width
        matrix.flat[:: width + 1] += lam if shift is None else lam * shift
        try:
            self._factor = cho_factor(matrix, lower=False, overwrite_a=True, check_finite=False)
        except LinAlgError:
            raise SolverError(
                f"lam = {lam:.3g} is lost in round-off against the kernel matrix of {width} "
                "particles; take a larger lam"
            ) from None

    def solve(self, right: Array) -> Array:
        """A^-1 times (M,) or (M, k)."""
        return cho_solve(self._factor, right, check_finite=False)


def optimal_weights(gram: Array, target: Array, lam: float, penalty: Penalty) -> tuple[Array, int]:
    """Projected Newton for a general penalty: positive u with (b - G u/M)/lam = f'(u).

    A weight whose optimum is zero (f' is finite there for p > 1) or nearly so rests at 1e-12.

    Args:
        gram: G, (M, M), symmetric and full.
        target: b, (M,).
        lam: Regularisation.
        penalty: f, strictly convex on u > 0 with f(1) = f'(1) = 0.

    Returns:
        u and the number of Newton steps.

    Raises:
        SolverError: If Newton's method does not converge.
    """
    width = len(target)
    u = np.ones(width)
    # Where f' is finite at zero and f'' not large, weights are sent to zero at once and together
    # (Bertsekas's projected Newton method); elsewhere they shrink tenfold at most.
    soft = bool(penalty.curvature(np.full(1, _LEAST))[0] < _SOFT)

    def objective(u: Array) -> float:
        quadratic = u @ (gram @ u) / (2 * width) - target @ u
        return float(quadratic + lam * penalty.value(u).sum())

    now, before = objective(u), np.inf
    for iteration in range(_MOST_NEWTON):
        r = target - gram @ u / width - lam * penalty.slope(u)
        near = _LEAST
        if soft:
            near = max(near, min(_NEAR, float(np.abs(np.maximum(u + r, _LEAST) - u).max())))
        rests = (u <= near) & (r <= 0)
        shift = np.where(rests, _RIGID, np.maximum(penalty.curvature(u), _FLAT))
        step = ShiftedGram(gram, lam, shift).solve(np.where(rests, 0.0, r))
        step = np.where(rests, _LEAST - u, step)
        size = float(np.max(np.abs(step) / np.maximum(u, _SLIGHT)))
        # Round-off ends the quadratic convergence: a small step that has stopped shrinking.
        if size < _CONVERGED or (size < _SMALL and size > before / 2):
            return np.maximum(u + step, _LEAST), iteration
        before, length = size, 1.0
        while length > 1e-10:
            trial = np.maximum(u + length * step, _LEAST if soft else np.maximum(0.1 * u, _LEAST))
            then = objective(trial)
            # The objective cannot tell small steps apart.
            gain = 1e-4 * float(r @ (trial - u)) - _ROUND * float(np.abs(target) @ u)
            if size < _SMALL or then <= now - gain:
                break
            length /= 2
        u, now = trial, then
    raise SolverError(
        f"outer weights: Newton's method left a relative step of {size:.1e} after "
        f"{_MOST_NEWTON} iterations at lam = {lam:.3g}"
    )

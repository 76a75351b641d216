"""Guaranteed decay rates: what the equation promises from sup w and the spectral gap alone.

For nu d_t w = div(nu grad phi(w)), m <= 1 and c <= w <= C, each functional Q below obeys
dQ/dt <= -rate(C, c) Q (derived in docs/theory.md, section 4). The bounds never grow, so a rate
taken at one time holds from then on, and the rates tend to twice the gap as w tends to 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ufd.exceptions import InputError
from ufd.problem.divergences import PowerDivergence, entropy_curvature

Array = NDArray[np.float64]
GUARANTEED = ("chi2", "hminus1", "lyapunov", "divergence")


def guaranteed_rates(
    divergence: PowerDivergence, gap: float, top: ArrayLike, bottom: ArrayLike
) -> dict[str, Array]:
    """Rates of the four functionals by name, arrays of one entry for numbers.

    Args:
        divergence: Gives m.
        gap: Spectral gap lambda_P of the weighted Laplacian, positive.
        top: C = sup w, at least 1; a number or an array.
        bottom: c = inf w, positive (0 where m <= 0 needs none).

    Returns:
        chi2: int (w-1)^2 dnu, at 2 gap C^(m-1).
        hminus1: |w-1|^2 in H^-1_nu, at 2 gap (phi(C) - phi(1))/(C - 1).
        lyapunov: int Psi(w) dnu with Psi'' = 1/phi', at gap (C-1)^2/Psi(C).
        divergence: int f(1/w) dmu, at 2 gap C^(m-1) for m <= 0, less for 0 < m <= 1.

    Raises:
        InputError: If the gap is not positive.
    """
    if not gap > 0:
        raise InputError(f"guaranteed_rates: gap = {gap!r} must be positive")
    m = divergence.m
    C, c = (np.atleast_1d(np.asarray(side, dtype=float)) for side in (top, bottom))
    C = np.maximum(C, 1.0)  # the nu-mean of w is 1: anything below is round-off
    power = C ** (m - 1)
    return {
        "chi2": 2 * gap * power,
        "hminus1": 2 * gap * _chord(m, C),
        "lyapunov": gap / entropy_curvature(C, 3 - m),
        "divergence": gap * power / _energy_factor(m, C, c),
    }


def _chord(m: float, C: Array) -> Array:
    """(phi(C) - phi(1))/(C - 1), 1 at C = 1."""
    x = C - 1
    log = np.log1p(x)
    rise = np.expm1(m * log) / m if m else log
    return np.divide(rise, x, out=np.ones_like(x), where=x > 0)


def _energy_factor(m: float, C: Array, c: Array) -> Array:
    """sup of C^(m-1) B(w, b)/(G(w) - G(b))^2 over c <= b, w <= C.

    B is the Bregman distance of H_m and G' = w^(m - 3/2). It is 1/2 for m <= 0 whatever c is; for
    m > 0 it is the larger of 1/2 and of the value at w = C, b = c.
    """
    if m <= 0:
        return np.full_like(C, 0.5)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        z = C / np.maximum(c, 0.0)
        a, log = m - 0.5, np.log(z)
        chord = (np.expm1(a * log) / a if a else log) / (z - 1)
        ratio = np.where(z > 1, z ** (m - 1) * entropy_curvature(z, m) / chord**2, 0.5)
    return np.where(np.isfinite(ratio), np.maximum(ratio, 0.5), np.inf)

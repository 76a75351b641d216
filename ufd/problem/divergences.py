"""Power divergences and the diffusion they drive.

With f(t) = (t^p - p t + p - 1)/(p (p - 1)) the flow of int f(dnu/dmu) dmu is
nu d_t w = div(nu grad phi(w)), phi(w) = w^m / m (log w for m = 0), m = 1 - p
(arXiv 2504.18208 for p = 2; derived for every p in docs/theory.md). Nothing here knows a mesh;
the solvers use the pressure with its sign changed, s = -phi(w), as their unknown.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from numbers import Real

import numpy as np
from numpy.typing import NDArray

from ufd.exceptions import InputError

Array = NDArray[np.float64]
# Gauss-Jacobi rule on [0, 1] with weight (1 - x), for divergences near equilibrium.
_NEAR = 0.2
# For |m| below this the constant in w^m/m costs more digits than it gives where w is far from 1.
_SMALL_EXPONENT = 0.02
# Largest logarithm of w^(p-1) and of its inverse: squares of such numbers are still finite.
_LARGEST_LOG = 333.0


@dataclass(frozen=True)
class PowerDivergence:
    """The power divergence of exponent p; p = 2 is chi2(nu|mu)/2, p = 1 is KL(nu|mu).

    p = 0, KL(mu|nu), gives the linear Fokker-Planck equation and serves as a check.

    Args:
        p: Exponent, at least 0.
    """

    p: float = 2.0

    def __post_init__(self) -> None:
        if isinstance(self.p, bool) or not isinstance(self.p, Real):
            raise InputError(f"PowerDivergence: p = {self.p!r} is not a number")
        if not math.isfinite(self.p) or self.p < 0:
            raise InputError(f"PowerDivergence: p = {self.p!r} must be finite and at least 0")
        object.__setattr__(self, "p", float(self.p))

    @property
    def m(self) -> float:
        """The diffusion exponent m = 1 - p."""
        return 1.0 - self.p

    @property
    def _centred(self) -> bool:
        """Whether the unknown is -(w^m - 1)/m: its digits are those of log w then."""
        return abs(self.m) < _SMALL_EXPONENT

    @property
    def least_unknown(self) -> float:
        """The infimum of s over w > 0."""
        if self.m >= 0:
            return -math.inf
        return 1 / self.m if self._centred else 0.0

    def unknown(self, w: Array) -> Array:
        """s = -phi(w), less phi(1) for m next to 0; +inf at w = 0 for m <= 0.

        Stiffness matrices annihilate constants. Next to m = 0 that in w^m/m, 1/m, would leave no
        digit of log w, to which (w^m - 1)/m tends.
        """
        with np.errstate(divide="ignore", over="ignore"):
            if self.m == 0:
                return -np.log(w)
            if self.m == -1:
                return 1 / w
            if self._centred:
                return -np.expm1(self.m * np.log(w)) / self.m
            return -(w**self.m) / self.m

    def ratio(self, s: Array) -> Array:
        """The inverse of `unknown`; for 0 < m < 1 extended by w = 0 to s > 0."""
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            if self.m == 0:
                return np.exp(-s)
            if self.m == -1:
                return 1 / s
            if self.m == 1:
                return -s
            if self._centred:
                base = -self.m * s
                return np.exp(np.log1p(np.maximum(base, -1.0) if self.m > 0 else base) / self.m)
            base = -self.m * s
            return (np.maximum(base, 0.0) if self.m > 0 else base) ** (1 / self.m)

    def require_range(self, bottom: float, top: float) -> None:
        """Refuse an exponent for which powers of w leave double precision.

        Args:
            bottom: Smallest w, at most 1.
            top: Largest w, at least 1.

        Raises:
            InputError: If p is too large for them; the message tells the largest that is not.
        """
        widest = max(-math.log(bottom), math.log(top)) if bottom > 0 else math.inf
        if self.p > 1 and (self.p - 1) * widest > _LARGEST_LOG:
            largest = math.floor(10 * (1 + _LARGEST_LOG / widest)) / 10
            raise InputError(
                f"PowerDivergence: p = {self.p:g} is too large for a start with w from "
                f"{bottom:.1e} to {top:.1e}: w^(1-p) leaves double precision; use p up to "
                f"{largest:g}, or mix some of the teacher into the start"
            )

    def slope(self, w: Array) -> Array:
        """-dw/ds = 1/phi'(w) = w^(1-m), as a function of w."""
        if self.m == 1:
            return np.ones_like(w)
        return w ** (1 - self.m)

    def integrand(self, w: Array) -> Array:
        """f(1/w) w, whose nu-integral is the divergence; its second derivative is w^(m-2)."""
        return power_entropy(w, self.m)

    def lyapunov(self, w: Array) -> Array:
        """Psi(w) with Psi'' = 1/phi' = w^(1-m), Psi(1) = Psi'(1) = 0.

        Its nu-integral falls by int |grad w|^2 dnu per unit of time, whatever w is.
        """
        return power_entropy(w, 3 - self.m)


def power_entropy(w: Array, q: float) -> Array:
    """H_q(w), with second derivative w^(q-2) and a double zero at w = 1.

    (w^q - 1 - q (w - 1))/(q (q - 1)), w - 1 - log w for q = 0, w log w - w + 1 for q = 1; accurate
    to round-off near w = 1.
    """
    h = w - 1
    if q == -1:
        return h * h / (2 * w)
    return h * h * entropy_curvature(w, q)


def entropy_curvature(w: Array, q: float) -> Array:
    """H_q(w)/(w - 1)^2, which is 1/2 at w = 1 and follows the trend of w^(q-2)."""
    h = w - 1
    near = np.abs(h) < _NEAR
    # Taylor's remainder, int_0^1 (1 - x) (1 + x h)^(q-2) dx: nothing cancels.
    x, weights = _jacobi_rule()
    close = np.where(near, h, 0.0)
    result = (1 + x * close[..., None]) ** (q - 2) @ weights
    far = w[~near]
    with np.errstate(over="ignore", invalid="ignore"):
        result[~near] = _far_entropy(far, q) / (far - 1) ** 2
    return result


def _far_entropy(w: Array, q: float) -> Array:
    """H_q(w) away from 1, in two forms: nothing cancels as q tends to 0 or to 1."""
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        log = np.log(w)
        if q <= 0.5:
            return (w - 1 - (np.expm1(q * log) / q if q else log)) / (1 - q)
        power = np.where(w > 0, w * (np.expm1((q - 1) * log) / (q - 1) if q != 1 else log), 0.0)
    value = (power - (w - 1)) / q
    return value if q != 1 else np.where(w >= 0, value, np.inf)


@functools.cache
def _jacobi_rule() -> tuple[Array, Array]:
    from scipy.special import roots_jacobi

    y, weights = roots_jacobi(8, 1.0, 0.0)
    return (y + 1) / 2, weights / 4

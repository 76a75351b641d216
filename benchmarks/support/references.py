"""Solutions to compare with, found without finite elements (derived in docs/theory.md, section 5).

For p = 2 the quantile function X(s, t) of mu, s in [0, 1], solves

    circle:         X_t = nu(X) d_s(nu(X) X_s)               X(s + 1) = X(s) + 2 pi
    zonal on S^2:   X_t = (1 - X^2) nu(X) d_s(nu(X) X_s)     X(0) = -1, X(1) = 1

(nu per unit angle, or per unit z), and w = 1/(nu(X) X_s) at X: nothing is divided by a small
density. Spectral collocation in s, a stiff integrator of SciPy in t.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import Chebyshev
from numpy.typing import NDArray
from scipy.integrate import solve_ivp
from scipy.optimize import elementwise
from scipy.special import jv

Array = NDArray[np.float64]


def kepler_ratio(angle: Array, t: float, a: float) -> Array:
    """w on the circle with uniform nu whose quantile displacement is a exp(-t) sin s.

    w = 1 + 2 sum_k (-1)^k J_k(k a e^-t) cos(k angle), the Kepler-Bessel series; it converges for
    a < 1, where the terms fall at least like (a exp(sqrt(1 - a^2))/(1 + sqrt(1 - a^2)))^k.
    """
    e = a * np.exp(-t)
    root = np.sqrt(1 - e * e)
    base = e * np.exp(root) / (1 + root)
    count = 2 + int(np.log(1e-18) / np.log(base))
    k = np.arange(1, count + 1)
    return 1 + 2 * np.cos(np.outer(angle, k)) @ ((-1.0) ** k * jv(k, k * e))


def kepler_density(a: float) -> Callable[[Array], Array]:
    """The initial density of `kepler_ratio`, not normalised, at (n, 2) points.

    Found from the quantile function itself: w = 1/(1 + a cos s) where s + a sin s = angle.
    """

    def function(points: Array) -> Array:
        angle = np.arctan2(points[:, 1], points[:, 0])
        s = elementwise.find_root(
            lambda s, x: s + a * np.sin(s) - x,
            (angle - 1.5, angle + 1.5),
            args=(angle,),
            tolerances={"xatol": 1e-16, "xrtol": 1e-16},
        ).x
        return 1 / (1 + a * np.cos(s))

    return function


@dataclass(frozen=True)
class Weight:
    """nu as a function of the angle, or of z = cos(polar angle), and its derivative.

    Attributes:
        interval: Range of the variable; its end points are identified on the circle.
        periodic: Circle (True) or zonal problem on the sphere (False).
    """

    density: Callable[[Array], Array]
    slope: Callable[[Array], Array]
    interval: tuple[float, float]
    periodic: bool

    def uniform_start(self, s: Array) -> Array:
        """Quantile function of the uniform density."""
        low, high = self.interval
        return low + (high - low) * s


def cauchy_mixture(parts: Sequence[tuple[float, float, float]]) -> Weight:
    """Wrapped Cauchy densities on the circle; parts are (weight, gamma, centre)."""

    def density(x: Array) -> Array:
        return sum(
            w * np.sqrt(1 + g) / (2 * np.pi) / (1 + g * np.sin((x - c) / 2) ** 2)
            for w, g, c in parts
        )

    def slope(x: Array) -> Array:
        return -sum(
            w
            * np.sqrt(1 + g)
            / (4 * np.pi)
            * g
            * np.sin(x - c)
            / (1 + g * np.sin((x - c) / 2) ** 2) ** 2
            for w, g, c in parts
        )

    return Weight(density, slope, (-np.pi, np.pi), True)


def zonal_von_mises_fisher(kappa: float) -> Weight:
    """The von Mises-Fisher density of S^2 as a density of z in [-1, 1]; kappa = 0 is uniform."""
    constant = kappa / -np.expm1(-2 * kappa) if kappa else 0.5

    def density(z: Array) -> Array:
        return constant * np.exp(kappa * (z - 1))

    return Weight(density, lambda z: kappa * density(z), (-1.0, 1.0), False)


class QuantileReference:
    """The quantile function of mu on its way to that of nu, stored at given times.

    Args:
        nu: The weight.
        times: Increasing positive times.
        start: Quantile function of mu at t = 0; uniform if left out.
        points: Collocation points; made odd on the circle, where an even number would leave a
            saw-tooth undamped.
        rtol: Tolerance of the integrator.
    """

    def __init__(
        self,
        nu: Weight,
        times: Sequence[float],
        start: Callable[[Array], Array] | None = None,
        points: int = 201,
        rtol: float = 1e-10,
    ) -> None:
        self.nu = nu
        s, self._first = _fourier(points | 1) if nu.periodic else _chebyshev(points)
        self._s, self._secular = s, nu.uniform_start(s)
        solution = solve_ivp(
            self._velocity,
            (0, times[-1]),
            (start or nu.uniform_start)(s) - self._secular,
            method="Radau",
            jac=self._jacobian,
            t_eval=list(times),
            rtol=rtol,
            atol=rtol * 1e-2,
        )
        if not solution.success:
            raise RuntimeError(f"the reference failed: {solution.message}")
        self._displacement = dict(zip(times, solution.y.T, strict=True))

    def _parts(self, d: Array) -> tuple[Array, ...]:
        nu, (low, high) = self.nu, self.nu.interval
        x = self._secular + d
        density, slope, stretch = nu.density(x), nu.slope(x), high - low + self._first @ d
        bend = self._first @ (density * stretch)
        if nu.periodic:
            return density, slope, stretch, bend, density, slope
        sine = 1 - np.clip(x, -1, 1) ** 2
        outer_slope = sine * slope - 2 * x * density
        return density, slope, stretch, bend, sine * density, outer_slope

    def _velocity(self, t: float, d: Array) -> Array:
        *_, bend, outer, _ = self._parts(d)
        return outer * bend

    def _jacobian(self, t: float, d: Array) -> Array:
        density, slope, stretch, bend, outer, outer_slope = self._parts(d)
        inner = density[:, None] * self._first + np.diag(slope * stretch)
        return outer[:, None] * (self._first @ inner) + np.diag(outer_slope * bend)

    def ratio(self, x: Array, t: float) -> Array:
        """w = mu/nu at values of the angle or of z, inside the interval."""
        displacement, slope = self._interpolant(self._displacement[t])
        low, high = self.nu.interval
        margin = 1.0 if self.nu.periodic else 1e-9
        x = np.asarray(x, dtype=float)
        s = elementwise.find_root(
            lambda s, x: low + (high - low) * s + displacement(s) - x,
            (np.full_like(x, -margin), np.full_like(x, 1 + margin)),
            args=(x,),
            tolerances={"xatol": 1e-16, "xrtol": 1e-15},
        ).x
        return 1 / (self.nu.density(x) * (high - low + slope(s)))

    def _interpolant(self, d: Array) -> tuple[Callable, Callable]:
        """The displacement as a function of s, and its derivative."""
        if not self.nu.periodic:
            fit = Chebyshev.fit(self._s, d, len(d) - 1, domain=[0, 1])
            return fit, fit.deriv()
        c = np.fft.rfft(d) / len(d)
        k = 2j * np.pi * np.arange(len(c))
        c[1:] *= 2
        return (
            lambda s: (np.exp(np.multiply.outer(s, k)) @ c).real,
            lambda s: (np.exp(np.multiply.outer(s, k)) @ (k * c)).real,
        )


def _fourier(n: int) -> tuple[Array, Array]:
    """Equispaced points on [0, 1) and the first-derivative matrix, n odd."""
    j = np.arange(n)
    difference = j[:, None] - j
    with np.errstate(divide="ignore"):
        matrix = np.pi * (-1.0) ** difference / np.sin(np.pi * difference / n)
    np.fill_diagonal(matrix, 0.0)
    return j / n, matrix


def _chebyshev(n: int) -> tuple[Array, Array]:
    """Gauss-Lobatto points on [0, 1] and the first-derivative matrix (negative-sum diagonal)."""
    theta = np.pi * np.arange(n) / (n - 1)
    s = np.sin(theta / 2) ** 2
    c = np.where((np.arange(n) == 0) | (np.arange(n) == n - 1), 2.0, 1.0) * (-1.0) ** np.arange(n)
    # Differences of sines avoid cancellation: s_i - s_j = sin((a+b)/2) sin((a-b)/2).
    difference = np.sin((theta[:, None] + theta) / 2) * np.sin((theta[:, None] - theta) / 2)
    np.fill_diagonal(difference, 1.0)
    matrix = np.outer(c, 1 / c) / difference
    np.fill_diagonal(matrix, 0.0)
    np.fill_diagonal(matrix, -matrix.sum(axis=1))
    return s, matrix

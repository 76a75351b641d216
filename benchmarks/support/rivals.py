"""What `ufd` is compared with on the circle: two finite-volume scripts for p = 2, in our words.

Both integrate d_t mu = -div(nu grad(nu/mu)) with the integrators of SciPy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import solve_ivp
from scipy.sparse import csc_array, diags_array

Array = NDArray[np.float64]


def centres(n: int) -> Array:
    """Centres of n equal cells of the circle, from -pi."""
    return -np.pi + 2 * np.pi * (np.arange(n) + 0.5) / n


def one_sided(nu: Array, mu: Array, times: Sequence[float]) -> Array:
    """Densities at ``times``, (len(times), n): what the paper's public script does.

    mu moves with the velocity grad(s^2)/2, s = nu/mu: a forward difference for the velocity, the
    density of the cell behind it, a backward difference for the divergence. It conserves mass
    and is of first order. LSODA at its default tolerances, with its own dense Jacobian.
    """
    h = 2 * np.pi / len(nu)

    def slope(t: float, mu: Array) -> Array:
        pressure = 0.5 * (nu / mu) ** 2
        flux = mu * (np.roll(pressure, -1) - pressure) / h
        return -(flux - np.roll(flux, 1)) / h

    return _integrate(slope, mu, times, method="LSODA")


def symmetric(
    nu: Callable[[Array], Array], n: int, times: Sequence[float], rtol: float, method: str = "BDF"
) -> Array:
    """Densities at ``times`` from a uniform start: what a competent script does.

    Fluxes nu (s_j - s_i)/h with nu at the interfaces: second order, symmetric. An implicit
    integrator with the exact sparse Jacobian.
    """
    h = 2 * np.pi / n
    x = centres(n)
    cell, face = nu(x), nu(x + h / 2)
    weights = face / h**2
    stiffness = diags_array(weights + np.roll(weights, 1)).tolil()
    index = np.arange(n)
    stiffness[index, (index + 1) % n] = -weights
    stiffness[(index + 1) % n, index] = -weights
    stiffness = csc_array(stiffness)

    def slope(t: float, mu: Array) -> Array:
        return stiffness @ (cell / mu)

    def jacobian(t: float, mu: Array) -> csc_array:
        return csc_array(stiffness @ diags_array(-cell / mu**2))

    start = np.full(n, 1 / (2 * np.pi))
    return _integrate(slope, start, times, method=method, jac=jacobian, rtol=rtol, atol=1e-3 * rtol)


def _integrate(slope: Callable, mu: Array, times: Sequence[float], **options) -> Array:
    solution = solve_ivp(slope, (0, times[-1]), mu, t_eval=list(times), **options)
    if not solution.success:
        raise RuntimeError(solution.message)
    return solution.y.T

"""Laws on a torus in Fourier modes, and the chordal energy kernel on them; see `expansions`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ufd.problem.laws import rows_at_once
from ufd.problem.manifolds import Torus

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Fourier:
    """A law on a torus by its Fourier coefficients.

    Args:
        torus: The torus.
        moments: E exp(-2 pi i k.Y/period) for k in {-K .. K}^dim.
    """

    torus: Torus
    moments: NDArray[np.complex128]

    def potential(self, points: Array) -> Array:
        """See `Expansion`."""
        dim, width = self.torus.dim, len(self.moments)
        k = np.arange(width) - width // 2
        coefficients = torus_energy_coefficients(self.torus, width // 2) * self.moments
        value = np.empty(len(points))
        step = rows_at_once(width ** max(1, dim - 1))
        for i in range(0, len(points), step):
            waves = np.exp(2j * np.pi / self.torus.period * points[i : i + step, :, None] * k)
            block = np.tensordot(waves[:, 0], coefficients, axes=1)
            for axis in range(1, dim):
                block = np.einsum("na,na...->n...", waves[:, axis], block)
            value[i : i + step] = block.real
        return value

    def form(self) -> float:
        """See `Expansion`."""
        kernel = torus_energy_coefficients(self.torus, len(self.moments) // 2)
        return float(np.sum(kernel * np.abs(self.moments) ** 2))

    def minus(self, other: Fourier) -> Fourier:
        """The difference of two laws."""
        wide, narrow = sorted([self.moments, other.moments], key=len, reverse=True)
        narrow = np.pad(narrow, (len(wide) - len(narrow)) // 2)
        # The form does not see the sign.
        return Fourier(self.torus, wide - narrow)


def torus_energy_coefficients(torus: Torus, degree: int) -> Array:
    """Fourier coefficients of -|embed(x) - embed(0)|, k in {-degree .. degree}^dim.

    With sqrt(s) = int_0^inf (1 - exp(-s u)) u^(-3/2) du / (2 sqrt(pi)) and the squared distance
    a sum over the circles, they are integrals of products of exp(-2u) I_k(2u), hence positive for
    k != 0: the chordal kernel gives a metric. Trapezoidal rule in log u, exact to rounding.
    """
    from scipy.special import ive

    # The error of the rule is exp(-pi^2/step): the integrand is analytic for |Im log u| < pi/2.
    step = 0.25
    u = np.exp(np.arange(-80.0, 80.0, step))
    k = np.abs(np.arange(-degree, degree + 1))[:, None]
    near = ive(k, 2 * np.minimum(u, 1e8))
    # ive does not know larger arguments; the relative error of this is 1e-9 there, where next to
    # nothing of the integral is left.
    far = np.exp(-(k**2) / (4 * u)) / np.sqrt(4 * np.pi * u)
    factors = np.where(u > 1e8, far, near)
    weights = step / np.sqrt(u) * torus.period / (2 * np.pi) / (2 * math.sqrt(math.pi))
    product = weights * factors
    for _ in range(torus.dim - 2):
        product = product[..., None, :] * factors
    kernel = product @ factors.T if torus.dim > 1 else product.sum(axis=1)
    # For k = 0 without the 1; the logarithm by its series (DLMF 10.25.2) where 1 would hide it.
    small = np.minimum(u, 1e-3)
    logs = np.where(u < 1e-3, -2 * small + small**2 - small**4 / 4, np.log(factors[degree]))
    kernel[(degree,) * torus.dim] = weights @ np.expm1(torus.dim * logs)
    return kernel

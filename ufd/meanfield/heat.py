"""Noise of temperature tau: entropy, proximal Gibbs measure, duality gap.

G(mu) = F(mu) + tau KL(mu|pi), pi uniform. With psi = -F'(mu) the proximal Gibbs measure is
exp(psi/tau) pi/Z, and G(mu) - min G <= tau KL(mu|it) for convex F (derived in docs/theory.md).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ufd.fem.discretization import Discretization
from ufd.parallel import largest, smallest
from ufd.problem.temperatures import Temperature

Array = NDArray[np.float64]


class Heat:
    """Noise on one mesh.

    Args:
        space: The mesh, with nu.
        temperature: tau(t).

    Attributes:
        log_nu: Logarithm of nu over the uniform density at the owned nodes.
    """

    def __init__(self, space: Discretization, temperature: Temperature) -> None:
        self._space, self.temperature = space, temperature
        self.log_nu: Array = space.log_nu + space.teacher.manifold.log_area

    def at(self, t: float) -> float:
        """tau at time t."""
        return self.temperature.at(t)

    def entropy(self, w: Array) -> float:
        """KL(mu|pi); collective."""
        return self._space.integrate(w * (np.log(w) + self.log_nu))

    def log_gibbs(self, psi: Array, tau: float) -> Array:
        """Logarithm of the ratio to nu of the proximal Gibbs measure; collective."""
        exponent = psi / tau - self.log_nu
        exponent -= largest(self._space.comm, float(exponent.max(initial=-np.inf)))
        return exponent - np.log(self._space.integrate(np.exp(exponent)))

    def duality_gap(self, w: Array, psi: Array, tau: float) -> float:
        """tau KL(mu|proximal Gibbs measure); collective."""
        above = np.log(w) - self.log_gibbs(psi, tau)
        # d + e^-d - 1 >= 0: no cancellation near the fixed point.
        return tau * self._space.integrate(w * above + w * np.expm1(-above))

    def oscillation(self, psi: Array) -> float:
        """max psi - min psi over the nodes; collective."""
        comm = self._space.comm
        top = largest(comm, float(psi.max(initial=-np.inf)))
        return top - smallest(comm, float(psi.min(initial=np.inf)))


def bernoulli(x: Array) -> tuple[Array, Array]:
    """B(x) = x/(e^x - 1) and its derivative."""
    small = np.abs(x) < 1e-3
    safe = np.where(small, 1.0, np.clip(x, -600, 600))
    below = np.expm1(safe)
    value = np.where(small, 1 - x / 2 + x * x / 12, safe / below)
    slope = np.where(small, -0.5 + x / 6, (1 - value * (below + 1)) / below)
    return value, slope

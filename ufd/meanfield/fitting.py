"""Drift and noise together: D dw/dt at temperature tau > 0, by exponential fitting.

d_t mu = div(-mu grad psi + tau grad mu), psi = f^*(g). With phi = psi/tau - log nu neighbours
exchange K_ij tau (B(-s) w_i - B(s) w_j), s = phi_j - phi_i, B(x) = x/(e^x - 1) (Scharfetter and
Gummel 1969): an M-matrix for every psi. As s grows this is upwind, of order 1 only: where w is
smooth it gives way to m_ij (psi_j - psi_i - tau (log mu_j - log mu_i)), m the harmonic mean of w,
which tends to the equation without noise as tau does to 0. On high degrees m is the arithmetic
mean. Either way nothing flows where mu is exp(psi/tau), and G falls (derived in docs/theory.md).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ufd.fem.discretization import Discretization
from ufd.meanfield.flux import Flux, Linearised
from ufd.meanfield.heat import Heat, bernoulli
from ufd.meanfield.neighbours import Neighbours
from ufd.meanfield.outer import Weights
from ufd.problem.penalties import Penalty

Array = NDArray[np.float64]
# From about this difference of psi/tau - log nu on means replace the fitting.
_LARGE = 2.0
# What flows and its derivatives in w_i, w_j and psi_j - psi_i, all without K_ij.
Exchange = tuple[Array, Array, Array, Array]


class FittedFlux(Flux):
    """What neighbours exchange at a positive temperature.

    Args:
        space: Nodes and K.
        neighbours: Its pairs.
        penalty: f, whose conjugate gives psi = u g - f(u).
        heat: Temperature, and log nu.
    """

    def __init__(
        self, space: Discretization, neighbours: Neighbours, penalty: Penalty, heat: Heat
    ) -> None:
        super().__init__(space, neighbours)
        self._penalty, self._log_nu = penalty, heat.log_nu
        self.tau = heat.at(0.0)
        self._share: Array = np.zeros(len(neighbours.K))

    def freeze(self, w: Array, now: Weights) -> None:
        """Choose, pair by pair, how much of the means: smooth w and large s ask for them."""
        super().freeze(w, now)
        here, there = self._ends(self.potential(now.u, now.g) / self.tau - self._log_nu)[0]
        s = (there - here) ** 2
        self._share = self._smooth * s / (_LARGE**2 + s)

    def potential(self, u: Array, g: Array) -> Array:
        """psi = f^*(g) = u g - f(u) at the owned nodes."""
        return u * g - self._penalty.value(u)

    def _exchange(self, w: Array, psi: Array) -> Exchange:
        (wi, wj), (here, there), (li, lj) = self._ends(w, psi, self._log_nu)
        drift = there - here - self.tau * (lj - li)
        means = self._by_means(wi, wj, drift)
        if not self._monotone:
            return means
        pairs = zip(means, self._fitted(wi, wj, drift), strict=True)
        return tuple(self._share * m + (1 - self._share) * f for m, f in pairs)  # type: ignore[return-value]

    def _by_means(self, wi: Array, wj: Array, drift: Array) -> Exchange:
        ones, tau = np.ones_like(wi), self.tau
        mean, by_wi, by_wj, *_ = self._central(wi, wj, ones, ones)
        force = drift - tau * (np.log(wj) - np.log(wi))
        return mean * force, by_wi * force + mean * tau / wi, by_wj * force - mean * tau / wj, mean

    def _fitted(self, wi: Array, wj: Array, drift: Array) -> Exchange:
        tau = self.tau
        (out, out_slope), (back, back_slope) = bernoulli(-drift / tau), bernoulli(drift / tau)
        flow = tau * (out * wi - back * wj)
        return flow, tau * out, -tau * back, -(out_slope * wi + back_slope * wj)

    def value(self, w: Array, u: Array, g: Array) -> Array:
        """See `Flux.value`."""
        flow, *_ = self._exchange(w, self.potential(u, g))
        return self._pairs.sum(self._pairs.K * flow)

    def linearised(self, w: Array, u: Array, g: Array, slope: Array) -> Linearised:
        """See `Flux.linearised`."""
        pairs, K = self._pairs, self._pairs.K
        flow, by_wi, by_wj, by_step = self._exchange(w, self.potential(u, g))
        ((ui, uj),) = self._ends(u)  # d psi/d g
        conductance = K * by_step
        return Linearised(
            pairs.sum(K * flow),
            (pairs.sum(K * by_wi), K * by_wj),
            pairs.matrix(-pairs.sum(conductance * ui), conductance * uj),
        )

    def mobility(self, w: Array, u: Array, g: Array) -> csr_array:
        """The symmetric matrix by which differences of tau log mu - psi drive a fixed point."""
        *_, mean = self._exchange(w, self.potential(u, g))
        conductance = self._pairs.K * mean
        return self._pairs.matrix(-self._pairs.sum(conductance), conductance)

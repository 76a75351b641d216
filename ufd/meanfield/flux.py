"""The nonlocal transport: D dw/dt = K_sigma g, with sigma = u mu/nu between neighbouring nodes.

d_t mu = -div(u mu grad f'(u)) is conservative; each pair of nodes exchanges
K_ij sigma_ij (g_j - g_i), g = f'(u). On M-matrices sigma_ij is the harmonic mean of w times the
arithmetic mean of u: never more than w allows, so w stays positive; the energy falls whatever the
sign of u is; and where u = 1/w it is 1 exactly, which is the diffusion's own K. Elsewhere it is the
arithmetic mean of u w, for which the sum over all pairs is as accurate as K (both derived in
docs/theory.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ufd.fem.discretization import Discretization
from ufd.meanfield.neighbours import Neighbours
from ufd.meanfield.outer import Weights

Array = NDArray[np.float64]
# sigma_ij and its derivatives in w_i, w_j, u_i, u_j.
Mobility = tuple[Array, Array, Array, Array, Array]


def harmonic_mobility(wi: Array, wj: Array, ui: Array, uj: Array) -> Mobility:
    """Harmonic mean of w times arithmetic mean of u, and its derivatives."""
    total = wi + wj
    mean, u = 2 * wi * wj / total, (ui + uj) / 2
    half = mean / 2
    return mean * u, 2 * (wj / total) ** 2 * u, 2 * (wi / total) ** 2 * u, half, half


def upwind_mobility(wi: Array, wj: Array, ui: Array, uj: Array, step: Array) -> Mobility:
    """u w where the mass comes from, as u and step = g_j - g_i say; none where u changes sign."""
    same, onwards = ui * uj > 0, step * ui
    here, there = same & (onwards > 0), same & (onwards < 0)
    sigma = np.where(here, wi * ui, np.where(there, wj * uj, 0.0))
    return sigma, here * ui, there * uj, here * wi, there * wj


def arithmetic_mobility(wi: Array, wj: Array, ui: Array, uj: Array) -> Mobility:
    """Arithmetic mean of u w, and its derivatives."""
    return (wi * ui + wj * uj) / 2, ui / 2, uj / 2, wi / 2, wj / 2


@dataclass(frozen=True, eq=False)
class Linearised:
    """K_sigma g at one state, with its derivatives: sparse matrices of all pairs.

    Attributes:
        value: K_sigma g at the owned nodes.
        in_w: Derivative in w: its diagonal (owned,), and its entries (pairs,).
        in_g: Derivative in g = f'(u), (owned, extended).
    """

    value: Array
    in_w: tuple[Array, Array]
    in_g: csr_array


class Flux:
    """What neighbours exchange.

    Args:
        space: Nodes and K.
        neighbours: Its pairs.

    Attributes:
        tau: Temperature, 0 here.
    """

    def __init__(self, space: Discretization, neighbours: Neighbours) -> None:
        self._pairs = neighbours
        self._monotone = space.is_m_matrix
        self._central = harmonic_mobility if self._monotone else arithmetic_mobility
        self._smooth: Array = np.ones(len(neighbours.K))

    tau = 0.0

    def freeze(self, w: Array, now: Weights) -> None:
        """Choose, pair by pair, between the two means by how smooth w is there; collective.

        ``now`` are the outer weights of w.

        At extremes and oscillations, |sum_j K_ij (w_j - w_i)| is as large as
        sum_j |K_ij| |w_j - w_i|; where w is smooth and monotone it is smaller by a mesh width.
        """
        if not self._monotone:
            return
        pairs = self._pairs
        wi, wj = self._ends(w)[0]
        bend = pairs.K * (wj - wi)
        rough = np.abs(pairs.sum(bend)) / np.maximum(pairs.sum(np.abs(bend)), 1e-300)
        ri, rj = self._ends(rough)[0]
        self._smooth = 1 - np.maximum(ri, rj) ** 2

    def _mobility(self, *ends: Array) -> Mobility:
        """Of w_i, w_j, u_i, u_j and g_j - g_i."""
        central = self._central(*ends[:4])
        if not self._monotone:
            return central
        share, rest = self._smooth, 1 - self._smooth
        pairs = zip(central, upwind_mobility(*ends), strict=True)
        return tuple(share * c + rest * u for c, u in pairs)  # type: ignore[return-value]

    def _ends(self, *nodal: Array) -> list[tuple[Array, Array]]:
        i, j = self._pairs.i, self._pairs.j
        return [(own[i], self._pairs.extend(own)[j]) for own in nodal]

    def value(self, w: Array, u: Array, g: Array) -> Array:
        """K_sigma g, (owned,); collective."""
        (wi, wj), (ui, uj), (gi, gj) = self._ends(w, u, g)
        sigma, *_ = self._mobility(wi, wj, ui, uj, gj - gi)
        return self._pairs.sum(self._pairs.K * sigma * (gj - gi))

    def linearised(self, w: Array, u: Array, g: Array, slope: Array) -> Linearised:
        """K_sigma g and its derivatives; collective.

        Args:
            w: mu/nu, (owned,).
            u: Outer weights, (owned,).
            g: f'(u), (owned,).
            slope: du/dg, (owned,).
        """
        pairs = self._pairs
        (wi, wj), (ui, uj), (gi, gj), (si, sj) = self._ends(w, u, g, slope)
        sigma, by_wi, by_wj, by_ui, by_uj = self._mobility(wi, wj, ui, uj, gj - gi)
        step = pairs.K * (gj - gi)
        conductance = pairs.K * sigma
        return Linearised(
            pairs.sum(step * sigma),
            (pairs.sum(step * by_wi), step * by_wj),
            pairs.matrix(
                pairs.sum(step * by_ui * si - conductance), step * by_uj * sj + conductance
            ),
        )

    def symmetric(self, w: Array, u: Array) -> csr_array:
        """u K_m u, m the mean of w: the symmetric part of the response to g, (owned, extended)."""
        (wi, wj), (ui, uj) = self._ends(w, u)
        ones = np.ones_like(wi)
        mean, *_ = self._central(wi, wj, ones, ones)
        conductance = self._pairs.K * mean
        return self._pairs.matrix(-self._pairs.sum(conductance) * u * u, conductance * ui * uj)

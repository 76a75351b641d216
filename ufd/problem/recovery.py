"""What theory says about few neurons, and whether it came true.

The sufficient condition, its probability, the loss floor and the bound of the recovery time are
those of arXiv 2304.09576 as its public code uses them, derived in docs/theory.md.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from ufd.problem.knots import Knots

Array = NDArray[np.float64]
# int (sigma - 1_{x > 0})^2 of the published smoothed step of width 1.
_FLOOR = 1 / 28
_NEEDED = 2


def recovered(target: Knots, positions: Array, within: float) -> NDArray[np.bool]:
    """Which knots have a neuron closer than ``within``: (..., m) positions to (..., n)."""
    distance = np.abs(positions[..., None] - np.array(target.positions))
    return distance.min(axis=-2) <= within


def condition(target: Knots, positions: Array) -> NDArray[np.bool]:
    """Whether every piece holds two neurons: sufficient for recovery in the limit; (...)."""
    pieces = np.searchsorted(np.array(target.positions), positions)
    counts = (pieces[..., None] == np.arange(len(target.positions) + 1)).sum(axis=-2)
    return (counts >= _NEEDED).all(axis=-1)


def probability(target: Knots, width: int) -> float:
    """Of the condition, for independent uniform positions: an exact multinomial sum.

    The coefficient of z^m in m! prod_i (e^(p_i z) - 1 - p_i z), by products of polynomials in
    z/m, whose coefficients are Poisson probabilities: no width overflows.
    """
    lengths = np.diff([0.0, *target.positions, 1.0])
    powers = np.arange(width + 1)

    def poisson(mean: float) -> Array:
        return np.exp(powers * np.log(mean) - mean - gammaln(powers + 1))

    product = np.zeros(width + 1)
    product[0] = 1.0
    for p in lengths:
        series = poisson(width * p)
        series[:_NEEDED] = 0
        product = np.convolve(product, series)[: width + 1]
    return float(product[width] / poisson(width)[width])


def loss_floor(target: Knots, eta: float) -> float:
    """Loss of smoothed steps of width eta that sit on every jump: (eta/28) sum J_i^2."""
    return eta * _FLOOR * float(np.sum(np.square(target.changes)))


def recovery_bounds(target: Knots, positions: Array) -> Array:
    """Bounds 2 s_i/J_i^2 of the times at which the limit recovers jumps; (n,).

    s_i is the distance at the start between the neighbours of jump i; nan where the condition
    does not hold, and neighbouring jumps may share them.
    """
    if not condition(target, positions):
        return np.full(len(target.positions), np.nan)
    u = np.sort(positions)
    right = np.searchsorted(u, target.positions)
    return 2 * (u[right] - u[right - 1]) / np.square(target.changes)

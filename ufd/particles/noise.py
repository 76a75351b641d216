"""Brownian motion of features on their manifold: noisy gradient descent."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ufd.problem.manifolds import Manifold
from ufd.problem.temperatures import Temperature

Array = NDArray[np.float64]


class Brownian:
    """sqrt(2 tau) dB, tangential; the same on every rank.

    Args:
        temperature: tau(t).
        manifold: Of the features.
        rng: Of the increments.
    """

    def __init__(
        self, temperature: Temperature, manifold: Manifold, rng: np.random.Generator
    ) -> None:
        self._temperature, self._manifold, self._rng = temperature, manifold, rng

    def increment(self, t: float, points: Array, dt: float) -> Array:
        """Tangent vectors at points for a step from t to t + dt, (M, d)."""
        size = np.sqrt(2 * self._temperature.at(t) * dt)
        return self._manifold.tangent(points, size * self._rng.standard_normal(points.shape))

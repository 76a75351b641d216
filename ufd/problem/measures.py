"""Measures on a sphere, and how every room lets others look at them: by integrating functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Measure:
    """A weighted sum of point masses, possibly one share of it per rank.

    Args:
        points: (n, ambient_dim) points of this rank.
        weights: (n,) weights of this rank.
        reduce: Sums an array over the ranks (identity in serial).
    """

    points: Array
    weights: Array
    reduce: Callable[[Any], Any] = lambda share: share

    def integrate(self, function: Callable[[Array], ArrayLike]) -> Array:
        """Integral of ``function``, of shape (n,) or (n, k) at n points; the same on every rank."""
        return self.reduce(self.weights @ np.asarray(function(self.points), dtype=float))

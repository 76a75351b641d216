"""Means of a positive weight over an edge, from the logarithms at its ends."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def edge_means(a: Array, b: Array) -> Array:
    """Scharfetter-Gummel: 1 / int_0^1 exp(-log nu) dr for log nu linear from a to b.

    It equals sqrt(nu_a nu_b) h / sinh(h) with h = |a - b| / 2, and neither underflows between the
    ends nor exceeds their arithmetic mean.
    """
    half = np.maximum(np.abs(a - b) / 2, 1e-30)
    return np.exp((a + b) / 2 - half) * (2 * half / -np.expm1(-2 * half))

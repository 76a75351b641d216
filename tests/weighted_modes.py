"""Eigenvalues of -(1/nu) div(nu grad) without finite elements.

With f = g/sqrt(nu) the operator is -Laplacian + |grad log nu|^2/4 + (Laplacian of log nu)/2, which
knows no small weight and loses no digit to it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh, eigvals_banded

Array = NDArray[np.float64]


def circle_eigenvalues(
    log_density: Callable[[Array], Array], count: int = 3, nodes: int = 801
) -> Array:
    """The first ``count`` above 0, by Fourier collocation on an odd number of equal arcs."""
    angle = 2 * np.pi * np.arange(nodes) / nodes
    k = np.fft.fftfreq(nodes, 1 / nodes)
    modes = np.fft.fft(log_density(np.column_stack([np.cos(angle), np.sin(angle)])))
    first, second = (np.fft.ifft(factor * modes).real for factor in (1j * k, -(k**2)))
    laplacian = np.fft.ifft(k[:, None] ** 2 * np.fft.fft(np.eye(nodes), axis=0), axis=0).real
    matrix = (laplacian + laplacian.T) / 2 + np.diag(first**2 / 4 + second / 2)
    return eigh(matrix, eigvals_only=True, subset_by_index=(0, count))[1:]


def sphere_eigenvalues(kappa: float, count: int = 3) -> Array:
    """Of the von Mises-Fisher density on the two-sphere, by associated Legendre functions."""
    found: list[float] = []
    top = int(60 + 10 * np.sqrt(kappa))
    for m in range(count + 1):
        l = np.arange(m, m + top + 1.0)
        # z Y_l = a_{l+1} Y_{l+1} + a_l Y_{l-1}
        a = np.sqrt((l**2 - m**2) / (4 * l**2 - 1))
        z = np.diag(a[1:], 1) + np.diag(a[1:], -1)
        potential = kappa**2 / 4 * (np.eye(len(l)) - z @ z) - kappa * z
        matrix = (np.diag(l * (l + 1)) + potential)[:-1, :-1]
        bands = [np.diagonal(matrix, -below) for below in range(3)]
        banded = np.array([np.pad(band, (0, len(matrix) - len(band))) for band in bands])
        values = eigvals_banded(banded, lower=True, select="i", select_range=(0, count))
        found += list(values) * (1 + (m > 0))
    return np.sort(found)[1 : count + 1]

"""Rows of least-squares problems: data samples, or the harmonics of a population kernel."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ufd.problem.features import Feature, Pullback
from ufd.problem.harmonics import basis
from ufd.problem.kernels import ZonalKernel
from ufd.problem.manifolds import Sphere

Array = NDArray[np.float64]


class SampleRows:
    """phi(omega_j, x_i) for the inputs x_i of this rank, (n, d)."""

    def __init__(self, feature: Feature, inputs: Array) -> None:
        self._feature, self._inputs = feature, inputs

    def __call__(self, omega: Array) -> tuple[Array, Pullback]:
        """See `sampled.Rows`."""
        return self._feature.evaluate(omega, self._inputs)


class HarmonicRows:
    """sqrt(kappa_k) times the Fourier basis on the circle: a population kernel of low rank.

    Args:
        kernel: A zonal kernel on the circle.
        degree: Highest degree kept.
    """

    def __init__(self, kernel: ZonalKernel, degree: int) -> None:
        self._sphere, self._degree = kernel.sphere, degree
        roots = np.sqrt(np.maximum(kernel.eigenvalues(degree), 0.0))  # an exact zero is rounded
        self._roots = np.concatenate([roots[:1], np.repeat(roots[1:], 2)])

    def __call__(self, omega: Array) -> tuple[Array, Pullback]:
        """See `sampled.Rows`."""
        waves = basis(self._sphere, self._degree, omega)

        def pullback(weights: Array) -> Array:
            # d/dtheta of cos and sin exchanges the two columns of a degree.
            scaled = weights * self._roots
            turned = np.zeros_like(scaled)
            k = np.arange(1, self._degree + 1)
            turned[2::2], turned[1::2] = -k * scaled[1::2], k * scaled[2::2]
            tangent = np.column_stack([-omega[:, 1], omega[:, 0]])
            return (waves @ turned)[:, None] * tangent

        return (waves * self._roots).T, pullback

    def targets(self, parts: list[tuple[Array, Array]]) -> Array:
        """The rows integrated over a density of known moments, (2 degree + 1,)."""
        total = np.zeros(2 * self._degree + 1)
        for axis, moments in parts:
            waves = basis(self._sphere, self._degree, axis[None])[0]
            known = np.zeros(self._degree + 1)
            known[: len(moments)] = moments[: self._degree + 1]
            total += waves * np.concatenate([known[:1], np.repeat(known[1:], 2)])
        return self._roots * total


def harmonic_degree(kernel: ZonalKernel, lam: float, truncation: float) -> int | None:
    """The degree from which all eigenvalues are below ``truncation * lam``; None if there is none.

    An eigenvalue below that changes the outer weights by less than ``truncation`` relatively.
    """
    if not isinstance(kernel.sphere, Sphere) or kernel.sphere.dim != 1:
        return None
    most = 1024
    above = np.flatnonzero(kernel.eigenvalues(most) > truncation * lam)
    last = int(above[-1]) if len(above) else 0
    return None if last == most else max(last, 1)


def split(count: int, rank: int, size: int) -> slice:
    """The rows of one of ``size`` ranks."""
    return slice(math.floor(count * rank / size), math.floor(count * (rank + 1) / size))

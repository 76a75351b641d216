"""Laws on the circle by their Fourier coefficients: distances of sums and differences of laws."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Modes = NDArray[np.complex128]
# Coefficients that are kept: what is left out of the MMD of atoms is 5e-4 of its square.
COUNT = 1000
# Densities on a mesh have no more than this many, or a third of what its nodes carry.
_SMOOTH = 300


def of_points(points: Array, count: int = COUNT) -> Modes:
    """Means of e^{-ik theta} over points (n, 2), k = 1 to ``count``."""
    turn = points[:, 0] - 1j * points[:, 1]
    power, found = np.ones_like(turn), np.empty(count, complex)
    for k in range(count):
        power *= turn
        found[k] = power.mean()
    return found


def of_state(state: Any, count: int = COUNT) -> Modes:
    """The same of a density on a mesh of equal arcs; zero beyond what the mesh carries."""
    measure = state.measure
    found = np.zeros(count, complex)
    turn = measure.points[:, 0] - 1j * measure.points[:, 1]
    power = np.ones_like(turn)
    for k in range(min(_SMOOTH, len(turn) // 3, count)):
        power *= turn
        found[k] = measure.weights @ power
    return found


def of_teacher(problem: Any, count: int = COUNT) -> Modes:
    """The same of a teacher with known moments."""
    found = np.zeros(count, complex)
    k = np.arange(1, count + 1)
    for axis, moments in problem.teacher.moments(count):
        found += moments[1:] * (axis[0] - 1j * axis[1]) ** k
    return found


def length(modes: ArrayLike) -> Array:
    """Energy MMD of a difference of laws from its coefficients (..., count)."""
    found = np.asarray(modes)
    k = np.arange(1, found.shape[-1] + 1)
    return np.sqrt(8 / np.pi * np.sum(np.abs(found) ** 2 / (4 * k**2 - 1), axis=-1))

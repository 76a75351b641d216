"""Stochastic gradient descent of few neurons, compiled: one sample a step, with noise.

As published (arXiv 2304.09576): x uniform on [0, 1], y = f*(x) + noise, a step h for the weights
and eps h for the positions along the gradient of (f(x) - y)^2, where a box of width eta stands for
the derivative of the smoothed step. In several dimensions f is a sum of functions of one
coordinate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ufd.problem.knots import Knots, RampTarget

Array = NDArray[np.float64]
# Samples that are drawn at once.
_BLOCK = 1 << 14


@lru_cache
def _compiled(width: int, axes: int, ramp: bool) -> Callable[..., None]:
    """The loop over one block of samples; sizes known to the compiler double its speed."""
    from numba import njit

    count = width * axes

    @njit(fastmath=True, error_model="numpy")
    def run(
        draws: Array, knots: Array, changes: Array, start: float, noise: float,
        a: Array, u: Array, h: float, slow: float, eta: float,
    ) -> None:  # fmt: skip
        half, s = eta / 2, np.empty(count)
        constant = a[0]
        for n in range(draws.shape[1]):
            error = constant - start - noise * (2 * draws[axes, n] - 1)
            for d in range(axes):
                x = draws[d, n]
                for k in range(knots.shape[1]):
                    past = x - knots[d, k]
                    height = past if ramp else 1.0
                    error -= changes[d, k] * height if past > 0 else 0.0
                for j in range(d * width, (d + 1) * width):
                    z = x - u[j]
                    if ramp:
                        s[j] = max(z, 0.0)
                    else:
                        z = min(max(z / eta, -0.5), 0.5)
                        rest = 0.5 - abs(z)
                        tail = 4 * rest * rest * rest
                        s[j] = tail if z < 0 else 1 - tail
                    error += a[1 + j] * s[j]
            fast = 2 * h * error
            push = 2 * slow * error if ramp else 2 * slow * error / eta
            constant -= fast
            for d in range(axes):
                x = draws[d, n]
                for j in range(d * width, (d + 1) * width):
                    near = x > u[j] if ramp else abs(x - u[j]) < half
                    u[j] += push * a[1 + j] if near else 0.0
                    a[1 + j] -= fast * s[j]
        a[0] = constant

    return run


class Descent:
    """One run of stochastic gradient descent.

    Args:
        targets: One for each coordinate, all steps or all ramps.
        positions: Start, (coordinates, m); weights start at zero.
        eta: Width of the smoothed step; anything for ramps.
        epsilon: Ratio of the two steps.
        h: Step of the weights.
        noise: Half width of the uniform noise of the values.
        rng: Draws the samples.

    Attributes:
        steps: That were taken.
        weights: a_0 and the weights, (1 + coordinates m,).
        positions: Now, (coordinates, m).
    """

    def __init__(
        self,
        targets: Sequence[Knots],
        positions: Array,
        eta: float,
        epsilon: float,
        h: float,
        noise: float,
        rng: np.random.Generator,
    ) -> None:
        axes, width = positions.shape
        longest = max(len(target.positions) for target in targets)
        knots, changes = np.full((axes, longest), 2.0), np.zeros((axes, longest))
        for d, target in enumerate(targets):
            knots[d, : len(target.positions)] = target.positions
            changes[d, : len(target.positions)] = target.changes
        start = sum(target.start for target in targets)
        self._given = knots, changes, start, noise
        self._sizes = h, epsilon * h, eta
        self.positions, self.weights = positions.copy(), np.zeros(1 + positions.size)
        self._rng, self._axes, self.steps = rng, axes, 0
        self._run = _compiled(width, axes, isinstance(targets[0], RampTarget))

    def advance(self, steps: int) -> None:
        """Take so many steps; samples are the same however they are parted into calls."""
        draws: Any = np.empty((_BLOCK, self._axes + 1))
        flat = self.positions.reshape(-1)
        while steps > 0:
            count = min(steps, _BLOCK)
            # Sample by sample, so that blocks may be cut anywhere.
            self._rng.random(out=draws[:count])
            self._run(draws[:count].T, *self._given, self.weights, flat, *self._sizes)
            steps -= count
            self.steps += count

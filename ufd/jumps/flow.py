"""Gradient flow of few neurons at two timescales, on the slow clock tau = eps t.

eps da/dtau = -dL/da,  du/dtau = -dL/du (arXiv 2304.09576). Stiff as eps tends to 0: implicit
stages by Newton's method with the exact Hessian.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, lu_factor, lu_solve

from ufd.evolution.steppers import Stage
from ufd.jumps.neurons import Neurons

Array = NDArray[np.float64]
_MOST, _MOST_HALVINGS = 20, 8


class NeuronFlow:
    """The flow as a semi-discrete system; a state holds (a_0, a, u), (2m + 1,).

    Args:
        neurons: Their loss.
        width: Number m of neurons.
        epsilon: Ratio of the timescales, positive.
        tolerance: Of the corrections of Newton's method.
    """

    def __init__(self, neurons: Neurons, width: int, epsilon: float, tolerance: float) -> None:
        self.neurons, self._width, self._tolerance = neurons, width, tolerance
        self._speed = np.concatenate([np.full(width + 1, 1 / epsilon), np.ones(width)])

    def parts(self, values: Array) -> tuple[Array, Array]:
        """Weights (m + 1,) and positions (m,) of a state."""
        return values[: self._width + 1], values[self._width + 1 :]

    def slope(self, values: Array) -> Array:
        """Velocity of a state."""
        return -self._speed * self.neurons.gradient(*self.parts(values))

    def stage(self, r: Array, tau: float, t: float, guess: Array) -> Stage:
        """Solve W - tau dW/dt = r: damped Newton, judged by corrections, free of stiffness."""
        w = guess
        for iteration in range(1, _MOST + 1):
            gradient, hessian = self.neurons.derivatives(*self.parts(w))
            try:
                factors = lu_factor(np.eye(len(w)) + (tau * self._speed)[:, None] * hessian)
            except (LinAlgError, ValueError):
                break
            step = -lu_solve(factors, w - r + tau * self._speed * gradient)
            size = self.norm(step, w)
            if size <= self._tolerance:
                return Stage(w + step, iteration, 0, 0.0)
            length = 1.0
            for _ in range(_MOST_HALVINGS):
                there = w + length * step
                left = self.norm(lu_solve(factors, self._residual(there, r, tau)), there)
                if left <= (1 - length / 4) * size:
                    break
                length /= 2
            else:
                break
            w = there
        return Stage(guess, iteration, 0, 0.0, "Newton did not converge")

    def _residual(self, w: Array, r: Array, tau: float) -> Array:
        return w - r - tau * self.slope(w)

    def norm(self, error: Array, values: Array) -> float:
        """Largest error of a position, or of a weight relative to max(1, |weight|)."""
        scale = np.ones_like(values)
        scale[: self._width + 1] = np.maximum(1.0, np.abs(values[: self._width + 1]))
        worst = float(np.max(np.abs(error) / scale))
        return worst if np.isfinite(worst) else np.inf

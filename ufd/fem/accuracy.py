"""The size of an error as step control judges it, and where double precision ends it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ufd.exceptions import InputError
from ufd.fem.discretization import Discretization
from ufd.parallel import total

Array = NDArray[np.float64]
# Errors count relative to min(|w|, _DECAY |w - 1|) in L1(nu), down to _DECAY_FLOOR |w|.
_DECAY, _DECAY_FLOOR = 100.0, 1e-5


class StepError:
    """Relative L1(mu) size of an error in w; near equilibrium relative to |w - 1|.

    Without the second part steps grow as w tends to 1, and the decay itself, whose rate is what a
    run is for, would be resolved no better than the whole density is. It ends where the noise of
    the stages would be a part of the tolerance: noise does not fall with the step, and steps that
    follow it creep.

    Args:
        space: Gives D.
        rtol: Tolerance of the steps; None if no error is judged.
        noise: Errors in |w| that the estimate of a step must exceed to be one, relatively.

    Attributes:
        limited: Whether the last error was judged by the noise.

    Raises:
        InputError: If not even errors relative to |w| can be told from noise.
    """

    def __init__(self, space: Discretization, rtol: float | None, noise: float) -> None:
        self._space = space
        self._least = 0.0 if rtol is None else noise / rtol
        self.limited = False
        if self._least > 0.5:
            raise InputError(
                f"rtol = {rtol:g} is below what double precision gives; use {2 * noise:g} or more"
            )

    def __call__(self, error: Array, values: Array) -> float:
        """The size of ``error`` in the state ``values``; equal on every rank."""
        sums = np.array([self._space.D @ np.abs(h) for h in (error, values, values - 1)])
        absolute, size, distance = total(self._space.comm, sums)
        scale = min(size, max(_DECAY * distance, _DECAY_FLOOR * size))
        self.limited = bool(scale < self._least * size)
        return float(absolute / max(scale, self._least * size))

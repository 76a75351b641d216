"""The population model: a closed-form kernel and the exact potential of the teacher."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ufd.particles.models import Fit
from ufd.particles.ridge import Conditioning, ShiftedGram, needs_refinement, optimal_weights
from ufd.problem.kernels import ZonalKernel
from ufd.problem.penalties import Penalty, QuadraticPenalty
from ufd.problem.potentials import Potential

Array = NDArray[np.float64]


class PopulationModel:
    """Least squares in the law of the inputs, through the kernel matrix of the features.

    Args:
        kernel: kappa.
        potential: kappa * nu of the teacher.
        description: Of the kernel.
    """

    def __init__(
        self, kernel: ZonalKernel, potential: Potential, description: dict[str, Any]
    ) -> None:
        self._kernel, self._potential, self._description = kernel, potential, description
        # Forces are differences of sums of kernel values, divided by lam.
        self._conditioning = Conditioning(loss=np.finfo(float).eps)

    def describe(self) -> dict[str, Any]:
        """See `Model`."""
        return dict(self._description)

    def optimum(self, omega: Array, lam: float, penalty: Penalty) -> Fit:
        """See `Model`."""
        gram, slope = self._kernel.values(omega @ omega.T)
        target, pull = self._potential.at(omega)
        self._conditioning.check(float(np.trace(gram)) / len(gram), lam)
        newton = 0
        if isinstance(penalty, QuadraticPenalty):
            base = penalty.reference
            v = _correction(gram, target, lam, base)
            outer = base + v
        else:
            outer, newton = optimal_weights(gram, target, lam, penalty)
        force = (pull - (slope * outer) @ omega / len(omega)) / lam
        misfit = self._misfit(gram, target, outer, lam)
        return Fit(outer, penalty.slope(outer), force, misfit, newton)

    def fit(self, omega: Array, outer: Array, lam: float) -> Fit:
        """See `Model`."""
        gram, slope = self._kernel.values(omega @ omega.T)
        target, pull = self._potential.at(omega)
        width = len(omega)
        pressure = (target - gram @ outer / width) / lam
        force = (pull - (slope * outer) @ omega / width) / lam
        return Fit(outer, pressure, force, self._misfit(gram, target, outer, lam))

    def _misfit(self, gram: Array, target: Array, outer: Array, lam: float) -> float:
        """Through the energies: its error is that of the kernel's round-off over lam."""
        width = len(outer)
        energy = self._potential.energy - 2 * (target @ outer) / width
        return float(energy + outer @ (gram @ outer) / width**2) / (2 * lam)


def _correction(gram: Array, target: Array, lam: float, base: float) -> Array:
    """v of (G/M + lam) v = b - base G 1/M, refined with extended residuals where lam is small."""
    width = len(gram)
    factor = ShiftedGram(gram, lam)
    right = target - base * gram.sum(axis=1) / width
    v = factor.solve(right)
    if needs_refinement(float(np.trace(gram)) / width, lam):
        wide = gram.astype(np.longdouble)
        for _ in range(4):
            r = target - wide @ (base + v) / np.longdouble(width) - np.longdouble(lam) * v
            change = factor.solve(r.astype(float))
            v = v + change
            if np.linalg.norm(change) <= 1e-15 * np.linalg.norm(v):
                break
    return v

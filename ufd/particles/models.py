"""What a model of the data tells about given features: the fit of outer weights, and its forces."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ufd.problem.penalties import Penalty

Array = NDArray[np.float64]


class Fit(NamedTuple):
    """Outer weights u and what the flow needs of them.

    Attributes:
        outer: u, (M,).
        pressure: g = <phi, alpha> at the features, (M,), alpha = (f* - Phi u/M)/lam the scaled
            residual. At the optimum g = f'(u).
        force: Ambient gradient of g at the features, (M, d).
        misfit: |f* - Phi u/M|^2 / (2 lam).
        newton: Steps of the inner Newton method (0 for quadratic penalties).
    """

    outer: Array
    pressure: Array
    force: Array
    misfit: float
    newton: int = 0


class Model(Protocol):
    """Data, or their law, with the target values: a quadratic misfit for every set of features."""

    def optimum(self, omega: Array, lam: float, penalty: Penalty) -> Fit:
        """The optimal outer weights of features (M, d)."""

    def fit(self, omega: Array, outer: Array, lam: float) -> Fit:
        """The same quantities for given outer weights."""

    def describe(self) -> dict[str, object]:
        """What the data are, for the record of a run."""

"""Densities on the flat torus."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ufd.exceptions import InputError
from ufd.problem.checks import number
from ufd.problem.manifolds import Torus

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PeriodicCauchy:
    """A product of wrapped Cauchy densities, one for each coordinate of a flat torus.

    Each is proportional to 1/(1 + gamma sin^2(pi (x - centre)/period)); see `AngularCauchy`.

    Args:
        gamma: Concentration, at least 0; sup/inf along one coordinate is 1 + gamma.
        centre: Coordinates of the mode, (dim,).
        period: Length of every coordinate circle.

    Raises:
        InputError: If a number is out of range.
    """

    gamma: float
    centre: Sequence[float]
    period: float = 1.0
    manifold: Torus = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "gamma", number("PeriodicCauchy", "gamma", self.gamma, 0.0))
        try:
            centre = [number("PeriodicCauchy", "centre", c) for c in self.centre]
        except TypeError:
            raise InputError(
                f"PeriodicCauchy: centre = {self.centre!r} must be a list of coordinates"
            ) from None
        torus = Torus(len(centre), self.period)
        object.__setattr__(self, "manifold", torus)
        object.__setattr__(self, "centre", centre)

    def log_density(self, points: Array) -> Array:
        """See `Density`."""
        torus = self.manifold
        sines = np.sin(np.pi / torus.period * (points - np.asarray(self.centre)))
        constant = torus.dim * 0.5 * math.log1p(self.gamma) - torus.log_area
        return constant - np.log1p(self.gamma * sines**2).sum(axis=1)

    def axes(self) -> None:
        """A torus has no axes."""
        return None

    def moments(self, degree: int) -> None:
        """See `Density`: the harmonics of a torus are not zonal."""
        return None

    def describe(self) -> dict[str, Any]:
        """See `Density`."""
        return {"kind": "periodic_cauchy", "gamma": self.gamma, "centre": list(self.centre)}

"""The uniform density with one zonal harmonic on it: a start in a single mode."""

from __future__ import annotations

from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ufd.exceptions import InputError
from ufd.problem.checks import direction, number, shown
from ufd.problem.harmonics import multiplicity, zonal_harmonics
from ufd.problem.manifolds import Sphere

Array = NDArray[np.float64]
# Far above what a mesh resolves; the recurrence takes a pass over the points per degree.
_MAX_DEGREE = 10_000


def zonal_harmonic(dim: int, degree: int, z: Array) -> Array:
    """P_degree(z) on S^dim, z the cosine of the angle from the axis, with P(1) = 1; shape of z.

    cos(degree * angle) for dim = 1, Legendre's polynomial for dim = 2 and Gegenbauer's, of
    parameter (dim - 1)/2, divided by its value at 1, in general. An eigenfunction of the
    Laplacian with eigenvalue degree (degree + dim - 1), and |P| <= 1.
    """
    for value in zonal_harmonics(dim, degree, z):  # noqa: B007  (the last one is wanted)
        pass
    return np.clip(value, -1, 1)


@dataclass(frozen=True, eq=False)
class ZonalHarmonic:
    """The uniform density times 1 + amplitude P(axis.x), P the zonal harmonic of a degree.

    P is normalised to P(1) = 1: cos(degree * angle) on the circle, Legendre's polynomial on the
    sphere. It is an eigenfunction of the Laplacian, so a run towards the uniform density that
    starts here begins in the one mode of eigenvalue degree (degree + dim - 1).

    Args:
        axis: Direction of the pole, (ambient_dim,); normalised.
        degree: An integer from 1 to 10000.
        amplitude: Above -1 and below 1.

    Raises:
        InputError: If the axis is zero or not finite, or a number is out of range.
    """

    axis: ArrayLike
    degree: int
    amplitude: float
    manifold: Sphere = field(init=False)

    def __post_init__(self) -> None:
        axis = direction("ZonalHarmonic", "axis", self.axis)
        degree = self.degree
        whole = isinstance(degree, Integral) and not isinstance(degree, bool)
        if not whole or not 1 <= degree <= _MAX_DEGREE:
            raise InputError(
                f"ZonalHarmonic: degree = {shown(degree)} must be an integer from 1 to "
                f"{_MAX_DEGREE}"
            )
        amplitude = number("ZonalHarmonic", "amplitude", self.amplitude)
        if not abs(amplitude) < 1:
            raise InputError(
                f"ZonalHarmonic: amplitude = {amplitude!r} must lie between -1 and 1, "
                "or the density is not positive"
            )
        object.__setattr__(self, "axis", axis)
        object.__setattr__(self, "degree", int(degree))
        object.__setattr__(self, "amplitude", amplitude)
        object.__setattr__(self, "manifold", Sphere(axis.size - 1))

    def log_density(self, points: Array) -> Array:
        """See `Density`."""
        # Round-off in the length of a point must not lead out of [-1, 1], where P grows fast.
        z = np.clip(points @ np.asarray(self.axis), -1, 1)
        wave = self.amplitude * zonal_harmonic(self.manifold.dim, self.degree, z)
        return np.log1p(wave) - self.manifold.log_area

    def axes(self) -> Array:
        """See `Density`."""
        return np.asarray(self.axis)[None][: self.amplitude != 0]

    def moments(self, degree: int) -> list[tuple[Array, Array]]:
        """See `Density`."""
        moments = np.eye(degree + 1)[0]
        if self.degree <= degree:
            moments[self.degree] = self.amplitude / multiplicity(self.manifold.dim, self.degree)
        return [(np.asarray(self.axis), moments)]

    def describe(self) -> dict[str, Any]:
        """See `Density`."""
        return {
            "kind": "zonal_harmonic",
            "axis": np.asarray(self.axis).tolist(),
            "degree": self.degree,
            "amplitude": self.amplitude,
        }

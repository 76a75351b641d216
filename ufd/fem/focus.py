"""A conformal map of the sphere that draws the nodes of a mesh towards one direction.

Moebius maps keep angles and the exact sphere, and they stretch everywhere smoothly: elements stay
well shaped, high order stays high order, and nothing hangs between large cells and small ones
(derived in docs/theory.md, section 17).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ufd.exceptions import InputError
from ufd.problem.checks import direction, number
from ufd.problem.diffusion import UltraFastDiffusion

Array = NDArray[np.float64]
_STRONGEST, _SAMPLES = 100.0, 4096


@dataclass(frozen=True)
class Focus:
    """Divides the mesh width at a direction by ``factor``, and multiplies it at the antipode.

    A front about sqrt(t)/sup(w0) thick ends where w0 = mu0/nu is largest: nodes are worth more
    there than where the density is smooth.

    Args:
        direction: Point of the sphere, (gdim,); made a unit vector.
        factor: At least 1, which changes nothing.

    Raises:
        InputError: If an argument is out of range.
    """

    direction: tuple[float, ...]
    factor: float = 2.0

    def __post_init__(self) -> None:
        axis = direction("focus", "direction", self.direction)
        object.__setattr__(self, "direction", tuple(float(x) for x in axis))
        object.__setattr__(self, "factor", number("focus", "factor", self.factor, 1.0))
        if self.factor > _STRONGEST:
            raise InputError(f"focus: factor = {self.factor!r} must be at most {_STRONGEST:g}")

    @classmethod
    def where_empty(cls, problem: UltraFastDiffusion, factor: float = 2.0) -> Focus:
        """A focus where w0 = mu0/nu is largest, to a few degrees."""
        place = (np.arange(_SAMPLES) + 0.5) / _SAMPLES
        if problem.manifold.dim == 1:
            columns = [np.cos(2 * np.pi * place), np.sin(2 * np.pi * place)]
        else:
            # Fibonacci's spiral: equal areas.
            height, turn = 1 - 2 * place, np.pi * (1 + 5**0.5) * _SAMPLES * place
            radius = np.sqrt(1 - height**2)
            columns = [radius * np.cos(turn), radius * np.sin(turn), height]
        points = np.column_stack(columns)
        log_w = problem.initial.log_density(points) - problem.teacher.log_density(points)
        return cls(tuple(points[np.argmax(log_w)]), factor)

    def describe(self) -> dict[str, Any]:
        """The arguments, as JSON values."""
        return {"direction": list(self.direction), "factor": self.factor}

    def __call__(self, points: Array) -> Array:
        """Unit vectors (n, gdim), moved."""
        axis = np.asarray(self.direction)
        along = points @ axis
        across = points - along[:, None] * axis
        # tan(angle/2) / factor, in the tangents' half-angle form without division by zero.
        near, far = (1 - along) / self.factor, (1 + along) * self.factor
        moved = (far - near)[:, None] * axis + 2 * across
        return moved / np.linalg.norm(moved, axis=1, keepdims=True)

"""Laws on circles and intervals of known mass, whose peaks are found however sharp they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ufd.exceptions import InputError
from ufd.problem.densities import Mixture
from ufd.problem.manifolds import Sphere
from ufd.problem.panels import PanelLaws
from ufd.problem.torus import PeriodicCauchy

Array = NDArray[np.float64]
# First panels of a line.
LINE = 64
# Mass that these may miss, and any.
_MISSED, _LOST = 1e-9, 1e-2
# Distances from a peak at which panels end that follow it, in lengths of the interval.
_APPROACH = 2.0 ** -np.arange(3, 52, 4)


def edges_of(length: float, panels: int, marks: Array) -> Array:
    """Panels of [0, length] that also end at the marks inside it."""
    return np.unique(np.concatenate([np.linspace(0, length, panels + 1), marks]))


def approached(marks: Array, length: float) -> Array:
    """Marks of [0, length], where it closes, with points ever closer to them on both sides."""
    ways = length * np.concatenate([-_APPROACH, [0.0], _APPROACH])
    return (marks[:, None] + ways).ravel() % length


def known_mass(make: Callable[[bool], PanelLaws], log_mass: float) -> PanelLaws:
    """The one law that ``make`` gives, with panels that approach its peaks if need be.

    Args:
        make: The law, whether with such panels.
        log_mass: Logarithm of the mass that is there.

    Raises:
        InputError: If part of the mass is not found.
    """
    try:
        law = make(False)
        if abs(law.log_mass[0] - log_mass) <= _MISSED:
            return law
    except InputError:  # the noise of a sharp peak, which panels beside it are told of
        pass
    law = make(True)
    if not abs(law.log_mass[0] - log_mass) <= _LOST:
        raise InputError(
            f"density: its mass comes out as {np.exp(law.log_mass[0] - log_mass):.3g}, not 1: "
            "it is not normalised, or its peaks are too sharp to be found; give a wider density"
        )
    return law


def line_law(density: Any) -> tuple[PanelLaws, Callable[[Array], Array], float]:
    """The law of a density on a circle, by the angle from the first axis or the coordinate.

    Returns:
        The law, points at coordinates (n,), and the length of the circle in these.

    Raises:
        InputError: If the density is too rough or too sharp.
    """
    manifold = density.manifold
    on_circle = isinstance(manifold, Sphere)
    marks = _peaks(density)
    length = 2 * np.pi if on_circle else manifold.period

    def points(s: Array) -> Array:
        return np.column_stack([np.cos(s), np.sin(s)] if on_circle else [s])

    def make(approach: bool) -> PanelLaws:
        ends = approached(marks, length) if approach else marks
        edges = edges_of(length, LINE, ends)
        return PanelLaws(lambda _, s: density.log_density(points(s)), 1, edges, noisy=approach)

    return known_mass(make, 0.0), points, length


def _peaks(density: Any) -> Array:
    """Coordinates on a circle at which a density may be sharp, as far as it tells."""
    if isinstance(density, Mixture):
        return np.concatenate([_peaks(part) for part in density.components])
    if isinstance(density, PeriodicCauchy):
        return np.array(density.centre) % density.manifold.period
    axes = density.axes() if isinstance(density.manifold, Sphere) else None
    return np.empty(0) if axes is None else angles(axes[:, 0], axes[:, 1])


def angles(x: Array, y: Array) -> Array:
    """Angles in [0, 2 pi) from the first axis."""
    return np.arctan2(y, x) % (2 * np.pi)

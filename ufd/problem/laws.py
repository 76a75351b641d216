"""The arguments of distances: read as point masses or as a density on one manifold, or refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ufd.exceptions import InputError
from ufd.problem.checks import real_array, shown
from ufd.problem.euclidean import Euclidean
from ufd.problem.manifolds import Sphere, Torus
from ufd.problem.measures import Measure

Array = NDArray[np.float64]
Manifold = Sphere | Torus | Euclidean
_MASS_TOLERANCE = 1e-6
_CHUNK = 2**21


@dataclass(frozen=True, eq=False)
class Atoms:
    """Point masses.

    Attributes:
        manifold: Where they live.
        points: (n, ambient_dim).
        weights: (n,), of sum 1 over all ranks.
        reduce: Sums an array over the ranks.
    """

    manifold: Manifold
    points: Array
    weights: Array
    reduce: Callable[[Any], Any]


@dataclass(frozen=True, eq=False)
class Smooth:
    """A law with a density.

    Attributes:
        manifold: Where it lives.
        density: With respect to the surface measure, at (n, ambient_dim) points; shape (n,).
        moments: See `Density`; None where no closed form is known.
        known: Its expansion in harmonics, once somebody has made it.
        source: The `Density` that it is of, if it is.
    """

    manifold: Manifold
    density: Callable[[Array], Array]
    moments: Callable[[int], list[tuple[Array, Array]] | None]
    known: Any = None
    source: Any = None


Law = Atoms | Smooth


def rows_at_once(columns: int) -> int:
    """Rows of a block of so many columns, of some 16 MB, in a run through many points."""
    return max(1, _CHUNK // columns)


def read(owner: str, manifold: Manifold | None, *, shares: bool = False, **laws: Any) -> list[Law]:
    """The laws that the user's arguments stand for, all on one manifold.

    Args:
        owner: The function that was called, for messages.
        manifold: Of atoms; None: of the densities among the arguments, or else the sphere of the
            ambient dimension if all points have length 1 within 1e-6.
        shares: Whether atoms may be one rank's share of a `Measure`.
        **laws: The arguments by name.

    Raises:
        InputError: If an argument is of no known kind, atoms are empty, not finite, off the
            manifold or have wrong weights, or two arguments live on different manifolds.
    """
    if manifold is not None and not isinstance(manifold, Manifold):
        raise InputError(f"{owner}: manifold = {shown(manifold)}; give a Sphere or a Torus")
    smooth = {name: found for name, value in laws.items() if (found := _smooth(value))}
    for name, density in smooth.items():
        manifold = manifold or density.manifold
        if density.manifold != manifold:
            raise InputError(
                f"{owner}: {name} lives on {density.manifold}, not on {manifold}; "
                "compare laws on one manifold"
            )
    read_laws: list[Law] = []
    for name, value in laws.items():
        law: Law = smooth.get(name) or _atoms(f"{owner}: {name}", value, manifold, shares)
        manifold = manifold or law.manifold
        read_laws.append(law)
    return read_laws


def _smooth(value: Any) -> Smooth | None:
    if isinstance(value, Smooth):
        return value
    if not isinstance(getattr(value, "manifold", None), Sphere | Torus):
        return None
    if callable(getattr(value, "density", None)):
        return Smooth(value.manifold, value.density, lambda degree: None)
    if callable(getattr(value, "log_density", None)):
        moments = getattr(value, "moments", lambda degree: None)
        return Smooth(value.manifold, lambda x: np.exp(value.log_density(x)), moments, source=value)
    return None


def _atoms(owner: str, value: Any, manifold: Manifold | None, shares: bool) -> Atoms:
    measure = getattr(value, "measure", value)
    reduce: Callable[[Any], Any] = lambda share: share  # noqa: E731
    if isinstance(measure, Measure):
        pair: tuple[Any, Any] = (measure.points, measure.weights)
        reduce = measure.reduce if shares else reduce
    elif isinstance(measure, tuple) and len(measure) == 2:
        pair = measure
    else:
        raise InputError(
            f"{owner} = {type(value).__name__} is no law; "
            "give (points, weights), a measure, a density or a state with a manifold"
        )
    points, weights = (None if p is None else _numbers(owner, p) for p in pair)
    if points is None or points.ndim != 2:
        raise InputError(f"{owner}: points of shape {np.shape(pair[0])}; (n, ambient_dim) needed")
    if weights is None:
        weights = np.full(len(points), 1 / max(len(points), 1))
    if weights.shape != (len(points),):
        raise InputError(
            f"{owner}: weights of shape {weights.shape} for {len(points)} points; "
            f"({len(points)},) needed, or None for equal weights"
        )
    if not np.all(weights >= 0):
        row = int(np.argmin(weights >= 0))
        raise InputError(f"{owner}: weights[{row}] = {weights[row]:g} must not be negative")
    count, total = reduce(np.array([len(points), weights.sum()]))
    if count == 0:
        raise InputError(f"{owner} has no points; give at least one")
    if not abs(total - 1) <= _MASS_TOLERANCE:
        raise InputError(
            f"{owner}: weights sum to {total:.9g}, not 1; divide by the sum over all ranks"
        )
    home: Manifold = manifold or _sphere_of(owner, points)
    try:
        return Atoms(home, home.points(points), weights / total, reduce)
    except InputError as error:
        raise InputError(f"{owner}: {error}") from None


def _numbers(owner: str, values: Any) -> Array:
    try:
        return real_array(values)
    except (TypeError, ValueError):
        raise InputError(f"{owner}: {shown(values)[:60]} is no array of numbers") from None


def _sphere_of(owner: str, points: Array) -> Sphere:
    if not np.all(np.isfinite(points)):
        row = int(np.argmin(np.isfinite(points).all(axis=1)))
        raise InputError(f"{owner}: points: row {row} is not finite")
    length = np.linalg.norm(points, axis=1)
    if points.shape[1] < 2 or np.any(np.abs(length - 1) > _MASS_TOLERANCE):
        raise InputError(
            f"{owner}: row {int(np.argmax(np.abs(length - 1)))} is not of length 1 in R^n, n > 1; "
            "give manifold=, e.g. Torus(2)"
        )
    return Sphere(points.shape[1] - 1)

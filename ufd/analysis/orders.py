"""Orders of convergence: the slope of log(error) against log(size), and how far to believe it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ufd.exceptions import InputError

Array = NDArray[np.float64]
_FEWEST_POINTS = 3
SUMMARY = (
    "study",
    "method",
    "error of",
    "order",
    "error of the order",
    "predicted",
    "points",
    "remark",
)


@dataclass(frozen=True)
class OrderFit:
    """A power law error = C size^order fitted to a refinement.

    Attributes:
        order: Slope of log(error) against log(size), positive for a convergent method.
        stderr: Its standard error: scatter about the line, and what the drift of the local orders
            between the coarse and the fine half leaves to go (1.5 times the drift for three sizes
            that halve), added in quadrature.
        points: How many errors were used.
        pairwise: Local orders between neighbouring points that were used, as they were given.
    """

    order: float
    stderr: float
    points: int
    pairwise: tuple[float, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a JSON document."""
        return {
            "order": self.order,
            "stderr": self.stderr,
            "points": self.points,
            "pairwise": list(self.pairwise),
        }


def local_orders(sizes: ArrayLike, errors: ArrayLike) -> Array:
    """Orders between neighbouring points, (n - 1,); sizes distinct, everything positive."""
    step = np.diff(np.log(np.asarray(sizes, dtype=float)))
    return np.diff(np.log(np.asarray(errors, dtype=float))) / step


def fit_order(sizes: ArrayLike, errors: ArrayLike, *, floor: float = 0.0) -> OrderFit:
    """Fit error = C size^order to errors that fall with the size.

    Args:
        sizes: Mesh widths or step sizes, strictly monotone, (n,).
        errors: Positive errors, (n,).
        floor: Errors at or below it are round-off, or what another discretisation leaves, and
            are left out; there, and only there, an error may vanish.

    Raises:
        InputError: If the data cannot give an order; the message says why.
    """
    size, error = np.asarray(sizes, dtype=float), np.asarray(errors, dtype=float)
    if size.ndim != 1 or size.shape != error.shape:
        raise InputError(
            f"fit_order: {size.size} sizes and {error.size} errors; give two arrays of one length"
        )
    if not (math.isfinite(floor) and floor >= 0):
        raise InputError(f"fit_order: floor = {floor!r} must be finite and not negative")
    _require_numbers(size, error, floor)
    keep = error > floor
    if keep.sum() < _FEWEST_POINTS:
        raise InputError(
            f"fit_order: {keep.sum()} errors lie above the floor {floor:.1e}; "
            f"{_FEWEST_POINTS} needed, so add coarser ones or lower the floor"
        )
    size, error = size[keep], error[keep]
    # From coarse to fine, whichever way they came.
    turned = bool(size[0] < size[-1])
    if turned:
        size, error = size[::-1], error[::-1]
    rising = np.flatnonzero(np.diff(error) >= 0)
    if len(rising):
        i = rising[0]
        raise InputError(
            f"fit_order: the error {error[i]:.3g} at size {size[i]:g} does not fall to size "
            f"{size[i + 1]:g} ({error[i + 1]:.3g}); raise the floor, start finer, or give widths "
            "instead of counts"
        )
    return _fit(size, error, turned)


def _require_numbers(size: Array, error: Array, floor: float) -> None:
    bad = np.flatnonzero(~(np.isfinite(size) & (size > 0)))
    if len(bad):
        raise InputError(f"fit_order: the size {size[bad[0]]:g} must be positive and finite")
    # With a floor, an error of zero is the deepest round-off; without one its logarithm is asked.
    allowed = (error >= 0) if floor > 0 else (error > 0)
    bad = np.flatnonzero(~(np.isfinite(error) & allowed))
    if len(bad):
        raise InputError(
            f"fit_order: the error {error[bad[0]]:g} at size {size[bad[0]]:g} must be positive and "
            "finite; give absolute values, or a floor above a zero"
        )
    steps = np.diff(size)
    wrong = np.flatnonzero(steps * np.sign(steps[0]) <= 0) if len(steps) else steps
    if len(wrong):
        i = int(wrong[0])
        raise InputError(
            f"fit_order: the sizes {size[i]:g} and {size[i + 1]:g} follow each other; "
            "they must be strictly monotone, so sort them and keep one of each"
        )


def _fit(size: Array, error: Array, turned: bool) -> OrderFit:
    x, y = np.log(size), np.log(error)
    centred = x - x.mean()
    spread = float(centred @ centred)
    order = float(centred @ y) / spread
    residual = y - y.mean() - order * centred
    scatter = math.sqrt(float(residual @ residual) / (len(x) - 2) / spread)
    pairwise = local_orders(size, error)
    half = len(pairwise) // 2
    drift = float(pairwise[-half:].mean() - pairwise[:half].mean())
    # Local orders tend to their limit like the size if the next power is one higher: they move by
    # the factor q from half to half, and the fit misses drift (1/2 + q/(1 - q)) of the limit.
    middle = (x[1:] + x[:-1]) / 2
    q = math.exp(float(middle[-half:].mean() - middle[:half].mean()))
    missed = drift * (0.5 + q / (1 - q))
    shown = pairwise[::-1] if turned else pairwise
    return OrderFit(order, math.hypot(scatter, missed), len(x), tuple(float(p) for p in shown))


@dataclass
class Refinement:
    """One method on finer and finer meshes or with smaller and smaller steps, as table rows.

    Attributes:
        method: Its name in the first column.
        predicted: Expected order, or None, by the name of what the error is of.
        floors: Errors at or below them are shown and not fitted, by the same names.
        places: What stands in the columns after the method: cells, nodes, size, ...
        sizes: Mesh widths or step sizes.
        errors: By the names of ``predicted``.
    """

    method: str
    predicted: Mapping[str, float | None]
    floors: Mapping[str, float]
    places: list[list[Any]] = field(default_factory=list)
    sizes: list[float] = field(default_factory=list)
    errors: dict[str, list[float]] = field(init=False)

    def __post_init__(self) -> None:
        self.errors = {name: [] for name in self.predicted}

    def add(self, place: Sequence[Any], size: float, errors: Mapping[str, float]) -> None:
        """One more mesh or step size."""
        self.places.append([*place, float(size)])
        self.sizes.append(float(size))
        for name, kept in self.errors.items():
            kept.append(float(errors[name]))

    def summary(self) -> list[list[Any]]:
        """Method, name, order, its error, predicted order, points, remark: one row for each name.

        Where no order can be fitted it is None and the remark says why.
        """
        rows = []
        for name, value in self.predicted.items():
            head, predicted = [self.method, name], None if value is None else float(value)
            try:
                fit = fit_order(self.sizes, self.errors[name], floor=self.floors[name])
                rows.append([*head, fit.order, fit.stderr, predicted, fit.points, ""])
            except InputError as error:
                remark = f"no fit: {str(error).removeprefix('fit_order: ')}"
                rows.append([*head, None, None, predicted, 0, remark])
        return rows

    def rows(self) -> list[list[Any]]:
        """Method, place, then (error, local order) for each name, and which of them are fitted.

        A local order is None for the first mesh, and where one of its two errors is at the floor.
        """
        fitted = {n: np.array(e) > self.floors[n] for n, e in self.errors.items()}
        table = []
        for i, place in enumerate(self.places):
            row, pair = [self.method, *place], slice(i - 1, i + 1)
            for name, errors in self.errors.items():
                resolved = i > 0 and fitted[name][pair].all()
                order = float(local_orders(self.sizes[pair], errors[pair])[0]) if resolved else None
                row += [errors[i], order]
            table.append([*row, ", ".join(n for n in self.errors if fitted[n][i]) or "none"])
        return table


def tables(
    name: str, title: str, place: Sequence[str], series: Sequence[Refinement], note: str
) -> list[dict[str, Any]]:
    """Two tables of one study: the fitted orders under `SUMMARY`, and the errors.

    Args:
        name: Identifier of the second table; the first has "-orders" after it.
        title: Title of the second table, and name of the study in the first.
        place: Names of the method's column and of those of the places.
        series: One for each method, with the same names of errors.
        note: What was solved and predicted, and where the floors lie.
    """
    pairs = [f"{what} of {error}" for error in series[0].predicted for what in ("error", "order")]
    orders = [[title, *row] for one in series for row in one.summary()]
    errors = [row for one in series for row in one.rows()]
    head = {"id": f"{name}-orders", "title": f"{title}: orders", "columns": list(SUMMARY)}
    body = {"id": name, "title": title, "columns": [*place, *pairs, "fitted"]}
    return [head | {"rows": orders, "note": note}, body | {"rows": errors, "note": note}]

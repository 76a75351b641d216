"""Convergence rates: fitted to a decay, and predicted by the first mode that a run excites."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ufd.exceptions import InputError

Array = NDArray[np.float64]
_FEWEST_POINTS = 6
# An automatic window covers at least this factor in value, and its rate drifts less than this.
_SPAN = 10.0
_DRIFT = 0.02
# Steps up in the logarithm that still count as round-off of a decay.
_ROUND_OFF = 1e-9


@dataclass(frozen=True)
class RateFit:
    """An exponential decay exp(-rate t) fitted to a window.

    Attributes:
        rate: Decay rate, positive for a decay.
        stderr: Its standard error: scatter with correlated residuals, and 1.5 times the drift of
            the rate between the two halves of the window, added in quadrature.
        window: First and last time used.
        points: How many values were used.
    """

    rate: float
    stderr: float
    window: tuple[float, float]
    points: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a JSON document."""
        return {
            "rate": self.rate,
            "stderr": self.stderr,
            "window": list(self.window),
            "points": self.points,
        }


def _line(t: Array, y: Array) -> tuple[float, float, float]:
    """Slope, its standard error with correlated residuals, and the slope's drift."""
    centred = t - t.mean()
    spread = float(centred @ centred)
    slope = float(centred @ y) / spread
    residual = y - y.mean() - slope * centred
    energy = float(residual @ residual)
    scale = 1e-15 * max(1.0, float(np.abs(y).max()))
    error = math.sqrt(energy / max(len(t) - 2, 1) / spread)
    if energy > len(t) * scale**2:
        # A first-order autoregression shrinks the number of independent residuals.
        rho = float(residual[1:] @ residual[:-1]) / energy
        rho = min(max(rho, 0.0), 0.95)
        error *= math.sqrt((1 + rho) / (1 - rho))
    half = len(t) // 2
    drift = abs(
        np.polyfit(t[half:], y[half:], 1)[0] - np.polyfit(t[: half + 1], y[: half + 1], 1)[0]
    )
    return slope, error, float(drift)


def fit_rate(
    t: ArrayLike,
    values: ArrayLike,
    *,
    window: tuple[float, float] | None = None,
    floor: float | None = None,
) -> RateFit:
    """Fit exp(-rate t) to positive decaying values.

    Without a window the latest part above the floor is used: of all windows that end there and
    cover a factor of ten in value, the one with the smallest standard error.

    Args:
        t: Increasing times, (n,).
        values: Positive values, (n,).
        window: First and last time to use.
        floor: Values at or below it are round-off; by default 1e-20 of the largest.

    Raises:
        InputError: If the data or the window cannot give a rate; the message says why.
    """
    time, value = np.asarray(t, dtype=float), np.asarray(values, dtype=float)
    if time.ndim != 1 or time.shape != value.shape or len(time) < _FEWEST_POINTS:
        raise InputError(
            f"fit_rate: {time.size} times and {value.size} values; "
            f"give two arrays of one length, {_FEWEST_POINTS} at least"
        )
    if not (np.isfinite(time).all() and np.isfinite(value).all()) or (np.diff(time) <= 0).any():
        raise InputError("fit_rate: times must increase, and all numbers must be finite")
    if window is not None:
        first, last = window
        inside = (time >= first) & (time <= last)
        if inside.sum() < _FEWEST_POINTS:
            raise InputError(
                f"fit_rate: window = {window!r} holds {inside.sum()} of the times; "
                f"{_FEWEST_POINTS} needed"
            )
        time, value = time[inside], value[inside]
    limit = 1e-20 * value.max() if floor is None else floor
    below = np.flatnonzero(value <= max(limit, 0.0))
    if len(below):
        if window is not None:
            raise InputError(
                f"fit_rate: at t = {time[below[0]]:g} the value {value[below[0]]:.1e} is at or "
                f"below the floor {limit:.1e}; end the window before"
            )
        time, value = time[: below[0]], value[: below[0]]
    if len(time) < _FEWEST_POINTS:
        raise InputError(
            f"fit_rate: {len(time)} values lie above the floor {limit:.1e}; {_FEWEST_POINTS} needed"
        )
    y = np.log(value)
    if window is not None:
        _require_decay(time, y)
        slope, error, drift = _line(time, y)
        return _result(time, slope, error, drift)
    return _latest(time, y)


def _latest(time: Array, y: Array) -> RateFit:
    best: RateFit | None = None
    drifts = []
    for start in range(len(time) - _FEWEST_POINTS, -1, -1):
        t, ys = time[start:], y[start:]
        if ys[0] - ys[-1] < math.log(_SPAN):
            continue
        if np.any(np.diff(ys) > _ROUND_OFF):
            if best is None:
                _require_decay(t, ys)
            break
        slope, error, drift = _line(t, ys)
        drifts.append(drift / max(-slope, 1e-300))
        if drifts[-1] > _DRIFT:
            continue
        fit = _result(t, slope, error, drift)
        if best is None or fit.stderr < best.stderr:
            best = fit
    if best is None and not drifts:
        raise InputError(
            f"fit_rate: the values fall by a factor {math.exp(y.max() - y[-1]):.3g} only; "
            f"{_SPAN:g} needed, so integrate further or give a window"
        )
    if best is None:
        raise InputError(
            f"fit_rate: the rate still changes by {100 * min(drifts):.1f} % within the latest "
            f"window ({100 * _DRIFT:g} % allowed); integrate further or give a window"
        )
    return best


def _require_decay(t: Array, y: Array) -> None:
    rising = np.flatnonzero(np.diff(y) > _ROUND_OFF)
    if len(rising):
        raise InputError(
            f"fit_rate: the values grow at t = {t[rising[0] + 1]:g}; "
            "the floor is reached or this is no decay: give a window without them"
        )


def _result(t: Array, slope: float, error: float, drift: float) -> RateFit:
    # If the local rate still moves by a factor q from half to half of the window, what the fit
    # misses is drift (1/2 + q/(1 - q)); q = 1/2 is assumed.
    return RateFit(-slope, math.hypot(error, 1.5 * drift), (float(t[0]), float(t[-1])), len(t))


@dataclass(frozen=True)
class ExcitedMode:
    """The lowest mode of the weighted Laplacian that a run contains.

    Attributes:
        index: Its number, from 0 for the spectral gap.
        eigenvalue: Predicted amplitude rate; quadratic functionals decay at twice this rate.
        multiplicity: Dimension of its eigenspace.
        share: Largest part of |w - 1| in L2(nu) that it had at a stored time.
    """

    index: int
    eigenvalue: float
    multiplicity: int
    share: float


def clusters(eigenvalues: ArrayLike) -> list[list[int]]:
    """Group ascending eigenvalues that agree to 1e-6 relatively."""
    groups: list[list[int]] = []
    values = np.asarray(eigenvalues, dtype=float)
    for i, value in enumerate(values):
        if groups and value - values[groups[-1][-1]] <= 1e-6 * value:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


def first_excited(
    eigenvalues: ArrayLike, amplitudes: ArrayLike, chi2: ArrayLike, threshold: float = 1e-6
) -> ExcitedMode | None:
    """The lowest eigenspace with more than ``threshold`` of |w - 1| at one stored time.

    Args:
        eigenvalues: Ascending, (k,).
        amplitudes: Projections of w - 1 at the stored times, (n, k).
        chi2: |w - 1|^2 in L2(nu) at those times, (n,).
        threshold: Smallest share that counts.

    Returns:
        The mode, or None if none of the k modes is excited.
    """
    values, a = np.asarray(eigenvalues, dtype=float), np.asarray(amplitudes, dtype=float)
    distance = np.sqrt(np.asarray(chi2, dtype=float))
    # Late shares are round-off over round-off: look while the distance is well resolved.
    seen = distance > 1e-4 * max(distance.max(initial=0.0), 1e-10)
    for group in clusters(values):
        size = np.linalg.norm(a[:, group], axis=1)[seen] / distance[seen]
        if size.size and size.max() > threshold:
            return ExcitedMode(group[0], float(values[group].mean()), len(group), float(size.max()))
    return None

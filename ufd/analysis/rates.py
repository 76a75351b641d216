"""Convergence rates fitted to a decay, and what a stepper makes of a rate.

A fit chooses its window by value, never by time: the latest part above the floor. It comes with a
standard error or not at all; the refusal says why.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ufd.evolution.steppers import STEPPERS
from ufd.exceptions import InputError

Array = NDArray[np.float64]
Kind = Literal["amplitude", "quadratic"]
FEWEST_POINTS = 6
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
            the rate between the two halves of the window, added in quadrature; round-off at least.
            Where the window was chosen, also how far the rates of its later parts are off.
        window: First and last time used.
        points: How many values were used.
        kind: "quadratic" if the values are of second order in w - 1 (chi2, divergences, squared
            distances), "amplitude" if of first (norms, projections on modes).
    """

    rate: float
    stderr: float
    window: tuple[float, float]
    points: int
    kind: Kind | None = None

    @property
    def mode_rate(self) -> float:
        """What is to be compared with an eigenvalue: the rate of an amplitude.

        Raises:
            InputError: If the fit was not told which kind its values are.
        """
        if self.kind is None:
            raise InputError('fit_rate: kind was not given; "amplitude" or "quadratic" needed')
        return self.rate / order_of(self.kind)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a JSON document."""
        return {
            "rate": self.rate,
            "stderr": self.stderr,
            "window": list(self.window),
            "points": self.points,
            "kind": self.kind,
        }


def order_of(kind: Kind) -> int:
    """Order in w - 1: its rate is so many times that of the mode."""
    return {"amplitude": 1, "quadratic": 2}[kind]


def discrete_rate(
    rate: float, t: ArrayLike, stepper: str, *, kind: Kind = "amplitude", controlled: bool = False
) -> float:
    """What a stepper makes of an exact rate: -log |R(-rate dt)|/dt.

    Over steps of several sizes it is the slope of the line that `fit_rate` would find.

    Args:
        rate: Exact rate of an amplitude (an eigenvalue), 1/time.
        t: Increasing times at the ends of the steps, (n,), n >= 2.
        stepper: Name of the method in case files.
        kind: Rate of an amplitude, or of a quadratic functional (twice that).
        controlled: Whether steps were error-controlled: backward Euler then keeps two half steps.

    Raises:
        InputError: If there is no step, or the method is unknown.
    """
    times = np.asarray(t, dtype=float)
    steps = np.diff(times)
    if stepper not in STEPPERS or not steps.size or not (steps > 0).all():
        raise InputError(
            f"discrete_rate: stepper = {stepper!r} and {steps.size} steps given; one of "
            f"{', '.join(STEPPERS)} and increasing times needed"
        )
    level = np.concatenate([[0.0], np.cumsum(log_decay(stepper, rate, steps, controlled))])
    return -order_of(kind) * _slope(times, level)


def log_decay(stepper: str, rate: ArrayLike, steps: Array, controlled: bool) -> Array:
    """log |R(-rate dt)| for each step, (n,)."""
    method = STEPPERS[stepper]()
    halves = 2 if controlled and stepper == "backward_euler" else 1
    z = -np.broadcast_to(rate, steps.shape) * steps / halves
    return halves * np.log(np.abs(method.decay_factor(z)))


def _slope(t: Array, y: Array) -> float:
    """Of the least-squares line."""
    centred = t - t.mean()
    return float(centred @ y) / float(centred @ centred)


def _line(t: Array, y: Array) -> tuple[float, float, float]:
    """Slope, its standard error with correlated residuals, and the slope's drift."""
    centred = t - t.mean()
    spread = float(centred @ centred)
    slope = _slope(t, y)
    residual = y - y.mean() - slope * centred
    energy = float(residual @ residual)
    scale = 1e-15 * max(1.0, float(np.abs(y).max()))
    error = math.hypot(math.sqrt(energy / max(len(t) - 2, 1) / spread), scale / math.sqrt(spread))
    if energy > len(t) * scale**2:
        # A first-order autoregression shrinks the number of independent residuals.
        rho = float(residual[1:] @ residual[:-1]) / energy
        rho = min(max(rho, 0.0), 0.95)
        error *= math.sqrt((1 + rho) / (1 - rho))
    half = len(t) // 2
    drift = abs(_slope(t[half:], y[half:]) - _slope(t[: half + 1], y[: half + 1]))
    return slope, error, float(drift)


def fit_rate(
    t: ArrayLike,
    values: ArrayLike,
    *,
    window: tuple[float, float] | None = None,
    between: tuple[float, float] | None = None,
    floor: float | None = None,
    kind: Kind | None = None,
) -> RateFit:
    """Fit exp(-rate t) to positive decaying values.

    Without a window the latest part above the floor is used: of all windows that end there and
    cover a factor of ten in value, the one with the smallest standard error.

    Args:
        t: Increasing times, (n,).
        values: Positive values, (n,).
        window: First and last time to use.
        between: Largest and smallest value to use, instead of times.
        floor: Values at or below it are round-off; by default 1e-20 of the largest.
        kind: "amplitude" or "quadratic": what the values are, for ``RateFit.mode_rate``.

    Raises:
        InputError: If the data or the window cannot give a rate; the message says why.
    """
    time, value = np.asarray(t, dtype=float), np.asarray(values, dtype=float)
    if time.ndim != 1 or time.shape != value.shape or len(time) < FEWEST_POINTS:
        raise InputError(
            f"fit_rate: {time.size} times and {value.size} values; "
            f"give two arrays of one length, {FEWEST_POINTS} at least"
        )
    if not (np.isfinite(time).all() and np.isfinite(value).all()) or (np.diff(time) <= 0).any():
        raise InputError("fit_rate: times must increase, and all numbers must be finite")
    if window is not None and between is not None:
        raise InputError("fit_rate: window and between are both given; give one")
    chosen = _chosen(time, value, window, between)
    if chosen is not None:
        time, value = time[chosen], value[chosen]
    limit = 1e-20 * value.max() if floor is None else floor
    low = np.flatnonzero(value <= max(limit, 0.0))
    if len(low):
        if chosen is not None:
            raise InputError(
                f"fit_rate: at t = {time[low[0]]:g} the value {value[low[0]]:.1e} is at or "
                f"below the floor {limit:.1e}; end the window before"
            )
        if low[0] < FEWEST_POINTS:
            raise InputError(
                f"fit_rate: {low[0]} values lie above the floor {max(limit, 0.0):.1e}; "
                f"{FEWEST_POINTS} needed"
            )
        time, value = time[: low[0]], value[: low[0]]
    y = np.log(value)
    if chosen is not None:
        _require_decay(time, y)
        return _result(time, *_line(time, y), kind)
    return _latest(time, y, kind)


def _chosen(
    time: Array,
    value: Array,
    window: tuple[float, float] | None,
    between: tuple[float, float] | None,
) -> slice | None:
    """What an explicit window leaves, if there is one."""
    if window is not None:
        inside = np.flatnonzero((time >= window[0]) & (time <= window[1]))
    elif between is not None:
        inside = np.flatnonzero((value <= max(between)) & (value >= min(between)))
    else:
        return None
    if len(inside) < FEWEST_POINTS:
        name, given = ("window", window) if window is not None else ("between", between)
        raise InputError(
            f"fit_rate: {name} = {given!r} holds {len(inside)} of the times; {FEWEST_POINTS} needed"
        )
    return slice(inside[0], inside[-1] + 1)


def _latest(time: Array, y: Array, kind: Kind | None) -> RateFit:
    best: RateFit | None = None
    drifts, fits = [], []
    for start in range(len(time) - FEWEST_POINTS, -1, -1):
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
        fit = _result(t, slope, error, drift, kind)
        fits.append(fit)
        if best is None or fit.stderr < best.stderr:
            best = fit
    if best is None and not drifts:
        if y[-1] >= y[0]:
            raise InputError(
                f"fit_rate: the values grow by a factor {math.exp(min(y[-1] - y[0], 700)):.3g}; "
                "only a decay has a rate"
            )
        raise InputError(
            f"fit_rate: the values fall by a factor {math.exp(y.max() - y[-1]):.3g} only; "
            f"{_SPAN:g} needed, so integrate further or give a window"
        )
    if best is None:
        raise InputError(
            f"fit_rate: the rate still changes by {100 * min(drifts):.1f} % within the latest "
            f"window ({100 * _DRIFT:g} % allowed); integrate further or give a window"
        )
    # A window may look straight because two drifts cancel in it; later parts of it then differ.
    later = [
        abs(fit.rate - best.rate) - 2 * fit.stderr for fit in fits if fit.window[0] > best.window[0]
    ]
    return replace(best, stderr=math.hypot(best.stderr, max(0.0, *later, 0.0)))


def _require_decay(t: Array, y: Array) -> None:
    rising = np.flatnonzero(np.diff(y) > _ROUND_OFF)
    if len(rising):
        raise InputError(
            f"fit_rate: the values grow at t = {t[rising[0] + 1]:g}; "
            "the floor is reached or this is no decay: give a window without them"
        )


def _result(t: Array, slope: float, error: float, drift: float, kind: Kind | None) -> RateFit:
    # If the local rate still moves by a factor q from half to half of the window, what the fit
    # misses is drift (1/2 + q/(1 - q)); q = 1/2 is assumed.
    stderr = math.hypot(error, 1.5 * drift)
    return RateFit(-slope, stderr, (float(t[0]), float(t[-1])), len(t), kind)

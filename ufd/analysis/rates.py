"""Convergence rates fitted to a decay, and what a stepper makes of a rate.

A fit chooses its window by value, never by time: the latest part above the floor. It comes with a
standard error or not at all; the refusal says why (`judgement`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ufd.analysis.judgement import FEWEST_POINTS, Evidence, Kind, RateFit, judged, order_of
from ufd.analysis.lines import slope
from ufd.evolution.steppers import STEPPERS
from ufd.exceptions import InputError

Array = NDArray[np.float64]
# Round-off blurs values by this part at most: those closer to the floor are left out.
_BLUR = 0.03
# Steps of more e-foldings than this do not tell a mode from a faster one, with any stepper.
_LONGEST, _ITERATIONS = 0.7, 30


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
    return -order_of(kind) * slope(times, level)


def exact_rate(
    rate: float, t: ArrayLike, stepper: str, *, kind: Kind = "amplitude", controlled: bool = False
) -> float:
    """The rate of which a stepper makes ``rate``, the inverse of `discrete_rate`.

    Returns:
        Not a number where a step is so long that faster modes would look alike.
    """
    order, times = order_of(kind), np.asarray(t, dtype=float)
    if not np.diff(times).max(initial=0.0) * rate / order <= _LONGEST:
        return float("nan")
    found = rate
    for _ in range(_ITERATIONS):
        made = discrete_rate(found / order, times, stepper, kind=kind, controlled=controlled)
        found += rate - made
    return found


def log_decay(stepper: str, rate: ArrayLike, steps: Array, controlled: bool) -> Array:
    """log |R(-rate dt)| for each step, (n,)."""
    method = STEPPERS[stepper]()
    halves = 2 if controlled and stepper == "backward_euler" else 1
    z = -np.broadcast_to(rate, steps.shape) * steps / halves
    return halves * np.log(np.abs(method.decay_factor(z)))


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
    cover a factor of ten in value (a hundred, if the values are quadratic), the one with the
    smallest standard error. That error covers scatter, a rate that still changes, later parts with
    another rate, and a second exponential whose rate is a tenth larger, where scatter could hide
    it; a window that is given is taken for one exponential.

    Args:
        t: Increasing times, (n,).
        values: Positive values, (n,).
        window: First and last time to use.
        between: Largest and smallest value to use, instead of times.
        floor: Values at or below it are round-off, and those above may be off by as much; by
            default 1e-20 of the largest.
        kind: "amplitude" or "quadratic": what the values are, for ``RateFit.mode_rate``.

    Raises:
        InputError: If the data or the window cannot give a rate, or its standard error is above a
            tenth of it; the message says why, and what would do.
    """
    return fit_with(t, values, Evidence(), window=window, between=between, floor=floor, kind=kind)


def fit_with(
    t: ArrayLike,
    values: ArrayLike,
    known: Evidence,
    *,
    window: tuple[float, float] | None = None,
    between: tuple[float, float] | None = None,
    floor: float | None = None,
    kind: Kind | None = None,
) -> RateFit:
    """`fit_rate` with what else is known of the values; arrays over the same times."""
    time, value = np.asarray(t, dtype=float), np.asarray(values, dtype=float)
    if time.ndim != 1 or time.shape != value.shape or len(time) < FEWEST_POINTS:
        raise InputError(
            f"fit_rate: {time.size} times and {value.size} values; "
            f"give two arrays of one length, {FEWEST_POINTS} at least"
        )
    if not (np.isfinite(time).all() and np.isfinite(value).all()) or (np.diff(time) <= 0).any():
        raise InputError("fit_rate: times must increase, and all numbers must be finite")
    if kind not in (None, "amplitude", "quadratic"):
        raise InputError(f'fit_rate: kind = {kind!r} must be "amplitude", "quadratic" or None')
    if floor is not None and not floor >= 0:
        raise InputError(f"fit_rate: floor = {floor!r} must be a number, at least 0")
    for name, pair in (("window", window), ("between", between)):
        if pair is not None and np.shape(pair) != (2,):
            raise InputError(f"fit_rate: {name} = {pair!r} must be two numbers")
    if window is not None and between is not None:
        raise InputError("fit_rate: window and between are both given; give one")
    limit = max(1e-20 * value.max() if floor is None else floor, 0.0)
    chosen = _chosen(time, value, window, between)
    if chosen is not None:
        time, value, known = time[chosen], value[chosen], known.part(chosen)
    low = np.flatnonzero(value <= limit)
    if len(low) and chosen is not None:
        raise InputError(
            f"fit_rate: at t = {time[low[0]]:g} the value {value[low[0]]:.1e} is at or "
            f"below the floor {limit:.1e}; end the window before"
        )
    if chosen is None:
        # Next to a floor round-off bends the curve, unless it is known by how much.
        above = _above(value, limit, limit / _BLUR if known.blur is None else limit)
        if above.stop - above.start < FEWEST_POINTS:
            raise InputError(
                f"fit_rate: {above.stop - above.start} values lie above the floor {limit:.1e}; "
                f"{FEWEST_POINTS} needed"
            )
        known = replace(known.part(above), ended=known.ended or above.stop < len(value))
        time, value = time[above], value[above]
    if floor is not None and known.blur is None:
        known = replace(known, blur=limit / value)
    return judged(time, np.log(value), kind, known, asked=chosen is not None)


def _above(value: Array, limit: float, enough: float) -> slice:
    """The values about the largest that are above the floor, and end above what is enough."""
    peak = int(np.argmax(value))
    before = np.flatnonzero(value[:peak] <= limit)
    after = np.flatnonzero(value[peak:] <= limit)
    first = int(before[-1]) + 1 if len(before) else 0
    last = peak + int(after[0]) if len(after) else len(value)
    bent = np.flatnonzero(value[peak:last] <= enough)
    if len(bent) and peak + bent[0] - first >= FEWEST_POINTS:
        last = peak + int(bent[0])
    return slice(first, last)


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

"""The judgement of a fitted rate: which window, with which error, or why none can be given.

Every rate that is reported passes through `judged`, which uses all that is known of a run but the
prediction. A window ends where values cease to be resolved, and begins where w - 1 is small. Its
error is the sum in squares of what scatter, the choice of the window, neighbouring modes, the
nonlinearity and the time steps may do to the slope; above a tenth of the rate it is no rate. The
constants were set on random problems and tried on others (benchmarks/rate_judgement.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ufd.analysis import advice
from ufd.analysis.lines import SEEN, Trend, line, parting, slope, spread_out, trend
from ufd.exceptions import InputError

Array = NDArray[np.float64]
Kind = Literal["amplitude", "quadratic"]
FEWEST_POINTS = 6
# Rates are read where |w - 1| is below this.
LINEAR = 0.1
# An automatic window covers at least this factor in an amplitude, its square in a quadratic value.
SPAN = 10.0
# A larger error, relative to the rate, is a refusal.
LARGEST = 0.1
# Changes of a rate below this part of it say nothing: steps of unequal size make such. Slopes of
# the quotient of two amplitudes say nothing below that part.
_GRAIN, _QUOTIENT_GRAIN = 1e-5, 3e-5
# Where only a curve is known: the nearest neighbour reckoned with, relative to the rate, and its
# largest share.
_NEAR, _HIDDEN = 0.1, 0.98
# How much larger than the drift between halves what is still to come may be, if modes are known.
_DRIFT = 1.5
# Slopes of parts that differ by so many standard errors are different.
_UNLIKE = 3.0
_WINDOWS = 40
# Steps up in the logarithm that still count as round-off of a decay; or as scatter, in medians of
# the second differences (six standard deviations of a step, if values are independent).
_ROUND_OFF, _SCATTERED = 1e-9, 5.0


@dataclass(frozen=True)
class RateFit:
    """An exponential decay exp(-rate t) fitted to a window.

    Attributes:
        rate: Decay rate, positive for a decay.
        stderr: Its standard error: that of the parts, added in quadrature.
        window: First and last time used.
        points: How many values were used.
        kind: "quadratic" if the values are of second order in w - 1 (chi2, divergences, squared
            distances), "amplitude" if of first (norms, projections on modes).
        parts: The error of the rate by source: "statistical" (scatter, correlated residuals,
            round-off), "window" (later parts of it that disagree), "neighbours" (other modes, known
            or not), "nonlinearity", "time steps" (what the stepper makes of the rate).
    """

    rate: float
    stderr: float
    window: tuple[float, float]
    points: int
    kind: Kind | None = None
    parts: Mapping[str, float] = field(default_factory=dict, compare=False)

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
            "parts": dict(self.parts),
            "window": list(self.window),
            "points": self.points,
            "kind": self.kind,
        }


def order_of(kind: Kind | None) -> int:
    """Order in w - 1: its rate is so many times that of the mode."""
    return {"amplitude": 1, "quadratic": 2, None: 1}[kind]


@dataclass(frozen=True, eq=False)
class Evidence:
    """What is known of a decay beside its values; arrays over its times, (n,).

    Attributes:
        distance: |w - 1|, or a bound of it; None for a bare curve.
        share: Part of the values that is due to the mode in question; None if no mode is known.
        nonlinearity: Relative size of what the linear flow leaves out of the local rate.
        quotient: Logarithm of a quotient that is constant once a single mode rules.
        blur: Largest relative error of each value beside scatter.
        exact: The rate that a stepper turns into a measured one over some times; not a number
            where its steps are too long to tell.
        ended: Whether values that follow are not resolved, so that no longer run helps.
        remedy: What a caller can ask for if modes are not known, or are not enough.
    """

    distance: Array | None = None
    share: Array | None = None
    nonlinearity: Array | None = None
    quotient: Array | None = None
    blur: Array | None = None
    exact: Callable[[float, Array], float] | None = None
    ended: bool = False
    remedy: str = ""

    def part(self, where: slice) -> Evidence:
        """The same over some of the times."""
        arrays = ("distance", "share", "nonlinearity", "quotient", "blur")
        cut = {name: a[where] for name in arrays if (a := getattr(self, name)) is not None}
        return replace(self, **cut)


class _Window:
    """One window, from a value to the last, and the error of its slope by source."""

    def __init__(self, t: Array, y: Array, kind: Kind | None, known: Evidence, asked: bool) -> None:
        self.t, self.kind = t, kind
        self.rate = -slope(t, y)
        share = None if known.share is None else np.log(np.maximum(known.share, 1e-300))
        # What known neighbours do to the slope is no drift of its own.
        self.net = y if share is None else y + share
        self.blur = np.zeros(len(t)) if known.blur is None else known.blur
        self.parts = dict.fromkeys(
            ("statistical", "window", "neighbours", "nonlinearity", "time steps"), 0.0
        )
        if not self.rate > 0:
            return
        smooth = known.distance is not None
        self.trend = trend(t, self.net, self.blur, _GRAIN * self.rate, smooth=smooth)
        fit = line(t, self.net, self.blur)
        self.slope = fit.slope
        self.parts["statistical"] = fit.error
        self.parts["neighbours"] = math.hypot(
            0.0 if share is None else slope(t, share), self._drift(known, asked)
        )
        if known.nonlinearity is not None:
            eta = known.nonlinearity
            mean = float(np.sum((eta[1:] + eta[:-1]) / 2 * np.diff(t))) / (t[-1] - t[0])
            self.parts["nonlinearity"] = float(self.rate * mean)

    def _drift(self, known: Evidence, asked: bool) -> float:
        """How far the slope may be from where it tends to."""
        moved: Trend = self.trend
        length = self.t[-1] - self.t[0]
        # If the rate relaxes by a factor q from half to half, drift (1/2 + q/(1 - q)) is to come.
        q = math.exp(-_NEAR * self.rate * length / 2)
        more = _DRIFT if known.share is not None else 0.5 + q / (1 - q)
        if moved.settles and moved.clear:
            more = min(more, _DRIFT)
        drift = max(more * abs(moved.half), moved.error, moved.offset)
        if known.distance is None and not moved.clear and not asked:
            # A neighbour next to the rate that scatter would hide, however large its share.
            most = abs(moved.half) + SEEN * moved.error
            apart = math.sqrt(2 * most / (_HIDDEN * (1 - _HIDDEN) * length))
            if apart >= _NEAR * self.rate:
                drift = max(drift, _HIDDEN * apart / 2)
        return drift

    def add_time_steps(self, exact: Callable[[float, Array], float]) -> None:
        """Count what the stepper does to the rate; no window is chosen by it."""
        off = abs(exact(self.rate, self.t) - self.rate)
        self.parts["time steps"] = off if math.isfinite(off) else math.inf

    @property
    def error(self) -> float:
        return math.hypot(*self.parts.values())

    def fit(self) -> RateFit:
        ends = float(self.t[0]), float(self.t[-1])
        return RateFit(self.rate, self.error, ends, len(self.t), self.kind, self.parts)


def judged(t: Array, y: Array, kind: Kind | None, known: Evidence, *, asked: bool) -> RateFit:
    """The rate of a decay, or why there is none.

    Args:
        t: Increasing times, (n,).
        y: Logarithms of the values, all of them resolved, (n,).
        kind: What the values are.
        known: What else is known.
        asked: Whether these times are a window that was asked for; else one is chosen.

    Raises:
        InputError: If no rate can be given; the message says why, and what would do.
    """
    if asked:
        _require_decay(t, y, _rise(y))
        if not y[0] - y[-1] > _ROUND_OFF:
            raise InputError(f"fit_rate: the values do not decay from t = {t[0]:g} to {t[-1]:g}")
        window = _Window(t, y, kind, known, asked)
    else:
        window = _chosen(t, y, kind, known)
    if known.exact is not None and window.rate > 0:
        window.add_time_steps(known.exact)
    if not window.error <= LARGEST * window.rate:
        raise advice.too_uncertain(window.rate, window.parts, t, known, asked=asked)
    return window.fit()


def _chosen(t: Array, y: Array, kind: Kind | None, known: Evidence) -> _Window:
    """Of the windows that end with the values, the one with the smallest error."""
    first = _first(t, known)
    span = order_of(kind) * math.log(SPAN)
    rise = _rise(y)
    rises = np.flatnonzero(np.diff(y) > rise)
    longest = max(first, int(rises[-1]) + 1) if len(rises) else first
    last = len(t) - FEWEST_POINTS
    starts = [i for i in range(first, last + 1) if y[i] - y[-1] >= span]
    if not starts:
        raise advice.too_short(t, y, first, math.exp(span), known)
    kept = [i for i in starts if i >= longest]
    if not kept:
        _require_decay(t[starts[-1] :], y[starts[-1] :], rise)
    windows = [_Window(t[i:], y[i:], kind, known.part(slice(i, None)), False) for i in _some(kept)]
    _compare_later(windows, [i for i in _some(range(first, last + 1)) if y[i] - y[-1] >= 1], t, y,
                   kind, known)  # fmt: skip
    return min(windows, key=lambda w: w.error / w.rate if w.rate > 0 else math.inf)


def _some(places: Sequence[int]) -> list[int]:
    return [places[i] for i in spread_out(len(places), _WINDOWS)]


def _first(t: Array, known: Evidence) -> int:
    """From where on w - 1 is small."""
    if known.distance is None:
        return 0
    large = np.flatnonzero(known.distance > LINEAR)
    first = int(large[-1]) + 1 if len(large) else 0
    if len(t) - first < FEWEST_POINTS:
        raise advice.not_linear(t, known.distance, known, LINEAR)
    return first


def _compare_later(
    windows: list[_Window], places: list[int], t: Array, y: Array, kind: Kind | None,
    known: Evidence,
) -> None:  # fmt: skip
    """What all later parts say counts: slopes that differ, slower modes that emerge."""
    later = [_Window(t[i:], y[i:], kind, known.part(slice(i, None)), False) for i in places]
    later = [part for part in later if part.rate > 0]
    emerging = [0.0 if part.trend.settles else part.trend.offset for part in later]
    if known.quotient is not None:
        # Of first order in what another mode adds, where a quadratic value is of second.
        grows = [
            parting(part.t, known.quotient[-len(part.t) :], _QUOTIENT_GRAIN * part.rate)
            for part in later
        ]
        emerging = [max(e, order_of(kind) * g) for e, g in zip(emerging, grows, strict=True)]
    for window in windows:
        off, beyond = 0.0, 0.0
        for part, offset in zip(later, emerging, strict=True):
            if part.t[0] >= window.t[0]:
                beyond = max(beyond, offset)
            if part.t[0] > window.t[0]:
                # Slopes are compared as they are; known neighbours are counted already.
                apart = abs(-part.slope - window.rate) - _UNLIKE * part.parts["statistical"]
                off = max(off, apart - window.parts["neighbours"])
        window.parts["window"] = off
        window.parts["neighbours"] = max(window.parts["neighbours"], beyond)


def _rise(y: Array) -> float:
    """A step up that scatter explains: some of its standard deviations, from second differences."""
    bends = np.abs(np.diff(y, 2))
    return max(_ROUND_OFF, _SCATTERED * float(np.median(bends)) if len(bends) else 0.0)


def _require_decay(t: Array, y: Array, rise: float) -> None:
    rising = np.flatnonzero(np.diff(y) > rise)
    if len(rising):
        raise InputError(
            f"fit_rate: the values grow at t = {t[rising[0] + 1]:g}; "
            "the floor is reached or this is no decay: give a window without them"
        )

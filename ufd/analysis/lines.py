"""Lines through the logarithm of a decay: slope, error, and what the parts of a window say."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
# Residuals are taken for no more correlated than this from one value to the next.
_MOST_CORRELATED = 0.97
# Changes of a slope are seen from so many of their errors on; two are compared from so many.
SEEN, CLEAR = 2.0, 5.0
# A trend that relaxes no faster than this per part of a window is taken for one that does not.
_SLOWEST = 0.999
# A drift is a polynomial of this order, with four values at least for each; the rest is scatter.
_SMOOTH = 5
# Residuals of so many degrees of freedom may be twice what they seem.
_FEW = 10.0
# Fewest values of a third of a window.
_FEWEST = 3


class Line(NamedTuple):
    """Slope of a least-squares line and its standard error."""

    slope: float
    error: float


def slope(t: Array, y: Array) -> float:
    """Of the least-squares line."""
    centred = t - t.mean()
    # Of large values the sum would cancel.
    return float(centred @ (y - y.mean())) / float(centred @ centred)


def scatter(t: Array, y: Array, order: int, *, smooth: bool = False) -> float:
    """Standard deviation of independent residuals that would be as harmful as those of y.

    Residuals are those from a polynomial of the given order in t; a first-order autoregression
    enlarges them.

    Args:
        t: Times, (n,).
        y: Values, (n,).
        order: Of the polynomial.
        smooth: Whether y is known to be smooth but for round-off: no allowance is made then for
            how little a few residuals say.
    """
    n = len(t)
    order = min(order, max(1, n // 4))
    basis = np.polynomial.legendre.legvander(2 * (t - t[0]) / (t[-1] - t[0]) - 1, order)
    residual = y - basis @ np.linalg.lstsq(basis, y, rcond=None)[0]
    energy = float(residual @ residual)
    round_off = 1e-15 * max(1.0, float(np.abs(y).max()))
    if energy <= n * round_off**2:
        return round_off
    rho = float(residual[1:] @ residual[:-1]) / energy
    # Taking a trend away makes residuals look less correlated than they are (Marriott, Pope 1954).
    rho += (order + 1 + (order + 3) * rho) / n if rho > 0 else 0.0
    # Few residuals say little about their size: Student's tails, roughly.
    free, few = n - order - 1, 0.0
    if not smooth:
        few, rho = _FEW, rho + math.sqrt(max(1 - rho**2, 0.0) / n)
    rho = min(max(rho, 0.0), _MOST_CORRELATED)
    return (1 + few / free) * math.sqrt(energy / free * (1 + rho) / (1 - rho))


def line(t: Array, y: Array, blur: Array, noise: float | None = None) -> Line:
    """The least-squares line.

    Args:
        t: Times, (n,).
        y: Values, (n,).
        blur: Largest error that each value may have beside scatter, (n,).
        noise: From `scatter`; by default that about the line itself.
    """
    centred = t - t.mean()
    spread = float(centred @ centred)
    noise = scatter(t, y, 1, smooth=True) if noise is None else noise
    error = math.hypot(noise / math.sqrt(spread), float(np.abs(centred) @ blur) / spread)
    return Line(slope(t, y), error)


def spread_out(count: int, most: int) -> NDArray[np.int64]:
    """At most so many of 0, ..., count - 1, evenly over all, both ends among them."""
    return np.unique(np.linspace(0, max(count - 1, 0), most).round().astype(int))[:count]


class Trend(NamedTuple):
    """How the slope moves within a window.

    Attributes:
        half: Its change from the first half to the second.
        error: The standard error of that, from scatter alone.
        offset: How far the slope of the whole is from where it tends to, if the changes between
            the window's thirds say so; else 0.
        settles: Whether the changes between the thirds shrink.
        clear: Whether that is beyond doubt, the one or the other.
    """

    half: float
    error: float
    offset: float
    settles: bool
    clear: bool


def trend(t: Array, y: Array, blur: Array, grain: float, *, smooth: bool) -> Trend:
    """How the slope of y moves over t.

    Between equal parts of a window the slopes of a sum of two exponentials relax to the slower one
    like a geometric series, whose rest is known from two terms. Where they do not relax but run
    away, ever faster, a slower exponential is emerging: at first the changes grow at the difference
    of the two rates; half-way, the slope moves at a quarter of the square of that difference. Both
    are counted (derived in docs/theory.md).

    Args:
        t: Times, (n,).
        y: Values, (n,).
        blur: See `line`.
        grain: Changes of the slope below it say nothing.
        smooth: See `scatter`.
    """
    n, noise = len(t), scatter(t, y, _SMOOTH, smooth=smooth)

    def part(first: int, last: int, blurred: Array = blur) -> Line:
        return line(t[first:last], y[first:last], blurred[first:last], noise)

    sharp = np.zeros(n)
    early, late = part(0, n // 2 + 1, sharp), part(n // 2, n, sharp)
    half, error = late.slope - early.slope, math.hypot(early.error, late.error)
    third = n // 3
    if third < (_FEWEST if smooth else 2 * _FEWEST):
        return Trend(half, error, 0.0, True, False)
    a, b, c = part(0, third + 1), part(third, 2 * third + 1), part(2 * third, n)
    first, last = b.slope - a.slope, c.slope - b.slope
    doubt = math.hypot(a.error, b.error, grain), math.hypot(b.error, c.error, grain)
    apart = (t[-1] - t[0]) / 3
    if abs(last) <= CLEAR * doubt[1]:
        clear = abs(first) > CLEAR * max(doubt[0], CLEAR * doubt[1])
        offset = abs(first) if clear else 0.0
        if half > SEEN * math.hypot(error, grain) and not clear:
            offset = math.sqrt(8 / 3 * half / apart)  # the rate falls: one may be emerging
        return Trend(half, error, offset, True, clear)
    least, most = abs(last) - SEEN * doubt[1], abs(first) + SEEN * doubt[0]
    if first * last > 0 and least <= most:
        if abs(first) <= CLEAR * doubt[0]:
            return Trend(half, error, abs(last), True, False)
        shrink = (abs(last) + doubt[1]) / (abs(first) - doubt[0])
        return Trend(half, error, abs(last) / (1 - min(shrink, _SLOWEST)), True, True)
    growth = 0.0
    if first * last > 0:
        clear = abs(first) > CLEAR * doubt[0]
        growth = max(math.log(abs(last / first) if clear else least / most), 0.0)
    departure = math.hypot(growth / apart, 2 * math.sqrt(abs(last) / apart))
    return Trend(half, error, departure, False, True)


def parting(t: Array, y: Array, grain: float) -> float:
    """The rate at which a slope grows that should vanish; 0 where it does not grow.

    Args:
        t: Times, (n,).
        y: Values whose slope vanishes where one exponential rules, (n,).
        grain: Slopes below it say nothing.
    """
    n, third = len(t), len(t) // 3
    if third < _FEWEST:
        return 0.0
    noise, sharp = scatter(t, y, _SMOOTH, smooth=True), np.zeros(n)
    parts = slice(third, 2 * third + 1), slice(2 * third, n)
    before, now = (line(t[p], y[p], sharp[p], noise) for p in parts)
    if abs(now.slope) - abs(before.slope) <= SEEN * math.hypot(before.error, now.error, grain):
        return 0.0
    return math.log(abs(now.slope) / (abs(before.slope) + grain)) / ((t[-1] - t[0]) / 3)

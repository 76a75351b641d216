"""Why a rate is refused, and what would do: how far to integrate, what else to ask for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ufd.analysis.lines import slope
from ufd.exceptions import InputError

if TYPE_CHECKING:
    from ufd.analysis.judgement import Evidence

Array = NDArray[np.float64]
# What a rate takes: |w - 1| below this for so many e-foldings; other modes at most this much of it.
_SMALL, _FOLDINGS, _ENOUGH = 0.05, 3.0, 0.03
# Times further ahead than this many times the run's are not promised.
_AHEAD = 30.0
_FURTHER = "integrate further"
_RESOLVED = "the values are resolved no further: start farther away, or tighten the tolerance"
_WHY = {
    "statistical": "the values scatter, or are close to round-off",
    "window": "later parts of the window have other rates",
    "neighbours": "the rate still changes, or another mode is about to lead",
    "nonlinearity": "w - 1 is not small enough for the linear regime",
    "time steps": "the time steps make so much difference",
}


class TooShort(InputError):
    """No rate can be given, and a longer run would do."""


def _refusal(text: str, remedy: str) -> InputError:
    kind = TooShort if remedy.startswith("integrate") else InputError
    return kind(f"fit_rate: {text}{remedy}")


def not_linear(t: Array, distance: Array, known: Evidence, linear: float) -> InputError:
    """A run that is still far from equilibrium."""
    end = float(distance[-1])
    why = (
        f"|w - 1| is {end:.3g} at the end" if end > linear else f"|w - 1| < {linear:g} is too late"
    )
    remedy = _until(
        t, -_last_slope(t, np.log(np.maximum(distance, 1e-300))), math.log(end / _SMALL)
    )
    text = f"{why}, t = {t[-1]:.4g}, and rates are read from |w - 1| = {linear:g} on; "
    return _refusal(text, _RESOLVED if known.ended else remedy)


def too_short(t: Array, y: Array, first: int, factor: float, known: Evidence) -> InputError:
    """A decay that covers too small a factor."""
    fallen = float(y[first:].max() - y[-1])
    if y[-1] > y[first]:
        grown = math.exp(min(y[-1] - y[first], 700))
        text = f"the values grow by a factor {grown:.3g}; only a decay has a rate"
        return InputError(f"fit_rate: {text}")
    text = f"the values fall by a factor {math.exp(fallen):.3g} only"
    if first:
        text += f" from t = {t[first]:.4g} on, where |w - 1| is small"
    remedy = _until(t, -_last_slope(t, y), math.log(factor) - fallen, 0.0)
    return _refusal(f"{text}; {factor:g} needed: ", _RESOLVED if known.ended else remedy)


def too_uncertain(
    rate: float, parts: Mapping[str, float], t: Array, known: Evidence, *, asked: bool
) -> InputError:
    """A rate whose error is too large.

    Args:
        rate: The slope.
        parts: Of its error.
        t: The times that were used.
        known: What else is known at them.
        asked: Whether the window was asked for.
    """
    worst = max(parts, key=lambda name: parts[name])
    error = math.hypot(*parts.values()) / max(rate, 1e-300)
    size = f"{100 * error:.3g} %" if error < 10 else "more than 1000 %"
    why, remedy = _WHY[worst], _FURTHER
    if worst == "time steps":
        remedy = "take smaller steps (rtol, dt)"
    elif asked:
        remedy = "give a later window, or none"
    elif worst == "statistical" and known.distance is None:
        remedy = "give a window, if it is one exponential"
    elif worst == "nonlinearity" and known.distance is not None:
        fall = -_last_slope(t, np.log(np.maximum(known.distance, 1e-300)))
        remedy = _until(t, fall, math.log(parts[worst] / (_ENOUGH * rate)), 0.0)
    elif worst in ("neighbours", "window") and known.share is not None:
        # The others fall behind at a rate of their own, which their shares show.
        others = np.log(np.maximum(1 / np.maximum(known.share, 1e-300) - 1, 1e-300))
        fall, behind = -_last_slope(t, others), float(others[-1]) - math.log(_ENOUGH)
        if behind > 0 and fall > 0:
            remedy = _until(t, fall, behind, 0.0)
        elif behind > 0:
            why, remedy = "another mode leads", 'fit the "amplitude" of the mode instead'
    if known.ended and remedy.startswith("integrate"):
        remedy = _RESOLVED
    if known.remedy and worst in ("neighbours", "window") and not asked:
        remedy += f", or {known.remedy}"
    return _refusal(f"the rate is uncertain by {size}: {why}; ", remedy)


def _last_slope(t: Array, y: Array) -> float:
    """Over the last third of the values."""
    last = min(len(t), max(3, len(t) // 3))
    return slope(t[-last:], y[-last:])


def _until(t: Array, rate: float, behind: float, foldings: float = _FOLDINGS) -> str:
    """Integrate to when a decay at this rate has made up, and gone on for some e-foldings."""
    now = float(t[-1])
    end = now + (max(behind, 0.0) + foldings) / rate if rate > 0 else math.inf
    if not now < end <= _AHEAD * max(now, 1e-300):
        return _FURTHER
    # Rounded up to two digits of what is missing: never a time that was reached.
    decimals = max(0, 1 - math.floor(math.log10(end - now)))
    return f"integrate to about t = {math.ceil(end * 10**decimals) / 10**decimals:.{decimals}f}"

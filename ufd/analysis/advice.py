"""Why a rate is refused, and what would do: how far to integrate, what else to ask for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ufd.analysis.lines import slope

if TYPE_CHECKING:
    from ufd.analysis.judgement import Evidence

Array = NDArray[np.float64]
# What a rate takes: |w - 1| below this for so many e-foldings; other modes at most this much of it.
_SMALL, _FOLDINGS, _ENOUGH = 0.05, 3.0, 0.03
LONGER = "integrate"
_FURTHER = f"{LONGER} further"
# Times further ahead than this many times the run's are not promised.
_AHEAD = 30.0
_WHY = {
    "statistical": "the values scatter, or are close to round-off",
    "window": "later parts of the window have other rates",
    "neighbours": "the rate still changes, or another mode is about to lead",
    "nonlinearity": "w - 1 is not small enough for the linear regime",
    "time steps": "the time steps make so much difference",
}


def not_linear(t: Array, distance: Array, linear: float) -> str:
    """The refusal of a run that is still far from equilibrium."""
    end = float(distance[-1])
    if end > linear:
        why = f"|w - 1| is {end:.2g} at the end"
    else:
        why = f"|w - 1| falls below {linear:g} at the end only"
    return f"fit_rate: {why}, t = {t[-1]:.4g}; the rate is read where it is small: " + _until(
        t, -_last_slope(t, np.log(np.maximum(distance, 1e-300))), math.log(end / _SMALL)
    )


def too_short(t: Array, y: Array, first: int, factor: float) -> str:
    """The refusal of a decay that covers too small a factor."""
    fallen = y[first:].max() - y[-1]
    if y[-1] >= y[first]:
        return (
            f"fit_rate: the values grow by a factor {math.exp(min(y[-1] - y[first], 700)):.3g}; "
            "only a decay has a rate"
        )
    text = f"fit_rate: the values fall by a factor {math.exp(fallen):.3g} only"
    if first:
        text += f" from t = {t[first]:.4g} on, where |w - 1| is small"
    wait = math.log(factor) - fallen
    return f"{text}; {factor:g} needed, so " + _until(t, -_last_slope(t, y), wait, 0.0)


def too_uncertain(rate: float, parts: Mapping[str, float], t: Array, known: Evidence) -> str:
    """The refusal of a rate whose error is too large."""
    worst = max(parts, key=lambda name: parts[name])
    error = math.hypot(*parts.values()) / max(rate, 1e-300)
    text = f"fit_rate: the rate is uncertain by {100 * min(error, 9.99):.0f} %: {_WHY[worst]}"
    remedies = []
    if worst == "nonlinearity" and known.distance is not None:
        fall = -_last_slope(t, np.log(np.maximum(known.distance, 1e-300)))
        remedies.append(_until(t, fall, math.log(parts[worst] / (_ENOUGH * rate)), 0.0))
    elif worst in ("neighbours", "window") and known.share is not None:
        # The others fall behind at a rate of their own, which their shares show.
        others = np.log(np.maximum(1 / np.maximum(known.share, 1e-300) - 1, 1e-300))
        fall = -_last_slope(t, others)
        if others[-1] > math.log(_ENOUGH) and fall > 0:
            remedies.append(_until(t, fall, float(others[-1]) - math.log(_ENOUGH), 0.0))
        else:
            remedies.append(_FURTHER)
    elif worst == "time steps":
        remedies.append("take smaller steps (rtol, dt)")
    elif worst != "statistical" or known.distance is not None:
        remedies.append(_FURTHER)
    else:
        remedies.append("give a window")
    if known.remedy and worst in ("neighbours", "window"):
        remedies.append(known.remedy)
    return f"{text}; " + ", or ".join(remedies)


def _last_slope(t: Array, y: Array) -> float:
    """Over the last third of the values."""
    last = min(len(t), max(3, len(t) // 3))
    return slope(t[-last:], y[-last:])


def _until(t: Array, rate: float, behind: float, foldings: float = _FOLDINGS) -> str:
    """Integrate to when a decay at this rate has made up, and gone on for some e-foldings."""
    wait = (max(behind, 0.0) + foldings) / rate if rate > 0 else math.inf
    end = float(t[-1]) + wait
    if not end <= _AHEAD * max(float(t[-1]), 1e-300):
        return _FURTHER
    return f"{LONGER} to about t = {end:.2g}"

"""What a fitted rate says of a predicted one; the words of every report, page and terminal line."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from ufd.analysis.advice import TooShort
from ufd.analysis.judgement import RateFit
from ufd.exceptions import InputError

# Parts of an error are named from this share of it on.
_COUNTS = 0.1
# Every verdict, from good to none, and how a count of them reads.
VERDICTS = {
    "agrees": "agrees",
    "within": "agrees within its error",
    "discrete": "agrees with the time stepper only",
    "differs": "differs",
    "short": "too short",
    "refused": "refused",
}


def fitted(fit: Callable[[], RateFit]) -> tuple[RateFit | None, str, str]:
    """A fit, or None with the verdict of its refusal and the reason."""
    try:
        return fit(), "", ""
    except InputError as refusal:
        return None, "short" if isinstance(refusal, TooShort) else "refused", reason_of(refusal)


def reason_of(refusal: InputError) -> str:
    """A refusal without the name of the function that refused."""
    text = str(refusal)
    for name in ("fit_rate: ", "fit_mode: ", "langevin: "):
        text = text.removeprefix(name)
    return text


def verdict_of(
    fit: RateFit, rate: float, threshold: float, discrete: float | None = None
) -> tuple[str, str]:
    """Compare a fitted rate with the predicted one: the verdict, and its reason if one is needed.

    Args:
        fit: What was measured.
        rate: What is predicted for the same values.
        threshold: Largest relative deviation that counts as agreement.
        discrete: What the stepper makes of ``rate``, if that is known.
    """
    deviation, error = abs(fit.rate / rate - 1), fit.stderr / rate
    if deviation <= threshold and error <= threshold:
        return "agrees", ""
    other = math.hypot(*(value for name, value in fit.parts.items() if name != "time steps"))
    stepped = discrete is not None and abs(fit.rate / discrete - 1) <= threshold
    if stepped and deviation > threshold and other <= threshold * rate:
        return "discrete", (
            f"it agrees with the rate of the stepper, {discrete:.6g}: the time steps, not the "
            "mode, make the difference"
        )
    if deviation - error <= threshold:
        return "within", f"the error of the fit is {error_in_words(fit.as_dict())}"
    return "differs", "more than its error explains"


def error_in_words(fit: Mapping[str, Any]) -> str:
    """What the error of a fit is made of, as shares of the rate, the largest first.

    Args:
        fit: From `RateFit.as_dict`.
    """
    ordered = sorted(fit["parts"].items(), key=lambda part: -part[1])
    kept = [(name, value) for name, value in ordered if value > _COUNTS * fit["stderr"]]
    words = ", ".join(f"{name} {100 * value / fit['rate']:.2g} %" for name, value in kept)
    return f"{100 * fit['stderr'] / fit['rate']:.2g} %" + (f" ({words})" if words else "")


def verdict_sentence(verdict: str, reason: str, deviation: float | None, threshold: float) -> str:
    """A verdict in words."""
    limit = f"{100 * threshold:g} % is the threshold"
    if verdict == "refused":
        return f"No comparison: {reason}."
    if verdict == "short":
        return f"Too short for a comparison: {reason}."
    size = f"{100 * (deviation or 0.0):+.2g} %"
    if verdict == "agrees":
        return f"The fit agrees with the prediction: it is {size} off, and {limit}."
    if verdict == "within":
        return (
            f"The fit agrees with the prediction within its error: {size} off ({limit}); {reason}."
        )
    return f"The fit differs from the prediction by {size}, and {limit}: {reason}."

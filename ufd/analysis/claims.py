"""What a run says about its rate: prediction, guarantee, fit, and how they compare.

A claim is a plain document, the unit of every report. It compares the fit of one functional with
the rate of the first excited mode. Whether there is a fit, and with which error, is for
`judgement` to say, without the prediction; what it says of the prediction, for `verdicts`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ufd.analysis.decay import KINDS
from ufd.analysis.guarantees import Guarantee
from ufd.analysis.judgement import order_of
from ufd.analysis.lines import spread_out
from ufd.analysis.modes import ExcitedMode
from ufd.analysis.results import Result
from ufd.analysis.verdicts import fitted, verdict_of, verdict_sentence
from ufd.exceptions import InputError

THRESHOLD = 1e-3
_POINTS = 160
# A mode that holds less of |w - 1| at the start may come from the mesh.
_FAINT = 1e-3
SYMBOLS = {
    "divergence": "D_f(ν|μ)",
    "chi2": "χ²(μ|ν)",
    "chi2_reverse": "χ²(ν|μ)",
    "lyapunov": "∫Ψ(w)dν",
    "hminus1": "|w - 1|² in H⁻¹",
    "amplitude": "|projection of w - 1 on the mode|",
}


def rate_claim(
    result: Result,
    *,
    functional: str | None = None,
    threshold: float = THRESHOLD,
    index: int | None = None,
    **window: Any,
) -> dict[str, Any]:
    """Compare the rate of a run with the rate of its first excited mode.

    Args:
        result: The run, with a spectrum.
        functional: Name of a series, "amplitude", or None: the divergence, and the amplitude of
            the mode where neighbouring modes never let the divergence reach its rate.
        threshold: Largest relative deviation that counts as agreement.
        index: A mode to compare with instead, as long as it leads in the fitted window.
        **window: ``window`` or ``between`` of `analysis.rates.fit_rate`.

    Returns:
        mode, gap, predicted, guaranteed, fitted, deviation, verdict (a key of
        `verdicts.VERDICTS`), verdict_text, notes, crossovers, curve; JSON values only.

    Raises:
        InputError: If there is no such functional or mode.
    """
    chosen = functional or "divergence"
    if chosen not in KINDS:
        raise InputError(f"functional = {functional!r} must be one of {', '.join(KINDS)}")
    claim = _compared(result, chosen, threshold, index, window)
    vague = claim["verdict"] in ("within", "short", "refused")
    if functional is None and index is None and claim["mode"] is not None and vague:
        other = _compared(result, "amplitude", threshold, index, window)
        if other["verdict"] == "agrees":
            other["notes"].insert(0, f"The divergence says less here: {claim['reason']}.")
            claim = other
    claim["notes"] += _notes(result)
    return claim


def _compared(
    result: Result, functional: str, threshold: float, index: int | None, window: dict[str, Any]
) -> dict[str, Any]:
    kind = KINDS[functional]
    mode, order = result.mode(index), order_of(kind)
    fit, verdict, reason = fitted(lambda: result.fit_rate(functional, index=index, **window))
    if result.configuration["source"]:
        fit, verdict = None, "refused"
        reason = "the problem has a source, for which no rate is predicted"
    rate = None if mode is None else order * mode.eigenvalue
    discrete = None
    if fit is not None and mode is not None:
        discrete = result.discrete_rate(mode.eigenvalue, fit)
    if fit is not None and rate is None:
        verdict, reason = "refused", "no mode is known to be excited; ask for more modes"
    elif fit is not None and rate is not None:
        verdict, reason = verdict_of(fit, rate, threshold, discrete)
    guarantee = _guarantee(result, functional)
    deviation = None if fit is None or rate is None else fit.rate / rate - 1
    symbol = SYMBOLS[functional]
    return {
        "functional": functional,
        "kind": kind,
        "equation": f"{symbol} ~ exp(-{'2λ' if order == 2 else 'λ'} t), λ the eigenvalue of "
        + ("the first excited mode" if index is None else "the mode that leads in the window"),
        "mode": None if mode is None else _mode(mode),
        "role": "first excited mode" if index is None else "mode compared with",
        "gap": None if result.spectrum is None else float(result.spectrum["eigenvalues"][0]),
        "predicted": None if rate is None else {"continuous": rate, "discrete": discrete},
        "guaranteed": None if guarantee is None else _guaranteed(result, guarantee, order),
        "fitted": None if fit is None else fit.as_dict(),
        "deviation": deviation,
        "threshold": threshold,
        "verdict": verdict,
        "reason": reason,
        "verdict_text": verdict_sentence(verdict, reason, deviation, threshold),
        "notes": [],
        "crossovers": _crossovers(result),
        "curve": _curve(result, functional, mode, guarantee, order),
    }


def _mode(mode: ExcitedMode) -> dict[str, Any]:
    return {
        "number": mode.index + 1,
        "eigenvalue": mode.eigenvalue,
        "multiplicity": mode.multiplicity,
        "name": mode.name,
        "share": mode.share,
        "hidden": mode.hidden,
    }


def _guarantee(result: Result, functional: str) -> Guarantee | None:
    """The envelope of a functional; a norm has that of its square."""
    try:
        promised = {g.functional: g for g in result.guarantees()}
    except InputError:
        return None
    alike = {"amplitude": "chi2"}
    if result.divergence.p == 2:
        alike["chi2_reverse"] = "divergence"  # twice that
    return promised.get(alike.get(functional, functional))


def _guaranteed(result: Result, guarantee: Guarantee, order: int) -> dict[str, Any]:
    """The envelope of one functional; ``holds`` speaks of all of them, and of the mass."""
    broken = result.broken_promises()
    return {
        "start": guarantee.start * order / 2,
        "end": guarantee.end * order / 2,
        "certified": guarantee.certified,
        "holds": not broken,
        "margin": guarantee.margin if np.isfinite(guarantee.margin) else 0.0,
        "text": "; ".join(broken),
    }


def _crossovers(result: Result) -> list[dict[str, Any]]:
    if result.modes is None:
        return []
    value = result.modes.eigenvalues
    return [
        {
            "t": c.t,
            "label": f"mode {c.earlier + 1} → {c.later + 1}",
            "text": f"mode {c.earlier + 1} (λ = {value[c.earlier]:.5g}) gives the lead to mode "
            f"{c.later + 1} (λ = {value[c.later]:.5g})",
        }
        for c in result.modes.crossovers()
    ]


def _curve(
    result: Result,
    functional: str,
    mode: ExcitedMode | None,
    guarantee: Guarantee | None,
    order: int,
) -> dict[str, Any]:
    t = result.series["t"]
    values = result.series.get(functional, np.zeros_like(t))
    if functional == "amplitude" and result.modes is not None and mode is not None:
        values = result.modes.amplitude(mode.index)
    seen = np.flatnonzero(values > 0)
    kept = seen[spread_out(len(seen), _POINTS)]
    envelope = None
    if guarantee is not None and len(kept):
        # A projection is bounded by the whole of |w - 1|; other functionals start at their bound.
        bound = np.sqrt(guarantee.envelope)
        if order == 2:
            bound = guarantee.envelope * (values[0] / guarantee.envelope[0])
        envelope = bound[kept].tolist()
    return {"t": t[kept].tolist(), "value": values[kept].tolist(), "envelope": envelope}


def _notes(result: Result) -> list[str]:
    notes = []
    mode, modes = result.excited_mode, result.modes
    if mode is not None and mode.hidden:
        notes.append(
            f"The symmetry of teacher and start forbids {mode.hidden} lower mode"
            f"{'s' * (mode.hidden > 1)}: the gap is not what this run decays with."
        )
    elif mode is not None and mode.index:
        notes.append(
            f"The {mode.index} lower modes are not excited: they hold less than 1e-6 of |w - 1|."
        )
    if mode is not None and modes is not None:
        part = modes.amplitude(mode.index)[0] / max(modes.distance[0], 1e-300)
        if part < _FAINT:
            cause = (
                "or from the mesh" if modes.m == 1 else "from the nonlinearity, or from the mesh"
            )
            notes.append(
                f"Mode {mode.index + 1} holds {part:.0e} of |w - 1| at the start: it comes from "
                f"the datum, {cause}; a finer mesh tells."
            )
        if mode.index + mode.multiplicity == len(modes.eigenvalues):
            notes.append("Its multiplicity may be larger: it is the last mode that was computed.")
    ahead = None if modes is None else modes.forecast()
    if ahead is not None:
        passing, size = ahead
        notes.append(
            f"Mode {passing.later + 1} would take the lead from mode {passing.earlier + 1} at "
            f"t = {passing.t:.3g} only, at |w - 1| = {size:.0e}"
            + (": never seen in double precision." if size < 1e-14 else ".")
        )
    if modes is not None:
        slaved = [i for i in range(len(modes.eigenvalues)) if modes.master(i) is not None]
        if slaved and mode is not None:
            notes.append(
                f"Modes {slaved[0] + 1} to {slaved[-1] + 1} are slaved (eigenvalues from "
                f"{modes.eigenvalues[slaved[0]]:.4g}): they end at sums of smaller ones, from "
                f"{2 * mode.eigenvalue:.4g} on, and their own rates are not fitted."
            )
    return notes + [f"Broken promise: {line}." for line in result.broken_promises()]

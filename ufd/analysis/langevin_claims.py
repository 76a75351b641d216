"""What a run of noisy training says about its rate, in the form of `claims.rate_claim`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ufd.analysis.claims import THRESHOLD
from ufd.analysis.langevin import LangevinRun
from ufd.analysis.lines import spread_out
from ufd.analysis.verdicts import fitted, verdict_of, verdict_sentence

_POINTS = 160


def langevin_claim(run: LangevinRun, *, threshold: float = THRESHOLD) -> dict[str, Any]:
    """Compare the measured rate of G - G* with twice the first local rate of the run.

    Args:
        run: At constant temperature, with its fixed point.
        threshold: Largest relative deviation that counts as agreement.

    Raises:
        InputError: If no fixed point is known, or the run contains none of its modes.
    """
    index, rate = run.excited(), run.local_rate()
    known = run.fixed_point or {}
    (fit, verdict, reason), deviation = fitted(run.fit_rate), None
    if fit is not None:
        deviation = fit.rate / rate - 1
        verdict, reason = verdict_of(fit, rate, threshold)
    gap, t, envelope = run.gap(), run.series["t"], run.envelope()
    seen = np.flatnonzero(gap > 0)
    kept = seen[spread_out(len(seen), _POINTS)]
    guaranteed, broken = run.guaranteed_rates(), run.broken_promises()
    margin = float(np.log(envelope[kept[-1]] / gap[kept[-1]])) if len(kept) else 0.0
    return {
        "functional": "free energy above its minimum",
        "kind": "quadratic",
        "equation": "G(μ) - G* ~ exp(-2e t), e the first rate beside the fixed point in the run",
        "mode": {
            "number": index + 1,
            "eigenvalue": rate / 2,
            "multiplicity": 1,
            "name": "",
            "share": 1.0,
            "hidden": index,
        },
        "role": "first mode beside the fixed point in the run",
        "gap": known["rates"][0],
        "predicted": {"continuous": rate, "discrete": None},
        "guaranteed": {
            "start": float(guaranteed[0]),
            "end": float(guaranteed[-1]),
            "certified": False,
            "holds": not broken,
            "margin": margin,
            "text": "; ".join(broken) or "log-Sobolev constants by Holley and Stroock",
        },
        "fitted": None if fit is None else fit.as_dict(),
        "deviation": deviation,
        "threshold": threshold,
        "verdict": verdict,
        "reason": reason,
        "verdict_text": verdict_sentence(verdict, reason, deviation, threshold),
        "notes": [
            f"The fixed point is its proximal Gibbs measure to {known['gibbs_error']:.0e}; "
            f"log-Sobolev constant at least {known['holley_stroock']:.3g} (Holley and Stroock), "
            f"{max(known['bakry_emery'], 0.0):.3g} (Bakry and Emery)."
        ],
        "crossovers": [],
        "curve": {
            "t": t[kept].tolist(),
            "value": gap[kept].tolist(),
            "envelope": envelope[kept].tolist(),
        },
    }

"""Guaranteed envelopes along a run, and the monitor that says when one is broken.

The equation promises decay rates that depend on sup w and the gap only (`guaranteed_rates`). Along
a run they are accumulated step by step: with P the sum of promised logarithmic decays, log Q + P
must not increase. Where it does, from whatever earlier time it is counted, the envelope is broken.

For degree 1 on an M-matrix with backward Euler the same bounds hold for the discrete solution:
with the discrete gap and r taken from the end of a step, Q falls by 1/(1 + r dt) at least. That is
a certificate: nothing but round-off is granted. For other pairs the promise of a step is the
smaller of r dt and the least that the stepper does to modes of that rate and faster ones, and a
margin is reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ufd.analysis.rates import log_decay
from ufd.problem.divergences import PowerDivergence
from ufd.problem.guarantees import GUARANTEED, guaranteed_rates

Array = NDArray[np.float64]
# What a logarithm may rise by: round-off for a certificate; else 0.1 % and ten tolerances.
_ROUND_OFF, _ALLOWANCE, _PER_RTOL = 1e-7, 1e-3, 10.0
_MASS = 1e-8


@dataclass(frozen=True)
class Guarantee:
    """One functional against what is promised for it.

    Attributes:
        functional: Name of the series.
        start: Promised rate at the start of the run.
        end: Promised rate at its last resolved time.
        certified: Whether the discrete solution itself must obey.
        envelope: Promised bound at every time, (n,).
        margin: log(bound/value) at the last resolved time: how far the run is below its bound.
        excess: Largest rise of log Q + promise above its earlier minimum.
        allowance: Largest rise that is tolerated while |w - 1| is well resolved; what the solves
            do not resolve of it, 4 resolution/|w - 1|, is granted on top.
        broken_at: First time at which more was seen; None if the promise was kept.
    """

    functional: str
    start: float
    end: float
    certified: bool
    envelope: Array
    margin: float
    excess: float
    allowance: float
    broken_at: float | None

    @property
    def holds(self) -> bool:
        """Whether the promise was kept throughout."""
        return self.broken_at is None

    def sentence(self) -> str:
        """What to tell a reader."""
        kind = "certificate" if self.certified else "envelope"
        if self.broken_at is not None:
            return (
                f"the {kind} of {self.functional} is broken at t = {self.broken_at:.4g}: it fell "
                f"less than guaranteed, by {self.excess:.1e} in the logarithm "
                f"({self.allowance:.0e} allowed)"
                + ("" if self.certified else "; mesh or steps too coarse, or the gap too high")
            )
        return (
            f"the {kind} of {self.functional} holds: guaranteed rate {self.start:.4g} at the "
            f"start, {self.end:.4g} at the end"
        )


@dataclass(frozen=True)
class Scheme:
    """What decides how a promise carries over to a discrete run.

    Attributes:
        stepper: Name of the method.
        rtol: Its tolerance per step; None for fixed steps.
        certified: Whether K is an M-matrix and the stepper backward Euler.
        resolution: Smallest |w - 1| that the solves resolve.
    """

    stepper: str
    rtol: float | None
    certified: bool
    resolution: float

    @property
    def allowance(self) -> float:
        """Rise of a logarithm that is put down to the discretisation."""
        if self.certified:
            return _ROUND_OFF
        return _ALLOWANCE + _PER_RTOL * (self.rtol or 0.0)


def monitor(
    series: Mapping[str, Any], divergence: PowerDivergence, gap: float, scheme: Scheme
) -> list[Guarantee]:
    """Compare every guaranteed functional of a run with its envelope.

    Args:
        series: t, min_ratio, max_ratio and any of chi2, hminus1, lyapunov, divergence over the
            accepted steps of a run without source.
        divergence: Gives m.
        gap: Spectral gap of the discrete operator, or a claimed one.
        scheme: How the run was made.

    Raises:
        InputError: If the gap is not positive.
    """
    t = np.asarray(series["t"])
    rates = guaranteed_rates(divergence, gap, series["max_ratio"], series["min_ratio"])
    scales = {"chi2": 1.0, "hminus1": gap, "lyapunov": 2.0, "divergence": 2.0}
    found = []
    for name in GUARANTEED:
        if name in series:
            values = np.asarray(series[name]) * scales[name]
            found.append(_compare(name, t, values, rates[name], scheme, scales[name]))
    return found


def broken_mass(series: Mapping[str, Any]) -> float | None:
    """The first time at which the mass is off by more than 1e-8; None if it never is."""
    wrong = np.flatnonzero(~(np.abs(np.asarray(series["mass"]) - 1) <= _MASS))
    return float(series["t"][wrong[0]]) if len(wrong) else None


def _promises(rate: Array, dt: Array, scheme: Scheme) -> Array:
    """Logarithmic decay that is promised for each step."""
    before, after = rate[:-1], rate[1:]
    if scheme.certified:
        if scheme.rtol is None:
            return np.log1p(after * dt)
        # Two half steps: the rate in the middle is at least that at the start.
        return np.log1p(before * dt / 2) + np.log1p(after * dt / 2)
    # Rates grow as sup w falls; where a scheme lets sup w rise, the smaller rate counts.
    rate = np.minimum(before, after)
    return np.minimum(rate * dt, -2 * _least_damping(rate / 2, dt, scheme))


def _least_damping(rate: Array, dt: Array, scheme: Scheme) -> Array:
    """log sup |R| over all modes that decay at ``rate`` or faster; |R| need not fall with them."""
    controlled = scheme.rtol is not None
    faster = np.geomspace(1e-2, 1e4, 2001)
    damping = log_decay(scheme.stepper, 1.0, faster, controlled)
    worst = np.append(np.maximum.accumulate(damping[::-1])[::-1], -np.inf)
    own = log_decay(scheme.stepper, rate, dt, controlled)
    return np.maximum(own, worst[np.searchsorted(faster, rate * dt)])


def _compare(
    name: str, t: Array, values: Array, rate: Array, scheme: Scheme, scale: float
) -> Guarantee:
    promised = np.concatenate([[0.0], np.cumsum(_promises(rate, np.diff(t), scheme))])
    envelope = values[0] * np.exp(-promised)
    # Relative round-off of a quadratic functional of size Q is twice resolution/sqrt(Q).
    size = np.sqrt(np.maximum(values, 0.0))
    seen = size > 10 * scheme.resolution
    end = float(rate[0])
    margin, excess, broken = np.inf, 0.0, None
    if seen.any():
        last = int(np.flatnonzero(seen)[-1]) + 1
        end = float(rate[last - 1])
        level = np.log(np.maximum(values[:last], 1e-300)) + promised[:last]
        slack = scheme.allowance + 4 * scheme.resolution / np.maximum(size[:last], 1e-300)
        rise = level - np.minimum.accumulate(level)
        margin = float(level[0] - level[-1])
        excess = float(rise.max())
        wrong = np.flatnonzero(rise > slack)
        broken = float(t[wrong[0]]) if len(wrong) else None
    return Guarantee(
        name, float(rate[0]), end, scheme.certified, envelope / scale, margin, excess,
        scheme.allowance, broken,
    )  # fmt: skip

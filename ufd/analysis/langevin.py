"""What a run of noisy training left: its free energy, and the rates that theory gives it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ufd.analysis.advice import TooShort
from ufd.analysis.judgement import FEWEST_POINTS, Evidence, RateFit
from ufd.analysis.meanfield import MeanFieldRun, States
from ufd.analysis.pages import with_error
from ufd.analysis.rates import fit_with
from ufd.analysis.runs import damaged, read_run, read_summary
from ufd.analysis.verdicts import reason_of
from ufd.exceptions import InputError

Array = NDArray[np.float64]
# Differences of free energies below this part of the first may be round-off, or an error of the
# mass.
_FLOOR = 1e-11
# A gap may exceed what bounds it by this share: errors of the steps.
_ALLOWANCE = 1e-3
# A mode is in a run from this share of sqrt(2 (G - G*)) on.
_SHARE = 1e-6
# Of the square of an amplitude, round-off is this part of the first.
_SQUARES = 1e-14
# Fits end so far above what may be round-off that it cannot move a rate or its error.
_MARGIN = 1000.0


@dataclass(eq=False)
class LangevinRun(MeanFieldRun):
    """A finished or stopped run of the Fokker-Planck equation of noisy training.

    Attributes:
        series: As of `MeanFieldRun`, and with noise: temperature, entropy = KL(mu|uniform),
            free_energy G = risk + tau entropy, duality_gap = tau KL(mu|proximal Gibbs measure),
            an upper bound of G - min G, oscillation = max psi - min psi, psi = -F'(mu), and
            amplitudes, (steps + 1, rates), the parts of mu - mu* in the modes beside mu*.
        fixed_point: At constant positive temperature: minimum (G*), gibbs_error (largest
            difference of the logarithms of mu* and its proximal Gibbs measure), rates (the first
            local rates e), forbidden (whether the symmetry of teacher and start forbids each
            mode), bakry_emery and holley_stroock (log-Sobolev constants of
            mu*); else None.
    """

    fixed_point: dict[str, Any] | None = field(default=None)

    def _known(self) -> dict[str, Any]:
        if self.fixed_point is None:
            raise InputError(
                "langevin: no fixed point is known; run at constant positive temperature, with "
                "rates=1 or more"
            )
        return self.fixed_point

    @property
    def temperature(self) -> float | dict[str, float]:
        """tau, or the parameters of its annealing."""
        return self.configuration["meanfield"]["temperature"]

    def gap(self) -> Array:
        """G - G* at every step, (steps + 1,).

        Raises:
            InputError: If no fixed point is known.
        """
        return self.series["free_energy"] - self._known()["minimum"]

    def excited(self) -> int:
        """Number of the first mode beside the fixed point that the run contains, from 0.

        Raises:
            InputError: If no fixed point is known, or the run contains none of its modes.
        """
        forbidden = np.array(self._known()["forbidden"])
        # Modes are normalised: G - G* is half the sum of their squares in the end.
        whole = np.sqrt(2 * np.maximum(self.gap(), 1e-300))
        shares = np.max(np.abs(self.series["amplitudes"]) / whole[:, None], axis=0)
        found = np.flatnonzero((shares > _SHARE) & ~forbidden)
        if not len(found):
            raise InputError(
                f"langevin: the run contains none of the first {len(forbidden)} modes; ask for "
                "more rates"
            )
        return int(found[0])

    def local_rate(self) -> float:
        """2 e, at which G - G* falls in the end, e that of the first mode in the run.

        Raises:
            InputError: See `excited`.
        """
        return 2 * self._known()["rates"][self.excited()]

    def log_sobolev(self) -> Array:
        """A lower bound of the constant of each step's proximal Gibbs measure, (steps + 1,).

        Holley and Stroock: that of the uniform density, the dimension of the sphere, times
        exp(-oscillation/tau) (derived in docs/theory.md).
        """
        dim = self.configuration["problem"]["dim"]
        return dim * np.exp(-self.series["oscillation"] / self.series["temperature"])

    def guaranteed_rates(self) -> Array:
        """2 alpha tau at every step: -d/dt log(G - G*) is at least that, (steps + 1,)."""
        return 2 * self.log_sobolev() * self.series["temperature"]

    def envelope(self) -> Array:
        """(G_0 - G*) exp(-int 2 alpha tau): the bound of G - G* at every step, (steps + 1,)."""
        rates, t = self.guaranteed_rates(), self.series["t"]
        least = np.minimum(rates[1:], rates[:-1])
        return self.gap()[0] * np.exp(-np.concatenate([[0.0], np.cumsum(least * np.diff(t))]))

    def fit_rate(self, of: str | None = None, **window: Any) -> RateFit:
        """The measured rate of G - G*, or of the square of the first mode in the run.

        Args:
            of: "gap", "amplitude", or None: whichever of the two is more certain.
            **window: ``window`` or ``between`` of `ufd.fit_rate`.

        Raises:
            InputError: If there is no such rate; the message says why.
        """
        if of not in (None, "gap", "amplitude"):
            raise InputError(f"of = {of!r} must be 'gap' or 'amplitude'")
        if of is not None:
            return self._fit(of, window)
        try:
            whole = self._fit("gap", window)
        except InputError:
            return self._fit("amplitude", window)
        try:
            single = self._fit("amplitude", window)
        except InputError:
            return whole
        return min(whole, single, key=lambda fit: fit.stderr)

    def _fit(self, of: str, window: dict[str, Any]) -> RateFit:
        """Judge G - G*, or the square of the first mode in the run, where they are resolved."""
        size = np.abs(self.series["amplitudes"][:, self.excited()])
        square = size**2 / 2
        if of == "gap":
            values, least = self.gap(), self._floor()
        else:
            values, least = square, _SQUARES * square[0]
        below = np.flatnonzero(values <= least)
        end = int(below[0]) if len(below) else len(values)
        if end < FEWEST_POINTS:
            why = f"{end} values of the {of} are resolved; {FEWEST_POINTS} needed"
            raise (InputError if len(below) else TooShort)(f"fit_rate: {why}")
        # Where G - G* is round-off, the mode alone tells how far the end is.
        gap, size, square = np.maximum(self.gap(), square)[:end], size[:end], square[:end]
        # tau KL(mu|mu*) is at most G - G*, and mu/mu* - 1 is about sqrt(2 KL) in L2(mu*).
        distance = np.sqrt(2 * gap / self.series["temperature"][:end])
        small = np.maximum(size / np.sqrt(self.series["temperature"][:end]), 1e-300)
        known = Evidence(
            distance=distance,
            share=square / gap if of == "gap" else None,
            nonlinearity=distance / 4 if of == "gap" else distance**2 / small / 4,
            blur=np.minimum(least / values[:end], 1.0),
            remedy="ask for more rates",
        )
        options: dict[str, Any] = {"floor": _MARGIN * least, "kind": "quadratic", **window}
        return fit_with(self.series["t"][:end], values[:end], known, **options)

    def _floor(self) -> float:
        """What is round-off of G - G*."""
        return _FLOOR * max(abs(self.series["free_energy"][0]), self.gap()[0])

    def broken_promises(self) -> list[str]:
        """What theory promises and the run did not keep; empty if all is well."""
        broken, gap = [], self.gap()
        slack = self._floor()
        if np.any(gap > (1 + _ALLOWANCE) * self.envelope() + slack):
            broken.append("G - G* leaves the envelope of the log-Sobolev constants")
        if np.any(gap > (1 + _ALLOWANCE) * self.series["duality_gap"] + slack):
            broken.append("G - G* exceeds the duality gap")
        if np.any(np.abs(self.series["mass"] - 1) > 1e-12):
            broken.append("the mass is off by more than 1e-12")
        return broken

    def sentence(self) -> str:
        """The findings, for a person."""
        if self.fixed_point is None:
            last = self.series["total_variation"][-1]
            return f"At the end the total variation to the teacher is {last:.4g}."
        known, rates = self.fixed_point, self.guaranteed_rates()
        try:
            fit = self.fit_rate()
            measured = f"measured {with_error(fit.rate, fit.stderr)}".replace("±", "+-")
        except InputError as refusal:
            measured = f"not measured: {reason_of(refusal)}"
        return (
            f"G - G* falls at the rate 2 e = {self.local_rate():.5g} in the end ({measured}); "
            f"guaranteed {rates[0]:.3g} at the start, {rates[-1]:.3g} at the end"
            + ("; " + "; ".join(self.broken_promises()) if self.broken_promises() else ", kept")
            + f". Fixed point: G* = {known['minimum']:.6g}, proximal Gibbs to "
            f"{known['gibbs_error']:.0e}."
        )

    def summary(self) -> dict[str, Any]:
        """See `Run.summary`."""
        return super().summary() | {"kind": "langevin", "fixed_point": self.fixed_point}


def read_langevin(directory: Path, open_states: Callable[[], States]) -> LangevinRun:
    """Read the summary of a run; the states are opened when first asked for.

    Raises:
        StorageError: If the directory holds no run, or a damaged one.
    """
    run = read_run(directory)
    if "fixed_point" not in run:
        raise damaged(directory, KeyError("fixed_point"))
    return LangevinRun(
        **read_summary(directory, run),
        open_states=open_states,
        fixed_point=run["fixed_point"],
    )

"""What series, spectrum and configuration of a run say about its rates."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ufd.analysis.advice import TooShort
from ufd.analysis.guarantees import Guarantee, Scheme, broken_mass, monitor
from ufd.analysis.judgement import FEWEST_POINTS, LINEAR, Evidence, Kind, RateFit, order_of
from ufd.analysis.modes import ExcitedMode, Spectrum
from ufd.analysis.rates import discrete_rate, exact_rate, fit_with
from ufd.exceptions import InputError
from ufd.problem.divergences import PowerDivergence

Array = NDArray[np.float64]
# Error control resolves the decay down to |w - 1| = 1e-7. Stages resolve |w - 1| to 1e-11 with a
# factorisation, to 1e-9 with multigrid, or to a hundredth of Newton's tolerance if that is larger.
_CONTROLLED, _FACTORISED, _MULTIGRID = 1e-7, 1e-11, 1e-9
KINDS: dict[str, Kind] = {
    "chi2": "quadratic",
    "chi2_reverse": "quadratic",
    "divergence": "quadratic",
    "lyapunov": "quadratic",
    "hminus1": "quadratic",
    "amplitude": "amplitude",
}


class Decay:
    """The rates of a run; `results.Result` is one.

    Attributes:
        series: Arrays over the accepted steps.
        spectrum: Modes of the weighted Laplacian, or None.
        configuration: What was asked for.
    """

    series: dict[str, Array]
    spectrum: dict[str, Array] | None
    configuration: dict[str, Any]

    @property
    def divergence(self) -> PowerDivergence:
        """The power divergence of the problem."""
        return PowerDivergence(self.configuration["p"])

    @property
    def _resolution(self) -> float:
        """Smallest |w - 1| that the solves resolve."""
        solver = self.configuration["solver"]
        solved = _FACTORISED if solver["linear"] == "direct" else _MULTIGRID
        return max(solved, 1e-2 * solver["newton_tol"])

    @cached_property
    def modes(self) -> Spectrum | None:
        """What the run does in the modes of the weighted Laplacian; None without a spectrum."""
        if self.spectrum is None:
            return None
        return Spectrum(
            eigenvalues=self.spectrum["eigenvalues"],
            t=self.series["t"],
            amplitudes=self.series["amplitudes"],
            distance=np.sqrt(self.series["chi2"]),
            resolution=self._resolution,
            invariant=np.asarray(self.spectrum["invariant"], dtype=np.int64),
            names=[str(name) for name in self.spectrum["names"]],
            coupling=self.spectrum["coupling"],
            m=self.divergence.m,
            width=float(self.spectrum["width"]),
        )

    @property
    def excited_mode(self) -> ExcitedMode | None:
        """The lowest mode that the run contains; None without a spectrum."""
        return None if self.modes is None else self.modes.first_excited()

    def fit_rate(
        self, name: str = "divergence", *, index: int | None = None, **window: Any
    ) -> RateFit:
        """Rate of a decaying series, where it is small and the step control resolves it.

        What else the run knows is used: |w - 1| (the rate is read where it is small), the share
        of the mode, sup and inf of w, the time steps. Not the eigenvalue: it is the prediction.

        Args:
            name: chi2, chi2_reverse, divergence, lyapunov, hminus1 (quadratic functionals), or
                "amplitude", the size of w - 1 in the first excited eigenspace.
            index: The mode whose rate is meant, instead of the first excited: the error of a
                quadratic functional covers what other modes do to it.
            **window: ``window`` or ``between`` of `ufd.fit_rate`.

        Raises:
            InputError: If no rate can be given; the message says why, and what would do.
        """
        if name not in KINDS or (name != "amplitude" and name not in self.series):
            raise InputError(f"fit_rate: {name!r} is no decaying series of this run")
        if name == "amplitude" and index is not None:
            return self.fit_mode(index, **window)
        mode = self.mode(index)
        if name == "amplitude" and (mode is None or self.modes is None):
            raise InputError(f"fit_rate: no mode is known to be excited; {self._remedy}")
        return self._fit(name, mode, window)

    def fit_mode(self, index: int, **window: Any) -> RateFit:
        """Rate of the size of w - 1 in the eigenspace of mode ``index`` (0 is the gap).

        Raises:
            InputError: If the mode is slaved to the first excited one and never shows its own
                rate, or if no rate can be given.
        """
        mode = self.mode(index)
        if mode is None or self.modes is None:
            raise InputError("fit_mode: no mode is known; set modes")
        slaved = self.modes.master(index)
        if slaved is not None:
            own, ends = self.modes.eigenvalues[index], "at" if slaved[1] else "not before"
            raise InputError(
                f"fit_mode: mode {index + 1} (eigenvalue {own:.6g}) is slaved: it ends {ends} the "
                f"rate {slaved[0]:.6g}, and its own rate is never seen"
            )
        return self._fit("amplitude", mode, window)

    def mode(self, index: int | None) -> ExcitedMode | None:
        """The first excited mode, or the one that is asked for."""
        if index is None or self.modes is None:
            return self.excited_mode
        count = len(self.modes.eigenvalues)
        if not 0 <= index < count:
            raise InputError(f"index = {index!r}: the run knows the modes 0 to {count - 1}")
        return self.modes.mode(index)

    @property
    def _remedy(self) -> str:
        """What a run can be asked for when its modes are not known, or not enough of them."""
        known = 0 if self.modes is None else len(self.modes.eigenvalues)
        return f"ask for modes={max(2 * known, 6)}"

    def _evidence(self, name: str, mode: ExcitedMode | None, end: int) -> Evidence:
        """What the first ``end`` steps tell of a functional beside its values."""
        series = {key: array[:end] for key, array in self.series.items()}
        distance, m = np.sqrt(series["chi2"]), self.divergence.m
        if m == 1 and name in ("amplitude", "chi2", "hminus1"):
            distance = np.minimum(distance, LINEAR)  # the flow is linear, however large w - 1 is
        share, quotient, neglected = None, None, distance
        if self.modes is None or mode is None:
            top, bottom = series["max_ratio"] - 1, 1 - series["min_ratio"]
            quotient = np.log(np.maximum(top, 1e-300)) - np.log(np.maximum(bottom, 1e-300))
        else:
            size = np.maximum(self.modes.amplitude(mode.index)[:end], 1e-300)
            if name == "amplitude":
                neglected = self.modes.driven(mode.index)[:end] / size
            elif name == "hminus1":
                share = size**2 / mode.eigenvalue / series["hminus1"]
            else:
                share = size**2 / series["chi2"]
        # To second order the nonlinearity drives a mode by (1 - m)/2 of the square of w - 1.
        return Evidence(
            distance=distance,
            share=share,
            nonlinearity=abs(1 - m) / 2 * neglected / order_of(KINDS[name]),
            quotient=quotient,
            blur=np.zeros(end),
            exact=lambda rate, t: exact_rate(rate, t, kind=KINDS[name], **self._steps),
            ended=end < len(self.series["t"]),
            remedy="" if share is None and quotient is None else self._remedy,
        )

    def _fit(self, name: str, mode: ExcitedMode | None, window: dict[str, Any]) -> RateFit:
        """Fit up to the time at which |w - 1| is not resolved any more."""
        kind, values = KINDS[name], self.series.get(name)
        if values is None:
            assert mode is not None and self.modes is not None
            values = self.modes.amplitude(mode.index)
        least = self._resolution if self.configuration["solver"]["dt"] else _CONTROLLED
        distance = np.sqrt(self.series["chi2"])
        below = np.flatnonzero(distance <= least)
        end = int(below[0]) if len(below) else len(distance)
        if end < FEWEST_POINTS:
            t = self.series["t"][end - 1] if end else 0.0
            why = f"|w - 1| > {least:g} at {end} times only, up to t = {t:.4g}"
            if not end:
                why = f"|w - 1| < {least:g} from the start"
            elif end == len(distance):
                why = f"the run has {end - 1} steps only"
            short = TooShort if end == len(distance) else InputError
            raise short(f"fit_rate: {why}; {FEWEST_POINTS} values needed")
        try:
            known, floor = self._evidence(name, mode, end), self._resolution ** order_of(kind)
            t = self.series["t"][:end]
            return fit_with(t, values[:end], known, floor=floor, kind=kind, **window)
        except InputError as refusal:
            if end == len(distance):
                raise
            t = self.series["t"][end]
            raise type(refusal)(f"{refusal} (from t = {t:.4g} on |w - 1| < {least:g})") from None

    @property
    def _steps(self) -> dict[str, Any]:
        """How steps were taken, for `rates.discrete_rate`."""
        solver = self.configuration["solver"]
        return {"stepper": solver["stepper"], "controlled": solver["dt"] is None}

    def discrete_rate(self, rate: float, fit: RateFit) -> float:
        """What the stepper makes of an amplitude's exact rate within the window of a fit."""
        t = self.series["t"]
        inside = t[(t >= fit.window[0]) & (t <= fit.window[1])]
        return discrete_rate(rate, inside, kind=fit.kind or "amplitude", **self._steps)

    def guarantees(self, gap: float | None = None) -> list[Guarantee]:
        """Every guaranteed functional against its envelope.

        Args:
            gap: A claimed spectral gap; by default that of the discrete operator.

        Raises:
            InputError: If there is no gap, or the problem has a source (nothing is promised then).
        """
        if gap is None and self.spectrum is not None:
            gap = float(self.spectrum["eigenvalues"][0])
        if gap is None or self.configuration["source"]:
            why = "its problem has a source" if gap else "no spectrum was asked for: set modes"
            raise InputError(f"guarantees: nothing can be promised for this run; {why}")
        solver = self.configuration["solver"]
        certified = solver["m_matrix"] and solver["stepper"] == "backward_euler"
        rtol = None if solver["dt"] else solver["rtol"]
        scheme = Scheme(solver["stepper"], rtol, certified, self._resolution)
        return monitor(self.series, self.divergence, gap, scheme)

    def broken_promises(self) -> list[str]:
        """One sentence for each promise that the run breaks: the mass, the envelopes."""
        broken: list[str] = []
        if self.configuration["source"]:
            return broken
        t = broken_mass(self.series)
        if t is not None:
            broken.append(f"the mass is off by more than 1e-8 from t = {t:.4g} on")
        if self.spectrum is not None:
            broken += [g.sentence() for g in self.guarantees() if not g.holds]
        return broken

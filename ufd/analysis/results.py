"""What a verb returns: series over the steps, fields at the stored times, and how it was found."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from mpi4py import MPI
from numpy.typing import ArrayLike, NDArray

from ufd.analysis.guarantees import Guarantee, Scheme, broken_mass, monitor
from ufd.analysis.modes import ExcitedMode, Spectrum
from ufd.analysis.rates import Kind, RateFit, discrete_rate, fit_rate, order_of
from ufd.evolution.evolve import StopReason
from ufd.exceptions import InputError, StorageError
from ufd.parallel import on_root
from ufd.problem.diffusion import UltraFastDiffusion
from ufd.problem.divergences import PowerDivergence
from ufd.storage import read_arrays, read_json, write_arrays, write_json

Array = NDArray[np.float64]
RUN, SERIES, FIELDS = "run.json", "series.npz", "fields.npz"
# Error control resolves the decay down to |w - 1| = 1e-7; solves with a factorisation and one more
# step resolve |w - 1| to 1e-11, others to 1e-9.
_CONTROLLED, _POLISHED, _SOLVED = 1e-7, 1e-11, 1e-9
KINDS: dict[str, Kind] = {
    "chi2": "quadratic",
    "chi2_reverse": "quadratic",
    "divergence": "quadratic",
    "lyapunov": "quadratic",
    "hminus1": "quadratic",
    "amplitude": "amplitude",
}


class Fields(Protocol):
    """States at stored times, whoever keeps them."""

    problem: UltraFastDiffusion

    @property
    def times(self) -> list[float]:
        """The stored times."""

    def at(self, t: float) -> Any:
        """The state at a stored time."""

    def ratio(self, points: ArrayLike, t: float) -> Array:
        """w = mu/nu at points."""

    def density(self, points: ArrayLike, t: float) -> Array:
        """mu at points."""

    def save(self, path: Path) -> None:
        """Write the states; collective."""

    def write_vtkhdf(self, directory: Path) -> None:
        """Write them for ParaView; collective."""


@dataclass(eq=False)
class Result:
    """A finished or stopped run.

    Attributes:
        series: Arrays over the accepted steps: t, mass, chi2 = int (w-1)^2 dnu, chi2_reverse =
            int (w-1)^2/w dnu, divergence = int f(1/w) dmu, lyapunov = int Psi(w) dnu with
            Psi'' = 1/phi', min_ratio, max_ratio; amplitudes (n, k) of w - 1 in the modes, and
            hminus1 = |w-1|^2 in H^-1_nu, if asked for.
        status: Why the run stopped.
        stats: Steps, rejected steps, Newton and Krylov iterations, seconds, dofs.
        times: The times at which fields are stored.
        spectrum: "eigenvalues" (k,), "amplitudes" (n, k) at ``times``, "invariant", "names" (k,)
            and "coupling" (see `analysis.modes.Spectrum`); None if not asked for.
        errors: Estimated absolute errors at ``times`` by functional, and "density" (relative
            L1(mu)); None if not asked for.
        configuration: What was asked for, as a case file says it.
        provenance: Versions, commit, machine.
    """

    series: dict[str, Array]
    status: StopReason
    stats: dict[str, Any]
    times: list[float]
    configuration: dict[str, Any]
    provenance: dict[str, Any]
    open_fields: Callable[[], Fields] = field(repr=False)
    spectrum: dict[str, Array] | None = None
    errors: dict[str, Array] | None = None

    @cached_property
    def fields(self) -> Fields:
        """The stored states."""
        return self.open_fields()

    def at(self, t: float) -> Any:
        """The state at a stored time, with ``.ratio``, ``.density`` and ``.measure``.

        Raises:
            InputError: If ``t`` was not stored; the message lists the times that were.
        """
        return self.fields.at(t)

    def density(self, points: ArrayLike, t: float) -> Array:
        """mu at (n, ambient_dim) points and a stored time; the same on every rank; (n,)."""
        return self.fields.density(points, t)

    def ratio(self, points: ArrayLike, t: float) -> Array:
        """w = mu/nu at (n, ambient_dim) points and a stored time; (n,)."""
        return self.fields.ratio(points, t)

    def at_times(self, name: str) -> Array:
        """A series at the stored times."""
        index = [int(np.argmin(np.abs(self.series["t"] - t))) for t in self.times]
        return self.series[name][index]

    @property
    def divergence(self) -> PowerDivergence:
        """The power divergence of the problem."""
        return PowerDivergence(self.configuration["p"])

    @property
    def _resolution(self) -> float:
        """Smallest |w - 1| that the solves resolve."""
        solver = self.configuration["solver"]
        polished = solver["linear"] == "direct" and not solver["m_matrix"]
        return _POLISHED if polished else _SOLVED

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
        )

    @property
    def excited_mode(self) -> ExcitedMode | None:
        """The lowest mode that the run contains; None without a spectrum."""
        return None if self.modes is None else self.modes.first_excited()

    def fit_rate(
        self, name: str = "divergence", *, index: int | None = None, **window: Any
    ) -> RateFit:
        """Rate of a decaying series, where the step control resolves it.

        Args:
            name: chi2, chi2_reverse, divergence, lyapunov, hminus1 (quadratic functionals), or
                "amplitude", the size of w - 1 in the first excited eigenspace.
            index: The mode whose rate is meant, instead of the first excited: the error of a
                quadratic functional covers what other modes do to it.
            **window: ``window`` or ``between`` of `analysis.rates.fit_rate`.

        Raises:
            InputError: If no rate can be given; the message says why.
        """
        if name not in KINDS or (name != "amplitude" and name not in self.series):
            raise InputError(f"fit_rate: {name!r} is no decaying series of this run")
        mode = self.excited_mode
        if index is not None and self.modes is not None:
            mode = self.modes.mode(index)
        if name != "amplitude":
            fit = self._fit(self.series[name], KINDS[name], window)
            if mode is None or self.modes is None:
                return fit
            # What other modes do to the rate is known: the error must not be smaller.
            other = self.modes.mixture(mode.index, *fit.window)
            return replace(fit, stderr=math.hypot(fit.stderr, other))
        if mode is None or self.modes is None:
            raise InputError("fit_rate: no mode is known to be excited; ask for more modes")
        return self._fit(self.modes.amplitude(mode.index), "amplitude", window)

    def fit_mode(self, index: int, **window: Any) -> RateFit:
        """Rate of the size of w - 1 in the eigenspace of mode ``index`` (0 is the gap).

        Raises:
            InputError: If the mode is slaved to the first excited one and never shows its own
                rate, or if no rate can be given.
        """
        if self.modes is None or not 0 <= index < len(self.modes.eigenvalues):
            raise InputError(f"fit_mode: index = {index!r}: the run knows no such mode")
        slaved = self.modes.master(index)
        if slaved is not None:
            own, ends = self.modes.eigenvalues[index], "at" if slaved[1] else "not before"
            raise InputError(
                f"fit_mode: mode {index + 1} (eigenvalue {own:.6g}) is slaved: it ends {ends} the "
                f"rate {slaved[0]:.6g}, and its own rate is never seen"
            )
        return self._fit(self.modes.amplitude(index), "amplitude", window)

    def _fit(self, values: Array, kind: Kind, window: dict[str, Any]) -> RateFit:
        """Fit up to the time at which |w - 1| is not resolved any more."""
        least = self._resolution if self.configuration["solver"]["dt"] else _CONTROLLED
        distance = np.sqrt(self.series["chi2"])
        below = np.flatnonzero(distance <= least)
        end = int(below[0]) if len(below) else len(distance)
        try:
            floor = self._resolution ** order_of(kind)
            return fit_rate(self.series["t"][:end], values[:end], floor=floor, kind=kind, **window)
        except InputError as refusal:
            if end == len(distance):
                raise
            t = self.series["t"][end]
            raise InputError(f"{refusal} (from t = {t:.4g} on |w - 1| < {least:g})") from None

    def discrete_rate(self, rate: float, fit: RateFit) -> float:
        """What the stepper makes of an amplitude's exact rate within the window of a fit."""
        t, solver = self.series["t"], self.configuration["solver"]
        inside = t[(t >= fit.window[0]) & (t <= fit.window[1])]
        controlled = solver["dt"] is None
        return discrete_rate(
            rate, inside, solver["stepper"], kind=fit.kind or "amplitude", controlled=controlled
        )

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

    def save(self, directory: str | PathLike, comm: MPI.Comm = MPI.COMM_WORLD) -> None:
        """Write run.json, series.npz, fields.npz and VTKHDF fields into a directory; collective.

        Raises:
            StorageError: If a file cannot be written.
        """
        place = Path(directory)
        on_root(comm, lambda: _make(place))
        self.fields.save(place / FIELDS)
        self.fields.write_vtkhdf(place)
        on_root(comm, lambda: self._save_summary(place))

    def _save_summary(self, place: Path) -> None:
        write_arrays(place / SERIES, **self.series)
        summary = {
            "status": self.status.name,
            "reason": self.status.value,
            "configuration": self.configuration,
            "stats": self.stats,
            "times": self.times,
            "spectrum": _lists(self.spectrum),
            "errors": _lists(self.errors),
            "provenance": self.provenance,
        }
        write_json(place / RUN, summary)


def _make(place: Path) -> None:
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot create {place}: {error.strerror}") from None


def _lists(table: Mapping[str, Array] | None) -> dict[str, Any] | None:
    return None if table is None else {k: np.asarray(v).tolist() for k, v in table.items()}


def _arrays(table: Mapping[str, Any] | None) -> dict[str, Array] | None:
    return None if table is None else {k: np.asarray(v) for k, v in table.items()}


def read_result(directory: Path, open_fields: Callable[[], Fields]) -> Result:
    """Read the summary of a run; the fields are opened when first asked for.

    Raises:
        StorageError: If the directory holds no run, or a damaged one.
    """
    run = read_json(directory / RUN)
    try:
        return Result(
            series=read_arrays(directory / SERIES),
            status=StopReason[run["status"]],
            stats=run["stats"],
            times=run["times"],
            configuration=run["configuration"],
            provenance=run["provenance"],
            open_fields=open_fields,
            spectrum=_arrays(run["spectrum"]),
            errors=_arrays(run["errors"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise StorageError(
            f"cannot read {directory / RUN}: an entry is missing or wrong ({error})"
        ) from None

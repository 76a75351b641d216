"""The verb that sets methods side by side: one teacher, each method on its own clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from mpi4py import MPI

from ufd.analysis import provenance
from ufd.analysis.contrast import Contrast, Method
from ufd.analysis.judgement import RateFit
from ufd.analysis.langevin import LangevinRun
from ufd.analysis.rates import fit_rate
from ufd.analysis.verdicts import fitted
from ufd.evolution.schedules import landing_times
from ufd.exceptions import InputError
from ufd.meanfield.linear import mode_beside_teacher
from ufd.meanfield.solver import MeanFieldSolver
from ufd.parallel import on_root, total
from ufd.problem.checks import number, positive_integer
from ufd.problem.diffusion import UltraFastDiffusion
from ufd.problem.distances import mmd, resolved
from ufd.problem.features import Feature
from ufd.problem.positions import quantiles
from ufd.problem.temperatures import temperature_of
from ufd.regularised import langevin, meanfield
from ufd.solve import solve
from ufd.train import train

_TIMES = 25
_MODES = 8
# Rates without a gap are measured from so close to the teacher, over so many e-folds.
_CLOSE, _FOLDS = 5e-5, 4.0
# A diffusion that is too short for a rate is followed for so many e-folds more.
_MORE_FOLDS = 10.0
_VARPRO = "L(mu), the risk with optimal outer weights"
_MEAN = "|f* - Phi mu|^2/2"
_LIMIT_CLOCK = "t, that of the diffusion: 2^10 iterations of the published experiments"


def contrast(
    problem: UltraFastDiffusion,
    features: Feature,
    end: float,
    *,
    lam: float = 1e-3,
    epsilons: Sequence[float] = (1e-2, 1e-3, 1e-4),
    temperatures: Sequence[float] = (0.05, 0.01),
    width: int = 256,
    inputs: str = "gaussian",
    densities: dict[str, Any] | None = None,
    comm: MPI.Comm = MPI.COMM_WORLD,
    say: Callable[[str], None] = lambda line: None,
) -> Contrast:
    """Learn one teacher by several methods, and set their rates beside theory; collective.

    The ultra-fast diffusion; variable projection at finite regularisation; descent at two
    timescales, of particles, for several ratios; mean-field gradient descent with outer weights
    that stay 1, without noise and at several temperatures. Those of the last kind are run as many
    times longer as their predicted rate is slower.

    Args:
        problem: Of all; p = 2.
        features: Of the network; one that sees every harmonic has the diffusion as its limit.
        end: Last time of the diffusion and of variable projection.
        lam: Regularisation.
        epsilons: Ratios of the two timescales.
        temperatures: Of noisy descent.
        width: Number of particles.
        inputs: Law of the inputs.
        densities: Of `MeanFieldSolver`: cells, degree, rtol, ...
        comm: The ranks that share the work.
        say: Told a line about each finished method, on rank 0.

    Returns:
        A `Contrast`.

    Raises:
        InputError: If an argument is out of range; the message names it.
    """
    end = number("contrast", "end", end)
    if not end > 0:
        raise InputError(f"contrast: end = {end!r} must be positive")
    landing = landing_times(np.linspace(0, end, _TIMES + 1).tolist())
    positive_integer("contrast", "width", width)
    for i, epsilon in enumerate(epsilons):
        if not number("contrast", f"epsilons[{i}]", epsilon) > 0:
            raise InputError(f"contrast: epsilons[{i}] = {epsilon!r} must be positive")
    for temperature in temperatures:
        temperature_of("contrast", temperature)
    runner = _Runner(problem, features, landing, inputs, dict(densities or {}), comm)
    methods: list[Method] = []

    def keep(method: Method) -> None:
        methods.append(method)
        if comm.rank == 0:
            say(f"{method.name}: MMD to the teacher {method.to_teacher[-1]:.3g}")

    keep(runner.diffusion())
    keep(runner.varpro(lam))
    for epsilon in epsilons:
        keep(runner.two_timescale(lam, epsilon, width))
    keep(runner.plain())
    for temperature in temperatures:
        keep(runner.noisy(temperature))
    configuration = {
        "problem": problem.describe(),
        "features": features.describe(),
        "inputs": inputs,
        "lam": lam,
        "width": width,
        "end": end,
        "first mode of the diffusion": runner.rate,
        "densities": runner.options,
    }
    return Contrast(
        methods,
        configuration,
        on_root(comm, lambda: provenance.collect(comm.size, configuration, {})),
    )


class _Runner:
    """Runs one method after the other, and keeps what they share.

    Attributes:
        rate: Amplitude rate of the first excited mode of the diffusion.
        options: Of the densities.
    """

    def __init__(
        self,
        problem: UltraFastDiffusion,
        features: Feature,
        times: list[float],
        inputs: str,
        options: dict[str, Any],
        comm: MPI.Comm,
    ) -> None:
        self._problem, self._features, self._times = problem, features, times
        self._inputs, self.options, self._comm = inputs, options, comm
        self._teacher = resolved(problem.teacher)
        self.rate, self._mode = float("nan"), 0

    def _distances(self, run: Any, times: Sequence[float]) -> list[float]:
        return [mmd(run.at(t), self._teacher) for t in times]

    def _field_options(self) -> dict[str, Any]:
        return {**self.options, "inputs": self._inputs, "comm": self._comm}

    def _stretched(self, rate: float) -> list[float]:
        """The times of a method that is slower than the diffusion."""
        return [t * max(1.0, self.rate / rate) for t in self._times]

    def diffusion(self) -> Method:
        """The limit of vanishing regularisation."""
        shared = {k: v for k, v in self.options.items() if k in ("cells", "degree", "rtol")}
        shared.setdefault("degree", 1)
        result = solve(self._problem, self._times, modes=_MODES, comm=self._comm, **shared)
        mode = result.excited_mode
        if mode is None:
            raise InputError("contrast: the diffusion excites no mode; change teacher or start")
        self.rate, self._mode = mode.eigenvalue, mode.index
        note = f"mode {mode.index + 1} of the weighted Laplacian"
        fit, verdict, refusal = fitted(lambda: result.fit_rate("amplitude"))
        if verdict == "short":
            # What is compared ends where it was asked to; the rate is that of a longer run.
            end = self._times[-1] + _MORE_FOLDS / mode.eigenvalue
            longer = solve(
                self._problem, [*self._times, end], modes=_MODES, comm=self._comm, **shared
            )
            fit, _, refusal = fitted(lambda: longer.fit_rate("amplitude"))
            note += f"; measured on a run to t = {end:.3g}"
        return Method(
            "ultra-fast diffusion", "D_f(nu|mu)", _LIMIT_CLOCK, self._times,
            self._distances(result, self._times), None, self.rate, *_numbers(fit),
            f"{note}: {refusal}" if refusal else note,
        )  # fmt: skip

    def _solver(self, lam: float | None) -> MeanFieldSolver:
        return MeanFieldSolver(
            self._problem, features=self._features, lam=lam, **self._field_options()
        )

    def varpro(self, lam: float) -> Method:
        """Infinitely many neurons at finite regularisation."""
        run = meanfield(self._problem, self._features, lam, self._times, **self._field_options())
        rate, measured, error, note = self._beside(lam)
        return Method(
            f"variable projection, lam = {lam:g}", _VARPRO, _LIMIT_CLOCK, self._times,
            self._distances(run, self._times), None, rate, measured, error, note,
        )  # fmt: skip

    def plain(self) -> Method:
        """Mean-field gradient flow, outer weights 1."""
        rate, measured, error, note = self._beside(None)
        times = self._stretched(rate)
        run = langevin(self._problem, self._features, 0.0, times, **self._field_options())
        return Method(
            "mean-field descent", _MEAN, "t of its own gradient flow", times,
            self._distances(run, times), None, rate, measured, error, note,
        )  # fmt: skip

    def _beside(self, lam: float | None) -> tuple[float, float | None, float | None, str]:
        """What continues the diffusion's first mode: its rate, the measured one, error, note.

        There is no gap: squares of slower modes lead in every mode in the end, so the rate is
        measured from a start so close to the teacher that they do not matter.
        """
        solver = self._solver(lam)
        mode = mode_beside_teacher(solver.system, self._mode)
        evolution = solver.evolution
        evolution.values = 1 + _CLOSE * mode.shape
        when: list[float] = []
        sizes: list[float] = []

        def see(t: float, values: np.ndarray, landed: bool) -> None:
            when.append(t)
            sizes.append(abs(float(total(self._comm, float(mode.weights @ (values - 1))))))

        evolution.observers.append(see)
        evolution.advance(_FOLDS / mode.rate)
        fit, _, refusal = fitted(lambda: fit_rate(when, sizes, kind="amplitude"))
        note = f"measured from a start {_CLOSE:g} beside the teacher; no gap, slower modes follow"
        return mode.rate, *_numbers(fit), refusal or note

    def noisy(self, temperature: float) -> Method:
        """The same with noise."""
        options = self._field_options()
        probe = langevin(self._problem, self._features, temperature, [1e-3], **options)
        rate = probe.local_rate() / 2
        times = self._stretched(rate)
        run: LangevinRun = langevin(
            self._problem, self._features, temperature, times, rates=_MODES, **options
        )
        fit, _, refusal = fitted(run.fit_rate)
        index = [int(np.argmin(np.abs(run.series["t"] - t))) for t in times]
        limit = np.sqrt(2 * np.maximum(run.gap()[index], 0.0))
        note = f"first mode beside the fixed point; guaranteed {run.guaranteed_rates()[-1] / 2:.2g}"
        return Method(
            f"noisy descent, tau = {temperature:g}", f"{_MEAN} + tau KL(mu|uniform)",
            "t of its own gradient flow", times, self._distances(run, times), limit.tolist(),
            run.local_rate() / 2,
            *(_numbers(fit) if fit is None else (fit.mode_rate, fit.stderr / 2)),
            f"{note}; not measured: {refusal}" if refusal else note,
        )  # fmt: skip

    def two_timescale(self, lam: float, epsilon: float, width: int) -> Method:
        """Particles whose outer weights have a finite speed."""
        run = train(
            self._problem, self._features, lam, width, self._times, epsilon=epsilon,
            inputs=self._inputs, comm=self._comm,
        )  # fmt: skip
        floor = mmd((quantiles(self._problem.teacher, width), None), self._teacher)
        return Method(
            f"two timescales, eps = {epsilon:g}", f"{_VARPRO}, as eps tends to 0",
            f"t = eps s, s that of the outer weights: {_LIMIT_CLOCK}", self._times,
            self._distances(run, self._times), None, self._beside(lam)[0], None, None,
            "that of variable projection, as eps tends to 0; atoms end at their floor", floor,
        )  # fmt: skip


def _numbers(fit: RateFit | None) -> tuple[float | None, float | None]:
    return (None, None) if fit is None else (fit.rate, fit.stderr)

"""The class that scripts drive: particles of one problem on their way through time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI
from numpy.typing import ArrayLike, NDArray

from ufd.evolution.control import ErrorControl, FixedStep
from ufd.evolution.evolve import Evolution, Observer, StopReason
from ufd.evolution.explicit import RKC, Euler, EulerMaruyama
from ufd.evolution.steppers import Stepper
from ufd.exceptions import InputError
from ufd.particles.data import batches_of, build_model, choose_data, sampled_model
from ufd.particles.flows import MeanFlow, StochasticFlow, Training, TwoTimescaleFlow, VarProFlow
from ufd.particles.noise import Brownian
from ufd.particles.state import ParticleHistory, ParticleState
from ufd.problem.checks import number, positive_integer, shown
from ufd.problem.diffusion import UltraFastDiffusion
from ufd.problem.features import Feature
from ufd.problem.kernels import checked_law
from ufd.problem.measures import Measure
from ufd.problem.penalties import FixedWeights, Penalty, penalty_of
from ufd.problem.positions import independent, quantiles
from ufd.problem.potentials import network_output
from ufd.problem.temperatures import Annealing, temperature_of

Array = NDArray[np.float64]
# One iteration of the published experiments, in units of time.
PUBLISHED_STEP = 2.0**-10
# Streams of random numbers that a seed is split into.
_START, _DATA, _BATCHES, _NOISE = range(4)


class VarProSolver:
    """Trains a two-layer network of finite width; every method is collective.

    Particles (features) move by theta' = u grad g with optimal outer weights u (variable
    projection, arXiv 2504.18208), in the time of the diffusion: one unit is 2^10 iterations of
    the published experiments. The state is the same on every rank; samples are shared out.

    Args:
        problem: Teacher, start and divergence; the divergence is the penalty of the outer weights.
        features: Such as ``ufd.ReLU() + 0.5 * ufd.ReLU(power=2)``.
        lam: Regularisation, positive; None for outer weights that stay 1: gradient flow of the
            risk |f* - Phi mu|^2/2 itself, in its own time.
        width: Number M of particles.
        data: None for the population, N for as many samples, or an (N, d) array of them.
        inputs: Law of drawn inputs and of the population: "gaussian", N(0, I), or "sphere".
        target: What gives the targets: None for the teacher density itself, a number of atoms to
            draw from it, or (points, weights).
        reference: Least point of the quadratic penalty: 1 is unbiased, 0 biased (p = 2 only).
        start: "quantile" (deterministic), "iid", or (M, ambient_dim) points.
        seed: Of all that is drawn; integers and what `numpy.random.SeedSequence` takes.
        epsilon: Ratio of the two timescales; None is variable projection.
        temperature: tau of the noise sqrt(2 tau) dB of every feature, a number or
            `ufd.Annealing`; needs ``dt``, and takes `EulerMaruyama` steps.
        decay: lam2 of a weight decay lam2/2 |omega|^2, for features on R^d.
        batch: Samples of a mini-batch, each step a new one; needs `Euler` and ``dt``.
        momentum: On the outer weights of mini-batches, from 0 to below 1.
        stepper: An explicit method, `RKC` by default; `Euler` needs ``dt``.
        rtol: Bound of the root mean square error of the positions in one step (radians on
            spheres).
        dt: Fixed step size instead of error control.
        kernel: For the population "closed" or "harmonic" (low rank, on the circle), for samples
            "dense" or "circle" (ReLU on the circle, exact in O(M + N)); None chooses.
        comm: The ranks that share the samples.
        observers: Called after every accepted step with (t, values, landed).

    Raises:
        InputError: If an argument is out of range; the message names it.
    """

    def __init__(
        self,
        problem: UltraFastDiffusion,
        *,
        features: Feature,
        lam: float | None,
        width: int,
        data: int | ArrayLike | None = None,
        inputs: str = "gaussian",
        target: int | tuple[ArrayLike, ArrayLike] | Measure | None = None,
        reference: float = 1.0,
        start: str | ArrayLike = "quantile",
        seed: Any = 0,
        epsilon: float | None = None,
        temperature: float | Annealing = 0.0,
        decay: float = 0.0,
        batch: int | None = None,
        momentum: float = 0.0,
        stepper: Stepper | None = None,
        rtol: float = 1e-3,
        dt: float | None = None,
        kernel: str | None = None,
        comm: MPI.Comm = MPI.COMM_WORLD,
        observers: Sequence[Observer] = (),
    ) -> None:
        given, heat = lam, temperature_of("train", temperature)
        lam = 1.0 if lam is None else _positive("lam", lam)
        law = checked_law(inputs)
        if problem.source is not None:
            raise InputError("train: particles know no source; leave it out of the problem")
        streams = _streams(seed)
        self.problem, self.comm, self.manifold = problem, comm, problem.manifold
        positions = _start(problem, start, width, np.random.default_rng(streams[_START]))
        chosen = choose_data(
            self.manifold,
            features,
            problem.teacher,
            data,
            law,
            target,
            np.random.default_rng(streams[_DATA]),
        )
        penalty: Penalty = FixedWeights()
        if given is not None:
            penalty = penalty_of(problem.divergence, reference)
        elif epsilon is not None or batch is not None:
            raise InputError("train: lam: missing; epsilon and batch are about outer weights")
        if batch is None:
            model = build_model(chosen, self.manifold, lam, len(positions), comm, kernel)
        else:
            _check_batches(batch, momentum, stepper, epsilon)
            draw = batches_of(chosen, batch, np.random.default_rng(streams[_BATCHES]))
            model = draw() if chosen.inputs is None else sampled_model(chosen, chosen.inputs, comm)
        self.teacher, self._data = chosen.teacher, chosen
        rng = np.random.default_rng(streams[_NOISE])
        noise = Brownian(heat, self.manifold, rng) if heat.at(0.0) else None
        decay = number("train", "decay", decay, 0.0)
        training = Training(model, lam, penalty, self.manifold, noise, decay)
        self.system, values = (MeanFlow if given is None else VarProFlow)(training), positions
        if epsilon is not None:
            self.system = TwoTimescaleFlow(training, _positive("epsilon", epsilon))
            values = self.system.start(positions)
        elif batch is not None:
            self.system = StochasticFlow(training, draw, momentum, positions)
        # A copy: steppers may remember what they learn of one system.
        self.stepper = copy(stepper) or (EulerMaruyama() if noise else RKC())
        if not callable(getattr(self.stepper, "step", None)) or hasattr(self.stepper, "gamma"):
            raise InputError(f"stepper = {shown(stepper)} must be explicit, such as ufd.RKC()")
        if isinstance(self.stepper, Euler | EulerMaruyama) and dt is None:
            raise InputError("dt: missing; Euler's method estimates no error and needs fixed steps")
        if noise and not isinstance(self.stepper, EulerMaruyama):
            raise InputError("stepper: noise needs ufd.EulerMaruyama()")
        if self.stepper.name == "euler_normalised" and chosen.inputs is None and batch is None:
            # A population kernel gives no radial part of the gradient to normalise away.
            raise InputError(
                "stepper: the published Euler step normalises gradients on samples; give "
                "data=4096, or ufd.Euler() for the population"
            )
        control = ErrorControl(rtol) if dt is None else FixedStep(dt)
        speed = self.system.norm(self.system.slope(0.0, values), values) if batch is None else 0.0
        first = min(0.1 * rtol**0.5 / max(speed, 1e-3), 0.1) if dt is None else dt
        self.evolution = Evolution(self.system, self.stepper, control, values, first, observers)
        self._configuration = {
            "features": features.describe(),
            "lam": given,
            "temperature": heat.describe(),
            "decay": decay,
            "width": len(positions),
            **model.describe(),
            "target": target if target is None or isinstance(target, Integral) else "atoms",
            "reference": float(reference),
            "start": start if isinstance(start, str) else "points",
            "seed": seed if isinstance(seed, Integral) else str(seed),
            "epsilon": epsilon,
            "batch": batch,
            "momentum": momentum,
            "stepper": self.stepper.name,
            "rtol": rtol,
            "dt": dt,
        }

    @property
    def t(self) -> float:
        """Current time."""
        return self.evolution.t

    @property
    def state(self) -> ParticleState:
        """The current particles (a view that later steps leave behind)."""
        values = self.evolution.values
        features, outer = self.system.features(values), self.system.outer(values)
        return ParticleState(self.t, features, outer, self.manifold)

    @property
    def status(self) -> StopReason:
        """Why the run stopped, or that it is running."""
        return self.evolution.status

    @property
    def stats(self) -> dict[str, Any]:
        """Counters: steps, rejected, evaluations of the velocity, seconds, width, ranks."""
        kept = self.evolution.statistics.as_dict()
        names = ("steps", "rejected", "failed_solves", "evaluations", "last_failure", "seconds")
        width = len(self.evolution.values)
        return {**{name: kept[name] for name in names}, "width": width, "ranks": self.comm.size}

    def describe(self) -> dict[str, Any]:
        """Features, data, flow, stepper and tolerances as they were resolved."""
        return dict(self._configuration)

    def samples(self) -> tuple[Array, Array] | None:
        """Inputs (N, d) and targets (N,), all of them on every rank; None for the population."""
        data = self._data
        if data.inputs is None:
            return None
        return data.inputs, network_output(data.features, data.teacher, data.inputs)

    def step(self) -> ParticleState:
        """Take one accepted step."""
        self.evolution.step()
        return self.state

    def advance(self, to: float) -> ParticleState:
        """Step until exactly t = ``to``; look at ``status`` if it could not."""
        self.evolution.advance(to)
        return self.state

    def iterate(self, times: Sequence[float]) -> Iterator[tuple[float, ParticleState]]:
        """Yield (t, state) at each of ``times``, landed on exactly."""
        for t in self.evolution.iterate(times):
            yield t, self.state

    def functionals(self) -> dict[str, float]:
        """Now: risk, misfit, divergence = mean f(u), smallest and largest outer weight."""
        training, fit = self.system.training, self.system.fit(self.evolution.values)
        return {
            "risk": training.risk(fit),
            "misfit": fit.misfit,
            "divergence": float(training.penalty.value(fit.outer).mean()),
            "min_outer": float(fit.outer.min()),
            "max_outer": float(fit.outer.max()),
        }

    def risk(self) -> float:
        """|f* - Phi u/M|^2/(2 lam) + mean f(u) now."""
        return self.functionals()["risk"]

    def divergence(self) -> float:
        """mean f(u) now: what tends to int f(dnu/dmu) dmu."""
        return self.functionals()["divergence"]

    def save(self, path: str | PathLike) -> None:
        """Write the current particles to ``path`` (.npz).

        Raises:
            StorageError: If the file cannot be written.
        """
        from ufd.parallel import on_root

        history = ParticleHistory(self.manifold)
        history.add(self.state)
        on_root(self.comm, lambda: history.save(Path(path)))


def _positive(name: str, value: Any) -> float:
    checked = number("train", name, value)
    if not checked > 0:
        raise InputError(f"train: {name} = {value!r} must be positive")
    return checked


def _streams(seed: Any) -> list[np.random.SeedSequence]:
    try:
        return np.random.SeedSequence(seed).spawn(4)
    except (TypeError, ValueError):
        raise InputError(f"seed = {shown(seed)} must be a non-negative integer") from None


def _start(problem: UltraFastDiffusion, start: Any, width: Any, rng: np.random.Generator) -> Array:
    width = positive_integer("train", "width", width)
    if isinstance(start, str):
        if start == "quantile":
            return quantiles(problem.initial, width)
        if start == "iid":
            return independent(problem.initial, width, rng)
        raise InputError(f"start = {start!r} must be 'quantile', 'iid' or points")
    points = problem.manifold.points(start)
    if len(points) != width:
        raise InputError(f"start: {len(points)} points for width = {width}; give as many")
    return points


def _check_batches(batch: Any, momentum: Any, stepper: Any, epsilon: Any) -> None:
    if isinstance(batch, bool) or not isinstance(batch, Integral) or batch < 1:
        raise InputError(f"batch = {shown(batch)} must be a positive integer")
    if not 0 <= number("train", "momentum", momentum) < 1:
        raise InputError(f"momentum = {momentum!r} must lie in [0, 1)")
    if epsilon is not None:
        raise InputError("batch: mini-batches project the outer weights; leave epsilon out")
    if not isinstance(stepper, Euler):
        raise InputError("batch: mini-batches take one step each; give stepper=ufd.Euler() and dt")

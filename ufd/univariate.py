"""The verb of few neurons on an interval: ensembles that look for the jumps of a function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from ufd.analysis import provenance
from ufd.analysis.univariate import Trajectory, UnivariateRun
from ufd.evolution.control import ErrorControl
from ufd.evolution.evolve import Evolution
from ufd.evolution.schedules import stored_times
from ufd.evolution.steppers import SDIRK4
from ufd.exceptions import InputError, SolverError
from ufd.jumps.descent import Descent
from ufd.jumps.flow import NeuronFlow
from ufd.jumps.limit import limit_path
from ufd.jumps.neurons import Neurons, Ramp, SmoothStep, additive_loss
from ufd.parallel import agree, on_root
from ufd.problem.checks import number, positive_integer, shown
from ufd.problem.knots import Knots, RampTarget, StepTarget

Array = NDArray[np.float64]
METHODS = ("flow", "descent", "limit")
# A ramp counts as recovered when a neuron's kink is as close as this.
_CLOSE = 0.01


def univariate(
    target: StepTarget | RampTarget | Sequence[StepTarget] | Sequence[RampTarget],
    neurons: int,
    eta: float | None = None,
    epsilon: float | None = None,
    *,
    times: Sequence[float],
    method: str | None = None,
    seeds: int | Sequence[int] = 1,
    h: float = 1e-5,
    noise: float = 1.0,
    rtol: float = 1e-6,
    within: float | None = None,
    comm: MPI.Comm = MPI.COMM_WORLD,
    say: Callable[[str], None] = lambda line: None,
) -> UnivariateRun:
    """Train few neurons at two timescales (arXiv 2304.09576), from many starts; collective.

    f(x) = a_0 + sum_j a_j sigma((x - u_j)/eta) fits f* in the loss int (f* - f)^2. Weights start
    at zero, positions are independent and uniform on [0, 1]; one seed gives one start to every
    method. Times are slow times, tau = eps t.

    Args:
        target: f*: steps, or ramps; several for a sum of functions of one coordinate each
            (descent only).
        neurons: Number m, for each coordinate.
        eta: Width of the smoothed steps; None for ramps and for the limit.
        epsilon: Ratio of the timescales; None for the limit.
        times: Increasing; t = 0 is always stored.
        method: "flow", the gradient flow; "descent", stochastic gradient descent as published,
            one sample a step; "limit", eps and eta to 0. By default the limit if neither eta nor
            epsilon is given, else the flow.
        seeds: Runs, with seeds 0, 1, ..., or the seeds themselves.
        h: Step of the weights (descent); positions take eps h, and tau = t takes t/(eps h) steps.
        noise: Values carry uniform noise on [-noise, noise] (descent).
        rtol: Bound of the error of a step (flow), of positions and of weights over max(1, |a|).
        within: Distance at which a jump counts as recovered; by default eta, for the limit
            1e-9, for ramps 0.01.
        comm: The ranks that share the runs.
        say: Told a line about each finished run, on the rank that ran it.

    Returns:
        A `UnivariateRun`.

    Raises:
        InputError: If an argument is out of range; the message names it.
    """
    setting = _checked(target, neurons, eta, epsilon, method, h, noise, rtol)
    landing = stored_times(times)
    chosen = _seeds(seeds)
    if within is None:
        close = {"limit": 1e-9}.get(setting.method, setting.eta)
        within = _CLOSE if isinstance(setting.targets[0], RampTarget) else close

    def share() -> list[Trajectory]:
        own = []
        for seed in chosen[comm.rank :: comm.size]:
            own.append(_follow(setting, seed, landing))
            loss = own[-1].losses[-1]
            say(f"seed {seed}: " + (own[-1].failure or f"loss {loss:.4g} at t = {landing[-1]:g}"))
        return own

    own = agree(comm, share)
    paths = sorted((p for theirs in comm.allgather(own) for p in theirs), key=lambda p: p.seed)
    configuration = setting.describe() | {"within": float(within)}
    return UnivariateRun(
        targets=setting.targets,
        times=np.array(landing),
        paths=paths,
        configuration=configuration,
        provenance=on_root(comm, lambda: provenance.collect(comm.size, configuration, {})),
    )


@dataclass(frozen=True)
class _Setting:
    targets: list[Knots]
    neurons: int
    eta: float
    epsilon: float
    method: str
    h: float
    noise: float
    rtol: float

    def describe(self) -> dict[str, Any]:
        """What was asked for, as it was resolved."""
        smooth = self.method != "limit"
        ramps = isinstance(self.targets[0], RampTarget)
        table: dict[str, Any] = {
            "target": [each.describe() for each in self.targets],
            "neurons": self.neurons,
            "method": self.method,
            "eta": self.eta if smooth and not ramps else None,
            "epsilon": self.epsilon if smooth else None,
        }
        if self.method == "descent":
            table |= {"h": self.h, "noise": self.noise}
        return table | ({"rtol": self.rtol} if self.method == "flow" else {})


def _checked(
    target: Any, neurons: Any, eta: Any, epsilon: Any, method: Any, h: Any, noise: Any, rtol: Any
) -> _Setting:
    targets = list(target) if isinstance(target, Sequence) else [target]
    ramps = bool(targets) and all(isinstance(each, RampTarget) for each in targets)
    if not targets or not (ramps or all(isinstance(each, StepTarget) for each in targets)):
        raise InputError(
            f"univariate: target = {shown(target)} must be ufd.StepTarget or ufd.RampTarget, or a "
            "list of one of them"
        )
    width = positive_integer("univariate", "neurons", neurons)
    if method is None:
        method = "limit" if eta is None and epsilon is None else "flow"
    if method not in METHODS:
        raise InputError(f"univariate: method = {shown(method)} must be one of {METHODS}")
    if len(targets) > 1 and method != "descent":
        raise InputError("univariate: several targets are for method='descent'")
    if method == "limit":
        if ramps:
            raise InputError("univariate: the limit is known for steps only; give method='flow'")
        if eta is not None or epsilon is not None:
            raise InputError("univariate: the limit has eta = epsilon = 0; leave both out")
        return _Setting(targets, width, 0.0, 0.0, method, 0.0, 0.0, 0.0)
    if epsilon is None:
        raise InputError("univariate: epsilon: missing; the ratio of the timescales")
    epsilon = _positive("epsilon", epsilon)
    if ramps:
        if eta is not None:
            raise InputError("univariate: eta: ramps have no width; leave it out")
        eta = 0.0
    else:
        if eta is None:
            raise InputError("univariate: eta: missing; the width of the smoothed steps")
        eta = _positive("eta", eta)
        shortest = min(np.diff([0.0, *each.positions, 1.0]).min() for each in targets)
        if eta >= shortest:
            raise InputError(
                f"univariate: eta = {eta:g} is wider than a piece of the target "
                f"({shortest:.3g}); give less"
            )
    noise = number("univariate", "noise", noise, 0.0)
    return _Setting(
        targets, width, eta, epsilon, method, _positive("h", h), noise, _positive("rtol", rtol)
    )


def _positive(name: str, value: Any) -> float:
    checked = number("univariate", name, value)
    if not checked > 0:
        raise InputError(f"univariate: {name} = {value!r} must be positive")
    return checked


def _seeds(seeds: Any) -> list[int]:
    if not isinstance(seeds, Sequence | np.ndarray):
        return list(range(positive_integer("univariate", "seeds", seeds)))
    chosen = [int(seed) for seed in seeds]
    if not chosen or len(set(chosen)) < len(chosen) or min(chosen) < 0:
        raise InputError(f"univariate: seeds = {shown(seeds)} must be different, and not negative")
    return chosen


def _follow(setting: _Setting, seed: int, times: list[float]) -> Trajectory:
    """One run."""
    rng = np.random.default_rng(seed)
    axes, width = len(setting.targets), setting.neurons
    start = rng.random((axes, width))
    target = setting.targets[0]
    if isinstance(target, StepTarget) and setting.method == "limit":
        try:
            positions, losses, reached = limit_path(target, start[0], times)
        except SolverError as error:
            return Trajectory.failed(seed, start, len(times), str(error))
        return Trajectory(seed, positions[:, None], None, losses, reached)
    activation = Ramp() if isinstance(target, RampTarget) else SmoothStep(setting.eta)
    neurons = [Neurons(target, activation) for target in setting.targets]
    if setting.method == "flow":
        return _flow(setting, seed, times, neurons[0], start)
    run = Descent(
        setting.targets, start, setting.eta, setting.epsilon, setting.h, setting.noise, rng
    )
    kept = []
    for t in times:
        run.advance(round(t / (setting.h * setting.epsilon)) - run.steps)
        kept.append((run.positions.copy(), run.weights.copy()))
    losses = np.array([additive_loss(neurons, a, u) for u, a in kept])
    failure = "" if np.isfinite(losses).all() else "the descent diverged: take a smaller h"
    positions, weights = (np.array(rows) for rows in zip(*kept, strict=True))
    return Trajectory(seed, positions, weights, losses, None, failure)


def _flow(
    setting: _Setting, seed: int, times: list[float], neurons: Neurons, start: Array
) -> Trajectory:
    flow = NeuronFlow(neurons, setting.neurons, setting.epsilon, 1e-3 * setting.rtol)
    values = np.concatenate([np.zeros(1 + setting.neurons), start[0]])
    first = 1e-3 * setting.rtol**0.25 * min(1.0, setting.epsilon)
    evolution = Evolution(flow, SDIRK4(), ErrorControl(setting.rtol), values, first)
    kept = [flow.parts(evolution.values)]
    for t in times[1:]:
        if not evolution.advance(t):
            return Trajectory.failed(seed, start, len(times), evolution.status.value)
        kept.append(flow.parts(evolution.values))
    losses = np.array([neurons.loss(a, u) for a, u in kept])
    weights, positions = (np.array(rows) for rows in zip(*kept, strict=True))
    return Trajectory(seed, positions[:, None], weights, losses, None)

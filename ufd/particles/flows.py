"""Flows of particles: semi-discrete systems that explicit steppers move.

Variable projection moves features with optimal outer weights by theta' = u grad g(theta)
(arXiv 2504.18208; docs/theory.md section 11); with two timescales the outer weights follow
eps u' = lam (g - f'(u)) and tend to it as eps does to 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ufd.particles.models import Fit, Model
from ufd.particles.noise import Brownian
from ufd.problem.manifolds import Manifold
from ufd.problem.penalties import Penalty

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Training:
    """What is trained: a model of the data, a penalty, the manifold of the features.

    Attributes:
        model: Gives outer weights and forces.
        lam: Regularisation, positive.
        penalty: f.
        manifold: Where the features live.
        noise: Of the features; None for none.
        decay: lam2 of a weight decay lam2/2 |theta|^2, which only R^d feels.
    """

    model: Model
    lam: float
    penalty: Penalty
    manifold: Manifold
    noise: Brownian | None = None
    decay: float = 0.0

    def velocity(self, points: Array, force: Array, *, ambient: bool) -> Array:
        """The tangential part of a force with weight decay; all of it if ``ambient``."""
        whole = force - self.decay * points if self.decay else force
        return whole if ambient else self.manifold.tangent(points, whole)

    def risk(self, fit: Fit) -> float:
        """|f* - Phi u/M|^2/(2 lam) + mean f(u)."""
        return fit.misfit + float(self.penalty.value(fit.outer).mean())


class VarProFlow:
    """Variable projection; a state holds the features, (M, d)."""

    def __init__(self, training: Training) -> None:
        self.training = training
        self._seen: tuple[Array, Fit] | None = None

    def fit(self, values: Array) -> Fit:
        """Outer weights and forces of a state; the last one is remembered."""
        if self._seen is None or not np.array_equal(self._seen[0], values):
            training = self.training
            fit = training.model.optimum(values, training.lam, training.penalty)
            self._seen = (values.copy(), fit)
        return self._seen[1]

    def slope(self, t: float, values: Array, *, ambient: bool = False) -> Array:
        """Velocity of a state, (M, d); with its radial part if ``ambient``."""
        fit = self.fit(values)
        return self.training.velocity(values, fit.outer[:, None] * fit.force, ambient=ambient)

    def increment(self, t: float, values: Array, dt: float) -> Array:
        """What noise adds to a state from t to t + dt, tangential."""
        noise = self.training.noise
        return np.zeros_like(values) if noise is None else noise.increment(t, values, dt)

    def extended(self, t: float, values: Array) -> Array:
        """The velocity field off the manifold: that of the nearest state on it."""
        return self.slope(t, self.retract(values))

    def retract(self, values: Array) -> Array:
        """The nearest state on the manifold."""
        return self.training.manifold.retract(values)

    def exponential(self, values: Array, change: Array) -> Array:
        """The state at the end of geodesics."""
        return self.training.manifold.exponential(values, change)

    def norm(self, error: Array, values: Array) -> float:
        """Root mean square displacement."""
        return float(np.sqrt(np.mean(np.sum(error * error, axis=1))))

    def features(self, values: Array) -> Array:
        """The features of a state, (M, d)."""
        return values

    def outer(self, values: Array) -> Array:
        """The outer weights of a state, (M,)."""
        return self.fit(values).outer


class MeanFlow(VarProFlow):
    """Outer weights stay 1: gradient flow of |f* - Phi mu|^2/2."""

    def fit(self, values: Array) -> Fit:
        """See `VarProFlow.fit`."""
        if self._seen is None or not np.array_equal(self._seen[0], values):
            fit = self.training.model.fit(values, np.ones(len(values)), self.training.lam)
            self._seen = (values.copy(), fit)
        return self._seen[1]


class TwoTimescaleFlow(VarProFlow):
    """Outer weights of finite speed; a state holds features and outer weights, (M, d + 1).

    Args:
        training: What is trained.
        epsilon: Ratio of the timescales, positive: eps u' = lam (g - f'(u)).
    """

    def __init__(self, training: Training, epsilon: float) -> None:
        super().__init__(training)
        self._epsilon = epsilon

    def start(self, features: Array) -> Array:
        """A state with optimal outer weights."""
        fit = self.training.model.optimum(features, self.training.lam, self.training.penalty)
        return np.column_stack([features, fit.outer])

    def fit(self, values: Array) -> Fit:
        """See `VarProFlow.fit`."""
        if self._seen is None or not np.array_equal(self._seen[0], values):
            model, lam = self.training.model, self.training.lam
            self._seen = (values.copy(), model.fit(values[:, :-1], values[:, -1], lam))
        return self._seen[1]

    def slope(self, t: float, values: Array, *, ambient: bool = False) -> Array:
        """Velocity of features and outer weights, (M, d + 1)."""
        fit, training = self.fit(values), self.training
        force = fit.outer[:, None] * fit.force
        velocity = training.velocity(values[:, :-1], force, ambient=ambient)
        change = training.lam * (fit.pressure - training.penalty.slope(fit.outer)) / self._epsilon
        return np.column_stack([velocity, change])

    def increment(self, t: float, values: Array, dt: float) -> Array:
        """See `VarProFlow.increment`: outer weights feel no noise."""
        return np.column_stack([super().increment(t, values[:, :-1], dt), 0 * values[:, -1]])

    def retract(self, values: Array) -> Array:
        """See `VarProFlow.retract`."""
        return np.column_stack([super().retract(values[:, :-1]), values[:, -1]])

    def exponential(self, values: Array, change: Array) -> Array:
        """See `VarProFlow.exponential`."""
        ends = super().exponential(values[:, :-1], change[:, :-1])
        return np.column_stack([ends, values[:, -1] + change[:, -1]])

    def norm(self, error: Array, values: Array) -> float:
        """Root mean square of displacements and of changes of outer weights relative to theirs."""
        scale = np.maximum(1.0, np.abs(values[:, -1]))
        return super().norm(np.column_stack([error[:, :-1], error[:, -1] / scale]), values)

    def features(self, values: Array) -> Array:
        """See `VarProFlow.features`."""
        return values[:, :-1]

    def outer(self, values: Array) -> Array:
        """See `VarProFlow.outer`."""
        return values[:, -1]


class StochasticFlow(VarProFlow):
    """Variable projection on mini-batches, with momentum on the outer weights.

    Every evaluation fits the outer weights v of the next batch and moves with
    u = momentum u_before + (1 - momentum) v, as arXiv 2504.18208 trains its residual networks.
    It needs a stepper with one evaluation per step.

    Args:
        training: Its model is drawn anew by ``batches``.
        batches: Returns the model of the next batch.
        momentum: From 0 (none) to below 1.
        start: Features, whose first fit starts the momentum.
    """

    def __init__(
        self, training: Training, batches: Callable[[], Model], momentum: float, start: Array
    ) -> None:
        super().__init__(training)
        self._batches, self._momentum = batches, momentum
        self._outer = training.model.optimum(start, training.lam, training.penalty).outer

    def slope(self, t: float, values: Array, *, ambient: bool = False) -> Array:
        """See `VarProFlow.slope`."""
        training, model = self.training, self._batches()
        fresh = model.optimum(values, training.lam, training.penalty)
        self._outer = self._momentum * self._outer + (1 - self._momentum) * fresh.outer
        force = (
            model.fit(values, self._outer, training.lam).force if self._momentum else fresh.force
        )
        return training.velocity(values, self._outer[:, None] * force, ambient=ambient)

    def outer(self, values: Array) -> Array:
        """See `VarProFlow.outer`: those with momentum."""
        return self._outer

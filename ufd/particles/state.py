"""Particles at one time, and those of a whole run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ufd.exceptions import StorageError
from ufd.problem.checks import place_of_time
from ufd.problem.manifolds import Manifold
from ufd.problem.measures import Measure
from ufd.storage import read_arrays, write_arrays

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ParticleState:
    """Features of equal weight with their outer weights at time t, the same on every rank.

    Attributes:
        t: Time.
        features: omega, (M, ambient_dim).
        outer_weights: u, (M,).
        manifold: Where the features live.
    """

    t: float
    features: Array
    outer_weights: Array
    manifold: Manifold

    @property
    def measure(self) -> Measure:
        """The distribution of the features: mean of point masses."""
        width = len(self.features)
        return Measure(self.features, np.full(width, 1 / width))

    def copy(self) -> ParticleState:
        """A state that later steps do not change."""
        return ParticleState(self.t, self.features.copy(), self.outer_weights.copy(), self.manifold)


class ParticleHistory:
    """States of one run by time."""

    def __init__(self, manifold: Manifold) -> None:
        self.manifold = manifold
        self._states: dict[float, ParticleState] = {}

    def add(self, state: ParticleState) -> None:
        """Keep a state."""
        self._states[state.t] = state.copy()

    @property
    def times(self) -> list[float]:
        """The stored times."""
        return list(self._states)

    def at(self, t: float) -> ParticleState:
        """The state at a stored time.

        Raises:
            InputError: If ``t`` was not stored; the message lists the times that were.
        """
        return self._states[self.times[place_of_time(t, self.times)]]

    def save(self, path: Path) -> None:
        """Write the states.

        Raises:
            StorageError: If the file cannot be written.
        """
        states = self._states.values()
        write_arrays(
            path,
            times=self.times,
            features=[state.features for state in states],
            outer_weights=[state.outer_weights for state in states],
        )


def read_particles(path: Path, manifold: Manifold) -> ParticleHistory:
    """Read what `ParticleHistory.save` wrote.

    Raises:
        StorageError: If the file is missing or damaged.
    """
    stored = read_arrays(path)
    history = ParticleHistory(manifold)
    try:
        rows = zip(stored["times"], stored["features"], stored["outer_weights"], strict=True)
        for t, features, outer in rows:
            history.add(ParticleState(float(t), features, outer, manifold))
    except (KeyError, ValueError, TypeError) as error:
        raise StorageError(f"cannot read {path}: {error} is missing or wrong") from None
    return history

"""States of the mean-field equation: a density on a mesh, and outer weights everywhere."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI
from numpy.typing import ArrayLike, NDArray

from ufd.exceptions import StorageError
from ufd.fem.fields import FieldHistory, read_fields
from ufd.fem.state import State
from ufd.meanfield.modes import Harmonics
from ufd.parallel import on_root
from ufd.problem.checks import place_of_time
from ufd.problem.diffusion import UltraFastDiffusion
from ufd.problem.manifolds import Sphere
from ufd.problem.penalties import FixedWeights, Penalty, penalty_of
from ufd.storage import read_arrays, write_arrays

Array = NDArray[np.float64]
FIELDS, OUTER = "fields.npz", "outer.npz"


@dataclass(frozen=True, eq=False)
class MeanFieldState(State):
    """The ratio w = mu/nu at the nodes with the optimal outer weights of mu; collective.

    Attributes:
        c: Coefficients of f'(u) in the harmonics that the feature sees, (N,).
        modes: Those harmonics.
        penalty: f.
    """

    c: Array
    modes: Harmonics
    penalty: Penalty

    def outer_weights(self, points: ArrayLike) -> Array:
        """u at (n, ambient_dim) points, the same on every rank; shape (n,)."""
        return self.penalty.minimiser(self.modes.at(self.manifold.points(points)) @ self.c)

    def copy(self) -> MeanFieldState:
        """A state that later steps do not change."""
        return replace(self, values=self.values.copy(), c=self.c.copy())


class MeanFieldHistory:
    """States of one run by time.

    Args:
        fields: Where the densities are kept.
        modes: The harmonics that the feature sees.
        penalty: f.
    """

    def __init__(self, fields: FieldHistory, modes: Harmonics, penalty: Penalty) -> None:
        self._fields, self._modes, self._penalty = fields, modes, penalty
        self._outer: dict[float, Array] = {}

    def add(self, state: MeanFieldState) -> None:
        """Keep a state."""
        self._fields(state.t, state.values, landed=True)
        self._outer[state.t] = state.c.copy()

    @property
    def times(self) -> list[float]:
        """The stored times."""
        return self._fields.times

    def at(self, t: float) -> MeanFieldState:
        """The state at a stored time.

        Raises:
            InputError: If ``t`` was not stored; the message lists the times that were.
        """
        stored = self.times[place_of_time(t, self.times)]
        density = self._fields.at(stored)
        return MeanFieldState(
            **vars(density), c=self._outer[stored], modes=self._modes, penalty=self._penalty
        )

    def save(self, directory: Path) -> None:
        """Write fields.npz, outer.npz and VTKHDF fields; collective.

        Raises:
            StorageError: If a file cannot be written.
        """
        self._fields.save(directory / FIELDS)
        modes = self._modes
        arrays: dict[str, Any] = {
            "coefficients": list(self._outer.values()),
            "degree": modes.degree,
            "columns": modes.columns,
            "eigenvalues": modes.eigenvalues,
        }
        comm = self._fields.space.comm
        on_root(comm, lambda: write_arrays(directory / OUTER, **arrays))
        self._fields.write_vtkhdf(directory)


def read_states(
    directory: Path,
    problem: UltraFastDiffusion,
    reference: float,
    comm: MPI.Comm,
    *,
    fixed: bool = False,
) -> MeanFieldHistory:
    """Read what `MeanFieldHistory.save` wrote, on any number of ranks; collective.

    Args:
        directory: Of the run.
        problem: Of the run.
        reference: Least point of its quadratic penalty.
        comm: The ranks.
        fixed: Whether outer weights stayed 1.

    Raises:
        StorageError: If a file is missing, damaged, or does not fit the other.
    """
    assert isinstance(problem.manifold, Sphere)  # as every mesh
    fields = read_fields(directory / FIELDS, problem, comm)
    stored = on_root(comm, lambda: read_arrays(directory / OUTER))
    try:
        columns, eigenvalues = stored["columns"], stored["eigenvalues"]
        modes = Harmonics(problem.manifold, int(stored["degree"]), columns, eigenvalues)
        penalty: Penalty = FixedWeights()
        if not fixed:
            penalty = penalty_of(problem.divergence, reference, "meanfield")
        history = MeanFieldHistory(fields, modes, penalty)
        for t, c in zip(fields.times, stored["coefficients"], strict=True):
            history._outer[t] = c
    except (KeyError, ValueError, TypeError) as error:
        raise StorageError(
            f"cannot read {directory / OUTER}: {error} is missing or wrong"
        ) from None
    return history

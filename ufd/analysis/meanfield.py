"""What a run of the mean-field equation left: its series, its densities, its outer weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from mpi4py import MPI
from numpy.typing import ArrayLike, NDArray

from ufd.analysis.runs import Run, read_run, read_summary
from ufd.parallel import on_root
from ufd.storage import make_directory

Array = NDArray[np.float64]


class States(Protocol):
    """States at stored times, whoever keeps them."""

    def at(self, t: float) -> Any:
        """The state at a stored time."""

    def save(self, directory: Path) -> None:
        """Write the states; collective."""


@dataclass(eq=False)
class MeanFieldRun(Run):
    """A finished or stopped run of the mean-field equation.

    Attributes:
        series: Arrays over the accepted steps: t, mass, risk = misfit + divergence, misfit =
            |f* - Phi(u mu)|^2/(2 lam), divergence = int f(u) dmu, chi2 = int (w-1)^2 dnu,
            total_variation = int |w-1| dnu/2, min_ratio, max_ratio, min_outer, max_outer.
        status: Why the run stopped.
        stats: Steps, rejected steps, Newton, GMRES and CG iterations, factors, seconds, dofs.
        times: The times at which states are stored.
        configuration: What was asked for, as it was resolved.
        provenance: Versions, commit, machine.
    """

    open_states: Callable[[], States] = field(repr=False)

    @cached_property
    def states(self) -> States:
        """The stored states."""
        return self.open_states()

    def at(self, t: float) -> Any:
        """The state at a stored time: ``.ratio``, ``.density``, ``.outer_weights``, ``.measure``.

        Raises:
            InputError: If ``t`` was not stored; the message lists the times that were.
        """
        return self.states.at(t)

    def density(self, points: ArrayLike, t: float) -> Array:
        """mu at (n, ambient_dim) points and a stored time, (n,).

        Collective: every rank gives the same points and time.
        """
        return self.at(t).density(points)

    def ratio(self, points: ArrayLike, t: float) -> Array:
        """w = mu/nu at (n, ambient_dim) points and a stored time, (n,); collective as `density`."""
        return self.at(t).ratio(points)

    def outer_weights(self, points: ArrayLike, t: float) -> Array:
        """u at (n, ambient_dim) points and a stored time; (n,)."""
        return self.at(t).outer_weights(points)

    def summary(self) -> dict[str, Any]:
        """See `Run.summary`."""
        return {"kind": "meanfield", **super().summary()}

    def save(self, directory: str | PathLike, comm: MPI.Comm = MPI.COMM_WORLD) -> None:
        """Write run.json, series.npz, fields.npz, outer.npz and VTKHDF fields; collective.

        Raises:
            StorageError: If a file cannot be written.
        """
        place = Path(directory)
        on_root(comm, lambda: make_directory(place))
        self.states.save(place)
        on_root(comm, lambda: self.save_summary(place))


def read_meanfield(directory: Path, open_states: Callable[[], States]) -> MeanFieldRun:
    """Read the summary of a run; the states are opened when first asked for.

    Raises:
        StorageError: If the directory holds no run, or a damaged one.
    """
    return MeanFieldRun(**read_summary(directory, read_run(directory)), open_states=open_states)

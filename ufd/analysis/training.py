"""What training particles returns: series over the steps, particles at the stored times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from ufd.analysis.runs import Run, read_run, read_summary
from ufd.parallel import on_root
from ufd.storage import make_directory

Array = NDArray[np.float64]
PARTICLES = "particles.npz"


class Particles(Protocol):
    """States at stored times, whoever keeps them."""

    def at(self, t: float) -> Any:
        """The state at a stored time."""

    def save(self, path: Path) -> None:
        """Write the states."""


@dataclass(eq=False)
class TrainingRun(Run):
    """A finished or stopped training.

    Attributes:
        series: Arrays over the accepted steps: t, risk = misfit + divergence, misfit =
            |f* - Phi u/M|^2/(2 lam), divergence = mean f(u), min_outer, max_outer.
        status: Why the run stopped.
        stats: Steps, rejected steps, evaluations of the velocity, seconds, width.
        times: The times at which particles are stored.
        configuration: What was asked for, as it was resolved.
        provenance: Versions, commit, machine, seed.
    """

    open_particles: Callable[[], Particles] = field(repr=False)

    @cached_property
    def particles(self) -> Particles:
        """The stored particles."""
        return self.open_particles()

    def at(self, t: float) -> Any:
        """The particles at a stored time, with ``.features``, ``.outer_weights``, ``.measure``.

        Raises:
            InputError: If ``t`` was not stored; the message lists the times that were.
        """
        return self.particles.at(t)

    def features(self, t: float) -> Array:
        """omega at a stored time, (M, ambient_dim)."""
        return self.at(t).features

    def outer_weights(self, t: float) -> Array:
        """u at a stored time, (M,)."""
        return self.at(t).outer_weights

    def summary(self) -> dict[str, Any]:
        """See `Run.summary`."""
        return {"kind": "particles", **super().summary()}

    def save(self, directory: str | PathLike, comm: MPI.Comm = MPI.COMM_WORLD) -> None:
        """Write run.json, series.npz and particles.npz into a directory; collective.

        Raises:
            StorageError: If a file cannot be written.
        """
        place = Path(directory)

        def write() -> None:
            make_directory(place)
            self.particles.save(place / PARTICLES)
            self.save_summary(place)

        on_root(comm, write)


def read_training(directory: Path, open_particles: Callable[[], Particles]) -> TrainingRun:
    """Read the summary of a training; the particles are opened when first asked for.

    Raises:
        StorageError: If the directory holds no run, or a damaged one.
    """
    return TrainingRun(
        **read_summary(directory, read_run(directory)), open_particles=open_particles
    )

"""What ensembles of trainings share: whose run is whose, and densities to take positions from."""

from __future__ import annotations

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from ufd.fem.state import State
from ufd.problem.harmonics import basis

Array = NDArray[np.float64]
# lam, width, seed
Job = tuple[float, int, int]
# Degree of the harmonics in which the logarithm of a state without an axis is smoothed.
_SMOOTHED = 12


def shared_out(jobs: list[Job], comm: MPI.Comm) -> list[Job]:
    """The runs of this rank: the dearest first, each to the rank with the least so far."""
    loads, mine = [0.0] * comm.size, []
    for job in sorted(jobs, key=lambda job: (-job[1], job[0], job[2])):
        rank = int(np.argmin(loads))
        # Factorisations grow like width^3, stages like lam^(-1/4).
        loads[rank] += float(job[1]) ** 2.5 * float(job[0]) ** -0.25
        if rank == comm.rank:
            mine.append(job)
    return mine


class FrozenState:
    """A finite-element state as a `Density`, for positions.

    With one axis, quantiles need it on a meridian only. Without, on a surface, its logarithm in
    harmonics stands for it: smooth, where interpolation has a kink at every edge.
    """

    def __init__(self, state: State, axes: Array | None) -> None:
        self.manifold, self._density = state.manifold, state.density
        self._axes = axes if axes is not None and len(axes) == 1 else None
        self._series: Array | None = None
        if self._axes is None and self.manifold.dim == 2:
            x, w = self.manifold.quadrature(3 * _SMOOTHED)
            logs = np.log(state.density(x))
            self._series = (w / w.sum() * logs) @ basis(self.manifold, _SMOOTHED, x)

    def log_density(self, points: Array) -> Array:
        """See `Density`."""
        if self._series is not None:
            return basis(self.manifold, _SMOOTHED, points) @ self._series
        return np.log(self._density(points))

    def axes(self) -> Array | None:
        """See `Density`."""
        return self._axes

    def moments(self, degree: int) -> None:
        """See `Density`: not known in closed form."""
        return None

    def describe(self) -> None:
        """See `Density`."""
        return None

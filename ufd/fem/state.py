"""A density at one time on one mesh: values between nodes, integrals, a copy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ufd.fem.discretization import Discretization
from ufd.parallel import alike, smallest, total
from ufd.problem.densities import Density
from ufd.problem.manifolds import Sphere
from ufd.problem.measures import Measure

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class State:
    """The ratio w = mu/nu at time t, known at the nodes. Its methods are collective.

    Attributes:
        t: Time.
        values: w at the owned nodes, (n,).
    """

    t: float
    values: Array
    space: Discretization
    teacher: Density

    @property
    def manifold(self) -> Sphere:
        """Where the density lives."""
        return self.teacher.manifold

    def ratio(self, points: ArrayLike) -> Array:
        """w at (n, ambient_dim) points; collective, the same points on every rank; shape (n,).

        Interpolated through log w, so that densities stay positive between nodes.

        Raises:
            InputError: If a point is not on the sphere, or ranks give different ones. A rank that
                does not call this lets the others wait.
        """
        return self._ratio(self._common(points))

    def _common(self, points: ArrayLike) -> Array:
        return alike(self.space.comm, "points", lambda: self.manifold.points(points), at=self.t)

    def _ratio(self, x: Array) -> Array:
        if smallest(self.space.comm, float(self.values.min(initial=np.inf))) <= 0:
            return self.space.interpolate(self.values, x)
        return np.exp(self.space.interpolate(np.log(self.values), x))

    def density(self, points: ArrayLike) -> Array:
        """The density mu = w nu with respect to the surface measure; shape (n,). See `ratio`."""
        x = self._common(points)
        return self._ratio(x) * np.exp(self.teacher.log_density(x))

    @property
    def measure(self) -> Measure:
        """mu as point masses at the nodes (collocation)."""
        reduce: Callable = partial(total, self.space.comm)
        return Measure(self.space.nodes, self.space.D * self.values, reduce)

    def copy(self) -> State:
        """A state that later steps do not change."""
        return State(self.t, self.values.copy(), self.space, self.teacher)

    def l1_distance(self, other: State) -> float:
        """int |w - w_other| dnu, by the rule of this state's nodes; collective.

        Args:
            other: A state of the same problem, on any mesh.
        """
        comm = self.space.comm
        there = np.empty(len(self.values))
        for rank in range(comm.size):
            # One rank's nodes at a time, so that no rank holds those of all.
            ratio = other.ratio(comm.bcast(self.space.nodes, root=rank))
            if rank == comm.rank:
                there = ratio
        return float(total(comm, float(self.space.D @ np.abs(self.values - there))))

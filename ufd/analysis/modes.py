"""Which mode sets the rate: the first excited, who is slaved to whom, when the lead changes.

Everything is read off a stored spectrum: eigenvalues, projections of w - 1 over the steps, what a
symmetry allows, and the second-order coupling of the modes (docs/theory.md, section 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
# A mode counts as excited from this share of |w - 1| on, and from this amplitude on: projections of
# a run that does not contain a mode are round-off of some 1e-15.
_SHARE, _NOISE = 1e-6, 1e-12
_COUPLED = 1e-8


def clusters(eigenvalues: ArrayLike, width: float = 1e-6) -> list[list[int]]:
    """Group ascending eigenvalues that agree with their neighbours to ``width`` relatively."""
    groups: list[list[int]] = []
    values = np.asarray(eigenvalues, dtype=float)
    for i, value in enumerate(values):
        if groups and value - values[groups[-1][-1]] <= width * value:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


@dataclass(frozen=True)
class ExcitedMode:
    """The lowest mode of the weighted Laplacian that a run contains.

    Attributes:
        index: Its number, from 0 for the spectral gap.
        eigenvalue: Predicted amplitude rate; quadratic functionals decay at twice this rate.
        multiplicity: Dimension of its eigenspace.
        share: Largest part of |w - 1| in L2(nu) that it had at a recorded time.
        name: What symmetry says about it: "zonal", "|m| = 1", "even", "degree 2", or "".
        hidden: How many lower modes the symmetry of the problem forbids.
    """

    index: int
    eigenvalue: float
    multiplicity: int
    share: float
    name: str = ""
    hidden: int = 0


@dataclass(frozen=True)
class Crossover:
    """From time ``t`` on the eigenspace of mode ``later`` is larger than that of ``earlier``."""

    t: float
    earlier: int
    later: int


@dataclass(frozen=True)
class Spectrum:
    """Modes of the weighted Laplacian and what a run does in them.

    Attributes:
        eigenvalues: Ascending, (k,).
        t: Recorded times, (n,).
        amplitudes: L2(nu) projections of w - 1, (n, k).
        distance: |w - 1| in L2(nu), (n,).
        resolution: Smallest |w - 1| that the solves resolve.
        invariant: Dimension of what a symmetry leaves of each mode's eigenspace, (k,); -1: unknown.
        names: What symmetry says about each mode.
        coupling: int e_k e_i e_j dnu for the first modes, (q, q, q).
        m: Exponent of the diffusion; the flow is linear for m = 1.
        width: Relative distance up to which eigenvalues are one that the mesh has split.
    """

    eigenvalues: Array
    t: Array
    amplitudes: Array
    distance: Array
    resolution: float
    invariant: NDArray[np.int64]
    names: Sequence[str]
    coupling: Array
    m: float
    width: float = 1e-6

    def shares(self) -> tuple[list[list[int]], Array, NDArray[np.bool_]]:
        """Eigenspaces, their share of |w - 1|, (n, spaces), and where it is resolved, (n,)."""
        groups = clusters(self.eigenvalues, self.width)
        sizes = np.array([np.linalg.norm(self.amplitudes[:, g], axis=1) for g in groups]).T
        share = np.where(sizes > _NOISE, sizes, 0) / np.maximum(self.distance, 1e-300)[:, None]
        return groups, share, self.distance > self.resolution

    def allowed(self, group: list[int]) -> bool:
        """Whether the symmetry of teacher and start lets an eigenspace be excited."""
        return self.invariant[group[0]] != 0

    def first_excited(self) -> ExcitedMode | None:
        """The lowest allowed eigenspace with more than 1e-6 of |w - 1| at a resolved time.

        None if no computed mode is excited.
        """
        groups, share, seen = self.shares()
        hidden = 0
        for column, group in enumerate(groups):
            if not self.allowed(group):
                hidden += len(group)
                continue
            largest = float(share[seen, column].max(initial=0.0))
            if largest > _SHARE:
                return self._described(group, largest, hidden)
        return None

    def mode(self, index: int) -> ExcitedMode:
        """The eigenspace that holds mode ``index``, whether it is the first excited or not."""
        groups, share, seen = self.shares()
        column = next(i for i, group in enumerate(groups) if index in group)
        hidden = sum(len(g) for g in groups[:column] if not self.allowed(g))
        largest = float(share[seen, column].max(initial=0.0))
        return self._described(groups[column], largest, hidden)

    def _described(self, group: list[int], share: float, hidden: int) -> ExcitedMode:
        value = float(self.eigenvalues[group].mean())
        return ExcitedMode(group[0], value, len(group), share, self.names[group[0]], hidden)

    def crossovers(self) -> list[Crossover]:
        """When the lead passes for good from one allowed eigenspace to another."""
        groups, share, seen = self.shares()
        if not seen.any():
            return []
        permitted = np.array([self.allowed(g) for g in groups])
        share = np.where(permitted, share, 0.0)
        # Where nothing that is known leads, nothing passes.
        seen &= share.max(axis=1) > _SHARE
        lead = np.argmax(share[seen], axis=1)
        times, shares = self.t[seen], share[seen]
        found: list[Crossover] = []
        for i in np.flatnonzero(np.diff(lead)):
            a, b = lead[i], lead[i + 1]
            # The logarithm of their quotient is nearly linear in time.
            before, after = np.log(shares[i : i + 2, a] + 1e-300) - np.log(
                shares[i : i + 2, b] + 1e-300
            )
            t = times[i] + (times[i + 1] - times[i]) * before / max(before - after, 1e-300)
            found.append(Crossover(float(t), groups[a][0], groups[b][0]))
        return found

    def forecast(self) -> tuple[Crossover, float] | None:
        """When the first excited mode will take the lead, and |w - 1| in it then.

        Extrapolated from the last resolved time at the eigenvalues. None if it leads already, or
        if no mode is excited.
        """
        mode = self.first_excited()
        groups, share, seen = self.shares()
        if mode is None or not seen.any():
            return None
        i = int(np.flatnonzero(seen)[-1])
        own = next(column for column, group in enumerate(groups) if group[0] == mode.index)
        lead = int(np.argmax(share[i]))
        if lead == own or not share[i, own] > 0:
            return None
        ahead = np.log(share[i, lead] / share[i, own])
        wait = ahead / (self.eigenvalues[groups[lead][0]] - mode.eigenvalue)
        size = share[i, own] * self.distance[i] * np.exp(-mode.eigenvalue * wait)
        passing = Crossover(float(self.t[i] + wait), groups[lead][0], mode.index)
        return passing, float(size)

    def master(self, index: int) -> tuple[float, bool] | None:
        """If mode ``index`` is slaved: the rate at which it ends, and whether that is certain.

        Excited modes i and j drive every mode that couples with their product, at the rate
        lambda_i + lambda_j; a mode of a larger eigenvalue ends at the least of these sums. Where
        no coupling is known to second order it may still be driven at the third, from three times
        the first excited eigenvalue on (not certain). None where the mode keeps its own rate.
        """
        mode, own = self.first_excited(), self.eigenvalues[index] * (1 + 1e-6)
        if mode is None or self.m == 1 or own < 2 * mode.eigenvalue:
            return None
        known = len(self.coupling)
        if index >= known or mode.index >= known:
            return 2 * mode.eigenvalue, False
        groups, share, seen = self.shares()
        free = [
            i
            for group, each in zip(groups, share.T, strict=True)
            for i in group
            if i < known
            and each[seen].max(initial=0.0) > _SHARE
            and self.eigenvalues[i] < 2 * mode.eigenvalue
        ]
        drives = np.abs(self.coupling[index][np.ix_(free, free)]) > _COUPLED
        sums = np.add.outer(self.eigenvalues[free], self.eigenvalues[free])
        drives &= sums <= own
        if drives.any():
            return float(sums[drives].min()), True
        third = 3 * mode.eigenvalue
        return (third, False) if own > third else None

    def driven(self, index: int) -> Array:
        """Size of the square of w - 1 in the eigenspace of mode ``index``, (n,).

        The nonlinearity drives the eigenspace by (1 - m)/2 of it, to second order. What no known
        mode holds counts in full, and so does the third order.
        """
        known = len(self.coupling)
        group = [k for k in self.group_of(index) if k < known]
        a = self.amplitudes[:, :known]
        energy = np.sum(a**2, axis=1)
        rest = np.maximum(self.distance**2 - energy, 0.0)
        if not group:
            return self.distance**2
        square = np.einsum("kij,ni,nj->nk", self.coupling[group], a, a)
        beyond = rest + 2 * np.sqrt(rest * energy) + self.distance**3
        return np.linalg.norm(square, axis=1) + beyond

    def amplitude(self, index: int) -> Array:
        """Size of w - 1 in the eigenspace of mode ``index``, (n,)."""
        return np.linalg.norm(self.amplitudes[:, self.group_of(index)], axis=1)

    def group_of(self, index: int) -> list[int]:
        """The modes of the eigenspace that holds mode ``index``."""
        return next(g for g in clusters(self.eigenvalues, self.width) if index in g)

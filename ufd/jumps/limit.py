"""The limit of few neurons: weights always optimal, steps sharp. Neurons stay at jumps.

Between neurons the best fit is the mean of f*: with f = f*(u) and m_L, m_R the means left and
right, u' = (f - m_R)^2 - (f - m_L)^2 (arXiv 2304.09576; derived in docs/theory.md). The velocity
jumps where f* does. A neuron that comes to a jump stays if the velocities on both sides point to
it, and passes otherwise (Filippov); it leaves when they no longer do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from ufd.exceptions import SolverError
from ufd.problem.knots import StepTarget

Array = NDArray[np.float64]
_RTOL, _ATOL = 1e-12, 1e-14
_MOST = 10_000
# A neuron leaves its jump when something pulls it away by more than rounding.
_PULL = 1e-9
_LEFT, _RIGHT = -1, -2


@dataclass
class Place:
    """Where a neuron is: inside piece ``piece``, or at the jump on its right if ``held``."""

    piece: int
    held: bool = False


class LimitFlow:
    """Neurons on their way to the jumps, with the events on it.

    Args:
        target: f*.
        positions: Start, (m,), in [0, 1].

    Attributes:
        t: Time.
        positions: Now, (m,), in the order of the start.
        reached: Time at which each jump was reached by the neuron that stays there, nan before.
    """

    def __init__(self, target: StepTarget, positions: Array) -> None:
        self._target, self._v = target, np.array(target.positions)
        self._ends = np.array([0.0, *target.positions, 1.0])
        self._levels = target.levels
        # int_0^v f* at both ends and the jumps.
        self._sums = np.concatenate([[0.0], np.cumsum(np.diff(self._ends) * self._levels)])
        self._order = np.argsort(positions, kind="stable")
        self._u = np.sort(positions)
        self.t = 0.0
        self._places = [Place(int(np.searchsorted(self._v, u))) for u in self._u]
        self.reached = np.full(len(self._v), np.nan)

    @property
    def positions(self) -> Array:
        """See the class."""
        u = np.empty_like(self._u)
        u[self._order] = self._u
        return u

    def means(self, u: Array) -> Array:
        """Means of f* between 0, the sorted positions and 1, (m + 1,)."""
        pieces = [place.piece for place in self._places]
        # Along the piece of each neuron, also a little beyond it: smooth across an event.
        inside = self._sums[pieces] + self._levels[pieces] * (u - self._ends[pieces])
        sums = np.concatenate([[0.0], inside, self._sums[-1:]])
        widths = np.diff(np.concatenate([[0.0], u, [1.0]]))
        # Trial steps may go too far; what they find is bounded, and rejected.
        low, high = self._levels.min(), self._levels.max()
        span = high - low
        return np.clip(np.diff(sums) / np.maximum(widths, 1e-30), low - span, high + span)

    def loss(self) -> float:
        """int (f* - mean)^2 with the optimal weights."""
        edges = np.concatenate([[0.0], self._u, [1.0]])
        knots = np.unique(np.concatenate([edges, self._v]))
        middle = (knots[1:] + knots[:-1]) / 2
        best = self.means(self._u)[np.searchsorted(self._u, middle)]
        return float(np.diff(knots) @ (self._target(middle) - best) ** 2)

    def _sides(self, u: Array) -> tuple[Array, Array]:
        """Velocities as the levels left and right of each neuron would have it, (m,) each."""
        means = self.means(u)
        left = self._levels[[place.piece for place in self._places]]
        right = self._levels[[place.piece + place.held for place in self._places]]
        return tuple(
            (level - means[1:]) ** 2 - (level - means[:-1]) ** 2 for level in (left, right)
        )  # type: ignore[return-value]

    def _velocity(self, t: float, u: Array) -> Array:
        held = np.array([place.held for place in self._places])
        return np.where(held, 0.0, self._sides(u)[0])

    def advance(self, to: float) -> None:
        """Move until t = ``to``.

        Raises:
            SolverError: If events do not end.
        """
        for _ in range(_MOST):
            if self.t >= to:
                return
            self._until_event(to)
        raise SolverError(f"univariate: {_MOST} events before t = {to:g}; they do not end")

    def _until_event(self, to: float) -> None:
        if not self._velocity(self.t, self._u).any():
            self.t = to
            return
        events, meanings = self._events()
        found = solve_ivp(
            self._velocity, (self.t, to), self._u,
            method="DOP853", rtol=_RTOL, atol=_ATOL, events=events,
        )  # fmt: skip
        if found.status < 0:
            raise SolverError(f"univariate: {found.message} at t = {found.t[-1]:g}")
        self.t, self._u = float(found.t[-1]), found.y[:, -1]
        for times, meaning in zip(found.t_events, meanings, strict=True):
            if len(times):
                self._happen(*meaning)

    def _events(self) -> tuple[list, list[tuple[int, int]]]:
        """Root functions; for each its neuron, and the jump it comes to or the way it leaves."""
        events, meanings = [], []

        def add(function, neuron: int, jump: int, direction: float) -> None:  # type: ignore[no-untyped-def]
            function.terminal, function.direction = True, direction
            events.append(function)
            meanings.append((neuron, jump))

        for j, place in enumerate(self._places):
            if place.held:
                add(lambda t, u, j=j: self._sides(u)[0][j] + _PULL, j, _LEFT, -1)
                add(lambda t, u, j=j: self._sides(u)[1][j] - _PULL, j, _RIGHT, 1)
            else:
                for jump, direction in ((place.piece, 1), (place.piece - 1, -1)):
                    if 0 <= jump < len(self._v):
                        add(lambda t, u, j=j, v=self._v[jump]: u[j] - v, j, jump, direction)
        return events, meanings

    def _happen(self, neuron: int, jump: int) -> None:
        place = self._places[neuron]
        if jump in (_LEFT, _RIGHT):
            self._places[neuron] = Place(place.piece + (jump == _RIGHT))
            return
        from_left = place.piece == jump
        self._u[neuron] = self._v[jump]
        self._places[neuron] = Place(jump, held=True)
        before, behind = (side[neuron] for side in self._sides(self._u))
        if before >= -_PULL and behind <= _PULL:
            self.reached[jump] = self.t
        else:
            self._places[neuron] = Place(jump + from_left)


def limit_path(
    target: StepTarget, positions: Array, times: Sequence[float]
) -> tuple[Array, Array, Array]:
    """Positions (K, m) and losses (K,) at increasing times, and when jumps were reached (n,)."""
    flow = LimitFlow(target, positions)
    rows, losses = [], []
    for t in times:
        flow.advance(t)
        rows.append(flow.positions)
        losses.append(flow.loss())
    return np.array(rows), np.array(losses), flow.reached

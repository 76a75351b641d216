"""Functions on [0, 1] that a network of steps or ramps can represent: few knots, known changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ufd.exceptions import InputError
from ufd.problem.checks import number, shown

Array = NDArray[np.float64]


def _line(owner: str, name: str, value: Any) -> tuple[float, ...]:
    if not isinstance(value, Sequence | np.ndarray) or isinstance(value, str):
        raise InputError(f"{owner}: {name} = {shown(value)} must be a list of numbers")
    return tuple(number(owner, f"{name}[{i}]", each) for i, each in enumerate(value))


@dataclass(frozen=True)
class Knots:
    """start + sum_k changes_k s(x - positions_k) on [0, 1]."""

    positions: tuple[float, ...]
    changes: tuple[float, ...]
    start: float = 0.0
    kind: ClassVar[str]

    def __post_init__(self) -> None:
        owner = type(self).__name__
        positions = _line(owner, "positions", self.positions)
        changes = _line(owner, "changes", self.changes)
        if not positions or len(positions) != len(changes):
            raise InputError(
                f"{owner}: {len(positions)} positions and {len(changes)} changes; give as many, "
                "and one at least"
            )
        for left, right in zip((0.0, *positions), (*positions, 1.0), strict=True):
            if not left < right:
                raise InputError(
                    f"{owner}: positions = {shown(list(positions))} must increase within (0, 1)"
                )
        if not all(changes):
            raise InputError(f"{owner}: changes = {shown(list(changes))} must not be zero")
        object.__setattr__(self, "positions", positions)
        object.__setattr__(self, "changes", changes)
        object.__setattr__(self, "start", number(owner, "start", self.start))

    def __call__(self, x: ArrayLike) -> Array:
        """Values at points of [0, 1], of the same shape."""
        z = np.asarray(x, dtype=float)[..., None] - np.array(self.positions)
        return self.start + self.unit(z) @ np.array(self.changes)

    @staticmethod
    def unit(z: Array) -> Array:
        """s(z)."""
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        """Kind, positions, changes, start."""
        return {
            "kind": self.kind,
            "positions": list(self.positions),
            "changes": list(self.changes),
            "start": self.start,
        }


@dataclass(frozen=True)
class StepTarget(Knots):
    """A piecewise constant function on [0, 1] (arXiv 2304.09576).

    Args:
        positions: Of the jumps v_1 < ... < v_n in (0, 1).
        changes: Heights J_i of the jumps.
        start: Value on the first piece.

    Raises:
        InputError: If positions do not increase within (0, 1), or a change is zero.
    """

    kind: ClassVar[str] = "steps"

    @staticmethod
    def unit(z: Array) -> Array:
        """1 for z > 0, else 0."""
        return (z > 0).astype(float)

    @property
    def levels(self) -> Array:
        """Value on each piece, (n + 1,)."""
        return self.start + np.concatenate([[0.0], np.cumsum(self.changes)])


@dataclass(frozen=True)
class RampTarget(Knots):
    """A continuous, piecewise linear function on [0, 1] that is constant on the first piece.

    Args:
        positions: Of the kinks, increasing in (0, 1).
        changes: Of the slope at each kink.
        start: Value on the first piece.

    Raises:
        InputError: If positions do not increase within (0, 1), or a change is zero.
    """

    kind: ClassVar[str] = "ramps"

    @staticmethod
    def unit(z: Array) -> Array:
        """max(z, 0)."""
        return np.maximum(z, 0.0)


def target_from(table: dict[str, Any]) -> Knots:
    """The target that ``describe`` described."""
    kinds: dict[str, type[Knots]] = {kind.kind: kind for kind in (StepTarget, RampTarget)}
    return kinds[table["kind"]](table["positions"], table["changes"], table["start"])

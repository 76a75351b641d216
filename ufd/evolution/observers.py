"""Observers: they look at a run after every accepted step and leave it alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Recorder:
    """Keeps functionals over the accepted steps; collective.

    Args:
        functionals: Maps the values of a state to named numbers, equal on every rank.
    """

    def __init__(self, functionals: Callable[[Array], Mapping[str, float]]) -> None:
        self._functionals = functionals
        self._columns: dict[str, list[float]] = {"t": []}

    def __call__(self, t: float, values: Array, landed: bool) -> None:
        """See `evolve.Observer`."""
        self._columns["t"].append(t)
        for name, value in self._functionals(values).items():
            self._columns.setdefault(name, []).append(value)

    @property
    def series(self) -> dict[str, Array]:
        """Arrays over the accepted steps, the start included; ``"t"`` is the time."""
        return {name: np.array(column) for name, column in self._columns.items()}


class Progress:
    """A bar with the time left, on one rank; silent when standard error is not a terminal.

    Args:
        end: Time at which the run ends.
        visible: Show it here: True, False, or None to show it on a terminal only.
    """

    def __init__(self, end: float, visible: bool | None = None) -> None:
        from tqdm import tqdm

        self._bar = tqdm(
            total=end,
            disable=None if visible is None else not visible,
            bar_format="{desc} |{bar:30}| {percentage:3.0f} % [{elapsed} < {remaining}]{postfix}",
            desc="t = 0",
            mininterval=0.5,
        )
        self._steps = 0

    def __call__(self, t: float, values: Array, landed: bool) -> None:
        """See `evolve.Observer`."""
        self._bar.set_description_str(f"t = {t:.4g}", refresh=False)
        self._bar.set_postfix_str(f"{self._steps} steps", refresh=False)
        self._bar.update(t - self._bar.n)
        self._steps += 1

    def close(self) -> None:
        """Leave the terminal in order."""
        self._bar.close()

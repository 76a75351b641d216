"""Observers: they look at a run after every accepted step and leave it alone."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ufd.evolution.evolve import Evolution

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

    def recall(self, series: Mapping[str, Array]) -> None:
        """Go on from the `series` of a run that was stopped."""
        self._columns = {name: list(column) for name, column in series.items()}

    @property
    def series(self) -> dict[str, Array]:
        """Arrays over the accepted steps, the start included; ``"t"`` is the time."""
        return {name: np.array(column) for name, column in self._columns.items()}


class Progress:
    """A line at every requested time and a bar with the time left, on one rank.

    Args:
        end: Time at which the run ends.
        bar: Show the bar: True, False, or None to show it on a terminal only.
        steps: Steps taken before this, by a run that is resumed.
    """

    def __init__(self, end: float, bar: bool | None = None, steps: int = 0) -> None:
        from tqdm import tqdm

        self._bar = tqdm(
            total=end,
            disable=None if bar is None else not bar,
            bar_format="{desc} |{bar:30}| {percentage:3.0f} % [{elapsed} < {remaining}]{postfix}",
            desc="t = 0",
            mininterval=0.5,
            leave=False,
        )
        self._steps = steps
        self._begin = time.perf_counter()

    def __call__(self, t: float, values: Array, landed: bool) -> None:
        """See `evolve.Observer`."""
        self._bar.set_description_str(f"t = {t:.4g}", refresh=False)
        self._bar.set_postfix_str(f"{self._steps} steps", refresh=False)
        self._bar.update(t - self._bar.n)
        if landed:
            seconds = time.perf_counter() - self._begin
            self._bar.write(f"t = {t:<10g} {self._steps:6d} steps {seconds:8.1f} s")
            sys.stdout.flush()  # who follows the output of a batch job waits for this line
        self._steps += 1

    def close(self) -> None:
        """Leave the terminal in order."""
        self._bar.close()


def run_through(evolution: Evolution, landing: Sequence[float], progress: bool | None) -> None:
    """Advance to every time in turn, from where the run is; collective.

    Args:
        evolution: What is moved.
        landing: The times.
        progress: None or True for a `Progress` on this rank (its ``bar``); False is silent.
    """
    left = [t for t in landing if t >= evolution.t]
    bar = None
    if progress is not False:
        # The start is shown too, unless it was before: it is no step.
        taken = evolution.statistics.steps
        bar = Progress(landing[-1], progress, taken + evolution.started)
        evolution.observers.append(bar)
    for _ in evolution.iterate(left):
        pass
    if bar is not None:
        bar.close()

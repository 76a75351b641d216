"""Runs that are stopped and resumed, and how they are compared with one that never stopped."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ufd.analysis.results import Result

# Seconds long on one core, and in no hurry: a step takes a few milliseconds.
LONG = """[problem.teacher]
kind = "von_mises_fisher"
mean = [1.0, 0.0, 0.5]
kappa = 2.0
[solver]
degree = 1
cells = 2
stepper = "backward_euler"
dt = 0.0005
linear = "multigrid"
[time]
end = 2.0
times = [0.01, 0.02, 0.3]
[output]
modes = 0
guarantees = false
"""


class Note:
    """A signal that comes after some accepted steps; also an observer that counts them."""

    def __init__(self, after: int, number: int = 15) -> None:
        self.received, self._left, self._number = 0, after, number
        self._listens = False

    def listen(self) -> None:
        self._listens = True

    def __call__(self, t, values, landed) -> None:
        self._left -= t > 0
        if self._left <= 0:
            assert self._listens
            self.received = self._number


def counters(stats: dict) -> dict:
    """Statistics without times of the clock, and factors that a resumed run makes again."""
    other = ("seconds", "ranks", "linear_factorisations")
    return {key: value for key, value in stats.items() if key not in other}


def same_bits(one: Result, other: Result) -> None:
    """Series, states and counters agree to the last bit on this rank."""
    assert one.status is other.status and one.times == other.times
    assert one.series.keys() == other.series.keys()
    for name, values in one.series.items():
        assert values.tobytes() == other.series[name].tobytes(), name
    for t in one.times:
        assert one.at(t).values.tobytes() == other.at(t).values.tobytes(), t
    assert counters(one.stats) == counters(other.stats)


def same_files(one: Path, other: Path) -> None:
    """The results in two directories agree to the last bit, but for times of the clock."""
    for name in ("series.npz", "fields.npz"):
        first, second = np.load(one / name), np.load(other / name)
        assert first.files == second.files
        for key in first.files:
            assert first[key].tobytes() == second[key].tobytes(), (name, key)
    runs = [json.loads((place / "run.json").read_text()) for place in (one, other)]
    assert counters(runs[0]["stats"]) == counters(runs[1]["stats"])
    for key in ("status", "times", "spectrum", "errors"):
        assert runs[0][key] == runs[1][key], key

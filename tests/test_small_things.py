"""Arguments at the end of what numbers and arrays can be: done, or refused in one line."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import ufd
from ufd.config import read_case
from ufd.evolution.control import FixedStep
from ufd.evolution.schedules import doubling_times, landing_times
from ufd.exceptions import InputError
from ufd.problem.recovery import probability

CIRCLE = ufd.Sphere(1)
PROBLEM = ufd.UltraFastDiffusion(ufd.VonMisesFisher([1, 0], 1.0), ufd.Uniform(CIRCLE))


def refused(action, *words: str) -> None:
    with pytest.raises(InputError) as caught:
        action()
    text = str(caught.value)
    assert all(word in text for word in words), text
    assert "\n" not in text and len(text) < 300


@pytest.mark.parametrize("positions", [[0.5], [0.1, 0.45, 0.8]])
def test_probability_of_the_condition(positions):
    """By counting for few neurons, by inclusion and exclusion of pieces for thousands."""
    target = ufd.StepTarget(positions, [1.0] * len(positions))
    lengths = np.diff([0.0, *positions, 1.0])
    for width in (1, 2, 5, 8):
        counts = itertools.product(range(width + 1), repeat=len(lengths))
        expected = sum(
            math.factorial(width)
            * math.prod(p**k / math.factorial(k) for p, k in zip(lengths, each, strict=True))
            for each in counts
            if sum(each) == width and min(each) >= 2
        )
        assert probability(target, width) == pytest.approx(expected, rel=1e-12, abs=1e-300)
    for width in (170, 200, 1000, 5000):
        missing = sum((1 - p) ** width + width * p * (1 - p) ** (width - 1) for p in lengths)
        assert probability(target, width) == pytest.approx(1 - missing, abs=1e-9)


def test_the_sentence_of_many_neurons():
    """A number, not nan."""
    target = ufd.StepTarget([0.3, 0.6], [1.0, -1.0])
    run = ufd.univariate(target, 250, times=[1e-3], seeds=2)
    assert "probability 1)" in run.sentence()


TIMES = {
    "solve": lambda t: ufd.solve(PROBLEM, [t], cells=8, degree=2),
    "train": lambda t: ufd.train(PROBLEM, ufd.ReLU(), 1e-2, 4, [t]),
    "meanfield": lambda t: ufd.meanfield(PROBLEM, ufd.ReLU(), 1e-2, [t], cells=16),
    "langevin": lambda t: ufd.langevin(PROBLEM, ufd.ReLU(), 0.1, [t], cells=16),
}


@pytest.mark.parametrize("kind", TIMES)
def test_tiny_times(kind):
    """The least positive number is refused, the least time is reached."""
    for t in (5e-324, 1e-310):
        refused(lambda t=t: TIMES[kind](t), f"times: {t!r} is too small", "1e-300 or more")
    assert TIMES[kind](1e-300).times == [0.0, 1e-300]


def test_tiny_steps_and_ends():
    """They are times too."""
    refused(lambda: FixedStep(5e-324), "dt = 5e-324 is too small", "1e-300")
    refused(lambda: doubling_times(5e-324), "end = 5e-324 is too small; give 1.6e-299")
    assert landing_times([0.0, 1e-300]) == [0.0, 1e-300]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([[1.0, 2.0], [3.0]], "rows of different lengths"),
        ([[1j, 2.0], [3.0, 4.0]], "complex numbers of shape (2, 2)"),
        (np.ones((3, 2)) * 1j, "complex numbers of shape (3, 2)"),
        ([["1", "2"]], "text of shape (1, 2)"),
        ([[{}, 1.0]], "objects of shape (1, 2)"),
        (2.5, "shape ()"),
    ],
)
def test_arrays_that_are_none(data, words):
    """Samples, points and atoms: what was given is named, no imaginary part is dropped."""
    refused(lambda: ufd.train(PROBLEM, ufd.ReLU(), 1e-2, 4, [0.1], data=data), "data: ", words)
    if not isinstance(data, float):
        refused(lambda: CIRCLE.points(data), "points: ", words)
        refused(lambda: ufd.mmd((data, None), ufd.Uniform(CIRCLE)), "mmd: a: ")


def test_a_case_with_a_byte_order_mark(tmp_path):
    """As some editors on Windows write it."""
    text = 'problem = {dim = 1, teacher = {kind = "uniform"}}\n'
    path = tmp_path / "case.toml"
    path.write_text(text, encoding="utf-8-sig")
    assert read_case(path).problem.dim == 1
    path.write_text(text, encoding="utf-16")
    refused(lambda: read_case(path), "not a TOML file")

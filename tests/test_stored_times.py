"""States by their times: the nearest of those stored, for every kind of run."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

import ufd
from ufd.exceptions import InputError
from ufd.problem.checks import place_of_time

CIRCLE = ufd.Sphere(1)
POINTS = np.array([[1.0, 0], [0, 1], [-0.6, 0.8]])
PROBLEM = ufd.UltraFastDiffusion(ufd.VonMisesFisher([1, 0], 1.0), ufd.Uniform(CIRCLE))
FEATURES = ufd.ReLU() + ufd.Step()
SINGLE = np.array([0.1, 0.2], "f4")


def test_the_nearest_time():
    """Tiny times are told apart, single precision is found again, also at random."""
    times = [0.0, 1e-12, 1.5e-12, 0.1, 0.3, 1.0, 1.0 + 1e-9]
    for place, t in enumerate(times):
        assert place_of_time(t, times) == place
        assert place_of_time(np.array(t), times) == place
    rng = np.random.default_rng(0)
    for _ in range(200):
        times = np.unique([0.0, *np.cumsum(10.0 ** rng.uniform(-15, 2, 12))])
        for place, t in enumerate(times):
            assert place_of_time(t, times.tolist()) == place
            near = float(np.float32(t))
            assert abs(times[place_of_time(near, times)] - t) <= 1e-6 * t


def test_round_off_of_sums_is_found():
    """What a sum leaves of a time, and of zero."""
    times = [0.0, 0.05, 0.3]
    assert place_of_time(0.1 + 0.2, times) == 2 and place_of_time(0.3 - 0.1 * 3, times) == 0
    assert place_of_time(np.float16(0.5), [0.5]) == 0 and place_of_time(3, [0, 3]) == 1


@pytest.mark.parametrize("t", [1e-13, -0.1, 0.1001, 2.0, np.nan, np.inf, 1e-12 * (1 + 1e-4)])
def test_times_that_were_not_stored(t):
    """One line with the times."""
    with pytest.raises(InputError, match=r"was not stored; stored times: 0, 1e-12, 0\.1, 1$"):
        place_of_time(t, [0.0, 1e-12, 0.1, 1.0])
    with pytest.raises(InputError, match=r"stored times: 0$"):
        place_of_time(t, [0.0])


@pytest.mark.parametrize("t", ["1", None, [0.1], 1j, True, Fraction(1, 10), [[1], [2, 3]]])
def test_what_is_no_time(t):
    """Named before it is compared."""
    with pytest.raises(InputError, match=r"^t = .* must be a number$"):
        place_of_time(t, [0.1, 1.0])


def test_many_times_are_not_all_listed():
    """The message stays one short line, with the nearest."""
    with pytest.raises(InputError) as caught:
        place_of_time(0.5004, np.linspace(0, 1, 1001).tolist())
    assert str(caught.value) == (
        "t = 0.5004 was not stored; stored times: 0, 0.001, ..., 1 (1001 of them); "
        "the nearest is 0.5"
    )


RUNS = {
    "diffusion": lambda times: ufd.solve(PROBLEM, times, cells=4, degree=3),
    "particles": lambda times: ufd.train(PROBLEM, FEATURES, 1e-2, 8, times),
    "meanfield": lambda times: ufd.meanfield(PROBLEM, FEATURES, 1e-2, times, cells=32),
    "langevin": lambda times: ufd.langevin(PROBLEM, FEATURES, 0.1, times, cells=32),
}


@pytest.mark.parametrize("kind", RUNS)
def test_every_kind_of_run(kind):
    """Single precision and tiny times, for states and for series at the stored times."""
    run = RUNS[kind](SINGLE)
    for t in (0.1, 0.2, SINGLE[0]):
        assert run.at(t).t == float(np.float32(t))
    run = RUNS[kind]([1e-12, 2e-12, 0.1])
    assert run.at(1e-12).t == 1e-12 and run.at(2e-12).t == 2e-12 and run.at(0.0).t == 0
    assert run.at_times("t").tolist() == run.times == [0.0, 1e-12, 2e-12, 0.1]
    with pytest.raises(InputError, match=r"stored times: 0, 1e-12, 2e-12, 0\.1$"):
        run.at(1e-13)


def test_densities_at_single_precision():
    """Of the diffusion, by the rounded time and by the one meant."""
    run = ufd.solve(PROBLEM, SINGLE, cells=4, degree=3)
    assert (run.density(POINTS, 0.1) == run.density(POINTS, SINGLE[0])).all()

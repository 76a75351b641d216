"""Modes of a run: which one sets the rate, which are slaved, when the lead changes."""

from __future__ import annotations

import numpy as np
import pytest

from ufd.analysis.modes import Spectrum, clusters

EIGENVALUES = np.array([1.0, 1.0, 2.5, 4.0, 4.0 + 1e-9])
TIMES = np.linspace(0, 3, 7)


def spectrum(amplitudes, eigenvalues=EIGENVALUES, t=TIMES, **changes) -> Spectrum:
    """A run with these amplitudes, and with a part of w - 1 beyond its modes if asked for."""
    amplitudes = np.asarray(amplitudes, dtype=float)
    rest = changes.pop("rest", 0.0)
    given = {
        "distance": np.sqrt((amplitudes**2).sum(axis=1) + rest**2),
        "resolution": 1e-11,
        "invariant": np.full(len(eigenvalues), -1),
        "names": [""] * len(eigenvalues),
        "coupling": np.ones((0, 0, 0)),
        "m": -1.0,
    }
    return Spectrum(np.asarray(eigenvalues), t, amplitudes, **{**given, **changes})


def free(start, rest=0.1, eigenvalues=EIGENVALUES, t=TIMES, **changes) -> Spectrum:
    """Amplitudes that decay on their own from ``start``."""
    amplitudes = np.asarray(start) * np.exp(-np.outer(t, eigenvalues))
    return spectrum(amplitudes, eigenvalues, t, rest=rest * np.exp(-9 * t), **changes)


def test_clusters():
    """Eigenvalues that agree to 1e-6 belong together; a chain of close ones is one cluster."""
    assert clusters([]) == [] and clusters([3.0]) == [[0]]
    assert clusters([2, 2 + 1e-9, 2 + 2e-9, 6, 6, 6.1]) == [[0, 1, 2], [3, 4], [5]]
    assert clusters([1, 1 + 2e-6]) == [[0], [1]] and clusters([1e3, 1e3 + 5e-4]) == [[0, 1]]


@pytest.mark.parametrize(
    ("start", "index", "multiplicity"),
    [
        ([0, 0.3, 0.1, 0.1, 0], 0, 2),
        ([1e-3, 0, 1, 0, 0], 0, 2),
        ([1e-9, -1e-9, 0.2, 0.1, 0], 2, 1),
        ([1e-12, 0, 1e-10, 0, 0.2], 3, 2),
        ([0, 0, 0, 0.1, -0.2], 3, 2),
    ],
)
def test_first_excited(start, index, multiplicity):
    """The lowest eigenspace with a share above the threshold, its part projected in full."""
    run = free(start)
    mode = run.first_excited()
    assert (mode.index, mode.multiplicity, mode.hidden) == (index, multiplicity, 0)
    assert mode.eigenvalue == pytest.approx(EIGENVALUES[index], rel=1e-8)
    part = np.linalg.norm(run.amplitudes[:, index : index + multiplicity], axis=1)
    assert mode.share == pytest.approx((part / run.distance).max(), abs=1e-8)
    np.testing.assert_array_equal(run.amplitude(index + multiplicity - 1), part)


def test_a_faint_slow_mode_wins():
    """A share of 5e-8 at the start grows above the threshold, while the distance is resolved."""
    mode = free([1e-8, 0, 0, 0, 0.2]).first_excited()
    assert mode.index == 0 and 1e-6 < mode.share < 1e-3


def test_no_excited_mode():
    """None of the modes, nothing at all, or a share below what was asked for: no mode."""
    assert free(np.full(5, 1e-12)).first_excited() is None
    assert free(np.zeros(5), rest=0.0).first_excited() is None
    empty = spectrum(np.zeros((0, 5)), t=np.zeros(0))
    assert empty.first_excited() is None and empty.crossovers() == []
    start = [0, 0.1, 0, 0, 1.0]
    assert free(np.multiply(1e-13, start)).first_excited() is None


def test_late_round_off_excites_nothing():
    """Where the distance is not resolved any more, shares are noise over noise."""
    decay = free([0, 0, 1.0, 0, 0], rest=0.0).amplitudes
    late = spectrum(np.vstack([decay, np.full(5, 4e-12)]), t=np.append(TIMES, 9.0))
    assert late.distance[-1] < late.resolution and late.first_excited().index == 2
    assert spectrum(late.amplitudes, t=late.t, resolution=1e-12).first_excited().index == 0


def test_an_amplitude_below_1e_12_is_round_off():
    """However large its share of a tiny distance may be."""
    for size, index in ((0.9e-12, 2), (1.1e-12, 0)):
        run = spectrum([[size, 0, 1e-8, 0, 0]], t=TIMES[:1])
        assert run.first_excited().index == index


def test_forbidden_modes_are_skipped_and_counted():
    """What a symmetry forbids is no first mode, however large its round-off; names pass through."""
    start, names = [0.3, 0.1, 0.2, 0.1, 0.1], ["|m| = 1", "|m| = 1", "zonal", "a", "b"]
    for invariant, index, hidden in (
        ([0, 0, 1, 0, 0], 2, 2),
        ([0, 0, 0, 2, 2], 3, 3),
        ([1, 1, 0, 1, 1], 0, 0),
        ([-1, -1, -1, -1, -1], 0, 0),
    ):
        run = free(start, invariant=np.array(invariant), names=names)
        mode = run.first_excited()
        assert (mode.index, mode.hidden, mode.name) == (index, hidden, names[index])
        assert run.mode(index) == mode
        assert run.mode(4).hidden == sum(v == 0 for v in invariant[:3])
    assert free(start, invariant=np.zeros(5, int)).first_excited() is None


def test_mode_describes_any_eigenspace():
    """Excited or not, by any of its numbers."""
    run = free([0.3, 0.0, 0.0, 0.1, 0.1], names=list("aabcc"))
    third = run.mode(4)
    assert (third.index, third.multiplicity, third.name) == (3, 2, "c")
    assert third.share == pytest.approx(0.02**0.5 / 0.12**0.5, rel=1e-12)
    assert run.mode(2).share == 0


def two(a, b, low=1.0, high=3.0, **changes) -> Spectrum:
    """a exp(-low t) and b exp(-high t)."""
    t = changes.pop("t", np.linspace(0, 4, 17))
    return free([a, b], 0.0, np.array([low, high]), t, **changes)


@pytest.mark.parametrize("count", [9, 17, 200])
def test_crossover(count):
    """a exp(-t) = b exp(-3 t) at t = log(b/a)/2, found to round-off between any recorded times."""
    (crossing,) = two(0.01, 0.2, t=np.linspace(0, 4, count)).crossovers()
    assert crossing.t == pytest.approx(np.log(20) / 2, rel=1e-12)
    assert (crossing.earlier, crossing.later) == (1, 0)


def test_two_crossovers():
    """Three modes lead one after the other; multiple ones under their first number."""
    start = np.array([1e-3, 0, 0.02, 0, 0.3])
    crossings = free(start, 0.0, EIGENVALUES, np.linspace(0, 6, 61)).crossovers()
    exact = [np.log(15) / 1.5, np.log(20) / 1.5]
    assert [c.t for c in crossings] == pytest.approx(exact, rel=1e-8)
    assert [(c.earlier, c.later) for c in crossings] == [(3, 2), (2, 0)]


def test_no_crossover():
    """For one mode, for a slow one that leads from the start, and for forbidden round-off."""
    assert free([0.1], 0.0, np.array([1.0])).crossovers() == []
    assert two(0.2, 0.1).crossovers() == []
    assert two(0.01, 0.2, invariant=np.array([0, 1])).crossovers() == []


def test_no_crossover_at_round_off():
    """Neither where the distance is not resolved, nor where the later mode is noise."""
    t = np.linspace(0, 12, 49)
    fast = 0.1 * np.exp(-3 * t)
    noise = 3e-12 * (-1.0) ** np.arange(49)
    run = spectrum(np.column_stack([noise, fast]), [1.0, 3.0], t)
    assert (np.abs(noise) > fast).any() and run.crossovers() == []
    assert spectrum(run.amplitudes, [1.0, 3.0], t, resolution=1e-12).crossovers()
    assert spectrum(run.amplitudes * [0.1, 1], [1.0, 3.0], t).crossovers() == []


def test_master():
    """Beyond twice the first excited eigenvalue modes are slaved; resonance counts as slaved."""
    values, start = np.array([1.0, 2 - 4e-6, 2 - 1e-7, 2.1, 5.0]), np.full(5, 0.1)
    run = free(start, eigenvalues=values, coupling=np.ones((5, 5, 5)))
    assert run.master(0) is None and run.master(1) is None
    for index in (2, 3, 4):
        assert run.master(index) == (2.0, True)
    unknown = free(start, eigenvalues=values)
    assert [unknown.master(i) for i in (2, 4)] == [(2.0, False)] * 2
    linear = free(start, eigenvalues=values, m=1.0)
    assert [linear.master(i) for i in range(5)] == [None] * 5


def test_master_counts_from_the_first_excited_mode():
    """A gap that is not excited, or forbidden, drives nothing; no excited mode, no master."""
    values, coupling = np.array([1.0, 3.0, 5.0, 6.0]), np.ones((4, 4, 4))
    run = free([0, 0.1, 0.1, 0.1], eigenvalues=values, coupling=coupling)
    assert [run.master(i) for i in range(4)] == [None, None, None, (6.0, True)]
    forbidden = np.array([0, 1, 1, 1])
    run = free([0, 0.1, 0.1, 0.1], eigenvalues=values, coupling=coupling, invariant=forbidden)
    assert run.master(2) is None and run.master(3) == (6.0, True)
    assert free([0.0] * 4, eigenvalues=values).master(3) is None


def test_masters_are_pairs():
    """The least sum of two excited eigenvalues whose product holds the mode, if it is below."""
    values, coupling = np.array([1.0, 1.4, 2.6, 4.0]), np.zeros((4, 4, 4))
    coupling[2:, 0, 1] = coupling[2:, 1, 0] = 0.5
    run = free([0.1] * 4, eigenvalues=values, coupling=coupling)
    assert run.master(2) == (pytest.approx(2.4), True) == run.master(3)
    coupling[3, 0, 0] = 0.1
    assert run.master(3) == (2.0, True)
    # The second mode is absent: its products drive nothing.
    alone = free([0.1, 0, 0.1, 0.1], eigenvalues=values, coupling=coupling)
    assert alone.master(2) is None and alone.master(3) == (2.0, True)


def test_master_of_an_uncoupled_mode():
    """No product of excited modes in it: third order at the earliest, and that is not certain."""
    values = np.array([1.0, 1.0, 4.0, 9.0])
    coupling = np.zeros((4, 4, 4))
    coupling[2, 0, 1] = coupling[2, 1, 0] = 0.5
    coupling[3, 0, 2] = 1.0  # mode 2 is slaved itself
    run = free([0.1] * 4, eigenvalues=values, coupling=coupling)
    assert run.master(2) == (2.0, True) and run.master(3) == (3.0, False)
    coupling[3, 1, 1] = 2e-8
    assert run.master(3) == (2.0, True)
    short = free([0.1] * 4, eigenvalues=values, coupling=coupling[:3, :3, :3])
    assert short.master(3) == (2.0, False)


def test_forecast():
    """A faint slow mode: when it would lead, and how small everything is by then."""
    start = np.array([1e-3, 0, 0.1, 0, 0])
    passing, size = free(start, rest=0.0).forecast()
    t = np.log(100) / 1.5
    assert passing.t == pytest.approx(t) and (passing.earlier, passing.later) == (2, 0)
    assert size == pytest.approx(1e-3 * np.exp(-t))
    assert free([0.1, 0, 1e-3, 0, 0], rest=0.0).forecast() is None
    assert free(np.zeros(5), rest=0.0).forecast() is None


def test_any_mode_is_described():
    """Not the first excited one only; a copy stands for its eigenspace."""
    run = free([0.1, 0, 0, 0.2, 0.2], invariant=np.array([0, 0, -1, -1, -1]))
    assert run.mode(4) == run.mode(3) and run.mode(3).index == 3 and run.mode(3).hidden == 2
    assert run.mode(0).share > 0.1 and run.mode(2).share == 0

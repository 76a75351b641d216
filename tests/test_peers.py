"""How the comparison with NGSolve judges: no credit for a lucky mesh, none for a failed run."""

from __future__ import annotations

import pytest

pytest.importorskip("ngsolve", reason="extra bench: pip install '.[bench]'")

import sphere_vs_peers as peers


def points(*rows: tuple[float, float], failure: str = "") -> list[peers.Point]:
    return [peers.Point("s", f"{i}", 100, 10, t, e, failure) for i, (t, e) in enumerate(rows)]


def test_a_lucky_run_does_not_count():
    """The run of 1 s is accurate, the one of 2 s is not: 1e-4 is reached with the third."""
    runs = points((1.0, 1e-5), (2.0, -1e-2), (4.0, 5e-5), (9.0, -1e-6))
    assert peers.cheapest(runs, 1e-4) == runs[2]
    assert peers.cheapest(runs, 1e-1) == runs[0]
    assert peers.cheapest(runs, 1e-7) is None
    assert peers.cheapest(points((1.0, 1e-9), failure="mass lost"), 1e-3) is None


def test_ratio():
    ours, theirs = points((1.0, 1e-4)), points((4.0, 1e-4))
    assert not peers.ratio_claim("", ours, theirs, 1e-3, 5).holds
    assert peers.ratio_claim("", ours, theirs, 1e-3, 3).measured.startswith("4.0 times")
    assert not peers.ratio_claim("", ours, theirs, 1e-5, 3).holds
    assert peers.ratio_claim("", ours, points((4.0, 1.0)), 1e-3, 5).holds


def test_one_run_of_each():
    """Both solvers agree on the milder case, coarsely."""
    exact = 0.03320724528
    ours = peers.our_points("mild", [(4, 2, None, 1e-1, "sdirk3")], exact)
    theirs = peers.rival_points("mild", peers.GRIDS["log w"]["mild"][:1], exact, unknown="log w")
    for point in (*ours, *theirs):
        assert abs(point.error) < 1e-2 and point.seconds > 0 and not point.failure
    assert peers.table("", [*ours, *theirs]).rows[0][0] == "ufd"

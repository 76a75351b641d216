"""The convergence tables: small grids show the predicted orders, and the tables are plain."""

from __future__ import annotations

import json

import pytest
from support import orders

import ufd
from ufd.analysis.orders import SUMMARY, Refinement, tables


def checked(pair: list[dict], series: int, rows: int, quantities: int) -> list[dict]:
    """The fitted orders as dictionaries, after a look at the shape of both tables."""
    summary, errors = pair
    for table in pair:
        assert set(table) == {"id", "title", "columns", "rows", "note"}
        assert len(set(table["columns"])) == len(table["columns"])
        assert all(len(row) == len(table["columns"]) for row in table["rows"])
        assert json.loads(json.dumps(table, allow_nan=False)) == table
        assert "floor" in table["note"] and "Predicted" in table["note"]
    assert summary["id"] == f"{errors['id']}-orders" and summary["columns"] == list(SUMMARY)
    assert len(summary["rows"]) == series * quantities and len(errors["rows"]) == series * rows
    return [dict(zip(SUMMARY, row, strict=True)) for row in summary["rows"]]


def test_space_circle():
    """Degrees 1, 2 and 4: k + 1 for w, 2k for chi2 if the positions on the mesh are averaged."""
    meshes = {1: (32, 48, 64), 2: (24, 32, 48), 4: (12, 16, 24)}
    rtol = {1: 1e-5, 2: 1e-7, 4: 1e-10}
    found = checked(orders.space_circle(meshes, rtol=rtol), 3, 3, 3)
    for row in found:
        if row["error of"] != orders.CHI2:
            assert row["order"] == pytest.approx(row["predicted"], abs=0.25), row
            assert row["points"] == 3 and row["remark"] == ""
    assert [row["predicted"] for row in found if row["error of"] == orders.CHI2] == [2, 4, None]


def test_space_sphere():
    """Degrees 1, 2 and 4 on few cells."""
    meshes = {1: (1, 2, 3), 2: (4, 6, 8), 4: (2, 3, 4)}
    found = checked(orders.space_sphere(meshes, rtol={1: 1e-4, 2: 1e-5, 4: 1e-6}), 3, 3, 2)
    for row in found:
        if row["predicted"] is not None:
            assert row["order"] == pytest.approx(row["predicted"], abs=0.25), row


def test_eigenvalues():
    """2k, but for degree 8, whose third mesh is at round-off and says so."""
    meshes = {1: (2, 3, 4), 2: (6, 8, 12), 4: (4, 6, 8), 8: (2, 3, 4)}
    found = checked(orders.eigenvalues_sphere(meshes), 4, 3, 1)
    for row in found[:3]:
        assert row["order"] == pytest.approx(row["predicted"], abs=0.4), row
    assert found[3]["order"] is None and found[3]["points"] == 0
    assert found[3]["remark"].startswith("no fit: 2 errors lie above the floor")


@pytest.mark.parametrize(("kappa", "gap"), [(1, 2.148765), (2, 2.580171), (8, 8.000344)])
def test_reference_eigenvalue(kappa, gap):
    """The tabulated gaps, and twice as many polynomials change nothing."""
    value = orders.first_eigenvalue(kappa)
    assert value == pytest.approx(gap, abs=6e-7)
    assert value == pytest.approx(orders.first_eigenvalue(kappa, modes=20), rel=1e-13)


@pytest.mark.parametrize("study", [orders.time_circle, orders.time_sphere])
def test_time(study):
    """Each method has its order on both manifolds; chi2 of SDIRK3 is late on the sphere."""
    found = checked(study((8, 16, 32)), 4, 3, 2)
    for row in found:
        near = 0.25 if row["error of"] == orders.L1 else 0.25 + 2 * row["error of the order"]
        assert row["order"] == pytest.approx(row["predicted"], abs=near), row


def test_all_tables(monkeypatch):
    """One summary over the studies, then their errors; ``full`` asks for more."""
    asked = []

    def study(name):
        def function(*args, **options):
            asked.append((name, args, options))
            series = Refinement("a", {"e": 2}, {"e": 0.0}, places=[])
            for h in (1.0, 0.5, 0.25):
                series.add([1], h, {"e": h**2})
            return tables(name, name, ["method", "n", "h"], [series], "")

        return function

    names = ["space_sphere", "space_circle", "time_sphere", "time_circle", "eigenvalues_sphere"]
    for name in names:
        monkeypatch.setattr(orders, name, study(name))
    for full in (False, True):
        first, *rest = orders.merged([each() for each in orders.studies(full)])
        assert first["id"] == "orders" and [row[0] for row in first["rows"]] == names
        assert [table["id"] for table in rest] == names
        json.dumps([first, *rest], allow_nan=False)
    quick, full = asked[:5], asked[5:]
    assert full[0][2]["positions"] > quick[0][2]["positions"]
    assert len(full[3][1][0]) > len(quick[3][1][0])


def test_a_run_that_stops_is_no_error(monkeypatch):
    """A table of errors is not made from a run that did not arrive."""
    result = type("Stopped", (), {"status": ufd.StopReason.SOLVES_FAIL})()
    monkeypatch.setattr(ufd, "solve", lambda *args, **options: result)
    with pytest.raises(RuntimeError, match="Most solves fail"):
        orders.time_circle((8,))


def test_rows():
    """Local orders stand between fitted errors only; a missing order has its reason."""
    series = Refinement("a", {"x": 2, "y": None}, {"x": 1e-3, "y": 0.5})
    for h, x in ((1.0, 0.1), (0.5, 0.025), (0.25, 1e-4)):
        series.add([round(1 / h)], h, {"x": x, "y": h, "unused": 0.0})
    assert series.rows() == [
        ["a", 1, 1.0, 0.1, None, 1.0, None, "x, y"],
        ["a", 2, 0.5, 0.025, pytest.approx(2), 0.5, None, "x"],
        ["a", 4, 0.25, 1e-4, None, 0.25, None, "none"],
    ]
    for row, predicted in zip(series.summary(), (2.0, None), strict=True):
        assert row[2:6] == [None, None, predicted, 0] and row[6].startswith("no fit: ")

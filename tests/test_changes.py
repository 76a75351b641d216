"""Changes of a case from outside its file: ``--set``, and the lists of ``--over``."""

from __future__ import annotations

import pytest
from sweeps import KAPPA

import ufd
from ufd.config import format_value, parse_change, parse_value, parse_values, read_case


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2", 2),
        (" 1e-3 ", 1e-3),
        ("true", True),
        ("sdirk4", "sdirk4"),
        ("backward_euler", "backward_euler"),
        ("../meshes/a-1.msh", "../meshes/a-1.msh"),
        ('"a, b = [c"', "a, b = [c"),
        ("[1.0, 0]", [1.0, 0]),
        ('{kind = "uniform"}', {"kind": "uniform"}),
    ],
)
def test_value(text, value):
    """A TOML value or a bare word is read, and written so that it is read again."""
    assert parse_value(text) == value and type(parse_value(text)) is type(value)
    assert parse_value(format_value(value)) == value


@pytest.mark.parametrize("text", ["", ".5", "1 2", "[1", "a b", "1\nw = 2", "'a", "=", "1,2"])
def test_no_value(text):
    """Anything else is one line that shows the text."""
    with pytest.raises(ufd.InputError, match="is no value: give a TOML value") as caught:
        parse_change(f"solver.dt={text}")
    assert repr(text.strip()) in str(caught.value) and str(caught.value).startswith("solver.dt: ")


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1,2.5, 4", [1, 2.5, 4]),
        ("sdirk4,backward_euler", ["sdirk4", "backward_euler"]),
        ("[1.0, 0.0],[0.0, 1.0]", [[1.0, 0.0], [0.0, 1.0]]),
        ('"a,b","c"', ["a,b", "c"]),
        ("true", [True]),
    ],
)
def test_values(text, values):
    """Values are separated by the commas outside of brackets and quotes."""
    assert parse_values(text) == values


@pytest.mark.parametrize("value", ["true", "1", "", "tab\t\x7f", "snö \U0001f600", "a]b", "inf"])
def test_strings_stay_strings(value):
    """What looks like another value is quoted."""
    assert parse_value(format_value(value)) == value
    assert parse_value(format_value([{"k e y": value}])) == [{"k e y": value}]


def test_changes(case):
    """Changes go in before validation, integers count as numbers, later ones win."""
    before = case.read_text()
    changes = [
        (KAPPA, 2),
        ("solver.dt", 1),
        ("solver.dt", 0.1),
        ("limits.contrast", 1e20),
        ("problem.initial", {"kind": "angular_cauchy", "gamma": 1}),
        ("problem.initial.gamma", 3),
    ]
    changed = read_case(case, changes)
    assert changed.problem.teacher.components[0].kappa == 2.0
    assert changed.solver.dt == 0.1 and changed.limits.contrast == 1e20
    assert changed.problem.initial.gamma == 3.0 and changes[4][1]["gamma"] == 1
    assert read_case(case, dict(changes)) == changed and case.read_text() == before
    assert read_case(case) != changed


@pytest.mark.parametrize(
    ("key", "value", "parts"),
    [
        (
            "problem.teacher.components.2.kappa",
            1,
            ["2 is no entry of problem.teacher.comp", "0 to 1"],
        ),
        ("problem.teacher.components.-1.kappa", 1, ["-1 is no entry of", "0 to 1"]),
        ("problem.teacher.components.kappa", 1, ["kappa is no entry of", "a list"]),
        ("problem.teacher.weights.9", 1, ["9 is no entry of problem.teacher.weights"]),
        ("solver.cells.fine", 1, ["solver.cells = 6 is no table, so it has no fine"]),
        ("time.times.0", 1, ["there is no list time.times", "give the whole list"]),
        ("solver..dt", 1, ["'solver..dt' is no key", "such as solver.dt"]),
        ("solver.sdt", 0.1, ["solver.sdt: unknown key; did you mean dt?"]),
        ("solvr.dt", 0.1, ["solvr: unknown key; did you mean solver?"]),
        ("solver.dt", "fast", ["solver.dt = 'fast': must be a valid number"]),
        ("solver.cells", 6.5, ["solver.cells = 6.5", "integer"]),
        ("solver", 1, ["solver = 1: must be a table"]),
        ("solver.rtol", float("nan"), ["solver.rtol = nan", "finite"]),
    ],
)
def test_change_is_refused(case, key, value, parts):
    """A change that leads nowhere is one line that names file, key and remedy."""
    with pytest.raises(ufd.InputError) as caught:
        read_case(case, {key: value})
    text = str(caught.value)
    assert text.startswith("case.toml: ") and "\n" not in text
    for part in parts:
        assert part in text


def test_run_with_changes(call, case):
    """``ufd run --set`` runs, checks and records the changed case."""
    words = ["run", case, "--set", "solver.stepper=backward_euler", "--set", "solver.dt=0.05"]
    code, out, err = call(*words, "--check")
    assert (code, err) == (0, "") and "4 to 4 steps" in out
    assert call(*words, "--no-report", "--output", "out")[0] == 0
    configuration = ufd.load("out").configuration
    assert configuration["solver"]["stepper"] == "backward_euler"
    changed = read_case(case, {"solver.stepper": "backward_euler", "solver.dt": 0.05})
    assert configuration["case"] == changed.identity()

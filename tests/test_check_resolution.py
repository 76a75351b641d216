"""``ufd run --check`` says what the mesh does not resolve, as the run itself would."""

from __future__ import annotations

import re

import pytest

HALF = (
    'problem.teacher={kind = "mixture", weights = [0.5, 0.5], components = [{kind = "uniform"}, '
    '{kind = "von_mises_fisher", mean = [0.3, 0.5, 0.8], kappa = 1e5}]}'
)
STEEP = 'problem.teacher={kind = "von_mises_fisher", mean = [0, 0, 1], kappa = 60.0}'
NEAR = 'problem.initial={kind = "von_mises_fisher", mean = [0, 0, 1], kappa = 62.0}'
APART = (
    'problem.teacher={kind = "mixture", weights = [0.5, 0.5], components = ['
    '{kind = "von_mises_fisher", mean = [1, 0], kappa = 30.0}, '
    '{kind = "von_mises_fisher", mean = [-1, 0], kappa = 30.0}]}'
)
WAVE = 'problem.initial={kind = "zonal_harmonic", axis = [1, 0], degree = 32, amplitude = 0.5}'


@pytest.fixture
def plain(tmp_path, monkeypatch):
    """A case with default meshes."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "case.toml"
    path.write_text('[problem.teacher]\nkind = "uniform"\n')
    return path


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ([HALF], "teacher: the mesh does not resolve it"),
        ([STEEP, NEAR], "its logarithm falls by 18.8 across a cell"),
        (
            ["problem.dim=1", WAVE, "solver.cells=32", "solver.degree=1"],
            "initial: the mesh does not resolve it",
        ),
        (
            ["solver.focus={direction = [0, 0, 1], factor = 20.0}", "solver.cells=5"],
            "focus: factor = 20 .* at most 8.7 with 5 cells of degree 6",
        ),
    ],
)
def test_refused(call, plain, changes, reason):
    """Exit code 2 and one line: by ``--check`` and by the run alike."""
    settings = [word for change in changes for word in ("--set", change)]
    code, out, err = call("run", plain, *settings, "--check")
    assert (code, out) == (2, "") and err.count("\n") == 1 and len(err) < 300
    assert re.search(reason, err)
    assert list(plain.parent.iterdir()) == [plain]
    assert call("run", plain, *settings)[::2] == (2, err)


def test_modes_that_no_run_finds(call, plain):
    """A metastable flow has no rate in double precision; the check says so too."""
    code, out, err = call("run", plain, "--set", "problem.dim=1", "--set", APART, "--check")
    assert (code, out) == (4, "") and "metastable" in err


def test_a_warning_is_one_line(call, plain, caplog):
    """What is hardly resolved is logged, once, and runs."""
    settings = ["--set", STEEP.replace("60.0", "12.0"), "--set", "solver.cells=2"]
    settings += ["--set", "solver.degree=4", "--set", "output.modes=1"]
    code, out, _ = call("run", plain, *settings, "--check")
    assert code == 0 and out.startswith("valid")
    (said,) = (record.getMessage() for record in caplog.records)
    assert said.startswith("teacher: the mesh hardly resolves it: its logarithm falls by ")

"""How benchmarks start and end: help, where they write, the exit code of a failed claim."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import convergence_rates
import pytest
from support import noisy_cases, orders, rate_cases, record
from support.record import Claim

import ufd

SCRIPTS = sorted(Path(record.__file__).parents[1].glob("*.py"))
HOLDS, FAILS = Claim("one", "1", "1", True), Claim("two", "1", "0.5", False)


@pytest.fixture
def words(tmp_path, monkeypatch):
    """Command lines, seen from an empty directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(record, "RESULTS", Path("output/benchmarks"))
    return lambda *given: monkeypatch.setattr(sys, "argv", ["script.py", *given])


@pytest.mark.parametrize(("claims", "code"), [([HOLDS], 0), ([HOLDS, FAILS], 1), ([], 0)])
def test_exit_code(words, capsys, claims, code):
    """1 as soon as one claim does not hold, which is named."""
    words()
    with pytest.raises(SystemExit) as ended:
        record.launch(lambda: claims, "What it claims.")
    assert ended.value.code == code
    assert ("1 claims do not hold: two: 0.5" in capsys.readouterr().err) == bool(code)


@pytest.mark.parametrize("asked", [False, True])
def test_records_change_on_request_only(words, tmp_path, monkeypatch, asked):
    """A run writes under output/; with --record it replaces the record."""
    monkeypatch.setattr(record, "RECORDS", tmp_path / "records")
    words(*["--record"] * asked)

    def run() -> list[Claim]:
        record.record("name", "Title", [HOLDS], [], {})
        return [HOLDS]

    with pytest.raises(SystemExit):
        record.launch(run, "What it claims.")
    written = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("name.*"))
    place = "records" if asked else "output/benchmarks"
    assert written == [f"{place}/name.json", f"{place}/name.md"]


def test_a_planted_eigenvalue_fails_the_report(words, monkeypatch, tmp_path):
    """The report of rates ends with 1 if one eigenvalue is expected wrongly, with 0 as it is."""
    monkeypatch.setattr(orders, "studies", lambda full: [])
    monkeypatch.setattr(convergence_rates, "noisy_runs", list)
    monkeypatch.setattr(convergence_rates, "OUTPUT", tmp_path / "runs")
    words()
    # Case files are named from the root of the repository.
    monkeypatch.chdir(SCRIPTS[0].parents[1])
    monkeypatch.setattr(record, "RESULTS", tmp_path / "report")
    (right,) = rate_cases.circle_mises((1.0,)).runs
    for known, code in ((right.eigenvalue, 0), (1.2, 1)):
        family = rate_cases.circle_mises(())
        family.runs.append(replace(right, eigenvalue=known))
        monkeypatch.setattr(convergence_rates, "quick", lambda chosen=family: [chosen])
        with pytest.raises(SystemExit) as ended:
            record.launch(
                convergence_rates._run, convergence_rates.__doc__, convergence_rates._options
            )
        assert ended.value.code == code


def test_planted_local_rate(monkeypatch):
    """A wrong rate beside the fixed point of noisy training is noticed as well."""
    run = noisy_cases.noisy_runs()[0]
    found = ufd.langevin(
        run.problem, run.features, run.temperature, [run.end], lam=run.lam, cells=96,
        inputs="sphere", rtol=1e-7,
    )  # fmt: skip
    assert noisy_cases.langevin_claim(found)["verdict"] == "agrees"
    found.fixed_point["rates"] = [1.01 * rate for rate in found.fixed_point["rates"]]
    assert noisy_cases.langevin_claim(found)["verdict"] == "differs"


@pytest.mark.launches
@pytest.mark.parametrize("script", [SCRIPTS[0], SCRIPTS[-2]], ids=lambda path: path.stem)
def test_help(script, tmp_path):
    """--help says what is claimed, and runs nothing."""
    done = subprocess.run(
        [sys.executable, str(script), "--help"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0 and "--record" in done.stdout and not list(tmp_path.iterdir())


def test_every_script_is_launched():
    """One way in: no script reads its words by itself."""
    for script in SCRIPTS:
        text = script.read_text()
        assert "launch(" in text and "sys.argv" not in text, script.name

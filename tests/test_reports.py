"""Pages of every kind of run, and the case table of noisy training."""

from __future__ import annotations

from pathlib import Path

import pytest

import ufd
from ufd.config import read_case
from ufd.reports import conclude

MIXED = ufd.ReLU() + 0.5 * ufd.ReLU(power=2)
NARROW = ufd.UltraFastDiffusion(ufd.VonMisesFisher([1, 0], 1.5), ufd.Uniform(ufd.Sphere(1)))
CASE = """
[problem]
dim = 1
[problem.teacher]
kind = "von_mises_fisher"
mean = [1.0, 0.0]
kappa = 1.5
[solver]
cells = 12
degree = 4
[time]
end = 0.5
[output]
modes = 2
[langevin]
features = { relu = 1.0, relu2 = 0.5 }
temperature = 0.05
cells = 48
end = 2.0
"""


def _small(kind: str):
    if kind == "particles":
        return ufd.train(NARROW, MIXED, 1e-2, 16, [0.1])
    if kind == "meanfield":
        return ufd.meanfield(NARROW, MIXED, 1e-2, [0.1], cells=32)
    if kind == "langevin":
        return ufd.langevin(NARROW, MIXED, 0.05, [20.0], cells=48)
    steps = ufd.StepTarget([0.3, 0.6], [2, -1])
    return ufd.univariate(steps, 10, 1e-2, 1e-2, times=[0.02, 0.1], seeds=2)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("particles", ["Training of a finite network", "At t = 0.1 the risk is"]),
        ("meanfield", ["The mean-field equation", "total variation"]),
        ("langevin", ["proximal Gibbs", "duality gap", "guaranteed", "kept"]),
        ("univariate", ["condition met", "seed 1", "recover every jump", "target 1: kind"]),
    ],
)
def test_pages(kind, words, tmp_path):
    """Each saved run is told in a line or two, and has a page and its Markdown."""
    _small(kind).save(tmp_path)
    lines = conclude(tmp_path, report=True)
    assert lines[0].startswith(kind) and lines[-1] == f"report{'':18}{tmp_path / 'report.html'}"
    page, plain = ((tmp_path / f"report.{each}").read_text() for each in ("html", "md"))
    for word in words:
        assert word in page
    assert lines[0][24:60] in plain.replace("\\", "")
    assert conclude(tmp_path, report=False) == lines[:-1]


def test_without_noise_the_page_shows_the_risk(tmp_path):
    """No fixed point: risk and misfit instead of G - G*."""
    ufd.langevin(NARROW, MIXED, 0.0, [0.5], cells=32).save(tmp_path)
    conclude(tmp_path, report=True)
    assert "total variation" in (tmp_path / "report.html").read_text()


def test_nothing_there(tmp_path):
    """An empty directory is no run."""
    with pytest.raises(ufd.StorageError):
        conclude(tmp_path, report=True)


def test_case_with_noise(launch, tmp_path):
    """``ufd run`` solves both equations, checks both, resumes to nothing, and writes both pages."""
    case, place = tmp_path / "case.toml", tmp_path / "out"
    case.write_text(CASE)
    checked = launch("ufd", "run", str(case), "--check")
    assert "noisy training          48 nodes" in checked.stdout, checked.stderr
    done = launch("ufd", "run", str(case), "--output", str(place))
    assert done.returncode == 0, done.stderr
    assert "langevin                G - G*" in done.stdout
    noisy = ufd.load(place / "langevin")
    assert noisy.times[-1] == 2.0 and noisy.temperature == 0.05
    assert (place / "langevin" / "report.html").is_file()
    again = launch("ufd", "run", str(case), "--output", str(place), "--restart")
    assert "nothing is left to do" in again.stdout


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("temperature = 0.05", "", "langevin.temperature"),
        ("temperature = 0.05", "temperature = -1.0", "langevin.temperature"),
        ("end = 2.0\n", "end = 0.0\n", "langevin.end"),
        ("cells = 48", "heat = 1", "langevin.heat"),
    ],
)
def test_bad_tables(old, new, words, tmp_path):
    """One line that names the key."""
    case = tmp_path / "case.toml"
    case.write_text(CASE.replace(old, new))
    with pytest.raises(ufd.InputError) as error:
        read_case(case)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_example_is_valid():
    """The example case reads, and names what it asks for."""
    example = Path(__file__).resolve().parents[1] / "benchmarks/cases/noisy_circle.toml"
    table = read_case(example).langevin
    assert table is not None and table.options()["temperature"] == 0.05

"""Case files: what is right comes through unchanged, what is wrong gets one line.

The line names the file, the key, the value that was given, and what is allowed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import ufd
from ufd.config import problem_from, read_case

CASES = sorted((Path(__file__).parents[1] / "benchmarks" / "cases").glob("*.toml"))
TEACHER = 'kind = "von_mises_fisher"\nmean = [1.0, 0.0]\nkappa = 1.5\n'
CASE = f"""[problem]
dim = 1
p = 2.0
[problem.teacher]
{TEACHER}[problem.initial]
kind = "angular_cauchy"
gamma = 3.0
[solver]
degree = 4
cells = 8
stepper = "sdirk3"
rtol = 1e-3
[time]
end = 1.0
times = [0.5]
[output]
modes = 4
[limits]
contrast = 1e20
"""


def mixture(weights: str, more: str = "", components: int = 2) -> str:
    part = f"[[problem.teacher.components]]\n{TEACHER}"
    return f'kind = "mixture"\nweights = {weights}\n{more}\n{part * components}'


def written(folder: Path, text: str) -> Path:
    path = folder / "case.toml"
    path.write_text(text)
    return path


def refusal(path: Path, kind: type = ufd.InputError) -> str:
    with pytest.raises(kind) as caught:
        read_case(path)
    text = str(caught.value)
    assert "\n" not in text and str(path) in text
    # Nothing of the libraries that read the file shows through.
    for word in ("pydantic", "instance", "object", "Table", "dictionary", "Traceback"):
        assert word not in text
    return text


def random_points(sphere: ufd.Sphere, count: int = 50) -> np.ndarray:
    x = np.random.default_rng(7).normal(size=(count, sphere.ambient_dim))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_values(tmp_path):
    """Every key of a valid case arrives where it belongs."""
    case = read_case(written(tmp_path, CASE))
    problem, options = case.problem.build(), case.solver_options()
    assert problem.manifold == ufd.Sphere(1) and problem.divergence == ufd.PowerDivergence(2)
    assert problem.teacher.kappa == 1.5 and problem.initial.gamma == 3.0
    assert case.times == [0.0, 0.5, 1.0] and case.output.modes == 4
    assert (options["degree"], options["cells"], options["rtol"]) == (4, 8, 1e-3)
    assert options["stepper"].name == ufd.SDIRK3().name == "sdirk3"
    assert options["contrast"] == 1e20


def test_defaults(tmp_path):
    """A teacher is all that a case must name."""
    case = read_case(written(tmp_path, '[problem.teacher]\nkind = "uniform"\n'))
    problem = case.problem.build()
    assert problem.manifold == ufd.Sphere(2) and problem.initial == ufd.Uniform(ufd.Sphere(2))
    assert problem.divergence.p == 2 and case.times == [0.0, 0.25, 0.5, 1.0, 2.0, 4.0]


def test_output_times_alone_are_kept(tmp_path):
    """Times under [output] choose what is stored, with the start and the end."""
    text = CASE.replace("times = [0.5]\n", "").replace("modes = 4", "times = [0.1, 0.2]")
    assert read_case(written(tmp_path, text)).times == [0.0, 0.1, 0.2, 1.0]


@pytest.mark.parametrize("path", CASES, ids=lambda p: p.stem)
def test_shipped_case(path):
    """Every case of the repository is valid, and survives being described."""
    problem = read_case(path).problem.build()
    assert problem_from(problem.describe()).describe() == problem.describe()


def sphere_problem() -> ufd.UltraFastDiffusion:
    inner = ufd.Mixture(
        [ufd.VonMisesFisher([0, 0, 1], 2), ufd.Uniform(ufd.Sphere(2))], [0.25, 0.75]
    )
    teacher = ufd.Mixture([inner, ufd.VonMisesFisher([1, 2, 2], 300.5)], [0.9, 0.1])
    return ufd.UltraFastDiffusion(
        teacher, ufd.VonMisesFisher([0, -1, 1], 0.1), ufd.PowerDivergence(1)
    )


def circle_problem() -> ufd.UltraFastDiffusion:
    return ufd.UltraFastDiffusion(
        ufd.Mixture([ufd.AngularCauchy(100.0), ufd.AngularCauchy(7.0, 1.25)], [2 / 3, 1 / 3]),
        ufd.Uniform(ufd.Sphere(1)),
        ufd.PowerDivergence(0.5),
    )


@pytest.mark.parametrize("problem", [circle_problem(), sphere_problem()], ids=["circle", "sphere"])
def test_round_trip(problem):
    """A problem that describes itself is built again with the same densities."""
    again, x = problem_from(problem.describe()), random_points(problem.manifold)
    assert again.manifold == problem.manifold and again.divergence == problem.divergence
    for name in ("teacher", "initial"):
        before, after = (getattr(p, name).log_density(x) for p in (problem, again))
        np.testing.assert_allclose(after, before, rtol=0, atol=1e-13)


def test_function_has_no_table():
    """A problem with a Python function cannot be written down, and says so with None."""
    sphere = ufd.Sphere(1)
    teacher = ufd.density(sphere, lambda x: 2 + x[:, 0])
    mixed = ufd.Mixture([teacher, ufd.Uniform(sphere)], [0.5, 0.5])
    for nu in (teacher, mixed):
        assert ufd.UltraFastDiffusion(nu, ufd.Uniform(sphere)).describe() is None


def test_problem_from_refuses():
    """`problem_from` refuses as a case file does."""
    with pytest.raises(
        ufd.InputError, match=r"^teacher\.kind = 'x': must be one of angular_cauchy"
    ):
        problem_from({"teacher": {"kind": "x"}})


def test_normalize(tmp_path):
    """Weights that do not sum to 1 are accepted on request, and divided by their sum."""
    text = CASE.replace(TEACHER, mixture("[1.0, 3.0]", "normalize = true"))
    assert read_case(written(tmp_path, text)).problem.build().teacher.weights == (0.25, 0.75)


BAD = [
    # unknown keys
    ("[time]", "[tme]", "tme: unknown key; did you mean time?"),
    ("degree = 4", "degre = 4", "solver.degre: unknown key; did you mean degree?"),
    ("kappa = 1.5", "kapa = 1.5", "problem.teacher.kapa: unknown key; did you mean kappa?"),
    ("[problem.initial]", "[problem.inital]", "problem.inital: unknown", "did you mean initial?"),
    (TEACHER, mixture("[0.5, 0.5]").replace("mean", "men", 1), "components.0.men: unknown key"),
    ("modes = 4", "rhubarb = 4", "output.rhubarb: unknown key"),
    # types
    ("degree = 4", 'degree = "4"', "solver.degree = '4'", "integer"),
    ("degree = 4", "degree = true", "solver.degree = True", "integer"),
    ("degree = 4", "degree = 1.5", "solver.degree = 1.5", "integer"),
    ("cells = 8", "cells = 8.0", "solver.cells = 8.0", "integer"),
    ("kappa = 1.5", 'kappa = "two"', "problem.teacher.kappa = 'two'", "number"),
    ("kappa = 1.5", "kappa = true", "problem.teacher.kappa = True", "number"),
    ("mean = [1.0, 0.0]", "mean = 1.0", "problem.teacher.mean = 1.0", "list"),
    ("mean = [1.0, 0.0]", 'mean = [1.0, "x"]', "problem.teacher.mean.1 = 'x'", "number"),
    ("modes = 4", 'estimate_error = "yes"', "output.estimate_error = 'yes'", "boolean"),
    ("dim = 1\n", "dim = 1\nmanifold = 3\n", "problem.manifold = 3", "'sphere'"),
    (CASE, "problem = 3", "problem = 3: must be a table"),
    (CASE, 'problem.teacher = "uniform"', "problem.teacher = 'uniform': must be a table"),
    # not finite
    ("kappa = 1.5", "kappa = nan", "problem.teacher.kappa = nan", "finite"),
    ("kappa = 1.5", "kappa = inf", "problem.teacher.kappa = inf", "finite"),
    ("mean = [1.0, 0.0]", "mean = [nan, 0.0]", "problem.teacher.mean.0 = nan", "finite"),
    ("rtol = 1e-3", "rtol = nan", "solver.rtol = nan", "finite"),
    ("times = [0.5]", "times = [nan]", "time.times.0 = nan", "finite"),
    ("end = 1.0", "end = inf", "time.end = inf", "finite"),
    # ranges
    ("kappa = 1.5", "kappa = -1.0", "problem.teacher.kappa = -1.0", "equal to 0"),
    ("gamma = 3.0", "gamma = -0.5", "problem.initial.gamma = -0.5", "equal to 0"),
    ("p = 2.0", "p = -0.5", "problem.p = -0.5", "equal to 0"),
    ("dim = 1", "dim = 5", "problem.dim = 5", "1 or 2"),
    ("degree = 4", "degree = 0", "solver.degree = 0", "equal to 1"),
    ("degree = 4", "degree = 9", "solver.degree = 9", "equal to 8"),
    ("cells = 8", "cells = -1", "solver.cells = -1", "equal to 0"),
    ("rtol = 1e-3", "dt = 0.0", "solver.dt = 0.0", "greater than 0"),
    ("rtol = 1e-3", "dt = -0.1", "solver.dt = -0.1", "greater than 0"),
    ("rtol = 1e-3", "rtol = 0.0", "solver.rtol = 0.0", "greater than 0"),
    ("rtol = 1e-3", "rtol = 1.0", "solver.rtol = 1.0", "less than 1"),
    ("rtol = 1e-3", "newton_tol = 0.1", "solver.newton_tol = 0.1", "less than 0.001"),
    ("contrast = 1e20", "contrast = 1.0", "limits.contrast = 1.0", "greater than 1"),
    ("modes = 4", "modes = -1", "output.modes = -1", "equal to 0"),
    # choices
    ("sdirk3", "rk4", "solver.stepper = 'rk4'", "'backward_euler', 'sdirk2', 'sdirk3' or 'sdirk4'"),
    ("rtol = 1e-3", 'linear = "lu"', "solver.linear = 'lu'", "'direct', 'frozen' or 'multigrid'"),
    ("von_mises_fisher", "vmf", "problem.teacher.kind = 'vmf'", "one of angular_cauchy, mixture"),
    ('kind = "von_mises_fisher"', "", "problem.teacher.kind: missing", "one of angular_cauchy"),
    # what is missing
    (f"[problem.teacher]\n{TEACHER}", "", "problem.teacher: missing"),
    ("kappa = 1.5", "", "problem.teacher.kappa: missing"),
    (CASE, "", "problem: missing"),
    # mixtures
    (TEACHER, mixture("[0.5, 0.4]"), "teacher", "[0.5, 0.4] sum to 0.9, not 1", "normalize = true"),
    (TEACHER, mixture("[1.0, 0.0]"), "problem.teacher.weights.1 = 0.0", "greater than 0"),
    (TEACHER, mixture("[2.0, -1.0]", "normalize = true"), "weights.1 = -1.0", "greater than 0"),
    (TEACHER, mixture("[1.0]"), "teacher", "2 components and 1 weights", "one weight for each"),
    (TEACHER, mixture("[0.5, 0.5]", "", 0), "problem.teacher.components: missing"),
    # the problem as a whole
    (
        "mean = [1.0, 0.0]",
        "mean = [1.0, 0.0, 0.0]",
        "problem.teacher: mean",
        "3 entries",
        "needs 2",
    ),
    ("mean = [1.0, 0.0]", "mean = [0.0, 0.0]", "problem.teacher", "[0.0, 0.0]", "non-zero"),
    (TEACHER, mixture("[0.5, 0.5]").replace(", 0.0]", "]", 1), "components.0: mean = [1.0]"),
    (
        f"dim = 1\np = 2.0\n[problem.teacher]\n{TEACHER}",
        '[problem.teacher]\nkind = "uniform"\n',
        'problem.initial: kind = "angular_cauchy" lives on the circle',
        "dim = 2",
    ),
    # schedules
    ("times = [0.5]", "times = [0.5, 0.2]", "time.times", "[0.5, 0.2]", "must increase"),
    ("times = [0.5]", "times = [-0.5]", "time.times", "[-0.5]", "0 or later"),
    ("times = [0.5]", "times = [2.0]", "time.times", "2 lies outside [0, 1]"),
    ("modes = 4", "times = [3.0]", "output.times", "3 lies outside [0, 1]"),
    ("modes = 4", "times = [0.2, 0.2]", "output.times", "[0.2, 0.2]", "must increase"),
    # not TOML
    ("p = 2.0", "p = 2.0\np = 3.0", "not a TOML file", "line 4"),
    ("p = 2.0", "p is 2", "not a TOML file", "line 3"),
]


@pytest.mark.parametrize(("old", "new", "parts"), [(bad[0], bad[1], bad[2:]) for bad in BAD])
def test_refused(tmp_path, old, new, parts):
    """One line names the key, the value and what is allowed."""
    assert old in CASE
    text = refusal(written(tmp_path, CASE.replace(old, new, 1)))
    for part in parts:
        assert part in text
    if "sum to" not in text:
        assert "normalize" not in text


def test_huge_integer(tmp_path):
    """A whole number beyond every float is refused like any other."""
    text = CASE.replace("kappa = 1.5", f"kappa = 1{'0' * 400}")
    assert "problem.teacher.kappa" in refusal(written(tmp_path, text))


def test_unreadable(tmp_path):
    """A file that is missing, is a folder, or is no text says which."""
    assert "No such file" in refusal(tmp_path / "none.toml", ufd.StorageError)
    assert "directory" in refusal(tmp_path, ufd.StorageError)
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    assert "not a TOML file" in refusal(binary)

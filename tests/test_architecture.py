"""The floors of the house: who may import whom, and what ``import ufd`` costs.

``violations`` reads one source file. Every rule is also shown to fail, on a small synthetic
source, so that a green test means that the rule looked.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import ufd

PACKAGE = Path(ufd.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
LONGEST = 330

# Arrows point to a lower floor, or stay within one folder. A new file in ufd/ needs a floor here.
FLOORS = {
    "exceptions": 0,
    "launch": 1,
    "parallel": 1,
    "problem": 1,
    "signals": 1,
    "storage": 1,
    "evolution": 2,
    "fem": 3,
    "jumps": 3,
    "meanfield": 3,
    "particles": 3,
    "analysis": 4,
    "config": 5,
    "runs": 5,
    "ensemble": 6,
    "regularised": 6,
    "solve": 6,
    "stored": 6,
    "train": 6,
    "univariate": 6,
    "compare": 7,
    "contrast": 7,
    "decompose": 7,
    "doctor": 7,
    "job": 7,
    "plan": 7,
    "reports": 9,
    "sweep": 7,
    "batch": 8,
    "cli": 10,
}
ROOMS = {"fem", "jumps", "meanfield", "particles"}
# The mean-field equation lives on the diffusion's meshes, and its states are kept as theirs are.
DOORS = {
    ("meanfield", f"ufd.fem.{name}")
    for name in (
        "discretization",
        "spectrum",
        "meshes",
        "surfaces",
        "state",
        "fields",
        "focus",
        "resolving",
        "accuracy",
    )
}
ANALYSIS_MAY = {"analysis", "problem", "storage", "parallel", "exceptions", "launch"}
ANALYSIS_NAMES = {
    ("ufd.evolution.evolve", "StopReason"),
    ("ufd.evolution.steppers", "STEPPERS"),  # their stability functions
}
PROBLEM_MAY = {"numpy", "scipy", "ot", "ufd.problem", "ufd.exceptions"} | sys.stdlib_module_names
SLOW = {"pyvista", "matplotlib"}
PLACES = re.compile(r"(?<!\w)/(work|root|tmp)\b")


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def _imports(tree: ast.AST, where: Path) -> Iterator[tuple[str, str, bool]]:
    """(module, name, whether it runs when the file is imported) of every import."""
    package = ["ufd", *where.parent.parts]

    def visit(node: ast.AST, runs: bool) -> Iterator[tuple[str, str, bool]]:
        if isinstance(node, ast.Import):
            yield from ((alias.name, "", runs) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *filter(None, [node.module])])
            yield from ((module, alias.name, runs) for alias in node.names)
        later = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or _is_type_checking(node)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, runs and not later)

    return visit(tree, True)


def violations(where: str, source: str) -> list[str]:
    """What a file of the package at ``where`` (relative to ufd/) does that it must not."""
    path = Path(where)
    part = path.parts[0].removesuffix(".py")
    found = []
    if source.count("\n") > LONGEST:
        found.append(f"{where}: {source.count(chr(10))} lines, {LONGEST} are enough")
    found += [f"{where}: names a place, {word.group()}" for word in PLACES.finditer(source)]
    if path.suffix != ".py":
        return found
    if part != "__init__" and part not in FLOORS:
        return [*found, f"{where}: has no floor yet; add it to FLOORS"]
    for module, name, runs in _imports(ast.parse(source), path):
        top = module.split(".")[0]
        if top == "dolfinx" and part != "fem":
            found.append(f"{where}: dolfinx outside fem/")
        if top in SLOW and runs:
            found.append(f"{where}: {top} at module level")
        if part == "problem":
            if not any(module == may or module.startswith(may + ".") for may in PROBLEM_MAY):
                found.append(f"{where}: problem/ imports {module}")
        elif top == "ufd" and part != "__init__":
            found += [f"{where}: {text}" for text in _wrong_arrow(part, module, name)]
    return found


def _wrong_arrow(part: str, module: str, name: str) -> Iterator[str]:
    if module == "ufd":
        if name in ("", "__version__"):
            return
        module, name = f"ufd.{name}", ""
    other = module.split(".")[1]
    arrow = f"{part} imports {module}"
    if other not in FLOORS:
        yield f"{arrow}, which has no floor"
    elif part in ROOMS and other in ROOMS and part != other:
        if (part, f"{module}.{name}") in DOORS:
            module = f"{module}.{name}"
        if (part, module) not in DOORS:
            yield f"{arrow}: rooms do not import each other"
    elif part == "analysis" and other not in ANALYSIS_MAY:
        if (module, name) not in ANALYSIS_NAMES:
            yield f"{arrow}: analysis/ reads results only"
    elif part != other and FLOORS[other] >= FLOORS[part]:
        yield f"{arrow}: upwards"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_source(path):
    """Every file of the package keeps the rules of the house."""
    assert violations(str(path.relative_to(PACKAGE)), path.read_text()) == []


def test_templates_name_no_place():
    """Templates are package sources too."""
    templates = list(PACKAGE.rglob("*.jinja"))
    assert templates
    for path in templates:
        assert violations(str(path.relative_to(PACKAGE)), path.read_text()) == []


@pytest.mark.parametrize(
    ("where", "source", "complaint"),
    [
        ("problem/x.py", "from ufd.fem.meshes import circle", "problem/ imports ufd.fem.meshes"),
        ("problem/x.py", "import mpi4py.MPI", "problem/ imports mpi4py.MPI"),
        ("problem/x.py", "import ufd", "problem/ imports ufd"),
        ("problem/x.py", "from ufd.parallel import total", "problem/ imports ufd.parallel"),
        ("problem/x.py", "def f():\n    import scipyx", "problem/ imports scipyx"),
        ("evolution/x.py", "from ufd.fem.meshes import circle", "upwards"),
        ("evolution/x.py", "def f():\n    from ufd.solve import solve", "upwards"),
        ("evolution/x.py", "from ..config import Case", "upwards"),
        ("evolution/x.py", "from .. import cli", "upwards"),
        ("fem/x.py", "from ufd.solve import solve", "upwards"),
        ("fem/x.py", "from ufd.analysis.results import Result", "upwards"),
        ("fem/x.py", "from ufd import config", "upwards"),
        ("parallel.py", "from ufd.storage import write_json", "upwards"),
        ("config.py", "from ufd.solve import solve", "upwards"),
        ("solve.py", "import ufd.cli", "upwards"),
        ("solve.py", "if TYPE_CHECKING:\n    from ufd.plan import plan_case", "upwards"),
        ("analysis/x.py", "from ufd.fem.state import State", "reads results only"),
        ("analysis/x.py", "from ufd.evolution.evolve import Evolution", "reads results only"),
        ("analysis/x.py", "from ufd.evolution import evolve", "reads results only"),
        ("analysis/x.py", "from ufd.solve import load", "reads results only"),
        ("fem/x.py", "from ufd.particles.x import y", "rooms do not import"),
        ("fem/x.py", "from ..meanfield import x", "rooms do not import"),
        ("particles/x.py", "from ufd.fem.discretization import Discretization", "rooms do not"),
        ("meanfield/x.py", "from ufd.fem.newton import StageSolver", "rooms do not import"),
        ("meanfield/x.py", "import ufd.fem", "rooms do not import"),
        ("meanfield/x.py", "import dolfinx", "dolfinx outside fem/"),
        ("solve.py", "def f():\n    from dolfinx.mesh import refine", "dolfinx outside fem/"),
        ("analysis/x.py", "import pyvista", "pyvista at module level"),
        ("analysis/x.py", "try:\n    from matplotlib.figure import Figure\nfinally: ...", "module"),
        ("analysis/x.py", "class A:\n    import matplotlib.pyplot as plt", "at module level"),
        ("newcomer.py", "", "has no floor"),
        ("solve.py", "from ufd.newcomer import x", "has no floor"),
        ("solve.py", "x = 1\n" * (LONGEST + 1), "331 lines"),
        ("solve.py", 'cache = "/tmp/ufd"', "names a place"),
        ("solve.py", "# see /work/elsewhere", "names a place"),
        ("analysis/templates/x.jinja", "<img src='/root/x.png'>", "names a place"),
    ],
)
def test_rule_can_fail(where, source, complaint):
    """Each rule finds what it forbids, once."""
    found = violations(where, source)
    assert len(found) == 1 and complaint in found[0], found


@pytest.mark.parametrize(
    ("where", "source"),
    [
        ("problem/x.py", "import math\nimport scipy.special\nfrom ufd.problem.measures import M"),
        ("meanfield/x.py", "from ufd.fem.discretization import D\nimport ufd.fem.spectrum"),
        ("meanfield/x.py", "from ufd.fem import spectrum\nfrom ufd.problem import kernels"),
        ("analysis/x.py", "from ufd.evolution.evolve import StopReason\nimport ufd"),
        ("analysis/x.py", "def f():\n    import pyvista\nif TYPE_CHECKING:\n    import matplotlib"),
        ("fem/x.py", "from mpi4py import MPI\nimport dolfinx\nfrom . import meshes"),
        ("cli.py", "from ufd import __version__\nfrom ufd.solve import solve"),
        ("__init__.py", "from ufd.solve import solve"),
        ("solve.py", "total = work / tmp  # root/tmp"),
    ],
)
def test_rule_can_pass(where, source):
    """What the design allows is not complained about."""
    assert violations(where, source) == []


def _fastest(launch, *command) -> tuple[float, str]:
    """Seconds of the fastest of three runs (others use the machine too), and the output."""
    seconds = []
    for _ in range(3):
        begin = time.perf_counter()
        done = launch(*command, timeout=20)
        seconds.append(time.perf_counter() - begin)
        assert done.returncode == 0, done.stderr
    return min(seconds), done.stdout


def test_import_is_light(launch):
    """``import ufd`` loads no heavy library and takes less than half a second."""
    script = "import ufd, sys; print(*sys.modules)"
    seconds, loaded = _fastest(launch, "python", "-c", script)
    heavy = {"dolfinx", "mpi4py", "petsc4py", "pyvista", "vtk", "matplotlib", "scipy", "numpy"}
    assert heavy.isdisjoint(loaded.split())
    assert seconds < 0.5


def test_help_is_quick(launch):
    """``ufd --help`` answers before one wonders, and names every command."""
    seconds, text = _fastest(launch, "ufd", "--help")
    assert seconds < 0.7
    for word in ("run", "sweep", "report", "doctor", "Exit codes"):
        assert word in text


def test_version(launch):
    """``ufd --version`` prints the version of the package."""
    assert launch("ufd", "--version").stdout == f"ufd {ufd.__version__}\n"


@pytest.mark.parametrize("name", [name for name in ufd.__all__ if name != "__version__"])
def test_public_name(name):
    """Each public name resolves, and has a docstring of its own."""
    value = getattr(ufd, name)
    assert value.__name__ == name
    # A dataclass without a docstring gets its signature as one.
    assert value.__doc__ and not value.__doc__.startswith(f"{name}(")
    assert name in dir(ufd)
    assert inspect.getmodule(value).__name__.startswith("ufd.")


def test_function_keeps_its_name(launch):
    """``ufd.solve`` is the function, also where the module of that name was imported first."""
    script = "import ufd.solve, ufd.sweep; print(ufd.solve.__module__, ufd.solve.__qualname__)"
    assert launch("python", "-c", script).stdout == "ufd.solve solve\n"


def test_no_other_name():
    """A wrong name says so, as in any module."""
    with pytest.raises(AttributeError, match="no attribute 'sovle'"):
        ufd.sovle  # noqa: B018

"""Any number of ranks gives the same answer, and every rank sees the same run and the same errors.

To 1e-9 in what is measured and in the density; to the last bit on one rank. On several ranks
matrices are assembled and systems solved by sums in the order in which messages arrive, so that
the last digits differ from run to run.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from mpi4py import MPI

import ufd
from ufd.exceptions import SetupError
from ufd.fem.discretization import Discretization
from ufd.fem.meshes import sphere_mesh
from ufd.fem.stack import compiled
from ufd.problem.callables import CallableDensity

CIRCLE, SPHERE = ufd.Sphere(1), ufd.Sphere(2)
AXES = {1: [0.6, 0.8], 2: [0.48, -0.6, 0.64]}

SCRIPT = """
import json, sys
import numpy as np
import ufd
from mpi4py import MPI

ufd.abort_on_error()
comm, further = MPI.COMM_WORLD, json.loads(sys.argv[1])
cases = {
    "icosphere": {"cells": 2, "degree": 1},
    "cubed sphere": {"cells": 3, "degree": 4},
    "circle": {"cells": 12, "degree": 8},
    "multigrid": {"cells": 3, "degree": 1, "linear": "multigrid"},
}
found = {}
for name, options in cases.items():
    axis = [0.6, 0.8] if name == "circle" else [0.48, -0.6, 0.64]
    sphere = ufd.Sphere(len(axis) - 1)
    teacher = ufd.Mixture([ufd.VonMisesFisher(axis, 3.0), ufd.Uniform(sphere)], [0.7, 0.3])
    problem = ufd.UltraFastDiffusion(teacher, ufd.VonMisesFisher(np.eye(len(axis))[0], 1.0))
    seen = []
    observers = [lambda t, values, landed: seen.append((t, landed, bool((values > 0).all())))]
    result = ufd.solve(problem, [0.3], observers=observers, **options, **further)
    x = np.random.default_rng(0).normal(size=(20, len(axis)))
    density = result.density(x / np.linalg.norm(x, axis=1, keepdims=True), 0.3)
    numbers = [result.series[s][-1] for s in ("chi2", "divergence", "max_ratio")]
    alike = [seen, density.tobytes(), {k: v.tobytes() for k, v in result.series.items()}]
    found[name] = {
        "numbers": [*map(float, numbers), *density.tolist()],
        "newton": result.stats["newton"],
        "steps": result.stats["steps"],
        "ranks": result.stats["ranks"],
        "finished": result.status is ufd.StopReason.FINISHED,
        "observed": len(seen),
        "alike": all(other == alike for other in comm.allgather(alike)),
    }
if comm.rank == 0:
    print(json.dumps(found))
"""
FEW_STEPS = {"dt": 0.1}


@pytest.fixture(scope="module")
def run(launch) -> Callable[..., dict]:
    """The script's findings on some ranks, each kind of run once."""
    known: dict[str, dict] = {}

    def find(ranks: int, options: dict | None = None, trial: int = 0) -> dict:
        further = json.dumps(options or {})
        key = f"{ranks} {further} {trial}"
        if key not in known:
            words = ("python", "-c", SCRIPT, further)
            job = launch(*words, ranks=ranks, timeout=300)
            assert job.returncode == 0, job.stderr
            known[key] = json.loads(job.stdout)
        return known[key]

    return find


def compare(one: dict, many: dict, rtol: float) -> None:
    assert one.keys() == many.keys()
    for name, expected in one.items():
        found = many[name]
        assert found["finished"] and expected["finished"], name
        np.testing.assert_allclose(found["numbers"], expected["numbers"], rtol, err_msg=name)
        # One iteration more or less for each of the five stages of a step.
        assert abs(found["newton"] - expected["newton"]) <= 5 * expected["steps"], name
        assert abs(found["steps"] - expected["steps"]) <= 1, name


# On two cores a third rank waits for the others' time slices: default tolerances take minutes.
@pytest.mark.launches
@pytest.mark.parametrize(
    ("ranks", "options"),
    [
        (2, {}),
        (3, FEW_STEPS),
        pytest.param(3, {}, marks=[pytest.mark.slow, pytest.mark.timeout(400)]),
    ],
    ids=["2", "3, few steps", "3"],
)
def test_any_rank_count_gives_the_same(run, ranks, options):
    """Functionals and the density at 20 points to 1e-9, and about as many iterations."""
    many = run(ranks, options)
    assert all(found["ranks"] == ranks for found in many.values())
    compare(run(1, options), many, 1e-9)


@pytest.mark.launches
def test_every_rank_sees_the_same_run(run):
    """Observers are called on all ranks, at the same times; series and densities agree in bits."""
    for found in (*run(1).values(), *run(2).values(), *run(3, FEW_STEPS).values()):
        assert found["alike"] and found["observed"] == found["steps"] + 1


@pytest.mark.launches
def test_twice_on_one_rank(run):
    """The same run again: the same bits, in every case."""
    assert run(1) == run(1, trial=1)


@pytest.mark.launches
def test_twice_on_two_ranks(run):
    """The same run again: to 1e-11 where systems are factorised, to 1e-9 with multigrid."""
    first, second = run(2), run(2, trial=1)
    compare(first, second, 1e-9)
    for found in (first, second):
        found.pop("multigrid", None)
    compare(first, second, 1e-11)


def problem(dim: int = 2, **changes) -> ufd.UltraFastDiffusion:
    sphere = ufd.Sphere(dim)
    teacher = ufd.Mixture([ufd.VonMisesFisher(AXES[dim], 3.0), ufd.Uniform(sphere)], [0.7, 0.3])
    parts = {"teacher": teacher, "initial": ufd.VonMisesFisher(np.eye(dim + 1)[0], 1.0)}
    return ufd.UltraFastDiffusion(**parts | changes)


def solver(comm: MPI.Comm, dim: int = 2, **options) -> ufd.DiffusionSolver:
    settings = {1: {"cells": 6, "degree": 4}, 2: {"cells": 1, "degree": 3}}[dim]
    return ufd.DiffusionSolver(problem(dim), comm=comm, **{**settings, "dt": 0.05, **options})


@pytest.mark.mpi
@pytest.mark.parametrize("mesh", [(1, 12, 8), (2, 2, 1), (2, 2, 4)])
def test_nodes_and_masses_are_the_same_in_every_bit(mesh, comm):
    """Twice on the same ranks; and to round-off on any number of them, in the built numbering.

    K is the same to round-off only: where three ranks meet, PETSc adds as messages arrive.
    """
    teacher = problem(mesh[0]).teacher
    surface = sphere_mesh(*mesh)
    first, second = (Discretization(surface, teacher, comm) for _ in range(2))
    same = [
        np.array_equal(a, b)
        for a, b in [
            (first.nodes, second.nodes),
            (first.D, second.D),
            (first.log_nu, second.log_nu),
            *zip(first.K.getValuesCSR()[:2], second.K.getValuesCSR()[:2], strict=True),
        ]
    ]
    entries = [space.K.getValuesCSR()[2] for space in (first, second)]
    scale = first.K.norm()
    same.append(np.allclose(*entries, rtol=0, atol=1e-14 * scale))
    # Together, so that no rank goes on alone to where it would wait for the others.
    assert all(all(rank) for rank in comm.allgather(same))
    together = [first.in_input_order(v) for v in (first.D, first.K.getDiagonal().array)]
    if comm.rank == 0:
        alone = Discretization(surface, teacher, MPI.COMM_SELF)
        shares = [alone.in_input_order(v) for v in (alone.D, alone.K.getDiagonal().array)]
        for found, expected in zip(together, shares, strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.mpi
def test_copy_of_a_state(comm):
    """Later steps leave a copy alone, and what is done to a copy leaves the run alone."""
    ours = solver(comm)
    state = ours.step()
    copy, x = state.copy(), ours.space.surface.points[:9]
    values, ratio, t = state.values.copy(), state.ratio(x), state.t
    ours.step()
    assert (copy.t, state.t) == (t, t) == (0.05, 0.05) and ours.t == 0.1
    np.testing.assert_array_equal(copy.values, values)
    np.testing.assert_array_equal(copy.ratio(x), ratio)
    assert copy.l1_distance(state) < 1e-13 < copy.l1_distance(ours.state)
    before = ours.functionals()
    again = ours.state.copy()
    again.values[:] = 7.0
    assert ours.functionals() == before


@pytest.mark.mpi
@pytest.mark.parametrize("dim", [1, 2])
def test_save_and_load(dim, comm, shared_tmp):
    """A state goes to disk and comes back on the same ranks, value by value."""
    ours = solver(comm, dim)
    ours.advance(to=0.12)
    ours.save(shared_tmp / "state.npz")
    fields = ufd.load(shared_tmp / "state.npz", comm=comm)
    assert fields.times == [0.12]
    np.testing.assert_array_equal(fields.at(0.12).values, ours.state.values)
    x = ours.space.surface.points[:7]
    np.testing.assert_allclose(fields.density(x, 0.12), ours.density(x), rtol=1e-14)


@pytest.mark.mpi
def test_step_advance_and_iterate_agree(comm):
    """Three ways through the same steps."""
    stepped, advanced, iterated = (solver(comm) for _ in range(3))
    for _ in range(4):
        stepped.step()
    assert stepped.t == pytest.approx(0.2) and stepped.status is ufd.StopReason.RUNNING
    state = advanced.advance(to=0.2)
    assert state.t == advanced.t == 0.2
    seen = [(t, s.t, s.copy()) for t, s in iterated.iterate([0.1, 0.2])]
    assert [(t, s) for t, s, _ in seen] == [(0.1, 0.1), (0.2, 0.2)]
    assert iterated.status is ufd.StopReason.FINISHED
    for other in (advanced.state, seen[-1][2]):
        np.testing.assert_allclose(other.values, stepped.state.values, rtol=1e-11)
    assert seen[0][2].l1_distance(seen[1][2]) > 1e-3


@pytest.mark.mpi
def test_measure_is_the_same_on_every_rank(comm):
    """Integrals of functions of one or of many columns, equal to those on one rank."""

    def moments(x: np.ndarray) -> np.ndarray:
        return np.column_stack([np.ones(len(x)), x, x[:, 0] * x[:, 2], np.exp(x[:, 1])])

    measures = [solver(c).advance(to=0.05).measure for c in (comm, MPI.COMM_SELF)]
    ours, alone = (m.integrate(moments) for m in measures)
    assert ours.shape == (6,) and ours[0] == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(ours, alone, rtol=0, atol=1e-11)
    single = float(measures[0].integrate(lambda x: x[:, 2]))
    assert single == pytest.approx(ours[3], abs=1e-15)
    for others in comm.allgather((ours.tolist(), single)):
        assert others == (ours.tolist(), single)


def broken_at(node: np.ndarray, value: float) -> CallableDensity:
    """The uniform density with one wrong value, at one node of a mesh."""

    def function(x: np.ndarray) -> np.ndarray:
        return np.where(np.linalg.norm(x - node, axis=1) < 1e-9, value, 1.0)

    return CallableDensity(SPHERE, function, SPHERE.log_area)


@pytest.mark.mpi
@pytest.mark.parametrize("part", ["teacher", "initial"])
@pytest.mark.parametrize("value", [-2.0, np.nan, np.inf, 0.0])
def test_a_value_that_one_rank_sees(part, value, comm):
    """A density that fails at a single node fails on every rank, with the same words."""
    node = sphere_mesh(2, 1, 3).points[11]
    with pytest.raises(ufd.InputError) as caught:
        ufd.DiffusionSolver(problem(**{part: broken_at(node, value)}), cells=1, degree=3, comm=comm)
    text = str(caught.value)
    assert f"value {value:g} at" in text and "\n" not in text
    assert set(comm.allgather(text)) == {text}


@pytest.mark.mpi
def test_a_kernel_that_one_rank_cannot_compile(comm, monkeypatch):
    """What FFCx says on the last rank is what every rank raises, in one line."""

    def form(*_, **__) -> None:
        if comm.rank == comm.size - 1:
            raise RuntimeError("no space left\non the device")

    monkeypatch.setattr("ufd.fem.stack.fem.form", form)
    with pytest.raises(SetupError) as caught:
        compiled(comm, None)
    text = "FFCx could not compile a kernel: RuntimeError: no space left; run ufd doctor"
    assert str(caught.value) == text and comm.allreduce(1) == comm.size


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("changes", "options", "words"),
    [
        ({"teacher": ufd.VonMisesFisher([0, 0, 1], 400.0)}, {}, "underflows double precision"),
        ({"initial": ufd.VonMisesFisher([0, 0, 1], 100.0)}, {}, "exceeds 1e+30"),
        ({"initial": ufd.VonMisesFisher([0, 0, 1], 100.0)}, {"contrast": 10.0}, "exceeds 1e+01"),
        ({}, {"linear": "guess"}, "linear = 'guess'"),
        ({}, {"degree": 9}, "degree = 9"),
        ({}, {"dt": -1.0}, "dt = -1.0"),
        ({}, {"rtol": 2.0}, "rtol = 2.0"),
        ({}, {"stepper": "euler"}, "stepper = 'euler'"),
    ],
)
def test_refusals_on_every_rank(changes, options, words, comm):
    """What cannot be solved is refused by all ranks alike, in one line."""
    with pytest.raises(ufd.InputError) as caught:
        ufd.DiffusionSolver(problem(**changes), comm=comm, **{"cells": 1, "degree": 3, **options})
    text = str(caught.value)
    assert words in text and "\n" not in text
    assert set(comm.allgather(text)) == {text}


@pytest.mark.launches
@pytest.mark.timeout(200)
def test_a_rank_without_cells(launch, tmp_path):
    """Four ranks for three arcs: the same answer as one rank gives."""
    script = tmp_path / "few.py"
    script.write_text(
        "import ufd\nufd.abort_on_error()\n"
        "p = ufd.UltraFastDiffusion(ufd.VonMisesFisher([1, 0], 0.5), ufd.Uniform(ufd.Sphere(1)))\n"
        "s = ufd.DiffusionSolver(p, cells=3, degree=3, dt=0.1)\n"
        "s.step()\nvalue = s.divergence()\nif s.comm.rank == 0:\n    print(repr(value))\n"
    )
    values = []
    for ranks in (1, 4):
        job = launch("python", script, ranks=ranks, timeout=150)
        assert job.returncode == 0, job.stderr
        values.append(float(job.stdout))
    assert values[1] == pytest.approx(values[0], rel=1e-10)

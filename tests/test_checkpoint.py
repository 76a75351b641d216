"""Snapshots: a run that is stopped and resumed is the run that never stopped, to the last bit.

What is stored is found whole or damaged, never taken for what it is not; any number of ranks reads
what any other wrote; and only the same run is resumed.
"""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from resumed import Note, counters, same_bits

import ufd
from ufd.evolution.checkpoint import generations, packed, unpacked
from ufd.evolution.control import ErrorControl, FixedStep
from ufd.evolution.evolve import Evolution, StopReason
from ufd.evolution.shards import MANIFEST, NodeStore, read_common, read_manifest
from ufd.evolution.steppers import Stage
from ufd.evolution.stopping import process_age
from ufd.exceptions import Interrupted

TIMES = [0.05, 0.2, 1.0]
CIRCLE = ufd.Sphere(1)
PROBLEM = ufd.UltraFastDiffusion(
    ufd.VonMisesFisher([0.6, 0.8], 1.5), ufd.VonMisesFisher([1.0, 0.0], 0.7)
)
solve = partial(ufd.solve, PROBLEM, TIMES, cells=8, degree=3, rtol=1e-5)


def stopped(place: Path, after: int = 20, interval: float = 600.0, **options) -> ufd.Checkpoint:
    """Run until a signal comes, and make sure that it stopped."""
    note = Note(after)
    checkpoint = ufd.Checkpoint(place, interval=interval, signals=note)
    found = solve(observers=[note], checkpoint=checkpoint, **options)
    assert found.status is StopReason.SIGNAL and found.stats["steps"] == after
    return ufd.Checkpoint(place, interval=interval)


class Remembering:
    """A system whose stages depend on what it solved last, as one with a frozen factor does."""

    def __init__(self, fails_at: int = -1) -> None:
        self.last, self.calls, self.fails_at = np.ones(3), 0, fails_at

    def stage(self, r, tau, t, guess) -> Stage:
        self.calls += 1
        if self.calls == self.fails_at:
            raise Interrupted("asked")
        w = r / (1 + tau * (1 + 1e-3 * self.last + 0.1 * guess))
        self.last[:] = w
        return Stage(w, 2, 1, 1e-15)

    def norm(self, error, values) -> float:
        return float(np.abs(error).max() / np.abs(values).max())

    def memory(self):
        return {"last": self.last}

    def recall(self, memory) -> None:
        self.last = memory["last"].copy()


def evolution(control, **options) -> Evolution:
    return Evolution(Remembering(**options), ufd.SDIRK4(), control, np.array([1.0, 2.0, 5.0]), 0.01)


CONTROLS = {"adaptive": lambda: ErrorControl(1e-6), "fixed": lambda: FixedStep(0.03)}
each_control = pytest.mark.parametrize("control", CONTROLS.values(), ids=CONTROLS)


def ends_as(one: Evolution, other: Evolution) -> None:
    assert (one.t, one.dt) == (other.t, other.dt)
    assert one.values.tobytes() == other.values.tobytes()
    assert one.control.memory() == other.control.memory()
    assert counters(one.statistics.as_dict()) == counters(other.statistics.as_dict())


@each_control
def test_evolution_is_restored(control):
    """Step size, controller, slopes, counters, the system's memory: all bits, through storage."""
    whole, first, second = (evolution(control()) for _ in range(3))
    list(whole.iterate([0.5, 3.0]))
    for _ in range(7):
        first.step(0.5)
    second.restore(unpacked(*packed(first.snapshot())))
    assert second.statistics.steps == 7 < whole.statistics.steps
    list(second.iterate([0.5, 3.0]))
    ends_as(second, whole)


@each_control
def test_snapshot_stays_as_it_is(control):
    """Later steps do not change it."""
    run = evolution(control())
    run.step()
    snapshot = run.snapshot()
    before = packed(snapshot)[0], snapshot.system["last"].copy(), snapshot.values.copy()
    run.advance(1.0)
    assert packed(snapshot)[0] == before[0]
    assert snapshot.system["last"].tobytes() == before[1].tobytes()
    assert snapshot.values.tobytes() == before[2].tobytes()


@each_control
def test_interrupted_step_is_discarded(control):
    """Everything is as before the step; going on afterwards ends where the whole run does."""
    whole, run = evolution(control()), evolution(control(), fails_at=23)
    list(whole.iterate([0.5, 3.0]))
    shown: list[float] = []
    run.observers.append(lambda t, values, landed: shown.append(t))
    list(run.iterate([0.5, 3.0]))
    assert run.status is StopReason.SIGNAL and run.status.resumable
    assert len(shown) == run.statistics.steps + 1 and shown[-1] == run.t
    list(run.iterate([0.5, 3.0]))
    assert run.status is StopReason.FINISHED
    ends_as(run, whole)


@pytest.mark.mpi
def test_interrupted_newton(comm):
    """One rank is asked during a solve: all discard the step, and can go on."""
    solver = ufd.DiffusionSolver(PROBLEM, cells=8, degree=3, rtol=1e-5, comm=comm)
    solver.advance(0.05)
    before = solver.state.copy()
    solver.system.interrupt_when(lambda: comm.rank == comm.size - 1)
    solver.evolution.step()
    assert solver.status is StopReason.SIGNAL and solver.t == before.t
    assert solver.state.values.tobytes() == before.values.tobytes()
    solver.system.interrupt_when(lambda: False)
    assert solver.step().t > before.t


@pytest.mark.mpi
@pytest.mark.parametrize("size", [1, 2, 50, 1000])
def test_store(comm, shared_tmp, size):
    """Arrays of any shape and type come back by key; ranks may own nothing."""
    everywhere = np.random.default_rng(1).permutation(size)
    mine = np.array_split(everywhere, comm.size)[comm.rank]
    wanted = np.array_split(everywhere[::-1], comm.size + 1)[comm.rank]
    if comm.rank == comm.size - 1:
        wanted = everywhere[::-1][sum(len(a) for a in comm.allgather(wanted)[:-1]) :]
    else:
        comm.allgather(wanted)
    values = {"a": np.sin(mine), "b": np.outer(mine, [1.0, 1e-3]), "c": mine.astype(np.int32)}
    place = shared_tmp / "set"
    NodeStore(comm, mine, size).write(place, values, {"x": 0.1}, common={"s": np.arange(3.0)})
    manifest = comm.bcast(read_manifest(place) if comm.rank == 0 else None)
    assert manifest["about"] == {"x": 0.1} and manifest["ranks"] == comm.size
    found = NodeStore(comm, wanted, size).read(place, manifest)
    assert found["a"].tobytes() == np.sin(wanted).tobytes()
    assert found["b"].tobytes() == np.outer(wanted, [1.0, 1e-3]).tobytes()
    assert found["c"].dtype == np.int32 and np.array_equal(found["c"], wanted)
    assert np.array_equal(read_common(place, manifest)["s"], np.arange(3.0))
    with pytest.raises(ufd.StorageError, match=f"holds {size} nodes, not {size + 1}"):
        NodeStore(comm, wanted, size + 1).read(place, manifest)
    assert sorted(path.name for path in shared_tmp.iterdir()) == ["set"]


@pytest.mark.mpi
def test_store_fails_on_all_ranks(comm, shared_tmp):
    """A disk that refuses one rank is an error on every rank, and nothing is left behind."""
    store = NodeStore(comm, np.arange(3) * comm.size + comm.rank, 3 * comm.size)
    (shared_tmp / "file").touch()
    with pytest.raises(ufd.StorageError, match="file"):
        store.write(shared_tmp / "file" / "set", {"a": np.ones(3)}, {})

    class Broken:
        def keys(self):
            raise ufd.StorageError("cannot write: no space")

    arrays = Broken() if comm.rank == comm.size - 1 else {"a": np.ones(3)}
    with pytest.raises(ufd.StorageError, match="no space"):
        store.write(shared_tmp / "set", arrays, {})
    comm.Barrier()
    assert [path.name for path in shared_tmp.iterdir()] == ["file"]


@pytest.mark.mpi
def test_resumed_run_is_the_whole_run(comm, shared_tmp):
    """Stopped half-way and resumed on as many ranks: bits on one, where all is reproducible."""
    whole = solve(modes=3, guarantees=True, comm=comm)
    lines: list[str] = []
    checkpoint = stopped(shared_tmp, modes=3, guarantees=True, comm=comm)
    assert [place.name for place in generations(shared_tmp / "run")] == ["snapshot-000001"]
    checkpoint = ufd.Checkpoint(shared_tmp, say=lines.append)
    again = solve(modes=3, guarantees=True, comm=comm, checkpoint=checkpoint, restart=True)
    assert again.status is StopReason.FINISHED and again.stats["seconds"] > 0
    assert len(again.series["t"]) == again.stats["steps"] + 1 > 21
    if comm.rank == 0:
        assert lines[0].startswith(f"resumed from {shared_tmp}/run/snapshot-000001: step 20, t = ")
    if comm.size == 1:
        same_bits(again, whole)
    for t in whole.times:
        np.testing.assert_allclose(again.at(t).values, whole.at(t).values, rtol=1e-9)


SPHERE = ufd.UltraFastDiffusion(
    ufd.VonMisesFisher([0.48, -0.6, 0.64], 2.0), ufd.VonMisesFisher([1.0, 0.0, 0.0], 1.0)
)
SPACES = {
    "factorised": {"cells": 2, "degree": 3, "linear": "direct"},
    "frozen factor": {"cells": 2, "degree": 3, "linear": "frozen"},
    "certified pair": {
        **{"cells": 2, "degree": 1, "linear": "multigrid", "rtol": 1e-3},
        "stepper": ufd.BackwardEuler(),
    },
    "algebraic multigrid": {"cells": 2, "degree": 3, "linear": "multigrid", "rtol": 1e-3},
}


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("after", [1, 6, 14])
def test_every_solver_goes_on(tmp_path, space, after):
    """Whatever a linear solver remembers of the steps before is part of the snapshot."""
    run = partial(ufd.solve, SPHERE, [0.05, 0.3], **{"rtol": 1e-5, **SPACES[space]})
    whole, note = run(), Note(after)
    assert whole.stats["steps"] > after
    checkpoint = ufd.Checkpoint(tmp_path, signals=note)
    assert run(observers=[note], checkpoint=checkpoint).status is StopReason.SIGNAL
    same_bits(run(checkpoint=tmp_path, restart=True), whole)


def test_amplitudes_do_not_jump(tmp_path, monkeypatch):
    """Signs and bases of modes are arbitrary, so the first ones are kept: one smooth series."""
    stopped(tmp_path, modes=4)
    monkeypatch.setattr("ufd.runs.laplacian_modes", None)  # as if it found others
    again = solve(modes=4, checkpoint=tmp_path, restart=True)
    amplitudes = again.series["amplitudes"]
    assert amplitudes.shape == (again.stats["steps"] + 1, 4)
    jumps = np.abs(np.diff(amplitudes, axis=0)).max(axis=1)
    assert jumps[20] < 2 * max(jumps[19], jumps[21])
    assert np.array_equal(again.spectrum["amplitudes"][-1], amplitudes[-1])


def test_stopped_many_times(tmp_path):
    """After every third step; states are written once each, two generations stay."""
    whole, written = solve(), {}
    for stop in range(1, 200):
        note = Note(3)
        checkpoint = ufd.Checkpoint(tmp_path, signals=note)
        found = solve(observers=[note], checkpoint=checkpoint, restart=True)
        assert len(generations(tmp_path / "run")) == min(stop, 2)
        for state in tmp_path.glob("run/state-*/*.npz"):
            assert written.setdefault(state, state.stat().st_mtime_ns) == state.stat().st_mtime_ns
        if found.status is StopReason.FINISHED:
            break
    assert stop > 5
    same_bits(found, whole)
    assert len(list(tmp_path.glob("run/state-*"))) == len(whole.times)
    assert not list(tmp_path.glob("run/.*"))
    # Once more: it is finished, and nothing is computed or written.
    again = solve(checkpoint=tmp_path, restart=True)
    same_bits(again, whole)
    assert again.stats["seconds"] == found.stats["seconds"]


def test_periodic(tmp_path, monkeypatch):
    """With no interval each step is saved; a crash then loses the step at hand."""

    def crash(t, values, landed):
        if t > 0.1:
            raise RuntimeError("crash")

    checkpoint = ufd.Checkpoint(tmp_path, interval=0.0)
    with pytest.raises(RuntimeError, match="crash"):
        solve(observers=[crash], checkpoint=checkpoint)
    newest = read_manifest(generations(tmp_path / "run")[0])["about"]["run"]
    assert 0.05 <= newest["t"] <= 0.1
    same_bits(solve(checkpoint=tmp_path, restart=True), solve())


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "flipped byte": ("part-0000.npz", _flip, "checksum is wrong"),
    "truncated": ("part-0000.npz", lambda p: p.write_bytes(p.read_bytes()[:-7]), "bytes instead"),
    "missing": ("part-0000.npz", Path.unlink, "No such file"),
    "series": ("common.npz", _flip, "checksum is wrong"),
    "manifest": (MANIFEST, _flip, "cannot read"),
    "no manifest": (MANIFEST, Path.unlink, "No such file"),
    "manifest of another": (MANIFEST, lambda p: p.write_text("[]"), "damaged"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_found(tmp_path, caplog, kind):
    """The generation before is taken, with one line; without one, an error names the file."""
    name, spoil, part = DAMAGE[kind]
    place, kept = tmp_path / "place", tmp_path / "kept"
    stopped(place, interval=0.0)
    newest, before = generations(place / "run")
    spoil(newest / name)
    shutil.copytree(place, kept)
    same_bits(solve(checkpoint=place, restart=True), solve())
    assert len(caplog.records) == 1
    assert str(newest / name) in caplog.text and part in caplog.text
    assert f"falling back to {before.name}" in caplog.text
    spoil(kept / "run" / before.name / name)
    with pytest.raises(ufd.StorageError, match="no other snapshot is whole") as error:
        solve(checkpoint=kept, restart=True)
    assert str(kept / "run" / newest.name / name) in str(error.value)


def test_damaged_state(tmp_path):
    """States that were written once are checked too."""
    stopped(tmp_path)
    _flip(tmp_path / "run/state-0001/part-0000.npz")
    with pytest.raises(ufd.StorageError, match=r"state-0001/part-0000\.npz: its checksum is wrong"):
        solve(checkpoint=tmp_path, restart=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rtol": 1e-4}, "solver.rtol = 1e-05 there, 0.0001 here"),
        ({"cells": 9}, "solver.cells = 8 there, 9 here"),
        ({"stepper": ufd.SDIRK3()}, "solver.stepper = 'sdirk4' there, 'sdirk3' here"),
        ({"contrast": 1e9}, r"limits.contrast = 1e\+30 there"),
        ({"modes": 2}, "output.modes = 0 there, 2 here"),
        ({"times": [0.05, 0.2, 2.0]}, r"time.times = \[0.0, 0.05, 0.2, 1.0\] there"),
        (
            {"problem": ufd.UltraFastDiffusion(PROBLEM.teacher, ufd.Uniform(CIRCLE))},
            "problem.initial.kind = 'von_mises_fisher' there, 'uniform' here",
        ),
    ],
)
def test_another_run_is_refused(tmp_path, change, message):
    """The first key that differs is named, by its name in case files."""
    stopped(tmp_path)
    arguments = {"problem": PROBLEM, "times": TIMES, "cells": 8, "degree": 3, "rtol": 1e-5}
    with pytest.raises(ufd.InputError, match=f"^{message}.*another run"):
        ufd.solve(**arguments | change, checkpoint=tmp_path, restart=True)


def test_another_mesh_file_is_refused(tmp_path):
    """Meshes that were not built here are known by their content."""
    from ufd.fem.meshes import sphere_mesh
    from ufd.fem.surfaces import ArrayMesh

    built = sphere_mesh(1, 12, 2)
    points, cells = built.points, built.cells
    turned = points @ np.array([[0.6, 0.8], [-0.8, 0.6]])
    meshes = [ArrayMesh(p, cells, built.cell_type, 2) for p in (points, turned)]
    run = partial(ufd.solve, PROBLEM, TIMES, rtol=1e-5)
    note = Note(5)
    checkpoint = ufd.Checkpoint(tmp_path, signals=note)
    run(mesh=meshes[0], observers=[note], checkpoint=checkpoint)
    with pytest.raises(ufd.InputError, match=r"^mesh.sha256 = "):
        run(mesh=meshes[1], checkpoint=tmp_path, restart=True)
    resumed = run(mesh=meshes[0], checkpoint=tmp_path, restart=True)
    same_bits(resumed, run(mesh=meshes[0]))


def test_not_without_restart(tmp_path):
    """A checkpoint is not written over."""
    stopped(tmp_path)
    with pytest.raises(ufd.StorageError, match="holds one already; go on from it with restart"):
        solve(checkpoint=tmp_path)
    for bad in ({"interval": -1.0}, {"wall_clock": 0.0}):
        with pytest.raises(ufd.InputError, match=next(iter(bad))):
            ufd.Checkpoint(tmp_path, **bad)


class Impatient:
    """A signal that comes once the run has looked for one a few hundred times."""

    def __init__(self) -> None:
        self._looks = 0

    def listen(self) -> None:
        self._looks = 0

    @property
    def received(self) -> int:
        self._looks += 1
        return 10 * (self._looks > 200)


def test_second_resolution_is_resumed(tmp_path):
    """The run of `estimate_error`, stopped on its way too: what is finished is not run again."""
    whole, inside = solve(estimate_error=True), 0
    for _ in range(50):
        checkpoint = ufd.Checkpoint(tmp_path, signals=Impatient())
        found = solve(estimate_error=True, checkpoint=checkpoint, restart=True)
        if found.status is StopReason.FINISHED:
            break
        assert found.status is StopReason.SIGNAL and found.errors is None
        if generations(tmp_path / "check"):
            inside += 1
            first = read_manifest(generations(tmp_path / "run")[0])
            assert first["about"]["run"]["status"] == "FINISHED"
            assert first["about"]["run"]["statistics"]["steps"] == whole.stats["steps"]
            numbers = {place.name for place in generations(tmp_path / "run")}
    assert inside > 1
    assert {place.name for place in generations(tmp_path / "run")} == numbers
    same_bits(found, whole)
    for name, errors in whole.errors.items():
        assert errors.tobytes() == found.errors[name].tobytes()


def test_wall_clock(tmp_path):
    """The run stops before the limit, with a snapshot; without time for one step it refuses."""
    many = partial(ufd.solve, PROBLEM, TIMES, cells=8, degree=3, dt=2e-4)
    limit = process_age() + 2.5
    found = many(checkpoint=ufd.Checkpoint(tmp_path, wall_clock=limit))
    assert found.status is StopReason.WALL_CLOCK and process_age() < limit
    assert 0 < found.stats["steps"] < 5000 and len(generations(tmp_path / "run")) == 1
    tight = ufd.Checkpoint(tmp_path, wall_clock=process_age())
    with pytest.raises(ufd.InputError, match=r"limits\.wall_clock = .* no time is left"):
        many(checkpoint=tight, restart=True)

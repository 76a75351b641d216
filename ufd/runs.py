"""One run of the diffusion: it records its series, and is saved and taken up again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

from ufd.analysis.modes import clusters
from ufd.analysis.results import Result
from ufd.evolution.checkpoint import Checkpoint, Keeper, generations
from ufd.evolution.evolve import Observer
from ufd.evolution.observers import Recorder, run_through
from ufd.evolution.stopping import StopRequests
from ufd.exceptions import StorageError
from ufd.fem.diffusion import DiffusionSolver
from ufd.fem.dual_norm import DualNorm
from ufd.fem.fields import FieldHistory
from ufd.fem.snapshots import mesh_identity, node_store, packed_modes, unpacked_modes
from ufd.fem.spectrum import Modes, laplacian_modes, split_width
from ufd.fem.symmetry import harmonic_names, stacked_axes, symmetry_of
from ufd.parallel import on_root
from ufd.problem.diffusion import UltraFastDiffusion

FUNCTIONALS = (
    "mass", "chi2", "chi2_reverse", "divergence", "lyapunov", "min_ratio", "max_ratio"
)  # fmt: skip
# Triple products of modes are kept for the first ones only: they decide who drives whom.
_COUPLED = 12


# Directories of a checkpoint: the run, and the second resolution of ``estimate_error``.
MAIN, CHECK = "run", "check"
_MODES = "modes"


class Keeping:
    """How the runs of one `ufd.solve` are saved.

    Args:
        checkpoint: Where and when.
        restart: Whether to go on from what is stored.
        comm: The ranks of the runs.
        asked_for: What the runs are beside problem, solver and mesh; JSON values.
    """

    def __init__(
        self,
        checkpoint: Checkpoint | str | PathLike,
        restart: bool,
        comm: MPI.Comm,
        asked_for: Mapping[str, Any],
    ) -> None:
        if not isinstance(checkpoint, Checkpoint):
            checkpoint = Checkpoint(checkpoint)
        self._settings = checkpoint
        self._restart, self._asked_for = restart, asked_for
        self._requests = StopRequests(comm, self._settings.signals, self._settings.wall_clock)

    def keeper(
        self, part: str, solver: DiffusionSolver, recorder: Recorder, history: FieldHistory
    ) -> Keeper:
        """What saves the run of ``solver``, which goes on from what is stored; collective.

        Raises:
            InputError: If the checkpoint is of another run.
            StorageError: If it is damaged, or there is one and the run is not to go on from it.
        """
        place = Path(self._settings.directory) / part

        def refuse() -> None:
            if not self._restart and generations(place):
                raise StorageError(
                    f"checkpoint: {place.parent} holds one already; go on from it with "
                    "restart=True, or remove it"
                )

        on_root(solver.comm, refuse)
        # By the names of a case file, in whose order the first difference is told.
        method = solver.describe()
        identity = {
            "problem": solver.problem.describe(),
            "source": solver.problem.source is not None,
            "limits": {"contrast": method.pop("contrast")},
            "solver": method,
            "mesh": mesh_identity(solver.space),
            **self._asked_for,
        }
        solver.system.interrupt_when(self._requests.asked)
        keeper = Keeper(
            place,
            node_store(solver.space),
            solver.evolution,
            recorder,
            history.states,
            identity,
            self._settings,
            self._requests,
        )
        linear = solver.system.linear
        keeper.work = lambda: {
            "linear_factorisations": linear.factorisations,
            "linear_escalations": linear.escalations,
        }
        if self._restart:
            keeper.resume()
        return keeper


def run(
    solver: DiffusionSolver,
    landing: list[float],
    observers: Sequence[Observer] = (),
    *,
    modes: int = 0,
    guarantees: bool = False,
    progress: bool | None = False,
    keeping: Keeping | None = None,
    part: str = MAIN,
) -> Result:
    """Run a solver through the times; collective.

    Args:
        solver: At its start.
        landing: From `stored_times`.
        observers: See `ufd.solve`.
        modes: How many modes to find and to project on.
        guarantees: Record the H^-1 distance too.
        progress: See `ufd.solve`.
        keeping: How the run is saved; None: it is not.
        part: Its directory in the checkpoint, ``MAIN`` or ``CHECK``.

    Returns:
        What it found so far; its ``status`` tells whether it was stopped.

    Raises:
        InputError: If the checkpoint is of another run.
        StorageError: If it is damaged, or cannot be written.
    """
    space, found = solver.space, None
    dual = DualNorm(space, solver.system.linear.choice) if guarantees else None

    def functionals(w: np.ndarray) -> dict[str, Any]:
        row: dict[str, Any] = solver.system.functionals(w)
        if dual is not None:
            row["hminus1"] = dual.squared(w - 1)
        if found is not None:
            row["amplitudes"] = found.amplitudes(w)
        return row

    history, recorder = FieldHistory(solver.problem, space), Recorder(functionals)
    keeper = None if keeping is None else keeping.keeper(part, solver, recorder, history)
    if keeper is not None and _MODES in keeper.lasting:
        found = unpacked_modes(space, *keeper.lasting[_MODES])
    elif modes:
        found = laplacian_modes(space, modes)
        if keeper is not None:
            keeper.lasting[_MODES] = packed_modes(found)
    solver.evolution.observers += [history, recorder, *observers]
    if keeper is not None:
        keeper.start()
    run_through(solver.evolution, landing, solver.comm.rank == 0 and progress)
    if keeper is not None:
        keeper.save()
    result = Result(
        series=recorder.series,
        status=solver.status,
        stats=solver.stats | ({} if keeper is None else keeper.all_work()),
        times=history.times,
        configuration={
            "problem": solver.problem.describe(),
            "p": solver.problem.divergence.p,
            "source": solver.problem.source is not None,
            "solver": solver.describe(),
        },
        provenance={},
        open_fields=lambda: history,
    )
    if found is not None and not result.status.resumable:
        result.spectrum = _spectrum(found, solver.problem, result)
    return result


def _spectrum(found: Modes, problem: UltraFastDiffusion, result: Result) -> dict[str, Any]:
    width = split_width(found.space.surface.degree)
    groups = [clusters(found.eigenvalues, each) for each in (max(width, 1e-3), width)]
    own = problem.teacher.axes()
    shared = symmetry_of(found, groups, stacked_axes(own, problem.initial.axes()))
    if own is not None and not len(own):  # a uniform teacher: spherical harmonics
        names = harmonic_names(found.eigenvalues, problem.manifold.dim)
    else:
        names = symmetry_of(found, groups, stacked_axes(own)).names
    start = result.series["amplitudes"][0] / max(np.sqrt(result.series["chi2"][0]), 1e-300)
    return {
        "eigenvalues": found.eigenvalues,
        "amplitudes": result.at_times("amplitudes"),
        "invariant": shared.unless_seen(start),
        "names": np.array(names),
        "width": width,
        "coupling": found.coupling(min(_COUPLED, len(found.eigenvalues))),
    }


def differences(result: Result, check: Result) -> dict[str, np.ndarray]:
    """Absolute differences of two runs of one problem at their common times; collective."""
    times = [t for t in result.times if t in check.times]
    keep = [result.times.index(t) for t in times]
    errors = {
        name: np.abs(result.at_times(name)[keep] - replace(check, times=times).at_times(name))
        for name in FUNCTIONALS
    }
    errors["density"] = np.array([result.at(t).l1_distance(check.at(t)) for t in times])
    return {"times": np.array(times), **errors}

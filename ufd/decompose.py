"""The verb that splits a distance: particles, mean-field equation, limit, diffusion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mpi4py import MPI

from ufd.analysis import provenance
from ufd.analysis.decomposition import Decomposition
from ufd.config import Case
from ufd.ensemble import FrozenState, shared_out
from ufd.evolution.evolve import StopReason
from ufd.evolution.schedules import landing_times
from ufd.exceptions import InputError, SolverError
from ufd.fem.symmetry import stacked_axes
from ufd.parallel import agree, on_root
from ufd.particles.solver import VarProSolver
from ufd.problem.checks import number, positive_integer
from ufd.problem.diffusion import UltraFastDiffusion
from ufd.problem.distances import mmd, resolved, sampling_floor
from ufd.problem.features import Feature
from ufd.problem.identifiability import identifiability
from ufd.problem.positions import quantiles
from ufd.regularised import meanfield
from ufd.solve import solve
from ufd.train import train

# Options of the densities' mesh and steps that the diffusion shares with the mean-field equation.
_SHARED = ("cells", "degree", "focus", "mesh", "stepper", "rtol", "dt")


def decompose(
    problem: UltraFastDiffusion,
    features: Feature,
    lam: float,
    width: int,
    times: Sequence[float],
    *,
    seeds: int = 1,
    start: str = "iid",
    inputs: str = "gaussian",
    reference: float = 1.0,
    densities: dict[str, Any] | None = None,
    comm: MPI.Comm = MPI.COMM_WORLD,
    say: Callable[[str], None] = lambda line: None,
    **options: Any,
) -> Decomposition:
    """Say how much of the distance of a training to the diffusion width and lam are to blame for.

    The densities are solved for by all ranks together, then each rank trains its share of the
    runs alone; collective.

    Args:
        problem: Of all.
        features: Of the network.
        lam: Regularisation of the training, positive.
        width: Number of particles.
        times: Increasing positive times at which distances are taken.
        seeds: Trainings, with seeds 0, 1, ...; one where nothing is drawn.
        start: "iid" or "quantile".
        inputs: Law of the inputs.
        reference: Least point of the quadratic penalty.
        densities: Of `meanfield`: cells, degree, harmonics, rtol, ...; degree, cells and tolerance
            are those of the diffusion too.
        comm: The ranks.
        say: Told a line about each finished run, on the rank that ran it.
        **options: Of `VarProSolver`: data, target, rtol, ...

    Returns:
        A `Decomposition`; its ``sentence`` is the verdict.

    Raises:
        InputError: If an argument is out of range; the message names it.
    """
    landing = [t for t in landing_times(times) if t > 0]
    if not landing:
        raise InputError("times: a positive time is needed")
    lam = number("decompose", "lam", lam)
    if options.get("temperature"):
        raise InputError("decompose: temperature: the densities have no noise; leave it out")
    if start not in ("iid", "quantile"):
        raise InputError(f"start = {start!r} must be 'iid' or 'quantile'")
    drawn = start == "iid" or any(options.get(key) is not None for key in ("data", "target"))
    count = positive_integer("decompose", "seeds", seeds) if drawn else 1
    shared: dict[str, Any] = {"features": features, "inputs": inputs, "reference": reference}
    particles: dict[str, Any] = {**options, **shared, "start": start, "lam": lam, "width": width,
                 "comm": MPI.COMM_SELF}  # fmt: skip
    # Bad input is found before anything long is run.
    asked = VarProSolver(problem, **particles).describe()
    sees = identifiability(features, problem.teacher, inputs=inputs)
    runs = _densities(problem, shared, lam, landing, dict(densities or {}), not sees.blind, comm)
    say(f"densities: {sum(run.stats['seconds'] for run in runs.values()):.1f} s")
    laws = {name: [resolved(run.at(t)) for t in landing] for name, run in runs.items()}
    laws["teacher"] = [resolved(problem.teacher)] * len(landing)

    def apart(one: str, other: str) -> list[float]:
        return [mmd(a, b) for a, b in zip(laws[one], laws[other], strict=True)]

    def share() -> list[tuple[int, dict[str, list[float]] | str]]:
        mine = shared_out([(lam, width, seed) for seed in range(count)], comm)
        return [(seed, _run(problem, landing, laws, particles, seed, say)) for _, _, seed in mine]

    own = agree(comm, share)
    outcomes = dict(sorted(pair for theirs in comm.allgather(own) for pair in theirs))
    configuration = {
        "problem": problem.describe(),
        "p": problem.divergence.p,
        "start": start,
        "particles": asked,
        "meanfield": runs["mean_field"].configuration["meanfield"],
        "limit": "the diffusion: the feature sees every harmonic that was looked at"
        if runs["limit"] is runs["diffusion"] else "the projected flow, lam = 0",
        "identifiability": sees.sentence(),
    }  # fmt: skip
    return Decomposition(
        times=landing,
        lam=float(lam),
        width=int(width),
        particles=[found for found in outcomes.values() if not isinstance(found, str)],
        regularisation=apart("mean_field", "limit"),
        identifiability=apart("limit", "diffusion"),
        both=apart("mean_field", "diffusion"),
        floor=_floor(problem, start, width, landing, runs["mean_field"], laws["mean_field"]),
        to_teacher={name: apart(name, "teacher") for name in runs},
        configuration=configuration,
        provenance=on_root(comm, lambda: provenance.collect(comm.size, configuration, {})),
        failures={str(seed): why for seed, why in outcomes.items() if isinstance(why, str)},
        runs=runs,
    )


def decompose_case(
    case: Case, *, comm: MPI.Comm = MPI.COMM_WORLD, say: Callable[[str], None] = lambda line: None
) -> Decomposition:
    """What the ``[meanfield]`` table of a case with a ``width`` asks for; collective.

    Raises:
        InputError: If there is no such table, or it and the problem do not fit.
    """
    if case.meanfield is None or case.meanfield.width is None:
        raise InputError("meanfield.width: missing; without it there is nothing to split")
    times = [t for t in case.times if t > 0]
    options = case.meanfield.ensemble()
    return decompose(case.problem.build(), times=times, comm=comm, say=say, **options)


def _densities(
    problem: UltraFastDiffusion,
    shared: dict[str, Any],
    lam: float,
    times: list[float],
    options: dict[str, Any],
    seeing: bool,
    comm: MPI.Comm,
) -> dict[str, Any]:
    """The runs of the mean-field equation, of its limit, and of the diffusion, on one mesh."""
    mean = meanfield(problem, lam=lam, times=times, comm=comm, **shared, **options)
    same = {key: options[key] for key in _SHARED if key in options}
    if not {"mesh", "cells"} & same.keys():
        same["cells"] = mean.configuration["meanfield"]["cells"]
    if "mesh" not in same:
        same.setdefault("degree", mean.configuration["meanfield"]["degree"])
    same.setdefault("rtol", mean.configuration["meanfield"]["rtol"])
    diffusion = solve(problem, times, comm=comm, **same)
    # Whatever the penalty, weights that see everything tend to nu/mu.
    limit = diffusion if seeing else meanfield(
        problem, lam=0.0, times=times, comm=comm, **shared, **options
    )  # fmt: skip
    found = {"mean_field": mean, "limit": limit, "diffusion": diffusion}
    for name, run in found.items():
        if run.status is not StopReason.FINISHED:
            raise SolverError(
                f"decompose: the {name.replace('_', ' ')} stopped: {run.status.value}"
            )
    return found


def _run(
    problem: UltraFastDiffusion,
    times: list[float],
    laws: dict[str, list[Any]],
    particles: dict[str, Any],
    seed: int,
    say: Callable[[str], None],
) -> dict[str, list[float]] | str:
    """Distances of one training, or why it failed."""
    try:
        run = train(problem, times=times, seed=seed, **particles)
    except SolverError as error:
        return str(error)
    if run.status is not StopReason.FINISHED:
        return run.status.value
    states = [(run.features(t), None) for t in times]
    found = {
        name: [mmd(state, law) for state, law in zip(states, laws[name], strict=True)]
        for name in ("mean_field", "diffusion", "teacher")
    }
    say(f"seed = {seed}: {run.stats['seconds']:.1f} s, MMD to the mean field "
        f"{found['mean_field'][-1]:.3g} at t = {times[-1]:g}")  # fmt: skip
    return found


def _floor(
    problem: UltraFastDiffusion, start: str, width: int, times: list[float], run: Any,
    laws: list[Any],
) -> list[float]:  # fmt: skip
    """Distance to the mean-field densities of as many atoms, drawn or quantiles."""
    if start == "iid":
        return [sampling_floor(law, width) for law in laws]
    axes = stacked_axes(problem.teacher.axes(), problem.initial.axes())
    states = [FrozenState(run.at(t), axes) for t in times]
    return [
        mmd((quantiles(state, width), None), law)
        for state, law in zip(states, laws, strict=True)
    ]  # fmt: skip

"""The verb that sets particles beside their limit: an ensemble spread over the ranks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from ufd.analysis import provenance
from ufd.analysis.comparison import Comparison, Member
from ufd.analysis.results import Result
from ufd.analysis.training import TrainingRun
from ufd.config import Case
from ufd.ensemble import FrozenState, Job, shared_out
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
from ufd.solve import solve
from ufd.train import train

Array = NDArray[np.float64]
# Tolerance of the diffusion that distances are taken to.
_REFERENCE_RTOL = 1e-8


def compare(
    problem: UltraFastDiffusion,
    features: Feature,
    lam: float | Sequence[float],
    width: int | Sequence[int],
    times: Sequence[float],
    *,
    seeds: int = 1,
    diffusion: dict[str, Any] | None = None,
    comm: MPI.Comm = MPI.COMM_WORLD,
    say: Callable[[str], None] = lambda line: None,
    **options: Any,
) -> Comparison:
    """Train ensembles and measure how far they are from the diffusion; collective.

    The diffusion is solved on every rank, then each rank trains its share of the runs alone. The
    distance is the energy MMD.

    Args:
        problem: Of both.
        features: Of the network.
        lam: One or more regularisations.
        width: One or more widths.
        times: Increasing positive times at which distances are taken.
        seeds: Runs of every pair, with seeds 0, 1, ...; one is run where nothing is drawn.
        diffusion: Arguments of `solve`, such as cells, degree, rtol (default 1e-8).
        comm: The ranks that share the runs.
        say: Told a line about each finished run, on the rank that ran it.
        **options: Of `VarProSolver`: data, inputs, target, start, rtol, ...

    Returns:
        A `Comparison`; look at the ``failure`` of its members.

    Raises:
        InputError: If an argument is out of range; the message names it.
    """
    landing = [t for t in landing_times(times) if t > 0]
    if not landing:
        raise InputError("times: a positive time is needed")
    jobs = _jobs(lam, width, seeds, options)
    # Bad input is found before anything long is run, on every rank.
    narrowest = min(width for _, width, _ in jobs)
    for each in {job[0]: job for job in jobs if job[1] == narrowest}.values():
        VarProSolver(problem, **_arguments(features, each, options))
    precise = {"rtol": _REFERENCE_RTOL, **(diffusion or {})}
    reference = solve(problem, landing, comm=MPI.COMM_SELF, **precise)
    limit = _Limit(problem, reference, landing)

    def share() -> list[tuple[Member, list[Array]]]:
        own = []
        for job in shared_out(jobs, comm):
            own.append(_run(problem, features, job, landing, limit, options))
            say(_line(own[-1][0], landing[-1]))
        return own

    own = agree(comm, share)
    gathered = [pair for theirs in comm.allgather(own) for pair in theirs]
    _measure_width(gathered)
    first = _arguments(features, jobs[0], options)
    configuration = {
        "problem": problem.describe(),
        "p": problem.divergence.p,
        "particles": VarProSolver(problem, **first).describe(),
        "start": start if isinstance(start := options.get("start", "quantile"), str) else "points",
        "seeds": len({seed for _, _, seed in jobs}),
        "diffusion": reference.configuration["solver"],
        "identifiability": identifiability(features, problem.teacher).sentence(),
    }
    return Comparison(
        times=landing,
        members=sorted((m for m, _ in gathered), key=lambda m: (-m.lam, m.width, m.seed)),
        floors={str(m): limit.floors(m) for m in sorted({job[1] for job in jobs})},
        limit=limit.to_teacher,
        configuration=configuration,
        provenance=on_root(comm, lambda: provenance.collect(comm.size, configuration, {})),
    )


def compare_case(
    case: Case,
    *,
    comm: MPI.Comm = MPI.COMM_WORLD,
    say: Callable[[str], None] = lambda line: None,
) -> Comparison:
    """Run the ensemble of a case file with a ``[particles]`` table; collective.

    Args:
        case: From `config.read_case`.
        comm: The ranks that share the runs.
        say: See `compare`.

    Raises:
        InputError: If the table and the problem do not fit, or there is no table.
    """
    if case.particles is None:
        raise InputError("particles: the case has no such table")
    # The mesh of a case may be a file: the ensemble's own diffusion takes the standard one.
    options = case.solver_options() | {"rtol": min(case.solver.rtol, _REFERENCE_RTOL)}
    times = [t for t in case.times if t > 0]
    ensemble = case.particles.options()
    return compare(
        case.problem.build(), times=times, diffusion=options, comm=comm, say=say, **ensemble
    )


class _Limit:
    """The diffusion at the times, read once for many distances."""

    def __init__(self, problem: UltraFastDiffusion, result: Result, times: list[float]) -> None:
        states = [result.at(t) for t in times]
        self._axes = stacked_axes(problem.teacher.axes(), problem.initial.axes())
        self._densities = [FrozenState(state, self._axes) for state in states]
        self.laws = [resolved(state) for state in states]
        self.teacher = resolved(problem.teacher)
        self.to_teacher = [mmd(law, self.teacher) for law in self.laws]

    def floors(self, width: int) -> dict[str, list[float]]:
        """Distances of the diffusion's own quantiles and draws, at the times."""
        pairs = zip(self._densities, self.laws, strict=True)
        own = [mmd((quantiles(here, width), None), law) for here, law in pairs]
        drawn = [sampling_floor(law, width) for law in self.laws]
        return {"quantiles": own, "independent": drawn}


def _jobs(lam: Any, width: Any, seeds: Any, options: dict[str, Any]) -> list[Job]:
    lams, widths = [number("compare", "lam", each) for each in _listed(lam)], _listed(width)
    if not lams or not widths:
        raise InputError("compare: lam and width need a value each")
    seeds = positive_integer("compare", "seeds", seeds)
    drawn = options.get("start") == "iid" or any(
        isinstance(options.get(key), Integral) for key in ("data", "target", "batch")
    )
    return [(a, m, seed) for a in lams for m in widths for seed in range(seeds if drawn else 1)]


def _line(member: Member, end: float) -> str:
    """What a person is told about a finished run."""
    found = member.failure
    if not found:
        distance = member.distances["diffusion"][-1]
        seconds = member.stats["seconds"]
        found = f"{seconds:.1f} s, MMD to the diffusion {distance:.3g} at t = {end:g}"
    return f"lam = {member.lam:g}, width = {member.width}, seed = {member.seed}: {found}"


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, Sequence | np.ndarray) else [value]


def _arguments(features: Feature, job: Job, options: dict[str, Any]) -> dict[str, Any]:
    lam, width, seed = job
    return {
        **options, "features": features, "lam": lam, "width": width,
        "seed": seed, "comm": MPI.COMM_SELF,
    }  # fmt: skip


def _run(
    problem: UltraFastDiffusion,
    features: Feature,
    job: Job,
    times: list[float],
    limit: _Limit,
    options: dict[str, Any],
) -> tuple[Member, list[Array]]:
    lam, width, seed = job
    distances: dict[str, list[float]] = {"diffusion": [], "teacher": [], "widest": []}
    member = Member(lam, width, seed, distances, [], {})
    arguments = _arguments(features, job, options)
    try:
        result: TrainingRun = train(problem, times=times, **arguments)
    except SolverError as error:
        member.failure = str(error)
        return member, []
    member.stats = result.stats
    if result.status is not StopReason.FINISHED:
        member.failure = result.status.value
        return member, []
    states = [result.features(t) for t in times]
    distances["diffusion"] = [
        mmd((x, None), law) for x, law in zip(states, limit.laws, strict=True)
    ]
    distances["teacher"] = [mmd((x, None), limit.teacher) for x in states]
    member.risk = result.at_times("risk")[-len(times) :].tolist()
    return member, states


def _measure_width(gathered: list[tuple[Member, list[Array]]]) -> None:
    """Distances to the widest run of the same lam and seed: what width alone still changes."""
    for member, states in gathered:
        peers = [
            (other.width, theirs)
            for other, theirs in gathered
            if (other.lam, other.seed) == (member.lam, member.seed) and not other.failure
        ]
        if not member.failure:
            _, widest = max(peers, key=lambda peer: peer[0])
            member.distances["widest"] = [
                mmd((x, None), (y, None)) for x, y in zip(states, widest, strict=True)
            ]

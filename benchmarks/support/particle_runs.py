"""Runs of the published experiments, each kept in a file of its own, so that none is done twice."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import ufd
from support.published import ITERATIONS, PERIOD, TIMES, Comparison, Curve, Setup
from ufd.problem.positions import independent
from ufd.storage import read_arrays, write_arrays

Array = NDArray[np.float64]
KEPT = Path(__file__).resolve().parents[2] / "output" / "particles_vs_paper"
METHODS: dict[str, dict[str, Any]] = {
    "rkc2": {"rtol": 1e-2},
    "rkc3": {"rtol": 1e-3},
    # As published: the ambient gradient, then normalisation.
    "euler": {"stepper": ufd.Euler("normalise"), "dt": 1 / ITERATIONS},
}


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        setup: What is trained.
        seed: Of the start, the inputs and the teacher's atoms.
        method: A key of ``METHODS``.
        end: Last time.
        samples: Number of inputs and of teacher's atoms, N.
    """

    setup: Setup
    seed: int
    method: str = "rkc2"
    end: float = TIMES[-1]
    samples: int = 4096

    @property
    def path(self) -> Path:
        """Where its results are kept."""
        size = f"_N{self.samples}" if self.samples != 4096 else ""
        until = f"_t{self.end:g}" if self.end != TIMES[-1] else ""
        return KEPT / f"{self.setup.name}{size}_{self.method}{until}_seed{self.seed}.npz"

    def results(self) -> dict[str, Array] | None:
        """What is kept of it: see `measure`."""
        return read_arrays(self.path) if self.path.exists() else None


def schedule(end: float) -> Array:
    """About 60 iterations: 0, 8, ..., log-spaced from 32 on, and those of the verdicts."""
    spaced = np.geomspace(32, ITERATIONS * TIMES[-1], 54).round()
    every = np.unique([0, 8, 16, *spaced, *(ITERATIONS * t for t in (*TIMES, end))])
    return every[every <= ITERATIONS * end]


@cache
def diffusion(setup: Setup, end: float) -> ufd.Result:
    """The ultra-fast diffusion at the times of the schedule."""
    return ufd.solve(setup.problem, schedule(end) / ITERATIONS, rtol=1e-4)


def measure(run: Run) -> dict[str, Any]:
    """Train, measure and keep.

    Returns:
        Arrays over the iterations of the schedule: ``teacher``, energy MMD to the teacher's atoms;
        ``diff``, to the density of the diffusion (circle); ``image``, what was published in place
        of ``teacher`` (torus); ``risk``. Further ``seconds``, ``evaluations`` and the features at
        the times of the verdicts.
    """
    setup, iterations = run.setup, schedule(run.end)
    atoms = setup.atoms(run.samples, run.seed)
    teacher = atoms, np.full(len(atoms), 1 / len(atoms))
    begin = time.perf_counter()
    training = ufd.train(
        setup.problem,
        setup.features,
        setup.lam,
        setup.width,
        iterations / ITERATIONS,
        data=run.samples,
        target=teacher,
        reference=setup.reference,
        start="iid",
        seed=run.seed,
        **METHODS[run.method],
    )
    seconds = time.perf_counter() - begin
    if training.times[-1] != run.end:
        raise RuntimeError(f"{run.path.stem}: {training.status} at t = {training.times[-1]:g}")
    states = [training.at(t) for t in training.times]
    kept: dict[str, Any] = {
        "iteration": iterations,
        "risk": np.interp(iterations / ITERATIONS, training.series["t"], training.series["risk"]),
        "features": [training.features(t).astype("f4") for t in TIMES if t <= run.end],
        "seconds": seconds,
        "evaluations": training.stats["evaluations"],
    }
    if setup.ground == "torus":
        kept["teacher"], kept["image"] = torus_distances([s.features for s in states], atoms)
    else:
        exact = diffusion(Setup("circle", gamma=setup.gamma), run.end)
        kept["teacher"] = [ufd.mmd(state, teacher) for state in states]
        kept["diff"] = [ufd.mmd(state, exact.at(state.t)) for state in states]
    KEPT.mkdir(parents=True, exist_ok=True)
    write_arrays(run.path, **kept)
    return kept


def _starts_path(setup: Setup) -> Path:
    return KEPT / f"starts_{setup.ground}_M{setup.width}_gamma{setup.gamma:g}.npz"


def starts(setup: Setup) -> Array | None:
    """What `draw_starts` has kept, sorted."""
    path = _starts_path(setup)
    return read_arrays(path)["values"] if path.exists() else None


def draw_starts(setup: Setup, draws: int = 200, samples: int = 4096) -> None:
    """Keep the published distance of many draws of the start to one teacher."""
    if starts(setup) is not None:
        return
    initial, rng = setup.problem.initial, np.random.default_rng(98)
    drawn = [independent(initial, setup.width, rng) for _ in range(draws)]
    atoms = setup.atoms(samples, 0)
    if setup.ground == "circle":
        values = [ufd.mmd((start, None), (atoms, None)) for start in drawn]
    else:
        values = torus_distances(drawn, atoms)[1].tolist()
    KEPT.mkdir(parents=True, exist_ok=True)
    write_arrays(_starts_path(setup), values=np.sort(values))


def torus_distances(states: list[Array], atoms: Array) -> tuple[Array, Array]:
    """`ufd.mmd` and `ufd.minimum_image_discrepancy` of many states; |Y - Y'| is summed once."""
    own, squared = _mean_distances(atoms, atoms), []
    for x in states:
        squared.append(2 * _mean_distances(x, atoms) - _mean_distances(x, x) - own)
    energy, image = np.array(squared).T
    return np.sqrt(np.maximum(energy, 0.0)), np.copysign(np.sqrt(np.abs(image)), image)


def _mean_distances(x: Array, y: Array) -> Array:
    """Mean of the chordal and of the shortest periodic distance between two sets."""
    total = np.zeros(2)
    for part in np.array_split(x, -(-len(x) // 128)):
        steps = [np.abs(a[:, None] - b) for a, b in zip(part.T, y.T, strict=True)]
        chords = sum(np.sin(np.pi / PERIOD * step) ** 2 for step in steps)
        shortest = sum(np.minimum(step, PERIOD - step) ** 2 for step in steps)
        total += PERIOD / np.pi * np.sqrt(chords).sum(), np.sqrt(shortest).sum()
    return total / (len(x) * len(y))


def kept_runs(setup: Setup, seeds: int) -> list[dict[str, Array]]:
    """Results of those seeds that have been run."""
    return [kept for k in range(seeds) if (kept := Run(setup, k).results()) is not None]


def compared(curve: Curve, seeds: int) -> Comparison | None:
    """Ours for a published curve; None if nothing has been run."""
    kept, quantity = kept_runs(curve.setup, seeds), curve.quantity
    if curve.setup.ground == "torus" and quantity == "teacher":
        quantity = "image"
    if not kept:
        return None
    return Comparison(curve, kept[0]["iteration"], np.array([k[quantity] for k in kept]))


def single_precision(run: Run, features: Array) -> float:
    """The unbiased risk of given features on the circle if the weights are solved for in float32.

    For u itself, (K + lam) u = k + lam, as one would write it down; the risk is summed in double
    precision.
    """
    setup, atoms = run.setup, run.setup.atoms(run.samples, run.seed)
    inputs = np.random.default_rng(run.seed).standard_normal((run.samples, 2)).astype("f4")
    targets = np.maximum(inputs @ atoms.T.astype("f4"), 0).mean(axis=1)
    waves = np.maximum(inputs @ features.T.astype("f4"), 0)
    count, width = waves.shape
    lam = np.float32(setup.lam)
    kernel = waves.T @ waves / np.float32(count * width) + lam * np.eye(width, dtype="f4")
    u = np.linalg.solve(kernel, waves.T @ targets / np.float32(count) + lam)
    residual = (waves @ u / np.float32(width) - targets).astype(float)
    return float(np.mean(residual**2) / (2 * setup.lam) + np.mean((u.astype(float) - 1) ** 2) / 2)

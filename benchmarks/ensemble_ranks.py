"""Ensembles over ranks: wall time of one comparison on one and on two ranks.

Claim: 16 trainings (ReLU on the circle, 4,096 samples, 1,024 particles, lam = 1e-3, independent
starts, to t = 2), with the diffusion that every rank solves for itself, run on two ranks at 85 %
efficiency or more, T(1)/(2 T(2)), the same numbers on both. Each rank count is started anew with
this environment's mpirun; medians of three, imports left out.

    python benchmarks/ensemble_ranks.py            about 3 minutes on two free cores
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from statistics import median

import numpy as np
from mpi4py import MPI
from support.record import Claim, Table, launch, record

import ufd
from ufd.launch import own_mpirun

REPEATS, SEEDS = 3, 16


def ensemble() -> tuple[float, list[float]]:
    """Seconds and distances of the comparison on the ranks of this job."""
    modes = [ufd.AngularCauchy(100.0), ufd.AngularCauchy(100.0, 0.4 * np.pi)]
    teacher = ufd.Mixture(modes, [2 / 3, 1 / 3])
    problem = ufd.UltraFastDiffusion(teacher, ufd.Uniform(ufd.Sphere(1)))
    MPI.COMM_WORLD.Barrier()
    begin = time.perf_counter()
    found = ufd.compare(
        problem,
        ufd.ReLU(),
        1e-3,
        1024,
        [0.5, 2.0],
        seeds=SEEDS,
        data=4096,
        target=4096,
        start="iid",
        diffusion={"rtol": 1e-6},
    )
    MPI.COMM_WORLD.Barrier()
    seconds = time.perf_counter() - begin
    return seconds, [member.distances["diffusion"][-1] for member in found.members]


def launched(ranks: int) -> tuple[float, list[float]]:
    """The same in a job of its own."""
    command = [str(own_mpirun()), "-n", str(ranks), sys.executable, __file__, "--worker"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return tuple(json.loads(done.stdout.splitlines()[-1]))


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--worker", action="store_true", help="one ensemble on these ranks")


def run(worker: bool = False) -> list[Claim]:
    """Measure and record; a worker only measures."""
    if worker:
        outcome = ensemble()
        if MPI.COMM_WORLD.rank == 0:
            print(json.dumps(outcome))
        return []
    runs = {ranks: [launched(ranks) for _ in range(REPEATS)] for ranks in (1, 2)}
    seconds = {ranks: median(time for time, _ in found) for ranks, found in runs.items()}
    apart = float(np.abs(np.subtract(runs[1][0][1], runs[2][0][1])).max())
    efficiency = seconds[1] / (2 * seconds[2])
    claims = [
        Claim("Efficiency of an ensemble on two ranks", ">= 85 %", f"{100 * efficiency:.0f} %",
              efficiency >= 0.85),
        Claim("Largest difference of a distance between one and two ranks", "0", f"{apart:.1e}",
              apart == 0),
    ]  # fmt: skip
    rows = [[ranks, *sorted(time for time, _ in found)] for ranks, found in runs.items()]
    table = Table("Wall seconds", ["ranks", "fastest", "median", "slowest"], rows)
    record("ensemble_ranks", "Ensembles over ranks", claims, [table], {"seeds": SEEDS})
    return claims


if __name__ == "__main__":
    launch(run, __doc__, _options)

"""What the mean-field equation costs on the sphere, beside the diffusion on the same mesh.

Claim: (T_mu + lam) u = kappa * nu + lam, d_t mu = -div(mu u grad u) with lam = 1e-4 on an
icosphere of 10,242 nodes, from the uniform density to t = 4 (ReLU + 0.5 ReLU^2, teacher 0.6 vMF(2)
+ 0.4 vMF(3)), takes at most 20 times the CPU of the diffusion with the same mesh, method and
tolerance; a step costs near-linearly more from 2,562 to 40,962 nodes; Krylov iterations grow
neither with the mesh nor as lam tends to 0. CPU seconds of one thread, medians, one run.

    python benchmarks/meanfield_cost.py            about 6 minutes on a free core
"""

from __future__ import annotations

import math
import os
import time
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from support.record import Claim, Table, launch, record

import ufd

LAM, END, RTOL = 1e-4, [0.5, 1.0, 4.0], 1e-5
REPEATS = {4: 3, 5: 3, 6: 1}
LAMS = (1e-2, 1e-4, 1e-6, 1e-8, 0.0)
FEATURES = {
    "ReLU + 0.5 ReLU^2": ufd.ReLU() + 0.5 * ufd.ReLU(power=2),
    "ReLU": ufd.ReLU(),
}
# Four times the nodes may cost this much more: growth like n^1.15 at most.
GROWTH = 4**1.15


def problem() -> ufd.UltraFastDiffusion:
    """Two caps towards which the uniform density moves."""
    caps = [ufd.VonMisesFisher([0, 0, 1], kappa=2), ufd.VonMisesFisher([1, 0, 0], kappa=3)]
    return ufd.UltraFastDiffusion(ufd.Mixture(caps, [0.6, 0.4]), ufd.Uniform(ufd.Sphere(2)))


def timed(run: Any) -> tuple[float, Any]:
    """CPU seconds, and what was run."""
    begin = time.process_time()
    result = run()
    return time.process_time() - begin, result


def iterations(stats: dict[str, Any]) -> float:
    """Krylov iterations per Newton iteration."""
    return stats["krylov"] / stats["newton"]


def run() -> list[Claim]:
    """Measure and record."""
    here, rows, per_step, ratios, krylov = problem(), [], {}, {}, []
    for level, repeats in REPEATS.items():
        options = {"cells": level, "rtol": RTOL}
        diffusion = [timed(lambda o=options: ufd.solve(here, END, degree=1, **o))
                     for _ in range(repeats)]  # fmt: skip
        base = median(seconds for seconds, _ in diffusion)
        for name, feature in FEATURES.items():
            runs = [timed(lambda f=feature, o=options: ufd.meanfield(here, f, LAM, END, **o))
                    for _ in range(repeats)]  # fmt: skip
            seconds, stats = median(found for found, _ in runs), runs[0][1].stats
            per_step[name, level] = seconds / stats["steps"]
            ratios[name, level] = seconds / base
            krylov.append(iterations(stats))
            rows.append([
                stats["dofs"], name, base, diffusion[0][1].stats["steps"], seconds, stats["steps"],
                1e3 * per_step[name, level], ratios[name, level], iterations(stats),
                stats["factorisations"],
            ])  # fmt: skip
    lam_rows = []
    for lam in LAMS:
        found = ufd.meanfield(here, FEATURES["ReLU + 0.5 ReLU^2"], lam, END, cells=4, rtol=RTOL)
        krylov.append(iterations(found.stats))
        settings = found.configuration["meanfield"]
        lam_rows.append([lam, settings["harmonics"], settings["visible_harmonics"],
                         found.stats["steps"], iterations(found.stats),
                         found.stats["harmonics_tail"]])  # fmt: skip
    worst = max(ratios[name, 5] for name in FEATURES)
    growth = [per_step[name, level + 1] / per_step[name, level] for name in FEATURES
              for level in (4, 5)]  # fmt: skip
    exponent = max(math.log(each, 4) for each in growth)
    claims = [
        Claim("10,242 nodes, lam = 1e-4, to t = 4: CPU over the diffusion's", "<= 20",
              f"{worst:.1f}", worst <= 20),
        Claim("CPU per step from 2,562 to 10,242 to 40,962 nodes: largest exponent of n",
              "near 1 (<= 1.15)", f"{exponent:.2f}", max(growth) <= GROWTH),
        Claim("Krylov iterations per Newton iteration, over meshes and lam to 0",
              "no growth (<= 10)", f"{min(krylov):.1f} to {max(krylov):.1f}", max(krylov) <= 10),
    ]  # fmt: skip
    tables = [
        Table("CPU seconds to t = 4, lam = 1e-4",
              ["nodes", "feature", "diffusion", "its steps", "mean field", "its steps",
               "ms a step", "ratio", "Krylov per Newton", "factors"], rows),
        Table("2,562 nodes, ReLU + 0.5 ReLU^2",
              ["lam", "degree", "harmonics", "steps", "Krylov per Newton", "tail"], lam_rows),
    ]  # fmt: skip
    record("meanfield_cost", "Cost of the mean-field equation", claims, tables, {"rtol": RTOL})
    return claims


if __name__ == "__main__":
    launch(run, __doc__)

"""A teacher so concentrated that a front sweeps the sphere: what each resolution gives.

nu = 0.6 vMF(north, 4) + 0.4 vMF(x-axis, 6) from the uniform density: w0 reaches 306, the
diffusivity w^-2 is tiny there, and a Stefan-like front about sqrt(t)/sup(w0) thick crosses the
empty region. No high order is claimed. Two kinds of elements judge each other over four
resolutions each: degree 4 (and 8) on the cubed sphere against Richardson's extrapolation of the
two finest icospheres of degree 1, degree 1 against the finest degree 4.

Claim: for both kinds the difference in chi2 at t = 1 falls with every refinement.

    python benchmarks/sphere_front.py               about 5 CPU minutes
"""

from __future__ import annotations

import numpy as np
from support.record import Claim, Table, cpu_seconds, launch, record

import ufd

DEFAULTS = {
    "rtol": 1e-5,
    "end": 1.0,
    "meshes": [(1, 3), (1, 4), (1, 5), (1, 6), (4, 4), (4, 8), (4, 12), (4, 16), (8, 8)],
}
NAMES = ("chi2", "divergence", "max_ratio")


def problem() -> ufd.UltraFastDiffusion:
    """The concentrated mixture."""
    parts = [ufd.VonMisesFisher([0, 0, 1], 4), ufd.VonMisesFisher([1, 0, 0], 6)]
    return ufd.UltraFastDiffusion(ufd.Mixture(parts, [0.6, 0.4]), ufd.Uniform(ufd.Sphere(2)))


def run(**overrides) -> list[Claim]:
    """Measure and record."""
    settings = DEFAULTS | overrides
    values, costs = {}, {}
    for degree, cells in settings["meshes"]:
        options = {"cells": cells, "degree": degree, "rtol": settings["rtol"]}
        seconds, result = cpu_seconds(
            lambda o=options: ufd.solve(problem(), [settings["end"]], **o)
        )
        values[degree, cells] = np.array([result.series[name][-1] for name in NAMES])
        costs[degree, cells] = [result.stats["dofs"], result.stats["steps"], seconds]
    chords = sorted(mesh for mesh in values if mesh[0] == 1)
    finest_chords, finest_four = values[chords[-1]], values[max(m for m in values if m[0] == 4)]
    extrapolated = finest_chords + (finest_chords - values[chords[-2]]) / 3
    rows, differences = [], {}
    for mesh, value in values.items():
        judge = finest_four if mesh[0] == 1 else extrapolated
        differences[mesh] = np.abs(value / judge - 1)
        rows.append([*mesh, *costs[mesh], *(f"{v:.8g}" for v in value),
                     *(float(d) for d in differences[mesh])])  # fmt: skip
    rows.append([1, "extrapolated", "", "", "", *(f"{v:.8g}" for v in extrapolated),
                 *(float(d) for d in np.abs(extrapolated / finest_four - 1))])  # fmt: skip
    claims = []
    for degree in (1, 4):
        chi2 = [float(differences[mesh][0]) for mesh in sorted(values) if mesh[0] == degree]
        claims.append(
            Claim(f"degree {degree}: the difference in chi2 falls with every refinement",
                  "monotone", ", ".join(f"{e:.1e}" for e in chi2), chi2 == sorted(chi2)[::-1])
        )  # fmt: skip
    columns = ["degree", "cells or level", "nodes", "steps", "CPU s", *NAMES,
               *(f"difference of {n}" for n in NAMES)]  # fmt: skip
    table = Table(f"Functionals at t = {settings['end']:g}", columns, rows)
    notes = [
        "Differences are estimates of errors: the exact values are not known. max_ratio is taken "
        "at nodes, which lie in different places on each mesh.",
        "Degree 8 is no better than degree 4 with as many nodes: the front, not the order, "
        "sets the error.",
    ]
    settings |= {"meshes": [list(m) for m in settings["meshes"]]}
    record("sphere_front", "A concentrated mixture on the sphere: a front", claims, [table],
           settings, notes)  # fmt: skip
    return claims


if __name__ == "__main__":
    launch(run, __doc__)

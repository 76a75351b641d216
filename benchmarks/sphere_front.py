"""A teacher so concentrated that a front sweeps the sphere: what each resolution gives.

nu = 0.6 vMF(north, 4) + 0.4 vMF(x-axis, 6) from the uniform density: w0 reaches 306, the
diffusivity w^-2 is tiny there, and a Stefan-like front about sqrt(t)/sup(w0) thick crosses the
empty region. No claim of high order is made here. The table says what degree 1 on the icosphere
and degree 4 on the cubed sphere give over four resolutions, as differences from the finest mesh
of the other kind of element, degree 8: an estimate, not a proof.

    python benchmarks/sphere_front.py               about 10 CPU minutes
"""

from __future__ import annotations

import numpy as np
from support.record import Claim, Table, cpu_seconds, record

import ufd

DEFAULTS = {
    "rtol": 1e-5,
    "end": 1.0,
    "reference": (8, 8),
    "meshes": [(1, 3), (1, 4), (1, 5), (1, 6), (4, 4), (4, 8), (4, 12), (4, 16)],
}
NAMES = ("chi2", "divergence", "max_ratio")


def problem() -> ufd.UltraFastDiffusion:
    """The concentrated mixture."""
    parts = [ufd.VonMisesFisher([0, 0, 1], 4), ufd.VonMisesFisher([1, 0, 0], 6)]
    return ufd.UltraFastDiffusion(ufd.Mixture(parts, [0.6, 0.4]), ufd.Uniform(ufd.Sphere(2)))


def run(**overrides) -> list[Claim]:
    """Measure and record."""
    settings = DEFAULTS | overrides
    rows, values = [], {}
    for mesh in [settings["reference"], *settings["meshes"]]:
        degree, cells = mesh
        options = {"cells": cells, "degree": degree, "rtol": settings["rtol"]}
        seconds, result = cpu_seconds(
            lambda o=options: ufd.solve(problem(), [settings["end"]], **o)
        )
        values[mesh] = np.array([result.series[name][-1] for name in NAMES])
        errors = np.abs(values[mesh] / values[settings["reference"]] - 1)
        rows.append(
            [degree, cells, result.stats["dofs"], result.stats["steps"], seconds,
             *(float(v) for v in values[mesh]), *(float(e) for e in errors)]
        )  # fmt: skip
    claims = []
    for degree in sorted({d for d, _ in settings["meshes"]}):
        its = [row for row in rows[1:] if row[0] == degree]
        chi2 = [row[-len(NAMES)] for row in its]
        claims.append(
            Claim(f"degree {degree}: the difference in chi2 falls with every refinement",
                  "monotone", ", ".join(f"{e:.1e}" for e in chi2), chi2 == sorted(chi2)[::-1])
        )  # fmt: skip
    columns = ["degree", "cells or level", "nodes", "steps", "CPU s", *NAMES,
               *(f"difference of {n}" for n in NAMES)]  # fmt: skip
    table = Table(f"Functionals at t = {settings['end']:g}", columns, rows)
    notes = [
        "The first row is what the differences are taken from; its own error is not known, and of "
        "the size of the difference of the finest degree 4 or above.",
    ]
    settings |= {"reference": list(settings["reference"]),
                 "meshes": [list(m) for m in settings["meshes"]]}  # fmt: skip
    record("sphere_front", "A concentrated mixture on the sphere: a front", claims, [table],
           settings, notes)  # fmt: skip
    return claims


if __name__ == "__main__":
    run()

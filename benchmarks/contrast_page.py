"""One teacher, learned in several ways: the page of this package's thesis.

Claim: variable projection learns the teacher at the rate of the ultra-fast diffusion, and what
remains of it at finite regularisation, at two timescales, with outer weights that stay 1, and with
noise is slower and slower; every method of densities meets its predicted rate to 0.5 %. Circle,
teacher vMF(1.5), and sphere, teacher vMF(1); ReLU + 0.5 ReLU^2.

    python benchmarks/contrast_page.py            about 4 minutes; open results/contrast_*.html
"""

from __future__ import annotations

import os
import shutil

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from support.record import Claim, Table, launch, record, results

import ufd
from ufd.analysis.contrast import Contrast
from ufd.analysis.contrast_report import write_contrast_report

MIXED = ufd.ReLU() + 0.5 * ufd.ReLU(power=2)
CIRCLE, SPHERE = ufd.Sphere(1), ufd.Sphere(2)
CASES = {
    "circle": (
        ufd.UltraFastDiffusion(ufd.VonMisesFisher([1, 0], 1.5), ufd.Uniform(CIRCLE)),
        10.0,
        {"cells": 512},
    ),
    "sphere": (
        ufd.UltraFastDiffusion(ufd.VonMisesFisher([0, 0, 1], 1.0), ufd.Uniform(SPHERE)),
        5.0,
        {"cells": 3, "degree": 2},
    ),
}


def judge(found: Contrast, place: str) -> list[Claim]:
    """Rates met, and the order of the methods."""
    fields = [m for m in found.methods if not m.floor]
    worst = max(abs(m.deviation if m.deviation is not None else np.inf) for m in fields)
    rates = [m.predicted or 0.0 for m in fields]
    two = [m.to_teacher[-1] for m in found.methods if m.floor]
    return [
        Claim(f"{place}: measured over predicted rate, methods of densities", "0.5 %",
              f"{100 * worst:.2g} %", worst < 5e-3),
        Claim(f"{place}: slower from method to method", "yes",
              ", ".join(f"{rate:.3g}" for rate in rates), bool(np.all(np.diff(rates) < 0))),
        Claim(f"{place}: two timescales end closer as eps falls", "yes",
              ", ".join(f"{far:.2g}" for far in two), bool(np.all(np.diff(two) < 0))),
    ]  # fmt: skip


def run() -> list[Claim]:
    """Measure and record."""
    claims, tables = [], []
    for place, (problem, end, densities) in CASES.items():
        found = ufd.contrast(problem, MIXED, end, densities=densities)
        page = write_contrast_report(found, results())
        for kind in ("html", "md"):
            shutil.move(page.with_suffix(f".{kind}"), results() / f"contrast_{place}.{kind}")
        claims += judge(found, place)
        rows = [[m.name, m.clock, m.predicted, m.measured, m.error, m.deviation, m.t[-1],
                 m.to_teacher[-1], m.floor or None] for m in found.methods]  # fmt: skip
        columns = ["method", "one unit of time", "predicted", "measured", "+-", "deviation",
                   "last t", "MMD to the teacher", "floor of its atoms"]  # fmt: skip
        tables.append(Table(place, columns, rows))
    record("contrast", "One teacher, learned in several ways", claims, tables, {"lam": 1e-3})
    return claims


if __name__ == "__main__":
    launch(run, __doc__)

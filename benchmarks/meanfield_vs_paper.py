"""The published curves of arXiv 2504.18208 on the circle, predicted by equations for densities.

Claim: with nothing fitted, the distance of M features to the diffusion and to the teacher is
sqrt(d^2 + floor^2): d of the mean-field equation (T_mu + lam) u = kappa * nu + lam r,
d_t mu = -div(mu u grad u) (plain ReLU, a density), floor of an ensemble of trainings from
independent starts about it; for the table of all curves with 4,096 drawn inputs and teacher atoms
too. The double hump of the distance to the diffusion at gamma = 100, lam = 1e-4 (positions within
5 %, heights and plateau within 20 %), and the late decay of the risk, 1.05 to 1.18 per unit of time
where twice the spectral gap would be 1.99.

Published is one unknown seed; here starts, inputs and teachers are drawn anew for each of eight.
Every run is kept in ``output/meanfield_vs_paper/``.

    python benchmarks/meanfield_vs_paper.py            about 15 minutes from nothing
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cache
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray
from support.circle_modes import length, of_points, of_state, of_teacher
from support.published import CLOSE, ITERATIONS, TIMES, Curve, Setup, published
from support.record import Claim, Table, launch, record

import ufd
from ufd.storage import read_arrays, write_arrays

Array = NDArray[np.float64]
KEPT = Path(__file__).resolve().parents[1] / "output" / "meanfield_vs_paper"
SEEDS, ATOMS = 8, 4096
# Inputs that stand for the population: their own scatter is a quarter of the published one.
MANY = 65536
HUMPS = Setup("circle", lam=1e-4)
# Where the plateau is read; levels and windows of the risk's decay, above the published round-off.
PLATEAU, LEVELS, STARTS = 31.25, (5e-3, 1e-5), np.arange(10.0, 14.0)
GAP = 2 * float(ufd.spectral_gap(HUMPS.problem.teacher)[0])


def schedule() -> Array:
    """Times: closely where the humps are, log-spaced elsewhere."""
    iterations = [
        *np.geomspace(32, 1000, 12).round(),
        *range(1024, 10241, 256),
        *np.geomspace(11264, 32000, 10).round(),
        *(ITERATIONS * t for t in TIMES),
    ]
    return np.unique(iterations) / ITERATIONS  # fmt: skip


def cells(setup: Setup) -> int:
    """Enough for the width of the teacher's modes."""
    return 1024 if setup.gamma > 500 else 512


@cache
def density(setup: Setup) -> dict[str, Array]:
    """The mean-field equation of a set-up, lam = 0 for the limit: coefficients and the risk."""
    setup = replace(setup, width=1024)
    path = KEPT / f"density_{setup.name}.npz"
    if not path.exists():
        run = ufd.meanfield(setup.problem, ufd.ReLU(), setup.lam, schedule(), rtol=1e-4,
                            reference=setup.reference, cells=cells(setup))  # fmt: skip
        print(f"{path.stem}: {run.stats['seconds']:.0f} s, {run.status.name}", flush=True)
        KEPT.mkdir(parents=True, exist_ok=True)
        write_arrays(path, modes=[of_state(run.at(t)) for t in schedule()],
                     t=run.series["t"], risk=run.series["risk"])  # fmt: skip
    return read_arrays(path)


@cache
def diffusion(gamma: float) -> NDArray[np.complex128]:
    """Coefficients of the ultra-fast diffusion."""
    setup = Setup("circle", gamma=gamma)
    path = KEPT / f"diffusion_gamma{gamma:g}.npz"
    if not path.exists():
        run = ufd.solve(setup.problem, schedule(), rtol=1e-6, cells=cells(setup), degree=1)
        KEPT.mkdir(parents=True, exist_ok=True)
        write_arrays(path, modes=[of_state(run.at(t)) for t in schedule()])
    return read_arrays(path)["modes"]


def floors(setup: Setup, drawn: bool = True) -> dict[str, Array]:
    """Distances of trainings about the "density", and about it and their own "teacher".

    Each is root mean square, least and largest over the seeds, (3, times).

    Args:
        setup: What is trained.
        drawn: Inputs and teacher atoms are drawn, as published; else starts alone: the teacher is
            its density, the inputs are many.
    """
    squares = []
    for seed in range(SEEDS):
        path = KEPT / f"floor_{setup.name}{'' if drawn else '_starts'}_seed{seed}.npz"
        if not path.exists():
            centre, teacher = density(setup)["modes"], of_teacher(setup.problem)
            atoms = setup.atoms(ATOMS, seed)
            data = {"data": ATOMS, "target": (atoms, np.full(ATOMS, 1 / ATOMS))}
            run = ufd.train(setup.problem, ufd.ReLU(), setup.lam, setup.width, schedule(),
                            start="iid", seed=seed, reference=setup.reference, rtol=1e-2,
                            **(data if drawn else {"data": MANY}))  # fmt: skip
            apart = np.array([of_points(run.features(t)) for t in schedule()]) - centre
            write_arrays(path, density=length(apart) ** 2,
                         teacher=length(apart - (of_points(atoms) - teacher)) ** 2)  # fmt: skip
        squares.append(read_arrays(path))
    print(f"floor_{setup.name}: done", flush=True)
    found = {k: np.array([each[k] for each in squares]) for k in ("density", "teacher")}
    return {k: np.sqrt([v.mean(0), v.min(0), v.max(0)]) for k, v in found.items()}


def predicted(curve: Curve) -> Array:
    """The published quantity at the times of `schedule`: as predicted, least, largest, (3, n)."""
    setup = curve.setup
    if curve.quantity == "risk":
        found = density(setup)
        return np.exp([np.interp(schedule(), found["t"], np.log(found["risk"]))] * 3)
    modes, about = density(setup)["modes"], floors(setup)
    if curve.quantity == "diff":
        return np.hypot(length(modes - diffusion(setup.gamma)), about["density"])
    return np.hypot(length(modes - of_teacher(setup.problem)), about["teacher"])


def extremes(t: Array, values: Array) -> list[tuple[float, float]]:
    """First hump, valley and second hump: where, by a parabola through three points, and how high.

    The first hump is the largest value before t = 3, the second that after t = 5.
    """
    found = []
    for sign, inside in ((1, (t > 0.7) & (t < 3)), (-1, (t > 2.5) & (t < 7)), (1, t > 6)):
        k = np.flatnonzero(inside)[np.argmax(sign * values[inside])]
        a, b, c = np.polyfit(t[k - 1 : k + 2] - t[k], values[k - 1 : k + 2], 2)
        shift = -b / (2 * a)
        found.append((float(t[k] + shift), float(c + b * shift / 2)))
    return found


def humps() -> tuple[list[Claim], list[Table]]:
    """The double hump, from the mean-field equation and from its limit."""
    (curve,) = (c for c in published() if c.setup == HUMPS and c.quantity == "diff"
                and c.figure == "lmbda")  # fmt: skip
    t, about = schedule(), floors(HUMPS, drawn=False)["density"][0]
    bare = length(density(HUMPS)["modes"] - diffusion(HUMPS.gamma))
    limit = length(density(replace(HUMPS, lam=0.0))["modes"] - diffusion(HUMPS.gamma))
    ours, all_drawn = np.hypot(bare, about), predicted(curve)[0]
    theirs, mine = extremes(curve.x / ITERATIONS, curve.y), extremes(t, ours)
    last = float(curve.at(PLATEAU))
    theirs.append((PLATEAU, last))
    mine.append((PLATEAU, float(ours[-1])))
    names, rows, claims = ("first hump", "valley", "second hump", "plateau"), [], []
    for name, (t0, y0), (t1, y1) in zip(names, theirs, mine, strict=True):
        if name != "plateau":
            claims.append(Claim(f"{name}: time", "5 %", f"{t1:.2f} against {t0:.2f}, "
                                f"{t1 / t0 - 1:+.1%}", bool(abs(t1 / t0 - 1) <= 0.05)))  # fmt: skip
        claims.append(Claim(f"{name}: height", "20 %", f"{y1:.4f} against {y0:.4f}, "
                            f"{y1 / y0 - 1:+.1%}", bool(abs(y1 / y0 - 1) <= CLOSE)))  # fmt: skip
        rows.append([name, t0, y0, t1, y1, *(float(np.interp(t1, t, c)) for c in
                     (bare, about, all_drawn, limit, np.hypot(limit, about)))])  # fmt: skip
    columns = ["", "published t", "published", "predicted t", "predicted", "d, lam = 1e-4",
               "floor", "with drawn data and teacher", "d, limit", "limit and floor"]  # fmt: skip
    title = "Distance to the diffusion, gamma = 100, lam = 1e-4, M = 1024"
    return claims, [Table(title, columns, rows)]


def late_risk() -> tuple[list[Claim], list[Table]]:
    """Late decay of the risk: between two levels above the published round-off, and locally."""
    rows, claims = [], []
    for lam in (1e-4, 1e-3):
        setup = replace(HUMPS, lam=lam)
        (curve,) = (c for c in published() if c.setup == setup and c.quantity == "risk")
        laws = {"published": (curve.x / ITERATIONS, curve.y)}
        for name, own in (("mean field", setup), ("limit", replace(setup, lam=0.0))):
            laws[name] = density(own)["t"], density(own)["risk"]
        for name, (t, risk) in laws.items():
            reached = [float(np.interp(-np.log(v), -np.log(risk), t)) for v in LEVELS]
            rate = float(np.log(LEVELS[0] / LEVELS[1]) / (reached[1] - reached[0]))
            windows = np.interp([*STARTS, *(STARTS + 4)], t, np.log(risk)).reshape(2, -1)
            rows.append([lam, name, *reached, rate, *((windows[0] - windows[1]) / 4)])
            if lam == HUMPS.lam and name != "published":
                claims.append(Claim(f"Decay of the risk from 5e-3 to 1e-5, lam = 1e-4: {name}",
                                    "1.05 to 1.18", f"{rate:.3f} (published {rows[0][4]:.3f}; "
                                    f"twice the gap {GAP:.2f})",
                                    bool(1.05 <= rate <= 1.18)))  # fmt: skip
    columns = [
        "lam",
        "",
        "t at 5e-3",
        "t at 1e-5",
        "rate",
        *(f"[{a:g}, {a + 4:g}]" for a in STARTS),
    ]
    return claims, [Table("Decay of the risk, gamma = 100: between levels, in windows", columns,
                          rows)]  # fmt: skip


def all_curves() -> tuple[list[Claim], list[Table]]:
    """Every curve on the circle at the times of the comparison."""
    rows, close, within, count = [], 0, 0, 0
    for curve in published():
        if curve.setup.ground != "circle":
            continue
        ours, row = predicted(curve), [curve.figure, curve.quantity, curve.label, curve.bias]
        for t in TIMES:
            here, theirs = [float(np.interp(t, schedule(), each)) for each in ours], curve.at(t)
            row.append(here[0] / float(theirs))
            if curve.quantity != "risk":
                near = abs(row[-1] - 1) <= CLOSE
                count, close = count + 1, close + near
                within += near or here[1] <= theirs <= here[2]
        rows.append(row)
    claims = [Claim("Distances of all curves on the circle at t = 1, 5, 31.25: within 20 %, or "
                    "within what eight seeds span", "all",
                    f"{within} of {count}, {close} of them within 20 %",
                    within == count)]  # fmt: skip
    columns = ["figure", "quantity", "curve", "penalty", *(f"t = {t:g}" for t in TIMES)]
    return claims, [Table("Predicted over published", columns, rows)]


NOTES = (
    "The floor of the double hump is that of drawn starts (the gate's); with drawn inputs and "
    "teachers, as published, the plateau is higher: seeds range from .012 to .020 there.",
    "The risk's decay is no clean exponential: it quickens while the shocks settle, and drawn "
    "inputs and teachers change it from seed to seed (0.8 to 1.4 in the same windows).",
    "Small widths are one seed of a wide scatter: see particles_vs_paper.",
    "Late risks below 1e-6 are round-off of single precision as published.",
)


def run() -> list[Claim]:
    """Measure and record."""
    parts = [humps(), late_risk(), all_curves()]
    claims = [claim for found, _ in parts for claim in found]
    record("meanfield_vs_paper", "Published curves, predicted by the mean-field equation",
           claims,
           [table for _, tables in parts for table in tables],
           {"seeds": SEEDS, "atoms": ATOMS}, NOTES)  # fmt: skip
    return claims


if __name__ == "__main__":
    launch(run, __doc__)

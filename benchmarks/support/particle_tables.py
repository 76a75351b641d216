"""Tables of published values and ours: verdicts, the luck of the published draw, metric, cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from support.particle_pages import QUANTITIES
from support.particle_runs import compared, kept_runs, starts
from support.published import ITERATIONS, TIMES, Comparison, Curve, Setup, Verdict, published
from support.record import Table

Array = NDArray[np.float64]
# 95 % of published values lie within so many standard deviations of the mean of six seeds.
CHANCE = 2.78
# Seeds of the narrowest circle.
MANY, NARROWEST = 24, 32


def verdict_tables(comparisons: Sequence[Comparison]) -> list[Table]:
    """For each figure and quantity every curve at every time."""
    columns = ["curve", "seeds", "t", "published", "ours (median)", "lowest", "highest",
               "difference", "sd off", "verdict", "note"]  # fmt: skip
    return [
        Table(f"{figure}: {QUANTITIES[quantity]}", columns, [r for c in group for r in _rows(c)])
        for (figure, quantity), group in groupby(
            comparisons, lambda c: (c.curve.figure, c.curve.quantity)
        )
    ]


def _rows(c: Comparison) -> list[list]:
    rows = []
    for v in c.verdicts():
        numbers = [f"{x:.3g}" for x in (v.published, v.median, v.low, v.high)]
        off = "" if math.isnan(v.sigmas) else f"{v.sigmas:.1f}"
        rows.append([f"{c.curve.label}, {c.curve.bias}", len(c.values), f"{v.t:g}", *numbers,
                     f"{100 * v.difference:+.0f} %", off, v.word, _note(c.curve, v)])  # fmt: skip
    return rows


def _note(curve: Curve, verdict: Verdict) -> str:
    """Why a value differs, as far as it can be told."""
    if verdict.word != "differs":
        return ""
    if (curve.figure, curve.quantity) == ("gamma", "risk") and verdict.published < 1e-6:
        return "published: round-off of single precision (see the claim)"
    if math.isnan(verdict.sigmas):
        return "too few seeds to tell"
    if (curve.setup.ground, curve.setup.width) == ("circle", NARROWEST):
        many = compared(curve, MANY)
        return (
            f"luck of one seed: larger than {_rank(many.at(verdict.t), verdict.published)} of ours"
        )
    return "luck of one seed" if verdict.sigmas <= CHANCE else "not explained"


def starts_at(only: str | None = None) -> dict[Setup, float]:
    """Published distances to the teacher at t = 0, by what they depend on."""
    found: dict[Setup, float] = {}
    for curve in published():
        s = curve.setup
        if curve.quantity == "teacher" and only in (None, s.ground):
            found[Setup(s.ground, s.width, gamma=s.gamma)] = float(curve.y[0])
    return found


def luck() -> list[Table]:
    """Where the published draw lies among many: its starts, and all of the narrowest circle."""
    at_start, later = [], []
    for setup, value in starts_at().items():
        if (draws := starts(setup)) is not None:
            low, middle, high = np.quantile(draws, [0.025, 0.5, 0.975])
            at_start.append([setup.ground, setup.width, f"{setup.gamma:g}", value, float(middle),
                             f"{low:.3g} to {high:.3g}", _rank(draws, value)])  # fmt: skip
    for curve in published():
        if (curve.setup.ground, curve.setup.width) == ("circle", NARROWEST):
            found = compared(curve, MANY)
            for v in found.verdicts() if found else ():
                name = f"{QUANTITIES[curve.quantity]}, {curve.bias}"
                rank = _rank(found.at(v.t), v.published)
                later.append([name, f"{v.t:g}", v.published, v.median, rank])
    return [
        Table(
            "Luck of the published starts: distance to the teacher at t = 0 among 200 draws",
            ["ground", "M", "gamma", "published", "median", "95 %", "below"],
            at_start,
        ),
        Table(
            f"Luck of the published seed: circle, M = {NARROWEST}, among many seeds",
            ["quantity", "t", "published", "ours (median)", "ours below"],
            later,
        ),
    ]


def _rank(ours: Array, value: float) -> str:
    return f"{np.sum(ours < value)} of {len(ours)}"


def metric_and_cost(seeds: int) -> list[Table]:
    """On the torus the metric beside what was published in its place; what the runs took."""
    costs, metric = [], []
    setups = {c.setup for c in published()}
    for setup in sorted(setups, key=lambda s: (s.ground, s.width, -s.lam, s.name)):
        kept = kept_runs(setup, seeds)
        if not kept:
            continue
        evaluations, seconds = (np.median([k[n] for k in kept]) for n in ("evaluations", "seconds"))
        costs.append([setup.name, len(kept), round(evaluations), f"{seconds:.1f}"])
        if setup.ground == "torus":
            times = (0.0, *TIMES)
            at = np.searchsorted(kept[0]["iteration"], np.multiply(ITERATIONS, times))
            for i, t in zip(at, times, strict=True):
                image, true = (np.median([k[n][i] for k in kept]) for n in ("image", "teacher"))
                metric.append([setup.name, f"{t:g}", f"{image:.3g}", f"{true:.3g}"])
    return [
        Table("Torus: minimum-image discrepancy, as published, and the energy MMD, a metric",
              ["set-up", "t", "discrepancy", "MMD"], metric),
        Table("Cost (seconds by the clock of a busy machine)",
              ["set-up", "seeds", "evaluations (median)", "seconds (median)"], costs),
    ]  # fmt: skip

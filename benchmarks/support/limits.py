"""What `particles_limit.py` measures: comparisons that are kept, and the parts of a distance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import ufd
from support.record import Claim
from ufd.analysis.comparison import Comparison, Member, read_comparison
from ufd.problem.distances import resolved
from ufd.problem.harmonics import basis, degrees
from ufd.problem.kernels import population_kernel
from ufd.storage import read_arrays, write_arrays

Array = NDArray[np.float64]
KEPT = Path(__file__).resolve().parents[2] / "output" / "particles_limit"
INJECTIVE = ufd.ReLU() + 0.5 * ufd.ReLU(power=2)


def problem_of(dim: int) -> ufd.UltraFastDiffusion:
    """The von Mises-Fisher teacher about the first (circle) or last axis, from the uniform law."""
    axis = [1.0, 0.0] if dim == 1 else [0.0, 0.0, 1.0]
    return ufd.UltraFastDiffusion(ufd.VonMisesFisher(axis, 1.5), ufd.Uniform(ufd.Sphere(dim)))


def compared(
    key: str, problem: Any, feature: Any, lam: Any, widths: Any, times: Any, **options: Any
) -> tuple[Comparison, dict[str, Array]]:
    """`ufd.compare`, once: the comparison, and the features of its last run of each width."""
    place = KEPT / key
    if not (place / "states.npz").exists():
        states: dict[str, Array] = {}

        def keep(t: float, values: Array, landed: bool) -> None:
            if landed:
                states[f"{len(values)} {t:g}"] = values.copy()

        found = ufd.compare(problem, feature, lam, widths, times, observers=[keep],
                            say=lambda line: print(line, flush=True), **options)  # fmt: skip
        found.save(place)
        write_arrays(place / "states.npz", **states)
    return read_comparison(place), read_arrays(place / "states.npz")


@cache
def circle_diffusion(times: tuple[float, ...]) -> ufd.Result:
    """The reference on the circle."""
    return ufd.solve(problem_of(1), times, rtol=1e-8)


def angles(points: Array) -> Array:
    return np.arctan2(points[:, 1], points[:, 0])


def low_distance(points: Array, state: Any, harmonics: int) -> float:
    """The MMD on the circle over harmonics below a number: without most of the atomic floor."""
    grid, k = 2 * np.pi * np.arange(4096) / 4096, np.arange(1, harmonics)
    density = state.density(np.column_stack([np.cos(grid), np.sin(grid)]))
    of_law = np.fft.fft(density)[1:harmonics] / density.sum()
    gap = np.exp(-1j * np.outer(k, angles(points))).mean(axis=1) - of_law
    return float(np.sqrt(8 / np.pi * np.sum(np.abs(gap) ** 2 / (4 * k**2 - 1))))


def apart(points: Array, others: Array) -> float:
    """Root mean square angle between two flows of quantiles, at the labels of the first."""
    m, n = len(points), len(others)
    labels = (np.arange(m) + 0.5) / m
    shift = np.angle(np.exp(1j * (angles(others) - 2 * np.pi * (np.arange(n) + 0.5) / n)))
    modes = np.fft.fftfreq(n, 1 / n)
    series = np.fft.fft(shift) / n * np.exp(-1j * np.pi * modes / n)
    there = (np.exp(2j * np.pi * np.outer(labels, modes)) @ series).real + 2 * np.pi * labels
    return float(np.sqrt(np.mean(np.angle(np.exp(1j * (angles(points) - there))) ** 2)))


def width_part(found: Comparison, lam: float, width: int, laws: Sequence[Any] | None) -> Array:
    """Distance to the widest run without that of its two sets of atoms; nan for the widest.

    The atoms are quantiles of the diffusion, or, without laws, their floors as if independent.
    """
    widest = found.widths[-1]
    if width == widest:
        return np.full(len(found.times), math.nan)
    squared = found.mean("widest", lam, width)[0] ** 2
    if laws is None:
        atoms = found.floor(width) ** 2 + found.floor(widest) ** 2
    else:
        sets = [[(ufd.quantiles(law, m), None) for m in (width, widest)] for law in laws]
        atoms = np.array([ufd.mmd(*pair) ** 2 for pair in sets])
    return np.sqrt(np.maximum(squared - atoms, 0.0))


def zonal_quantiles(state: Any, count: int) -> Array:
    """The transported Fibonacci lattice of a state on S^2 that is symmetric about the last axis.

    `ufd.quantiles` takes very long for a finite-element state on S^2: it splits its panels at
    every kink of every row.
    """
    angle = np.linspace(0, np.pi, 20001)
    zero = np.zeros_like(angle)
    law = state.density(np.column_stack([np.sin(angle), zero, np.cos(angle)])) * np.sin(angle)
    total = np.concatenate([[0.0], np.cumsum(law[1:] + law[:-1])])
    index = np.arange(count)
    theta = np.interp((index + 0.5) / count, total / total[-1], angle)
    turn = np.pi * (math.sqrt(5) - 1) * index
    across = np.sin(theta)
    return np.column_stack([across * np.cos(turn), across * np.sin(turn), np.cos(theta)])


def trained(lam: float, width: int, times: Sequence[float], rtol: float) -> Array:
    """Features of a run on S^2 at the times, (times, M, 3), trained once."""
    path = KEPT / f"sphere_{lam:.0e}_{width}_{rtol:.0e}.npz"
    if not path.exists():
        run = ufd.train(problem_of(2), INJECTIVE, lam, width, times, inputs="sphere", rtol=rtol)
        KEPT.mkdir(parents=True, exist_ok=True)
        write_arrays(path, features=np.array([run.features(t) for t in times]))
        print(f"S^2: lam = {lam:g}, M = {width}: {run.stats['seconds']:.1f} s", flush=True)
    return read_arrays(path)["features"]


def on_sphere(lams: Sequence[float], widths: Sequence[int], times: Sequence[float], rtol: float,
              states: Sequence[Any], laws: Sequence[Any]) -> Comparison:  # fmt: skip
    """What `ufd.compare` returns, on S^2, with the floors of `zonal_quantiles`."""

    def apart(x: Array, others: Sequence[Any]) -> list[float]:
        return [ufd.mmd((y, None), law) for y, law in zip(x, others, strict=True)]

    floors = {
        str(m): {"quantiles": apart([zonal_quantiles(s, m) for s in states], laws)} for m in widths
    }
    members, teacher = [], resolved(problem_of(2).teacher)
    for lam in lams:
        widest = [(x, None) for x in trained(lam, widths[-1], times, rtol)]
        for m in widths:
            x = trained(lam, m, times, rtol)
            distances = {"diffusion": apart(x, laws), "widest": apart(x, widest)}
            members.append(Member(lam, m, 0, distances, [], {}))
    limit = [ufd.mmd(law, teacher) for law in laws]
    return Comparison(list(times), members, floors, limit, {"start": "quantile"})


def low_on_sphere(points: Array, law: Any, degree: int) -> float:
    """The MMD on S^2 over degrees up to one that M points resolve: without their floor."""
    l = degrees(ufd.Sphere(2), degree)[1:]
    gap = basis(ufd.Sphere(2), degree, points).mean(axis=0) - law.known.moments[: len(l) + 1]
    return float(np.sqrt(np.sum(4 / ((2 * l - 1) * (2 * l + 1) * (2 * l + 3)) * gap[1:] ** 2)))


def crowding(dim: int, width: int, lam: float) -> float:
    """L^2 kappa_L/lam, L the degree (even on S^2) whose wave is as long as the atoms' spacing.

    What single atoms add to the slope of g, up to a factor of order one.
    """
    top = width if dim == 1 else 2 * round(math.sqrt(math.pi * width) / 4)
    kernel = population_kernel(INJECTIVE, ufd.Sphere(dim), "sphere")
    return float(top**2 * kernel.eigenvalues(top)[-1] / lam)


def in_time(what: str, coarse: Any, fine: Any) -> Claim:
    """What a ten times smaller rtol changes."""
    change = float(np.abs(np.array(coarse) / np.array(fine) - 1).max())
    return Claim(f"{what} with rtol/10 instead, every t", "change below 1 %", f"{change:.2%}",
                 change < 1e-2)  # fmt: skip


def falls(name: str, found: Comparison, lam: float) -> list[Claim]:
    """The two claims of the limit: in M at a small lam, and in lam at the largest M."""
    m = found.widths[-1]
    rows = np.array([found.mean("diffusion", lam, w)[0] for w in found.widths])
    bias = np.array([found.excess(a, m) for a in found.lams])

    def told(columns: Array) -> str:
        return "; ".join(
            f"t = {t:g}: " + ", ".join(f"{v:.2g}" for v in column)
            for t, column in zip(found.times, columns.T, strict=True)
        )

    return [
        Claim(f"{name}: the distance falls with M at lam = {lam:g}", "at every t", told(rows),
              bool(np.all(np.diff(rows, axis=0) < 0))),
        Claim(f"{name}: the excess falls with lam at M = {m}", "at every decade and t", told(bias),
              bool(np.all(np.diff(bias, axis=0) < 0))),
    ]  # fmt: skip

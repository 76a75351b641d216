"""Convergence tables in mesh width and step size: measured orders with errors, and predicted ones.

Each study returns two plain tables, first the fitted orders, then the errors they come from:
{"id", "title", "columns", "rows", "note"}, with numbers as numbers and None where there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from mpi4py import MPI
from numpy.polynomial import legendre
from scipy.linalg import eigh

import ufd
from support.references import QuantileReference, kepler_ratio, zonal_von_mises_fisher
from ufd.analysis.orders import SUMMARY, Refinement, tables

Array = np.ndarray
Table = dict[str, Any]
Meshes = Mapping[int, Sequence[int]]
ByDegree = Mapping[int, float]

CIRCLE, SPHERE = ufd.Sphere(1), ufd.Sphere(2)
# Directions that no mesh knows: in symmetric positions errors cancel on some meshes.
PHASE, AXIS = 0.7, (0.48, -0.6, 0.64)
METHODS = {"backward Euler": ufd.BackwardEuler, "SDIRK2": ufd.SDIRK2, "SDIRK3": ufd.SDIRK3,
           "SDIRK4": ufd.SDIRK4}  # fmt: skip
L1, CHI2, MEAN, GAP = "w in L1(nu)", "chi2", "chi2 averaged", "eigenvalue"
SPACE = ["method", "cells or level", "nodes", "mesh width"]
TIME = ["method", "steps", "step size"]

CIRCLE_MESHES = {1: (32, 48, 64, 96), 2: (24, 32, 48, 64), 4: (12, 16, 24, 32), 8: (10, 12, 16, 20)}
CIRCLE_RTOL = {1: 1e-6, 2: 1e-8, 4: 1e-11, 8: 1e-11}
SPHERE_MESHES = {1: (1, 2, 3, 4), 2: (4, 6, 8, 12), 4: (2, 3, 4, 6), 8: (1, 2, 3, 4)}
SPHERE_RTOL = {1: 1e-5, 2: 1e-6, 4: 1e-7, 8: 5e-9}
GAP_MESHES = {1: (2, 3, 4, 5), 2: (6, 8, 12, 16), 4: (3, 4, 6, 8), 8: (1, 2, 3, 4)}
# Degree 8 is at round-off on its second mesh already where the others show their order.
GAP_KAPPA = {1: 4.0, 2: 4.0, 4: 4.0, 8: 12.0}
STEPS = (8, 16, 32, 64, 128)
# Not fitted below: a multiple of what the other discretisation leaves; what Newton's method does.
_MARGIN, _ROUND_OFF = 5.0, 1e-12
_FLOOR = " Errors at the floor ({}) are shown and not fitted."
_SPACE_FLOOR = "five times what a tenth of the tolerance changes on the first mesh, 1e-12 at least"
_CHI2 = (
    " Predicted: k + 1 for w between the nodes; 2k, as for eigenvalues, for chi2, a sum over nodes "
    "(not proved). From degree 4 on that part hides behind one that depends on how the solution "
    "lies to the mesh, changes sign and falls faster than any power: one position has no order."
)


@dataclass(frozen=True)
class _Exact:
    """A problem, its end, and there w at points with weights of nu, and chi2."""

    problem: ufd.UltraFastDiffusion
    end: float
    points: Array
    weights: Array
    ratio: Array
    chi2: float

    def solve(self, **options: Any) -> tuple[Array, float, int]:
        """w at the points, chi2 and the number of nodes."""
        result = ufd.solve(self.problem, [self.end], comm=MPI.COMM_SELF, **options)
        if result.status is not ufd.StopReason.FINISHED:
            raise RuntimeError(f"{options}: {result.status.value}")
        chi2 = float(result.series["chi2"][-1])
        return result.ratio(self.points, self.end), chi2, result.stats["dofs"]

    def distance(self, found: tuple, reference: tuple | None = None) -> tuple[float, float]:
        """Relative errors of w in L1(nu) and of chi2, the latter with its sign."""
        ratio, chi2 = reference[:2] if reference else (self.ratio, self.chi2)
        w = self.weights
        return float(w @ np.abs(found[0] - ratio) / (w @ np.abs(ratio))), found[1] / chi2 - 1


def _kepler(a: float, end: float, points: int, phase: float = PHASE) -> _Exact:
    def start(x: Array) -> Array:
        return kepler_ratio(np.arctan2(x[:, 1], x[:, 0]) - phase, 0.0, a)

    angle = 2 * np.pi * (np.arange(points) + 0.5) / points
    x = np.column_stack([np.cos(angle), np.sin(angle)])
    problem = ufd.UltraFastDiffusion(ufd.Uniform(CIRCLE), ufd.density(CIRCLE, start))
    # chi2 = int w dmu - 1 is the mean of 1/(1 + e cos s) - 1 over the label s of mass.
    e = a * np.exp(-end)
    root = np.sqrt(1 - e * e)
    ratio, weights = kepler_ratio(angle - phase, end, a), np.full(points, 1 / points)
    return _Exact(problem, end, x, weights, ratio, float(e * e / (root * (1 + root))))


@cache
def _quantiles(kappa: float, end: float) -> QuantileReference:
    return QuantileReference(zonal_von_mises_fisher(kappa), [end], points=80, rtol=1e-12)


def _zonal(kappa: float, end: float, points: int, position: int = 0) -> _Exact:
    axis = np.random.default_rng(position).normal(size=3) if position else np.array(AXIS)
    axis /= np.linalg.norm(axis)
    i = np.arange(points) + 0.5
    z, angle = 1 - 2 * i / points, np.pi * (1 + 5**0.5) * i
    r = np.sqrt(1 - z * z)
    x = np.column_stack([r * np.cos(angle), r * np.sin(angle), z])
    reference = _quantiles(kappa, end)
    node, rule = legendre.leggauss(60)
    nu = reference.nu.density
    chi2 = float(rule @ (nu(node) * (reference.ratio(node, end) - 1) ** 2))
    problem = ufd.UltraFastDiffusion(ufd.VonMisesFisher(axis, kappa), ufd.Uniform(SPHERE))
    weights, ratio = nu(x @ axis), reference.ratio(x @ axis, end)
    return _Exact(problem, end, x, weights / weights.sum(), ratio, chi2)


def _width(dim: int, degree: int, cells: int) -> float:
    """Angle over one cell: of an arc, of an edge of the icosphere, of a cell at a face's middle."""
    if dim == 1:
        return 2 * np.pi / cells
    return float(np.arctan(2)) / 2**cells if degree == 1 else np.pi / 2 / cells


def _averaged(errors: Sequence[tuple[float, float]]) -> dict[str, float]:
    """Errors of several positions: mean, root mean square, and size of the mean."""
    w, chi2 = np.array(errors).T
    return {L1: w.mean(), CHI2: np.sqrt((chi2**2).mean()), MEAN: abs(chi2.mean())}


def _floors(left: tuple[float, float]) -> dict[str, float]:
    """Where to stop fitting, from what the other discretisation leaves."""
    return {name: max(_MARGIN * e, _ROUND_OFF) for name, e in _averaged([left]).items()}


def _space(
    dim: int, meshes: Meshes, rtol: ByDegree, placed: Callable[[int, int], _Exact], positions: int
) -> list[Refinement]:
    """One series for each degree; ``placed`` (cells, position) gives the turned problem."""
    found = []
    for degree, counts in meshes.items():
        predicted = {L1: degree + 1, CHI2: 2 * degree if degree < 4 else None}
        if dim == 1:
            predicted[MEAN] = 2 * degree
        # What the tolerance leaves is measured on the mesh where that costs least.
        first, options = placed(counts[0], 0), {"degree": degree, "cells": counts[0]}
        loose, tight = (first.solve(rtol=r, **options) for r in (rtol[degree], rtol[degree] / 10))
        floors = _floors(first.distance(loose, tight))
        series = Refinement(f"degree {degree}", predicted, floors)
        for n in counts:
            errors = []
            for j in range(positions if degree >= 4 else min(positions, 2)):
                exact = placed(n, j)
                run = exact.solve(degree=degree, cells=n, rtol=rtol[degree])
                errors.append(exact.distance(run))
            series.add([n, run[2]], _width(dim, degree, n), _averaged(errors))
        found.append(series)
    return found


def space_circle(
    meshes: Meshes = CIRCLE_MESHES, *, rtol: ByDegree = CIRCLE_RTOL, positions: int = 4
) -> list[Table]:
    """Mesh refinement on the circle, against the Kepler-Bessel solution (docs/theory.md, (16))."""
    a, end = 0.5, 0.5

    def placed(cells: int, j: int) -> _Exact:
        return _kepler(a, end, 2001, PHASE + 2 * np.pi * j / (positions * cells))

    series = _space(1, meshes, rtol, placed, positions)
    note = (
        f"Uniform teacher, exact solution (16), a = {a:g}, t = {end:g}; SDIRK4 with rtol from "
        f"{max(rtol.values()):g} to {min(rtol.values()):g}; {positions} positions in a cell "
        "(below degree 4: 2): mean of L1 errors, root mean square and signed mean of those of chi2."
    )
    note += _CHI2 + " The mean over the positions shows 2k." + _FLOOR.format(_SPACE_FLOOR)
    return tables("space-circle", "Space, circle", SPACE, series, note)


def space_sphere(
    meshes: Meshes = SPHERE_MESHES, *, rtol: ByDegree = SPHERE_RTOL, positions: int = 1
) -> list[Table]:
    """Mesh refinement on the sphere, against the zonal quantile function (docs/theory.md, (13))."""
    kappa, end = 1.0, 0.2
    series = _space(2, meshes, rtol, lambda _, j: _zonal(kappa, end, 2000, j), positions)
    note = (
        f"von Mises-Fisher teacher, kappa = {kappa:g}, uniform start, t = {end:g}; reference: "
        f"spectral collocation of (13); SDIRK4 with rtol from {max(rtol.values()):g} to "
        f"{min(rtol.values()):g}; directions of the axis: {positions}."
    )
    note += _CHI2 + _FLOOR.format(_SPACE_FLOOR)
    return tables("space-sphere", "Space, sphere", SPACE, series, note)


@cache
def first_eigenvalue(kappa: float, modes: int = 30) -> float:
    """The (double) gap of the von Mises-Fisher weight on the sphere, to 1e-13, kappa up to 16.

    Galerkin for h = sqrt(1 - z^2) g(z) cos(angle) with Legendre polynomials g: no square root is
    left in int nu ((1 - z^2) h'^2 + h^2/(1 - z^2)) dz.
    """
    z, rule = legendre.leggauss(4 * modes)
    value = legendre.legvander(z, modes)
    slope = legendre.legval(z, legendre.legder(np.eye(modes + 1))).T
    nu, sine = (rule * np.exp(kappa * (z - 1)))[:, None], (1 - z * z)[:, None]
    bend = sine * slope - z[:, None] * value
    stiffness = (nu * bend).T @ bend + (nu * value).T @ value
    return float(eigh(stiffness, (nu * sine * value).T @ value, eigvals_only=True)[0])


def eigenvalues_sphere(
    meshes: Meshes = GAP_MESHES, *, kappa: ByDegree = GAP_KAPPA, floor: float = 2e-13
) -> list[Table]:
    """Mesh refinement of the spectral gap on the sphere, against a Legendre-Galerkin value."""
    found = []
    for degree, counts in meshes.items():
        exact, teacher = first_eigenvalue(kappa[degree]), ufd.VonMisesFisher(AXIS, kappa[degree])
        label = f"degree {degree}, kappa {kappa[degree]:g}"
        series = Refinement(label, {GAP: 2 * degree}, {GAP: floor})
        for n in counts:
            options = {"cells": n, "degree": degree, "comm": MPI.COMM_SELF}
            gap = np.asarray(ufd.spectral_gap(teacher, count=2, **options))
            nodes = 10 * 4**n + 2 if degree == 1 else 6 * (n * degree) ** 2 + 2
            error = float(np.abs(gap / exact - 1).max())
            series.add([n, nodes], _width(2, degree, n), {GAP: error})
        found.append(series)
    note = (
        "Relative error of the gap, a double eigenvalue, of a von Mises-Fisher teacher, against "
        "Legendre polynomials in z. Predicted: 2k." + _FLOOR.format(f"round-off, {floor:g}")
    )
    return tables("eigenvalue-sphere", "Spectral gap, sphere", SPACE, found, note)


def _time(
    solve: Callable[..., tuple[float, float]], end: float, steps: Sequence[int], floors: dict
) -> list[Refinement]:
    found = []
    for order, (label, stepper) in enumerate(METHODS.items(), start=1):
        series = Refinement(label, {L1: order, CHI2: order}, floors)
        for n in steps:
            series.add([n], end / n, _averaged([solve(stepper=stepper(), dt=end / n)]))
        found.append(series)
    return found


def time_circle(
    steps: Sequence[int] = STEPS, *, a: float = 0.5, end: float = 1.0, cells: int = 48
) -> list[Table]:
    """Fixed steps on the circle, against the Kepler-Bessel solution, degree 8."""
    exact = _kepler(a, end, 1001)

    def error(**options: Any) -> tuple[float, float]:
        return exact.distance(exact.solve(cells=cells, degree=8, **options))

    floors = _floors(error(dt=end / (4 * max(steps))))
    note = (
        f"Uniform teacher, exact solution (16), a = {a:g}, t = {end:g}; degree 8, {cells} cells. "
        "Predicted: the order of the method."
    ) + _FLOOR.format("five times what SDIRK4 leaves with a quarter of the smallest step")
    series = _time(error, end, steps, floors)
    return tables("time-circle", "Time, circle", TIME, series, note)


def time_sphere(steps: Sequence[int] = STEPS, *, cells: int = 2, degree: int = 4) -> list[Table]:
    """Fixed steps on the sphere, against SDIRK4 with far smaller steps on the same mesh."""
    kappa, end = 1.0, 0.2
    exact = _zonal(kappa, end, 500)
    reference = exact.solve(cells=cells, degree=degree, dt=end / (4 * max(steps)))

    def error(**options: Any) -> tuple[float, float]:
        return exact.distance(exact.solve(cells=cells, degree=degree, **options), reference)

    note = (
        f"von Mises-Fisher teacher, kappa = {kappa:g}, uniform start, t = {end:g}; degree {degree} "
        f"with {cells} cells per cube edge, against SDIRK4 with a quarter of the smallest step on "
        "the same mesh. Predicted: the order of the method." + _FLOOR.format(f"{_ROUND_OFF:g}")
    )
    series = _time(error, end, steps, dict.fromkeys((L1, CHI2), _ROUND_OFF))
    return tables("time-sphere", "Time, sphere", TIME, series, note)


def studies(full: bool = False) -> list[Callable[[], list[Table]]]:
    """The five studies, the dearest first, each on one rank.

    Args:
        full: More positions and smaller steps, for minutes.
    """
    steps = (*STEPS, 2 * STEPS[-1]) if full else STEPS
    return [
        lambda: space_sphere(positions=6 if full else 1),
        lambda: space_circle(positions=16 if full else 4),
        lambda: time_sphere(steps, degree=8 if full else 4),
        lambda: time_circle(steps),
        eigenvalues_sphere,
    ]


def merged(found: Sequence[list[Table]]) -> list[Table]:
    """One table of the orders of all studies, then the errors of each."""
    note = (
        "Slopes of log(error) against log(size); their errors: scatter and drift of local orders, "
        "in quadrature. The notes below say what was solved, the predictions and the floors."
    )
    rows = [row for orders, _ in found for row in orders["rows"]]
    head = {"id": "orders", "title": "Orders of convergence", "columns": list(SUMMARY)}
    return [head | {"rows": rows, "note": note}, *(errors for _, errors in found)]

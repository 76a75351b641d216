"""Random problems whose true rates are known from solvers without finite elements.

Teachers are mixtures of one to three von Mises-Fisher densities, with or without a uniform part,
starts likewise or uniform. The eigenvalues of the weighted Laplacian and the start's amplitudes
come from Galerkin's method in Fourier modes (circle) or spherical harmonics (sphere): the slowest
mode with more than 1e-6 of the start's |w - 1| decides at which rate a run ends.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.special import sph_harm_y

import ufd
from ufd.problem.densities import Density, density_at

Array = NDArray[np.float64]
EXPONENTS = (0.5, 1.0, 1.5, 2.0, 3.0)
ENDS = (2.0, 3.0, 6.0, 12.0, 20.0)
KINDS = ("amplitude", "divergence, modes known", "divergence, no modes")
MODES = 6
_EXCITED = 1e-6
_FOURIER, _HARMONICS = 48, 22


@dataclass(frozen=True, eq=False)
class RandomProblem:
    """One draw.

    Attributes:
        problem: What is solved.
        eigenvalues: First eigenvalues of the weighted Laplacian, ascending, without 0.
        excited: Number of the slowest mode that the start excites.
    """

    problem: ufd.UltraFastDiffusion
    eigenvalues: Array
    excited: int

    @property
    def gap(self) -> float:
        """The first eigenvalue: the unit of time."""
        return float(self.eigenvalues[0])

    @property
    def rate(self) -> float:
        """The rate at which the amplitude of the run falls in the end."""
        return float(self.eigenvalues[self.excited])


def draw(seed: int, dim: int) -> RandomProblem:
    """The problem of a seed."""
    rng = np.random.default_rng([seed, dim])
    sphere = ufd.Sphere(dim)
    teacher = _mixture(rng, sphere)
    start = ufd.Uniform(sphere) if rng.random() < 0.3 else _mixture(rng, sphere)
    p = float(rng.choice(EXPONENTS))
    problem = ufd.UltraFastDiffusion(teacher, start, ufd.PowerDivergence(p))
    eigenvalues, shares = modes_of(teacher, start)
    excited = int(np.flatnonzero(shares > _EXCITED)[0])
    return RandomProblem(problem, eigenvalues, excited)


def _mixture(rng: np.random.Generator, sphere: ufd.Sphere) -> Density:
    parts: list[Any] = [
        ufd.VonMisesFisher(rng.normal(size=sphere.ambient_dim), rng.uniform(1, 10))
        for _ in range(rng.integers(1, 4))
    ]
    if rng.random() < 0.5:
        parts.append(ufd.Uniform(sphere))
    if len(parts) == 1:
        return parts[0]
    weights = rng.dirichlet(np.full(len(parts), 3.0))
    return ufd.Mixture(parts, list(weights / weights.sum()))


def modes_of(teacher: Density, start: Density, count: int = 12) -> tuple[Array, Array]:
    """Eigenvalues, and the share of the start's |w - 1| in L2(nu) of each eigenspace's modes."""
    sphere = teacher.manifold
    values, gradients, x, weights = (_fourier if sphere.dim == 1 else _spherical)()
    nu, mu = density_at(teacher, x) * weights, density_at(start, x) * weights
    mass = (values * nu) @ values.T
    stiff = sum((g * nu) @ g.T for g in gradients)
    eigenvalues, vectors = eigh(stiff, mass, subset_by_index=(0, count))
    amplitudes = vectors[:, 1:].T @ (values @ (mu - nu))
    distance = np.sqrt(np.sum((mu / nu - 1) ** 2 * nu))
    # A multiple eigenvalue has one amplitude, however its vectors are turned.
    found = eigenvalues[1:]
    same = np.abs(found[:, None] / found - 1) < 1e-7
    return found, np.sqrt(same @ amplitudes**2) / distance


def _fourier() -> tuple[Array, list[Array], Array, Array]:
    """Values (modes, points) and derivatives of 1, cos kx, sin kx; points and weights."""
    n = 16 * _FOURIER
    angle = 2 * np.pi * np.arange(n) / n
    k = np.arange(1, _FOURIER + 1)[:, None]
    cosine, sine = np.cos(k * angle), np.sin(k * angle)
    values = np.concatenate([np.ones((1, n)), cosine, sine])
    slopes = np.concatenate([np.zeros((1, n)), -k * sine, k * cosine])
    points = np.column_stack([np.cos(angle), np.sin(angle)])
    return values, [slopes], points, np.full(n, 2 * np.pi / n)


_SPHERICAL: list[Any] = []


def _spherical() -> tuple[Array, list[Array], Array, Array]:
    """The same for real spherical harmonics, with both components of the gradient."""
    if _SPHERICAL:
        return _SPHERICAL[0]
    L = _HARMONICS
    z, wz = np.polynomial.legendre.leggauss(2 * L + 12)
    turns = 4 * L + 24
    azimuth = 2 * np.pi * np.arange(turns) / turns
    theta, phi = (a.ravel() for a in np.meshgrid(np.arccos(z), azimuth, indexing="ij"))
    weights = np.repeat(wz, turns) * 2 * np.pi / turns
    values, polar, around = [], [], []
    for l in range(L + 1):
        for m in range(l + 1):
            y, dy = sph_harm_y(l, m, theta, phi, diff_n=1)
            parts = (np.real,) if m == 0 else (np.real, np.imag)
            for part in parts:
                values.append(part(y))
                polar.append(part(dy[:, 0]))
                around.append(part(dy[:, 1]) / np.sin(theta))
    points = np.column_stack(
        [np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)]
    )
    _SPHERICAL.append((np.array(values), [np.array(polar), np.array(around)], points, weights))
    return _SPHERICAL[0]


@dataclass(frozen=True)
class Judged:
    """What became of one rate.

    Attributes:
        kind: One of ``KINDS``.
        end: Of the run, over the gap.
        due: Whether the run was small for long enough: |w - 1| below 0.05 for three e-foldings.
        accepted: Whether a rate was given.
        wrong: Whether it is off by more than 0.5 % and three standard errors, or its error is
            above a tenth.
        error: Relative standard error; not a number if refused.
    """

    kind: str
    end: float
    due: bool
    accepted: bool
    wrong: bool
    error: float


def judged(seed: int, dim: int) -> list[Judged]:
    """Solve the problem of a seed to the last end, and fit at every end as if it were the last."""
    here = draw(seed, dim)
    cells = {} if dim == 1 else {"cells": 3}
    whole = ufd.solve(
        here.problem, [end / here.gap for end in ENDS], modes=MODES, comm=MPI.COMM_SELF, **cells
    )
    return [
        _judged(_until(whole, end / here.gap, kind), here, kind, end)
        for end in ENDS
        for kind in KINDS
    ]


def _until(whole: Any, end: float, kind: str) -> Any:
    count = int(np.searchsorted(whole.series["t"], end * (1 + 1e-9), "right"))
    series = {name: values[:count] for name, values in whole.series.items()}
    spectrum = None if kind == KINDS[2] else whole.spectrum
    return replace(whole, series=series, spectrum=spectrum)


def _judged(run: Any, here: RandomProblem, kind: str, end: float) -> Judged:
    truth = here.rate * (1 if kind == KINDS[0] else 2)
    distance, t = np.sqrt(run.series["chi2"]), run.series["t"]
    small = np.flatnonzero(distance < 0.05)
    due = len(small) > 0 and t[-1] - t[small[0]] >= 3 / here.rate
    try:
        fit = run.fit_rate("amplitude" if kind == KINDS[0] else "divergence")
    except ufd.InputError:
        return Judged(kind, end, bool(due), False, False, float("nan"))
    off = abs(fit.rate - truth) > max(5e-3 * truth, 3 * fit.stderr)
    wrong = off or fit.stderr > 0.1 * fit.rate
    return Judged(kind, end, bool(due), True, bool(wrong), fit.stderr / fit.rate)

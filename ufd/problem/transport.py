"""The Wasserstein distance W2 for the geodesic distance; laws in the forms of `distances`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ufd.exceptions import InputError, SolverError
from ufd.problem.laws import Atoms, Law, Manifold, Smooth, read
from ufd.problem.manifolds import Torus
from ufd.problem.peaks import line_law

Array = NDArray[np.float64]
_MAX_ATOMS = 4000
# Angles at which a distribution function is tabulated, cells and nodes of integrals over levels.
_GRID, _CELLS, _NODES = 16384, 1024, 5
# Such densities are too narrow for them: the largest relative to the mean, a mass that is off,
# distribution functions of all angles and of every other that differ.
_PEAK, _OFF, _DIFFERENT = 300.0, 1e-6, 1e-6
# Points of a table to a panel, where panels follow the peaks.
_EACH = 64
# Half of the first and the last bracket of an optimal shift.
_NEAR, _CLOSE = 1e-7, 4e-16


def wasserstein(a: Any, b: Any, *, manifold: Manifold | None = None) -> float:
    """W2, the square root of the least mean squared geodesic distance of a coupling.

    On circles (S^1, or a torus of dimension 1) by quantile functions F^-1, G^-1 and the optimal
    shift, min over alpha of int |F^-1(s) - G^-1(s - alpha)|^2 ds, a convex function (derived in
    docs/theory.md): to rounding for atoms; for densities by their quantiles, tabulated at 16384
    angles, with an error of some 1e-7 in the coordinate if they are smooth on that scale; narrower
    densities are tabulated where their mass is.
    Elsewhere by the network simplex method, between at most 4000 atoms each.

    Args:
        a: A law, see `distances`.
        b: Another.
        manifold: Of atoms, where no density tells; default a sphere.

    Raises:
        InputError: If an argument is no law, the two live on different manifolds, or, off the
            circle, a law has a density or more than 4000 atoms.
        SolverError: If the network simplex method does not finish.
    """
    x, y = read("wasserstein", manifold, a=a, b=b)
    if x.manifold.dim == 1:
        m = x.manifold
        length = m.period if isinstance(m, Torus) else 2 * math.pi
        squared = _least_cost(_quantiles(x), _quantiles(y))
        return length * math.sqrt(max(squared, 0.0))
    return _network_simplex(x, y)


@dataclass(frozen=True, eq=False)
class _Quantiles:
    """Quantile function of a law on a circle of length 1, cut at 0.

    Args:
        levels: (k,) between which it is smooth; ascending up to 1 if it jumps.
        at: Its value in [0, 1] at levels in (0, 1).
        jumps: Whether it is constant between the levels.
    """

    levels: Array
    at: Callable[[Array], Array]
    jumps: bool

    def __call__(self, s: Array) -> Array:
        """Extended by G^-1(s + 1) = G^-1(s) + 1."""
        turns = np.floor(s)
        return self.at(s - turns) + turns


def _quantiles(law: Law) -> _Quantiles:
    if isinstance(law, Atoms):
        x = _coordinate(law.manifold, law.points)
        ascending = np.argsort(x)
        x, levels = x[ascending], np.cumsum(law.weights[ascending])
        levels = levels / levels[-1]
        return _Quantiles(levels, lambda s: x[np.searchsorted(levels, s)], True)
    from scipy.interpolate import PchipInterpolator

    x, distribution = _table(law)
    # Levels closer than rounding have no inverse; nothing is transported between them.
    rising = np.concatenate([[True], np.diff(np.maximum.accumulate(distribution)) > 1e-15])
    inverse = PchipInterpolator(distribution[rising], x[rising])
    # Cells that are short in the level where there is mass and in the coordinate where not.
    some = np.append(distribution[: -1 : len(x) // _CELLS], 1.0)
    cells = np.concatenate([np.arange(1, _CELLS + 1) / _CELLS, np.clip(some, 0, 1)])
    return _Quantiles(cells, lambda s: np.clip(inverse(s), 0, 1), False)


def _coordinate(manifold: Manifold, points: Array) -> Array:
    if isinstance(manifold, Torus):
        return points[:, 0] / manifold.period
    return np.mod(np.arctan2(points[:, 1], points[:, 0]) / (2 * np.pi), 1.0)


def _table(law: Smooth) -> tuple[Array, Array]:
    """Coordinates of [0, 1] and the distribution function there.

    At equispaced ones if they are close enough, else where the density is.

    Raises:
        InputError: If a density is too narrow and known by its values only, or too sharp.
    """
    x = np.arange(_GRID) / _GRID
    angle = 2 * np.pi * x
    on_circle = np.column_stack([np.cos(angle), np.sin(angle)])
    torus = law.manifold
    length = torus.period if isinstance(torus, Torus) else 2 * np.pi
    values = law.density(x[:, None] * length if isinstance(torus, Torus) else on_circle)
    mean = values.mean()
    narrow = not abs(mean * length - 1) <= _OFF or values.max() > _PEAK * mean
    if not narrow:
        distribution, half = _distribution(values), _distribution(values[::2])
        narrow = np.max(np.abs(distribution[::2] - half)) > _DIFFERENT
    if not narrow:
        return np.append(x, 1.0), distribution
    if law.source is None:
        raise InputError(
            f"wasserstein: a density with peaks {values.max() * length:.3g} times the mean, of "
            f"mass {mean * length:.6g} at {_GRID} angles, is too narrow for them; "
            "give draws of it as (points, None)"
        )
    panels, _, length = line_law(law.source)
    places, distribution = panels.table(_EACH)
    return places / length, distribution


def _distribution(values: Array) -> Array:
    """Distribution function at equispaced coordinates and 1: Fourier modes integrated."""
    count = len(values)
    modes = np.fft.rfft(values / values.mean())
    k = np.arange(len(modes))
    modes[1:] /= 2j * np.pi * k[1:]
    modes[0] = 0
    modes[-1] = 0  # the integral of the highest cosine vanishes on the grid
    wave = np.fft.irfft(modes, count)
    return np.append(np.arange(count) / count + wave - wave[0], 1.0)


def _least_cost(f: _Quantiles, g: _Quantiles) -> float:
    from scipy.optimize import minimize_scalar

    nodes, weights = np.polynomial.legendre.leggauss(1 if f.jumps and g.jumps else _NODES)

    def cost(shift: float) -> float:
        cuts = np.concatenate([[0.0, 1.0], f.levels, np.mod(g.levels + shift, 1.0)])
        cuts.sort()
        lengths = np.diff(cuts)
        s = (cuts[:-1] + lengths / 2)[:, None] + lengths[:, None] / 2 * nodes
        return float(lengths / 2 @ ((f(s) - g(s - shift)) ** 2 @ weights))

    best = minimize_scalar(cost, bounds=(-1.5, 1.5), method="bounded", options={"xatol": 1e-10})
    costs = [float(best.fun), cost(0.0)]
    if not (f.jumps and g.jumps):
        # A kink, where narrow densities lie apart: a shift by eps carries eps around the circle.
        costs.append(_golden(cost, float(best.x)))
    if f.jumps and g.jumps:
        # Between atoms the cost is piecewise linear: its minimum is at a shift that aligns levels.
        aligned = _alignments(f.levels, g.levels, float(best.x))
        costs += [cost(shift) for shift in aligned]
    return min(costs)


def _golden(cost: Callable[[float], float], near: float) -> float:
    """The minimum of a convex function close to a point, by golden sections down to round-off."""
    ratio = (math.sqrt(5) - 1) / 2
    low, high = near - _NEAR, near + _NEAR
    a, b = high - ratio * (high - low), low + ratio * (high - low)
    at_a, at_b = cost(a), cost(b)
    while high - low > _CLOSE:
        if at_a < at_b:
            high, b, at_b = b, a, at_a
            a = high - ratio * (high - low)
            at_a = cost(a)
        else:
            low, a, at_a = a, b, at_b
            b = low + ratio * (high - low)
            at_b = cost(b)
    return min(at_a, at_b)


def _alignments(f: Array, g: Array, shift: float) -> tuple[float, float]:
    """The nearest shifts above and below at which a level of f meets one of g."""
    targets = np.mod(f - shift, 1.0)
    wrapped = np.concatenate([[g[-1] - 1], g, [g[0] + 1]])
    above = np.searchsorted(wrapped, targets)
    gaps = wrapped[above] - targets, targets - wrapped[above - 1]
    return shift - float(gaps[0].min()), shift + float(gaps[1].min())


def _network_simplex(x: Law, y: Law) -> float:
    manifold = x.manifold
    for law in (x, y):
        if not isinstance(law, Atoms):
            raise InputError(
                f"wasserstein: a density on {manifold}; atoms needed off the circle: give "
                "independent draws or deterministic positions for it"
            )
        if len(law.points) > _MAX_ATOMS:
            raise InputError(
                f"wasserstein: {len(law.points)} points on {manifold}, at most {_MAX_ATOMS} "
                "off the circle; give a subsample, or use mmd"
            )
    assert isinstance(x, Atoms) and isinstance(y, Atoms)
    import ot

    cost = _squared_distances(manifold, x.points, y.points)
    value, log = ot.emd2(x.weights, y.weights, cost, numItermax=10_000_000, log=True)
    if log["warning"] is not None:
        raise SolverError(f"wasserstein: {' '.join(str(log['warning']).split())}")
    return math.sqrt(max(float(value), 0.0))


def _squared_distances(manifold: Manifold, p: Array, q: Array) -> Array:
    """Squared geodesic distances, (len(p), len(q))."""
    if isinstance(manifold, Torus):
        return np.sum(manifold.shortest(p[:, None] - q) ** 2, axis=2)
    from scipy.spatial.distance import cdist

    # arccos(p.q) would lose half the digits of short distances.
    return (2 * np.arcsin(np.clip(cdist(p, q) / 2, 0, 1))) ** 2

"""Starting positions of particles: random draws, and quantiles of equal weight.

Both carry points of the unit cube to the manifold by the inverses of one-dimensional
distribution functions: of the angle on a circle; of the angle from the axis of a zonal density,
with a uniform direction across it; of every coordinate of a product on a torus; and for any
density on a surface, of one coordinate and then of the other given the first, the map of Knothe
and Rosenblatt (Santambrogio, Optimal Transport for Applied Mathematicians, 2015, section 2.3).
"""

from __future__ import annotations

import math
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ufd.exceptions import InputError
from ufd.problem.checks import shown
from ufd.problem.densities import Density, Mixture, Uniform
from ufd.problem.euclidean import Euclidean, Gaussian
from ufd.problem.manifolds import Sphere, Torus
from ufd.problem.panels import PanelLaws
from ufd.problem.peaks import LINE, angles, approached, edges_of, known_mass, line_law
from ufd.problem.torus import PeriodicCauchy

Array = NDArray[np.float64]
# First panels of each row of a surface; rows at a time.
_ROW, _MAX_ROWS = 8, 1024
_GOLDEN = (math.sqrt(5) - 1) / 2


def independent(density: Density, count: int, rng: np.random.Generator) -> Array:
    """Draw independent points from a density.

    Args:
        density: Any on the circle, S^2 and tori of dim 1 and 2; beyond these one with a single
            axis, a product of `PeriodicCauchy`, the uniform one, or a mixture of such.
        count: Of points, at least 1.
        rng: Source of the randomness.

    Returns:
        (count, ambient_dim) points of the manifold.

    Raises:
        InputError: If an argument is of the wrong kind, or the density is none of these.
    """
    count = _checked("independent", density, count)
    if not isinstance(rng, np.random.Generator):
        raise InputError(
            f"independent: rng = {shown(rng)} must be a generator; use numpy.random.default_rng"
        )
    if isinstance(density, Mixture):
        weights = np.array(density.weights)
        counts = rng.multinomial(count, weights / weights.sum())
        parts = [
            independent(c, n, rng) for c, n in zip(density.components, counts, strict=True) if n
        ]
        return rng.permutation(np.concatenate(parts))
    # The normal quantile of 0 is infinite.
    cube = np.maximum(rng.random((count, _cube_dim(density.manifold))), 2.0**-54)
    return _transport("independent", density, cube)


def quantiles(density: Density, count: int) -> Array:
    """Spread points of equal weight over a density, always the same ones.

    On a circle the distribution function from the origin takes the values (i + 1/2)/count. On a
    surface, a lattice of the square by the golden ratio is transported: for the uniform density
    on S^2 it is Fibonacci's. Beyond, Sobol's sequence, and the parts of a mixture share the
    count by largest remainders.

    Args:
        density: As for `independent`.
        count: Of points, at least 1.

    Returns:
        (count, ambient_dim) points of the manifold.

    Raises:
        InputError: If an argument is of the wrong kind, or the density is none of these.
    """
    count = _checked("quantiles", density, count)
    manifold = density.manifold
    if isinstance(density, Mixture) and manifold.dim > 2 and _pole(density) is None:
        shares = count * np.array(density.weights)
        counts = np.floor(shares).astype(int)
        last = np.argsort(counts - shares, kind="stable")
        counts[last[: count - counts.sum()]] += 1
        parts = [quantiles(c, n) for c, n in zip(density.components, counts, strict=True) if n]
        return np.concatenate(parts)
    return _transport("quantiles", density, _lattice(count, _cube_dim(manifold)))


def _checked(owner: str, density: Any, count: Any) -> int:
    if not isinstance(getattr(density, "manifold", None), Sphere | Torus | Euclidean):
        raise InputError(f"{owner}: density = {shown(density)} is no density; use ufd.density")
    if isinstance(count, bool) or not isinstance(count, Integral) or count < 1:
        raise InputError(f"{owner}: count = {shown(count)} must be a positive integer")
    return int(count)


def _cube_dim(manifold: Sphere | Torus) -> int:
    """Numbers that make a point: on spheres beyond S^2 a polar one and ``dim`` normal ones."""
    on_high_sphere = isinstance(manifold, Sphere) and manifold.dim > 2
    return manifold.dim + 1 if on_high_sphere else manifold.dim


def _lattice(count: int, dim: int) -> Array:
    """Points of low discrepancy inside the unit cube, (count, dim), stratified in the first."""
    index = np.arange(count)
    first = (index + 0.5) / count
    if dim == 1:
        return first[:, None]
    if dim == 2:
        return np.column_stack([first, index * _GOLDEN % 1])
    from scipy.stats import qmc

    if dim - 1 > qmc.Sobol.MAXDIM:
        raise InputError(
            f"quantiles: {dim} coordinates are beyond Sobol's sequence of {qmc.Sobol.MAXDIM}; "
            'use start="iid"'
        )
    # Middles of cells: neither 0, of infinite quantile, nor 1/2, of which all is no direction.
    bits = max(1, (count - 1).bit_length())
    sobol = qmc.Sobol(dim - 1, scramble=False).random_base2(bits)[:count] + 0.5 / 2**bits
    return np.column_stack([first, sobol])


def _transport(owner: str, density: Density, cube: Array) -> Array:
    """Points of the manifold that uniform points inside the cube become."""
    manifold: Any = density.manifold
    pole = _pole(density)
    if isinstance(density, Gaussian):
        points = density.from_cube(cube)
    elif manifold.dim == 1:
        points = _on_line(density, cube[:, 0])
    elif isinstance(manifold, Torus) and isinstance(density, Uniform):
        points = manifold.period * cube
    elif isinstance(density, PeriodicCauchy):
        factors = [PeriodicCauchy(density.gamma, [c], manifold.period) for c in density.centre]
        columns = [_on_line(f, u) for f, u in zip(factors, cube.T, strict=True)]
        points = np.concatenate(columns, axis=1)
    elif pole is not None:
        points = _about_axis(density, pole, cube)
    elif manifold.dim == 2:
        points = _on_surface(density, cube)
    else:
        raise InputError(
            f"{owner}: {type(density).__name__} on a manifold of dim = {manifold.dim} is neither "
            "zonal nor a product; give a closed form, or a Mixture of closed forms"
        )
    return manifold.retract(points)


def _pole(density: Density) -> Array | None:
    """An axis about which a density on a sphere is symmetric; None where none is known."""
    axes = density.axes() if isinstance(density.manifold, Sphere) else None
    if axes is None or not len(axes):
        return None if axes is None else _last(density.manifold.ambient_dim)
    across = axes - np.outer(axes @ axes[0], axes[0])
    return axes[0] if np.abs(across).max() <= 1e-15 else None


def _last(size: int) -> Array:
    """The last axis of R^size."""
    return np.eye(1, size, size - 1)[0]


def _on_line(density: Any, u: Array) -> Array:
    """On the circle by the angle from the first ambient axis; on a torus by the coordinate."""
    law, points, _ = line_law(density)
    return points(law.inverse(np.zeros(len(u), int), u))


def _about_axis(density: Density, pole: Array, cube: Array) -> Array:
    """The angle from the pole by its law, and a uniform direction across the pole."""
    dim = density.manifold.dim

    def log_law(_: Any, angle: Array) -> Array:
        across = np.eye(1, dim).repeat(len(angle), axis=0)
        points = _turned(_polar(angle, across), pole)
        return density.log_density(points) + (dim - 1) * np.log(np.sin(angle))

    def make(approach: bool) -> PanelLaws:
        ends = approached(np.zeros(1), np.pi) if approach else np.empty(0)
        return PanelLaws(log_law, 1, edges_of(np.pi, LINE, ends), noisy=approach)

    law = known_mass(make, -Sphere(dim - 1).log_area)
    angle = law.inverse(np.zeros(len(cube), int), cube[:, 0])
    if dim == 2:
        turn = 2 * np.pi * cube[:, 1]
        across = np.column_stack([np.cos(turn), np.sin(turn)])
    else:
        from scipy.special import ndtri

        normal = ndtri(cube[:, 1:])
        across = normal / np.linalg.norm(normal, axis=1, keepdims=True)
    return _turned(_polar(angle, across), pole)


def _polar(angle: Array, across: Array) -> Array:
    """Points at angles (n,) from the last axis, in directions (n, dim) across it."""
    return np.column_stack([np.sin(angle)[:, None] * across, np.cos(angle)])


def _turned(points: Array, pole: Array) -> Array:
    """Points turned by an orthogonal map that takes the last axis to the pole."""
    last = _last(len(pole))
    # Two reflections, or one where the pole is below: the mirrors are then never near zero.
    sign = math.copysign(1.0, pole[-1])
    mirror = pole + sign * last
    flipped = points * (1 - (1 + sign) * last)
    return flipped - np.outer(flipped @ mirror, mirror * (2 / (mirror @ mirror)))


def _on_surface(density: Density, square: Array) -> Array:
    """One coordinate by its law, then the other by its law given the first."""
    manifold: Any = density.manifold
    first_marks = second_marks = np.empty(0)
    if isinstance(manifold, Torus):
        lengths = manifold.period, manifold.period

        def chart(s: Array, t: Array) -> Array:
            return np.column_stack([s, t])

        def log_area(s: Array) -> Array:
            return np.zeros_like(s)
    else:
        lengths = np.pi, 2 * np.pi
        pole, axes = _last(3), density.axes()
        if axes is not None:
            # The sharpest peak: it then depends on the first coordinate only.
            pole = axes[np.argmax(density.log_density(axes))]
            x, y, z = _turned(np.eye(3), pole) @ axes.T
            first_marks, second_marks = np.arccos(np.clip(z, -1, 1)), angles(x, y)

        def chart(s: Array, t: Array) -> Array:
            across = np.column_stack([np.cos(t), np.sin(t)])
            return _turned(_polar(s, across), pole)

        def log_area(s: Array) -> Array:
            return np.log(np.sin(s))

    edges, noisy = np.empty(0), False

    def rows(s: Array) -> PanelLaws:
        return PanelLaws(lambda row, t: density.log_density(chart(s[row], t)), len(s), edges, noisy)

    def log_marginal(_: Any, s: Array) -> Array:
        return np.concatenate([rows(part).log_mass for part in _parts(s)]) + log_area(s)

    def make(approach: bool) -> PanelLaws:
        nonlocal edges, noisy
        noisy = approach
        first, second = first_marks, second_marks
        if approach:
            first, second = approached(first, lengths[0]), approached(second, lengths[1])
        edges = edges_of(lengths[1], _ROW, second)
        return PanelLaws(log_marginal, 1, edges_of(lengths[0], LINE, first), noisy=approach)

    law = known_mass(make, 0.0)
    s = law.inverse(np.zeros(len(square), int), square[:, 0])
    t = [
        rows(part).inverse(np.arange(len(part)), u)
        for part, u in zip(_parts(s), _parts(square[:, 1]), strict=True)
    ]
    return chart(s, np.concatenate(t))


def _parts(values: Array) -> list[Array]:
    """Few values at a time, for the memory that their rows take."""
    return np.array_split(values, -(-len(values) // _MAX_ROWS))

"""Distances between laws, singular or not: energy (MMD), negative Sobolev norms.

Every function takes laws in any of these forms:

* ``(points, weights)``, (n, ambient_dim) and (n,) of sum 1, or None for equal weights;
* a `Measure`, or anything with a ``measure`` and without a ``density``: point masses, which must
  be complete on this rank, except in `sobolev_distance`;
* a `Density`;
* a state with a ``manifold`` and a method ``density(points)``.

Densities are compared through their harmonics (`expansions`), not as sums of point masses, which
would leave a false floor. For W2 see `transport`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ufd.exceptions import InputError
from ufd.problem.checks import number, shown
from ufd.problem.expansions import Harmonic, Zonal, expansion, padded
from ufd.problem.harmonics import basis, degrees, laplacian_eigenvalues
from ufd.problem.laws import Atoms, Law, Manifold, Smooth, read, rows_at_once
from ufd.problem.manifolds import Sphere, Torus

Array = NDArray[np.float64]


def mmd(a: Any, b: Any, *, manifold: Manifold | None = None) -> float:
    """Energy distance, the maximum mean discrepancy of the kernel -|x - y|.

    MMD^2 = 2 E|X - Y| - E|X - X'| - E|Y - Y'| with the chordal distance, on tori that of
    `Torus.embed`: a metric between laws (derived in docs/theory.md). Atoms enter by all their
    pairs, in O(n log n) on the circle; densities by their harmonics, to rounding if they are
    smooth. Where MMD^2 comes as a difference of these terms its error is some 1e-15; two densities
    on S^1, S^2 or a torus are subtracted before they are squared.

    Args:
        a: A law, see the module.
        b: Another.
        manifold: Of atoms, where no density tells; default a sphere.

    Raises:
        InputError: If an argument is no law, the two live on different manifolds, or a density is
            out of reach of the harmonics (see `expansion`).
    """
    x, y = read("mmd", manifold, a=a, b=b)
    if isinstance(x, Smooth):
        x, y = y, x
    if isinstance(x, Smooth):
        assert isinstance(y, Smooth)
        squared = _difference(expansion("mmd", x), expansion("mmd", y)).form()
    elif isinstance(y, Smooth):
        law = expansion("mmd", y)
        potential = float(x.weights @ law.potential(x.points))
        squared = law.form() - 2 * potential - _mean_distance(x, x)
    else:
        squared = 2 * _mean_distance(x, y) - _mean_distance(x, x) - _mean_distance(y, y)
    return math.sqrt(max(squared, 0.0))


def resolved(a: Any, *, manifold: Manifold | None = None) -> Law:
    """A law read once, for many distances: a density keeps its harmonics.

    Args:
        a: A law, see the module.
        manifold: See `mmd`.

    Raises:
        InputError: See `mmd`.
    """
    (law,) = read("resolved", manifold, a=a)
    return replace(law, known=expansion("resolved", law)) if isinstance(law, Smooth) else law


def energy(a: Any, *, manifold: Manifold | None = None) -> float:
    """E|X - X'| of two independent draws from a law; 4/pi and 4/3 for uniform ones on S^1, S^2.

    Args:
        a: A law, see the module.
        manifold: Of atoms; default a sphere.

    Raises:
        InputError: As `mmd`.
    """
    return _energy("energy", a, manifold)


def sampling_floor(a: Any, count: int, *, manifold: Manifold | None = None) -> float:
    """Root mean square MMD between a law and ``count`` independent draws from it.

    sqrt(E|X - X'|/count), exactly (derived in docs/theory.md): below it, independent particles
    cannot tell two laws apart.

    Args:
        a: A law, see the module.
        count: Number of draws, at least 1.
        manifold: Of atoms; default a sphere.

    Raises:
        InputError: As `mmd`, or if ``count`` is less than 1.
    """
    return math.sqrt(
        _energy("sampling_floor", a, manifold) / number("sampling_floor", "count", count, 1)
    )


def sobolev_distance(
    a: Any, b: Any, s: float, degree: int | None = None, *, manifold: Manifold | None = None
) -> float:
    """Distance in H^-s on S^1 and S^2, sqrt(sum_l (1 + Lambda_l)^-s sum_m |Delta_lm|^2).

    Delta_lm are the differences of the harmonic moments (orthonormal with respect to the uniform
    probability) and Lambda_l = l (l + dim - 1). The sum ends at ``degree`` = L; for atoms the rest
    of the square is about L^(dim - 2s) sum w_i^2. Moments of densities without closed form are
    known to degree 4096 on the circle and 128 on S^2, and count as zero beyond. Collective for
    a `Measure` of which each rank has a share.

    Args:
        a: A law, see the module.
        b: Another.
        s: Order, at least 0; above dim/2 if a law has atoms, whose distance is infinite else.
        degree: Highest degree; default 2048 on the circle, 64 on S^2.
        manifold: Of atoms, where no density tells; default a sphere.

    Raises:
        InputError: As `mmd`, on other manifolds, or if s or the degree is out of range.
    """
    owner = "sobolev_distance"
    x, y = read(owner, manifold, shares=True, a=a, b=b)
    sphere = x.manifold
    if not isinstance(sphere, Sphere) or sphere.dim > 2:
        raise InputError(f"{owner}: laws on {sphere}; S^1 or S^2 needed, elsewhere use mmd")
    s = number(owner, "s", s, 0.0)
    if s <= sphere.dim / 2 and (isinstance(x, Atoms) or isinstance(y, Atoms)):
        raise InputError(
            f"{owner}: s = {s:g} must exceed {sphere.dim / 2:g}: atoms are not in H^-s"
        )
    degree = (2048, 64)[sphere.dim - 1] if degree is None else degree
    if isinstance(degree, bool) or not isinstance(degree, Integral) or degree < 1:
        raise InputError(f"{owner}: degree = {shown(degree)} is not a positive integer")
    difference = _moments(owner, x, sphere, degree) - _moments(owner, y, sphere, degree)
    weights = (1 + laplacian_eigenvalues(sphere.dim, degree)) ** -s
    return math.sqrt(weights[degrees(sphere, degree)] @ difference**2)


def minimum_image_discrepancy(a: Any, b: Any, *, manifold: Manifold) -> float:
    """What has been published as MMD on tori, with the kernel -(shortest periodic distance).

    NOT a metric: that kernel is not conditionally positive definite. It does not see the even
    modes in dimension 1 and gives some modes negative squares from dimension 2 on (derived in
    docs/theory.md), so that different laws may be at distance zero or below. Meant for
    comparison with published numbers only; use `mmd`.

    Args:
        a: Atoms, see the module.
        b: Others.
        manifold: The torus.

    Returns:
        sign(v) sqrt(|v|) of v = 2 E|X - Y| - E|X - X'| - E|Y - Y'|, all pairs included.

    Raises:
        InputError: As `mmd`, or if the manifold is no torus or a law is no sum of atoms.
    """
    owner = "minimum_image_discrepancy"
    x, y = read(owner, manifold, a=a, b=b)
    if not isinstance(manifold, Torus):
        raise InputError(f"{owner}: manifold = {manifold}; a torus needed, use mmd on spheres")
    if not isinstance(x, Atoms) or not isinstance(y, Atoms):
        raise InputError(f"{owner}: a density given; atoms needed, or use mmd")

    def mean(x: Atoms, y: Atoms) -> float:
        step, total = rows_at_once(len(y.points) * manifold.dim), 0.0
        for i in range(0, len(x.points), step):
            differences = manifold.shortest(x.points[i : i + step, None] - y.points)
            lengths = np.linalg.norm(differences, axis=2)
            total += float(x.weights[i : i + step] @ lengths @ y.weights)
        return total

    squared = 2 * mean(x, y) - mean(x, x) - mean(y, y)
    return math.copysign(math.sqrt(abs(squared)), squared)


def _energy(owner: str, a: Any, manifold: Manifold | None) -> float:
    (x,) = read(owner, manifold, a=a)
    return _mean_distance(x, x) if isinstance(x, Atoms) else -expansion(owner, x).form()


def _difference(x: Any, y: Any) -> Any:
    """The difference of two expansions on one manifold."""
    if isinstance(x, Zonal) and isinstance(y, Zonal) and x.sphere.dim > 2:
        return x.minus(y)
    x, y = (z.harmonic() if isinstance(z, Zonal) else z for z in (x, y))
    return x.minus(y)


def _mean_distance(x: Atoms, y: Atoms) -> float:
    """E|X - Y|, chordal, of independent draws."""
    if x.manifold == Sphere(1):
        return _mean_distance_on_circle(x, y)
    from scipy.spatial.distance import cdist

    torus = x.manifold
    p, q = (torus.embed(z.points) if isinstance(torus, Torus) else z.points for z in (x, y))
    step = rows_at_once(len(q))
    blocks = range(0, len(p), step)
    return float(
        sum(x.weights[i : i + step] @ cdist(p[i : i + step], q) @ y.weights for i in blocks)
    )


def _mean_distance_on_circle(x: Atoms, y: Atoms) -> float:
    """The same by sorting: |x - y| = 2 sin(|difference of angles|/2) for angles in [0, 2 pi)."""
    half, other = (
        np.mod(np.arctan2(z.points[:, 1], z.points[:, 0]), 2 * np.pi) / 2 for z in (x, y)
    )
    ascending = np.argsort(other)
    other, weights = other[ascending], y.weights[ascending]
    below = np.searchsorted(other, half, side="right")

    def imbalance(values: Array) -> Array:
        """Sum over the points below minus sum over those above."""
        sums = np.concatenate([[0.0], np.cumsum(weights * values)])
        return 2 * sums[below] - sums[-1]

    cosines, sines = imbalance(np.cos(other)), imbalance(np.sin(other))
    return float(2 * x.weights @ (np.sin(half) * cosines - np.cos(half) * sines))


def _moments(owner: str, law: Law, sphere: Sphere, degree: int) -> Array:
    """Harmonic moments in the order of `basis`."""
    count = len(degrees(sphere, degree))
    if isinstance(law, Smooth):
        known = expansion(owner, law)
        harmonic = known.harmonic() if isinstance(known, Zonal) else known
        assert isinstance(harmonic, Harmonic)
        return padded(harmonic.moments, count)
    moments, step = np.zeros(count), rows_at_once(count)
    for i in range(0, len(law.points), step):
        moments += law.weights[i : i + step] @ basis(sphere, degree, law.points[i : i + step])
    return law.reduce(moments)

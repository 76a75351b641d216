"""Laws with a density in harmonics, and what the energy kernel -|x - y| makes of them.

|x - y| is the chordal distance: on spheres that of the ambient space, on tori that of
`Torus.embed`. The kernel is expanded with respect to the uniform probability,

    -|x - y| = sum_l e_l N_l P_l(x.y),    e_l > 0 for l >= 1,

and a law by its harmonic moments, so that its potential -E|x - Y| and its form -E|Y - Y'| are
sums that converge as fast as the density is smooth. Moments of densities without closed form come
from a quadrature that is doubled until the last octave of degrees is negligible.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ufd.exceptions import InputError
from ufd.problem.euclidean import Euclidean
from ufd.problem.fourier import Fourier, torus_energy_coefficients
from ufd.problem.harmonics import (
    basis,
    degrees,
    multiplicities,
    zonal_harmonics,
    zonal_sum,
)
from ufd.problem.laws import Smooth, rows_at_once
from ufd.problem.manifolds import Sphere, Torus

Array = NDArray[np.float64]

# The last octave of degrees, in units of the energy distance: negligible, and intolerable.
_SETTLED, _UNRESOLVED = 1e-13, 1e-4
_NEGLIGIBLE, _MASS_TOLERANCE = 1e-17, 1e-2


class Expansion(Protocol):
    """A law with a density, or a difference of two, in harmonics."""

    def potential(self, points: Array) -> Array:
        """-E|x - Y| at (n, ambient_dim) points x; shape (n,)."""

    def form(self) -> float:
        """-E|Y - Y'|; for a difference of laws the square of their energy distance."""


def energy_coefficients(dim: int, degree: int) -> Array:
    """e_0 to e_degree of -|x - y| on S^dim, (degree + 1,).

    Rodrigues' formula and l integrations by parts against sqrt(2 - 2t) leave a Beta integral:
    e_l = -2 (-1/2)_l Gamma((n+1)/2) Gamma(n) / (Gamma(n/2) Gamma(l + n + 1/2)), n = dim. It is
    -4/pi, 4/(3 pi), .. on the circle and 4/((2l-1)(2l+1)(2l+3)) on S^2.
    """
    log_first = (
        math.lgamma((dim + 1) / 2)
        + math.lgamma(dim)
        - math.lgamma(dim / 2)
        - math.lgamma(dim + 0.5)
    )
    before = np.arange(float(degree))
    ratios = (before - 0.5) / (before + dim + 0.5)
    return -2 * math.exp(log_first) * np.cumprod(np.concatenate([[1.0], ratios]))


@dataclass(frozen=True, eq=False)
class Zonal:
    """A sum of zonal parts on a sphere of any dimension.

    Args:
        sphere: The sphere.
        axes: (k, ambient_dim) unit vectors.
        moments: (k, degree + 1) integrals of P_l(axis.x) over each part.
    """

    sphere: Sphere
    axes: Array
    moments: Array

    @property
    def _eigenvalues(self) -> Array:
        degree = self.moments.shape[1] - 1
        dim = self.sphere.dim
        return multiplicities(dim, degree) * energy_coefficients(dim, degree)

    def potential(self, points: Array) -> Array:
        """See `Expansion`."""
        coefficients = self._eigenvalues * self.moments
        parts = zip(self.axes, coefficients, strict=True)
        return sum(
            (zonal_sum(self.sphere.dim, c, points @ a) for a, c in parts), np.zeros(len(points))
        )

    def form(self) -> float:
        """See `Expansion`."""
        cosines = np.clip(self.axes @ self.axes.T, -1, 1)
        harmonics = zonal_harmonics(self.sphere.dim, self.moments.shape[1] - 1, cosines)
        terms = zip(self._eigenvalues, self.moments.T, harmonics, strict=True)
        return float(sum(e * (m @ p @ m) for e, m, p in terms))

    def harmonic(self) -> Harmonic:
        """The same law by its moments in the whole basis (S^1 and S^2): Funk-Hecke."""
        degree = self.moments.shape[1] - 1
        values = basis(self.sphere, degree, self.axes)
        ells = degrees(self.sphere, degree)
        return Harmonic(self.sphere, np.sum(values * self.moments[:, ells], axis=0))

    def minus(self, other: Zonal) -> Zonal:
        """The difference of two laws."""
        width = max(self.moments.shape[1], other.moments.shape[1])
        moments = [
            np.pad(z.moments, ((0, 0), (0, width - z.moments.shape[1]))) for z in (self, other)
        ]
        axes = np.concatenate([self.axes, other.axes])
        return Zonal(self.sphere, axes, np.concatenate([moments[0], -moments[1]]))


@dataclass(frozen=True, eq=False)
class Harmonic:
    """A law on S^1 or S^2 by its moments in `harmonics.basis`.

    Args:
        sphere: S^1 or S^2.
        moments: Integrals of the columns of the basis.
    """

    sphere: Sphere
    moments: Array

    @property
    def degree(self) -> int:
        """Highest degree."""
        count = len(self.moments)
        return (count - 1) // 2 if self.sphere.dim == 1 else math.isqrt(count) - 1

    @property
    def _eigenvalues(self) -> Array:
        ells = degrees(self.sphere, self.degree)
        return energy_coefficients(self.sphere.dim, self.degree)[ells]

    def potential(self, points: Array) -> Array:
        """See `Expansion`."""
        coefficients, degree = self._eigenvalues * self.moments, self.degree
        step = rows_at_once(len(coefficients))
        blocks = [points[i : i + step] for i in range(0, len(points), step)]
        return np.concatenate([basis(self.sphere, degree, x) @ coefficients for x in blocks])

    def form(self) -> float:
        """See `Expansion`."""
        return float(self._eigenvalues @ self.moments**2)

    def minus(self, other: Harmonic) -> Harmonic:
        """The difference of two laws."""
        count = max(len(self.moments), len(other.moments))
        return Harmonic(self.sphere, padded(self.moments, count) - padded(other.moments, count))


def padded(moments: Array, count: int) -> Array:
    """Moments with zeros up to ``count``, or the first ``count`` of them."""
    return np.pad(moments[:count], (0, max(0, count - len(moments))))


def expansion(owner: str, law: Smooth) -> Zonal | Harmonic | Fourier:
    """A law in harmonics, as far as they matter.

    Closed forms are used to degree 4096 on the circle and 512 on other spheres, quadratures to
    degree 4096 on the circle, 128 on S^2, and 1023, 127, 31 in each direction on tori of
    dimension 1, 2, 3.

    Raises:
        InputError: If the manifold has no harmonics here, the density is no probability within
            1e-2, or it is so concentrated that the last octave of degrees counts.
    """
    if law.known is not None:
        return law.known
    if isinstance(law.manifold, Euclidean):
        raise InputError(f"{owner}: a density on R^d has no harmonics; give points of it")
    if isinstance(law.manifold, Torus):
        return _on_torus(owner, law, law.manifold)
    if law.moments(0) is not None:
        return _closed(owner, law, law.manifold)
    if law.manifold.dim > 2:
        raise InputError(
            f"{owner}: a density without closed moments on {law.manifold} has no harmonics here; "
            "give independent draws from it as points"
        )
    return _by_rings(owner, law, law.manifold)


def _doubled(first: int, last: int) -> list[int]:
    return [first << i for i in range((last // first).bit_length())]


def _settled(owner: str, octave: float, degree: int, last: int, mass: float = 1.0) -> bool:
    """Whether the energy of the last octave of degrees, and the mass, allow to stop."""
    error, is_law = math.sqrt(octave), abs(mass - 1) <= _MASS_TOLERANCE
    if degree == last and error > _UNRESOLVED:
        raise InputError(
            f"{owner}: the density is too concentrated for harmonics of degree {last} "
            f"(error of the order {error:.1g}); give points drawn from it instead"
        )
    if degree == last and not is_law:
        raise InputError(f"{owner}: the density integrates to {mass:.6g}, not 1; divide by that")
    # Nodes that miss a narrow peak see nothing in high degrees, but no mass either.
    return error <= _SETTLED and is_law


def _closed(owner: str, law: Smooth, sphere: Sphere) -> Zonal:
    last = 4096 if sphere.dim == 1 else 512
    for degree in _doubled(64, last):
        parts = law.moments(degree) or []
        moments = np.array([m for _, m in parts])
        size = np.abs(moments).sum(axis=0)
        eigenvalues = multiplicities(sphere.dim, degree) * energy_coefficients(sphere.dim, degree)
        octave = float((eigenvalues * size**2)[degree // 2 + 1 :].sum())
        if _settled(owner, octave, degree, last):
            break
    keep = 1 + int(np.max(np.flatnonzero(np.abs(eigenvalues) * size > _NEGLIGIBLE)))
    return Zonal(sphere, np.array([a for a, _ in parts]), moments[:, :keep])


def _by_rings(owner: str, law: Smooth, sphere: Sphere) -> Harmonic:
    last = 4096 if sphere.dim == 1 else 128
    for degree in _doubled(16, last):
        moments = _ring_moments(law, sphere, degree)
        ells = degrees(sphere, degree)
        eigenvalues = energy_coefficients(sphere.dim, degree)[ells]
        octave = float((eigenvalues * moments**2)[ells > degree // 2].sum())
        if _settled(owner, octave, degree, last, float(moments[0])):
            break
    moments = moments / moments[0]
    keep = ells <= ells[np.max(np.flatnonzero(np.abs(eigenvalues * moments) > _NEGLIGIBLE))]
    return Harmonic(sphere, moments[keep])


def _ring_moments(law: Smooth, sphere: Sphere, degree: int) -> Array:
    """Integrals of the columns of the basis: FFT along rings of latitude, Gauss across them."""
    from scipy.special import roots_legendre

    turns = 2 * degree + 2
    angle = 2 * np.pi / turns * np.arange(turns)
    ring = np.column_stack([np.cos(angle), np.sin(angle)])
    ells = degrees(sphere, degree)
    column = np.arange(len(ells))
    if sphere.dim == 1:
        points, starts, weights = ring, ring[:1], np.ones(1)
        order, sine = ells, (column > 0) & (column % 2 == 0)
    else:
        z, weights = roots_legendre(degree + 1)
        radius = np.sqrt(1 - z**2)
        points = np.column_stack(
            [(radius[:, None, None] * ring).reshape(-1, 2), np.repeat(z, turns)]
        )
        starts = np.column_stack([radius, np.zeros_like(z), z])
        place = column - ells**2
        order, sine = (place + 1) // 2, (place > 0) & (place % 2 == 0)
    values = np.asarray(law.density(points)).reshape(len(weights), turns)
    waves = np.fft.rfft(values, axis=1) * weights[:, None] * (2 * np.pi / turns)
    # At angle 0 the cosine's column is the latitude's part of both.
    latitude = basis(sphere, degree, starts)[:, column - sine]
    return np.sum(latitude * np.where(sine, -waves.imag[:, order], waves.real[:, order]), axis=0)


def _on_torus(owner: str, law: Smooth, torus: Torus) -> Fourier:
    if torus.dim > 3:
        raise InputError(
            f"{owner}: a density on {torus} has no harmonics here (dimension at most 3); "
            "give independent draws from it as points"
        )
    last = (2048, 256, 64)[torus.dim - 1]
    for order in _doubled(32, last):
        x, weights = torus.quadrature(order)
        values = (weights * law.density(x)).reshape((order,) * torus.dim)
        moments = np.fft.fftshift(np.fft.fftn(values))
        # An even order has the mode -order/2 without its mirror image.
        moments = moments[(slice(1, None),) * torus.dim]
        k = np.abs(np.arange(order - 1) - (order // 2 - 1))
        largest = np.max(np.meshgrid(*[k] * torus.dim, indexing="ij"), axis=0)
        kernel = torus_energy_coefficients(torus, order // 2 - 1)
        octave = float((kernel * np.abs(moments) ** 2)[largest > order // 4].sum())
        if _settled(owner, octave, order, last, float(values.sum())):
            break
    return Fourier(torus, moments / values.sum())

"""Spherical harmonics: zonal sums in any dimension, Funk-Hecke coefficients, bases on S^1 and S^2.

P_l is the zonal harmonic with P_l(1) = 1 (see `zonal`). Inner products and coefficients are with
respect to the uniform probability: a kernel is kappa(t) = sum_l kappa_l N_l P_l(t), N_l the number
of independent harmonics of degree l, and kappa_l is its eigenvalue (Funk-Hecke).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from ufd.problem.manifolds import Sphere

Array = NDArray[np.float64]


def multiplicity(dim: int, degree: int) -> int:
    """N_l: independent harmonics of one degree on S^dim."""
    if degree == 0:
        return 1
    d = dim + 1
    return math.comb(degree + d - 1, degree) - (
        math.comb(degree + d - 3, degree - 2) if degree > 1 else 0
    )


def multiplicities(dim: int, degree: int) -> Array:
    """N_0 to N_degree as floats, (degree + 1,)."""
    return np.array([multiplicity(dim, l) for l in range(degree + 1)], dtype=float)


def laplacian_eigenvalues(dim: int, degree: int) -> Array:
    """l (l + dim - 1) for l = 0 to degree, (degree + 1,)."""
    l = np.arange(degree + 1.0)
    return l * (l + dim - 1)


def zonal_harmonics(dim: int, degree: int, z: Array) -> Iterator[Array]:
    """Yield P_0(z) to P_degree(z), shape of z, by the recurrence DLMF 18.9.1 normalised at 1."""
    before, here = np.zeros_like(z), np.ones_like(z)
    yield here
    for k in range(degree):
        if k == 0:
            before, here = here, np.array(z, dtype=float)
        else:
            before, here = here, ((2 * k + dim - 1) * z * here - k * before) / (k + dim - 1)
        yield here


def zonal_sum(dim: int, coefficients: Array, z: Array) -> Array:
    """sum_l c_l P_l(z), shape of z."""
    total = np.zeros_like(z)
    for c, harmonic in zip(
        coefficients, zonal_harmonics(dim, len(coefficients) - 1, z), strict=True
    ):
        total += c * harmonic
    return total


def zonal_sum_slope(dim: int, coefficients: Array, z: Array) -> Array:
    """d/dz of `zonal_sum`: P_l' = l (l + dim - 1)/dim times P_(l-1) of S^(dim+2)."""
    if len(coefficients) < 2:
        return np.zeros_like(z)
    factor = laplacian_eigenvalues(dim, len(coefficients) - 1) / dim
    return zonal_sum(dim + 2, (factor * coefficients)[1:], z)


def uniform_rule(dim: int, order: int) -> tuple[Array, Array]:
    """Gauss nodes t in (-1, 1) and weights of the law of one coordinate of a uniform point."""
    from scipy.special import roots_jacobi

    power = dim / 2 - 1
    t, w = roots_jacobi(order, power, power)
    return t, w / w.sum()


def funk_hecke(dim: int, function: Callable[[Array], Array], degree: int) -> Array:
    """Coefficients lambda_l = int function(t) P_l(t) of the uniform law of t, (degree + 1,).

    Args:
        dim: Of the sphere.
        function: Of t in [-1, 1]; smooth.
        degree: Highest degree.
    """
    t, w = uniform_rule(dim, degree + 64)
    values = w * function(t)
    return np.array([float(values @ p) for p in zonal_harmonics(dim, degree, t)])


def basis(sphere: Sphere, degree: int, points: Array) -> Array:
    """Real harmonics of degrees 0 to ``degree``, orthonormal in the uniform probability.

    Args:
        sphere: S^1 or S^2.
        degree: Highest degree L.
        points: (n, ambient_dim).

    Returns:
        (n, 2 L + 1) on the circle, (n, (L + 1)^2) on S^2, columns in the order of `degrees`.
    """
    n = len(points)
    if sphere.dim == 1:
        z = points[:, 0] + 1j * points[:, 1]
        powers = np.cumprod(np.broadcast_to(z[:, None], (n, degree)), axis=1)
        columns = np.empty((n, 2 * degree + 1))
        columns[:, 0] = 1.0
        columns[:, 1::2] = math.sqrt(2) * powers.real
        columns[:, 2::2] = math.sqrt(2) * powers.imag
        return columns
    from scipy.special import sph_legendre_p_all

    theta = np.arccos(np.clip(points[:, 2], -1, 1))
    # Indexed [0, l, m, point] with |Y_lm|^2 of integral 1 over the surface.
    polar = sph_legendre_p_all(degree, degree, theta)[0] * math.sqrt(4 * math.pi)
    length = np.hypot(points[:, 0], points[:, 1])
    safe = np.where(length > 0, length, 1.0)
    turn = np.where(length > 0, (points[:, 0] + 1j * points[:, 1]) / safe, 1.0)
    phase = np.cumprod(
        np.concatenate([np.ones((1, n), complex), np.broadcast_to(turn, (degree, n))]), axis=0
    )
    columns = np.empty((n, (degree + 1) ** 2))
    for l in range(degree + 1):
        first = l * l
        columns[:, first] = polar[l, 0]
        for m in range(1, l + 1):
            columns[:, first + 2 * m - 1] = math.sqrt(2) * polar[l, m] * phase[m].real
            columns[:, first + 2 * m] = math.sqrt(2) * polar[l, m] * phase[m].imag
    return columns


def degrees(sphere: Sphere, degree: int) -> NDArray[np.int64]:
    """The degree of each column of `basis`."""
    counts = [multiplicity(sphere.dim, l) for l in range(degree + 1)]
    return np.repeat(np.arange(degree + 1), counts)

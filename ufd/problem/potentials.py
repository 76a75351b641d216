"""Teachers seen through features: potentials kappa * nu, and the outputs of teacher networks."""

from __future__ import annotations

from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ufd.exceptions import InputError
from ufd.problem.densities import Density
from ufd.problem.expansions import expansion
from ufd.problem.features import Feature, Ramps
from ufd.problem.harmonics import multiplicities, zonal_sum, zonal_sum_slope
from ufd.problem.kernels import ZonalKernel, trimmed
from ufd.problem.laws import Smooth, read
from ufd.problem.manifolds import Sphere
from ufd.problem.measures import Measure

Array = NDArray[np.float64]
# Harmonic moments are taken up to where they are below round-off, at most so many on the circle.
_ENOUGH, _MOST_DEGREES = 1e-17, 4096
# The first number of degrees that is tried, and round-off of moments found by a Fourier transform.
_SOME_DEGREES, _SETTLED = 64, 1e-15
# Degrees on S^2 up to which a series is summed at every node of a rule.
_MOST_BANDS = 48


class Potential(Protocol):
    """omega -> int kappa(omega, theta) dnu(theta), with its gradient."""

    @property
    def energy(self) -> float:
        """int int kappa dnu dnu."""

    def at(self, omega: Array) -> tuple[Array, Array]:
        """Values (M,) and ambient gradients (M, d)."""


class ZonalPotential:
    """The potential of a density with known harmonic moments, through harmonics.

    Args:
        kernel: Whose eigenvalues weigh the moments.
        parts: See `Density.moments`.
    """

    def __init__(self, kernel: ZonalKernel, parts: list[tuple[Array, Array]]) -> None:
        self._dim = kernel.sphere.dim
        degree = len(parts[0][1]) - 1
        weights = kernel.eigenvalues(degree) * multiplicities(self._dim, degree)
        self._parts = [(axis, trimmed(weights * moments)) for axis, moments in parts]
        self._energy = 0.0
        for axis, moments in parts:
            for other, series in self._parts:
                shared = moments[: len(series)] * series
                self._energy += float(zonal_sum(self._dim, shared, np.array(axis @ other)))

    @property
    def energy(self) -> float:
        """See `Potential`."""
        return self._energy

    def at(self, omega: Array) -> tuple[Array, Array]:
        """See `Potential`."""
        values, gradient = np.zeros(len(omega)), np.zeros(omega.shape)
        for axis, series in self._parts:
            z = np.clip(omega @ axis, -1, 1)
            values += zonal_sum(self._dim, series, z)
            gradient += zonal_sum_slope(self._dim, series, z)[:, None] * axis
        return values, gradient


class CirclePotential:
    """The potential of any density on the circle, through its Fourier coefficients.

    Atoms of a quadrature rule would do as well but for the kinks of kernels, at which rules miss
    1e-10 of them: far more than round-off where it is divided by lam, and seen by features that
    do not see the teacher at all.

    Args:
        kernel: Whose eigenvalues weigh the coefficients.
        density: On the circle.
    """

    def __init__(self, kernel: ZonalKernel, density: Density) -> None:
        moments = _circle_moments(density)
        degree = len(moments) - 1
        weights = kernel.eigenvalues(degree) * multiplicities(1, degree)
        self._energy = float(weights @ np.abs(moments) ** 2)
        seen = trimmed(weights * np.abs(moments))
        self._series = (weights * moments)[: len(seen)]

    @property
    def energy(self) -> float:
        """See `Potential`."""
        return self._energy

    def at(self, omega: Array) -> tuple[Array, Array]:
        """See `Potential`; the gradient is tangential."""
        values = _circle_sum(self._series, omega)
        slopes = _circle_sum(1j * np.arange(len(self._series)) * self._series, omega)
        along = np.column_stack([-omega[:, 1], omega[:, 0]])
        return values, slopes[:, None] * along


def _circle_sum(series: NDArray[np.complex128], omega: Array) -> Array:
    """The real part of sum_l series_l exp(i l theta) at points of the circle, (n,)."""
    turn = omega[:, 0] + 1j * omega[:, 1]
    angle, degrees = np.angle(turn), np.arange(len(series))
    values = np.empty(len(omega))
    rows = max(1, 2**20 // len(series))
    for first in range(0, len(omega), rows):  # bounded memory
        share = slice(first, first + rows)
        values[share] = (np.exp(1j * angle[share, None] * degrees) @ series).real
    return values


def _on_circle(density: Density | Measure) -> bool:
    manifold = getattr(density, "manifold", None)
    return isinstance(manifold, Sphere) and manifold.dim == 1


def _circle_moments(density: Density) -> NDArray[np.complex128]:
    """E exp(-i l Y) of a density of angles Y, up to where they are below round-off."""
    count = 4 * _SOME_DEGREES
    while True:
        angle = 2 * np.pi * np.arange(count) / count
        values = np.exp(density.log_density(np.column_stack([np.cos(angle), np.sin(angle)])))
        moments = np.fft.rfft(values / values.sum())[: count // 2]
        settled = np.abs(moments[count // 4 :]).max() < _SETTLED
        if settled or count >= 4 * _MOST_DEGREES:
            return moments[: count // 4]
        count *= 2


class _Banded:
    """A zonal kernel without its degrees above the last."""

    def __init__(self, kernel: ZonalKernel, degree: int) -> None:
        self.sphere = kernel.sphere
        dim = self.sphere.dim
        self._series = kernel.eigenvalues(degree) * multiplicities(dim, degree)

    def values(self, t: Array) -> tuple[Array, Array]:
        """See `ZonalKernel`."""
        dim, z = self.sphere.dim, np.clip(t, -1, 1)
        return zonal_sum(dim, self._series, z), zonal_sum_slope(dim, self._series, z)


def _by_rule(kernel: ZonalKernel, density: Density) -> AtomicPotential:
    """The potential of a density off the circle, by quadrature.

    On S^2 with a kernel of no more degrees than the density has, if these are few: its kinks
    would cost digits, as on the circle.
    """
    manifold = density.manifold
    if manifold.dim == 2:
        (law,) = read("teacher", None, teacher=density)
        assert isinstance(law, Smooth)
        try:
            degree = getattr(expansion("teacher", law), "degree", _MOST_BANDS + 1)
        except InputError:  # too concentrated for any
            degree = _MOST_BANDS + 1
        if degree <= _MOST_BANDS:
            return AtomicPotential(_Banded(kernel, degree), _atoms(density, 2 * degree + 2))
    return AtomicPotential(kernel, as_atoms(density))


class AtomicPotential:
    """The potential of point masses, by the kernel itself.

    Args:
        kernel: A zonal kernel, or what has its values.
        measure: Point masses.
    """

    def __init__(self, kernel: ZonalKernel | _Banded, measure: Measure) -> None:
        self._kernel, self._measure = kernel, measure

    @cached_property
    def energy(self) -> float:
        """See `Potential`; all pairs of atoms."""
        values, _ = self.at(self._measure.points)
        return float(values @ self._measure.weights)

    def at(self, omega: Array) -> tuple[Array, Array]:
        """See `Potential`."""
        theta, weights = self._measure.points, self._measure.weights
        values, gradient = np.zeros(len(omega)), np.zeros(omega.shape)
        for first in range(0, len(theta), 1024):  # bounded memory
            share = slice(first, first + 1024)
            kernel, slope = self._kernel.values(omega @ theta[share].T)
            values += kernel @ weights[share]
            gradient += (slope * weights[share]) @ theta[share]
        return values, gradient


def as_atoms(density: Density) -> Measure:
    """A density as the point masses of a quadrature rule, for integrands with a kink."""
    return _atoms(density, {1: 2048, 2: 96}.get(density.manifold.dim, 24))


def _atoms(density: Density, order: int) -> Measure:
    x, w = density.manifold.quadrature(order)
    weights = w * np.exp(density.log_density(x))
    return Measure(x, weights / weights.sum())


def teacher_potential(kernel: ZonalKernel, teacher: Density | Measure) -> Potential:
    """The potential of a teacher: exact for known moments, for atoms, and on the circle.

    By quadrature for densities without moments elsewhere.
    """
    if isinstance(teacher, Measure):
        return AtomicPotential(kernel, teacher)
    parts = settled_moments(teacher)
    if parts:
        return ZonalPotential(kernel, parts)
    if _on_circle(teacher):
        return CirclePotential(kernel, teacher)
    return _by_rule(kernel, teacher)


def settled_moments(density: Density) -> list[tuple[Array, Array]] | None:
    """Harmonic moments up to where they are below round-off, at most 4096 (1024 off the circle)."""
    degree, most = 64, _MOST_DEGREES if density.manifold.dim == 1 else _MOST_DEGREES // 4
    while True:
        parts = density.moments(degree)
        if parts is None:
            return None
        tail = max(float(np.abs(moments[-8:]).max()) for _, moments in parts)
        if tail < _ENOUGH or degree >= most:
            return parts
        degree *= 2


def network_output(feature: Feature, teacher: Density | Measure, inputs: Array) -> Array:
    """f*(x) = int phi(theta, x) dnu(theta) at inputs (n, d).

    Through harmonics where the density has moments, or on the circle; else atom by atom.
    """
    parts = None if isinstance(teacher, Measure) else settled_moments(teacher)
    if isinstance(feature, Ramps) and parts:
        dim, degree = len(parts[0][0]) - 1, len(parts[0][1]) - 1
        count, length = multiplicities(dim, degree), np.linalg.norm(inputs, axis=1)
        x = inputs / np.where(length > 0, length, 1.0)[:, None]
        found, output = feature.coefficients(dim, degree), np.zeros(len(inputs))
        for axis, moments in parts:
            z = np.clip(x @ axis, -1, 1)
            for c, k in feature.terms:
                output += c * length**k * zonal_sum(dim, found[k] * count * moments, z)
        return output
    if isinstance(feature, Ramps) and not isinstance(teacher, Measure) and _on_circle(teacher):
        waves, length = _circle_moments(teacher), np.linalg.norm(inputs, axis=1)
        degree = len(waves) - 1
        x = inputs / np.where(length > 0, length, 1.0)[:, None]
        found, output = feature.coefficients(1, degree), np.zeros(len(inputs))
        for c, k in feature.terms:
            weighed = waves * (found[k] * multiplicities(1, degree))
            output += c * length**k * _circle_sum(weighed, x)
        return output
    atoms = teacher if isinstance(teacher, Measure) else as_atoms(teacher)
    output = np.zeros(len(inputs))
    for first in range(0, len(atoms.points), 512):
        share = slice(first, first + 512)
        values, _ = feature.evaluate(atoms.points[share], inputs)
        output += values @ atoms.weights[share]
    return output

"""Teachers seen through features: potentials kappa * nu, and the outputs of teacher networks."""

from __future__ import annotations

from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ufd.problem.densities import Density
from ufd.problem.features import Feature, Ramps
from ufd.problem.harmonics import multiplicities, zonal_sum, zonal_sum_slope
from ufd.problem.kernels import ZonalKernel, trimmed
from ufd.problem.measures import Measure

Array = NDArray[np.float64]
# Harmonic moments are taken up to where they are below round-off, at most so many on the circle.
_ENOUGH, _MOST_DEGREES = 1e-17, 4096


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


class AtomicPotential:
    """The potential of point masses, by the kernel itself.

    Args:
        kernel: A zonal kernel.
        measure: Point masses.
    """

    def __init__(self, kernel: ZonalKernel, measure: Measure) -> None:
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
    manifold = density.manifold
    order = {1: 2048, 2: 96}.get(manifold.dim, 24)
    x, w = manifold.quadrature(order)
    weights = w * np.exp(density.log_density(x))
    return Measure(x, weights / weights.sum())


def teacher_potential(kernel: ZonalKernel, teacher: Density | Measure) -> Potential:
    """The potential of a teacher: exact for known moments and for atoms, by quadrature else."""
    if isinstance(teacher, Measure):
        return AtomicPotential(kernel, teacher)
    parts = settled_moments(teacher)
    return ZonalPotential(kernel, parts) if parts else AtomicPotential(kernel, as_atoms(teacher))


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
    """f*(x) = int phi(theta, x) dnu(theta) at inputs (n, d): through harmonics, or atom by atom."""
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
    atoms = teacher if isinstance(teacher, Measure) else as_atoms(teacher)
    output = np.zeros(len(inputs))
    for first in range(0, len(atoms.points), 512):
        share = slice(first, first + 512)
        values, _ = feature.evaluate(atoms.points[share], inputs)
        output += values @ atoms.weights[share]
    return output

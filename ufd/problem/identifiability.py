"""What a feature cannot see: the harmonics of a feature distribution that no data reveal.

A network depends on the distribution of its features only through the harmonics whose Funk-Hecke
coefficient does not vanish. Plain ReLU is blind to odd degrees from 3, its square to even ones
from 4, a step to even ones from 2, for every law of the data (docs/theory.md section 12): there
the limit of vanishing regularisation is not the ultra-fast diffusion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ufd.exceptions import InputError
from ufd.problem.checks import shown
from ufd.problem.densities import Density
from ufd.problem.features import Activation, KernelSpectrum, Ramps
from ufd.problem.harmonics import basis, degrees, multiplicities, zonal_harmonics
from ufd.problem.kernels import population_kernel
from ufd.problem.manifolds import Sphere
from ufd.problem.potentials import settled_moments

Array = NDArray[np.float64]
# An eigenvalue of the kernel is zero below this share of the largest.
_BLIND = 1e-28


def seen(eigenvalues: Array) -> NDArray[np.bool_]:
    """Which eigenvalues kappa_l of a kernel are not zero, to round-off."""
    return eigenvalues > _BLIND * eigenvalues.max()


@dataclass(frozen=True, eq=False)
class Identifiability:
    """Which harmonics of a teacher a feature sees, degree by degree.

    Attributes:
        eigenvalues: kappa_l of the population kernel, (L + 1,).
        power: Squared L2 norm of the teacher's part of degree l, relative to the uniform
            probability, (L + 1,); degree 0 is 1.
    """

    eigenvalues: Array
    power: Array

    @property
    def blind(self) -> list[int]:
        """Degrees up to L that the feature does not see."""
        return np.flatnonzero(~seen(self.eigenvalues)).tolist()

    @property
    def unseen(self) -> float:
        """Share of the teacher's squared deviation from uniform in those degrees, 0 to 1."""
        deviation = float(self.power[1:].sum())
        return float(self.power[self.blind].sum()) / deviation if deviation > 0 else 0.0

    def smallest_seen(self, lam: float) -> list[int]:
        """Degrees that are seen, but below ``lam``: regularisation hides them."""
        seen = set(range(len(self.power))) - set(self.blind)
        return [l for l in sorted(seen) if self.eigenvalues[l] < lam]

    def sentence(self) -> str:
        """One line for a person."""
        if not self.blind:
            return f"the feature sees every degree up to {len(self.power) - 1}"
        listed = ", ".join(map(str, self.blind[:4])) + (", ..." if len(self.blind) > 4 else "")
        return (
            f"the feature does not see degrees {listed}, which hold {self.unseen:.3g} of the "
            "teacher's squared deviation from uniform"
        )


def identifiability(
    features: Any, teacher: Density, degree: int = 64, *, inputs: str = "gaussian"
) -> Identifiability:
    """Compare a feature with a teacher, degree by degree.

    Args:
        features: `ReLU`, `Step`, a sum of them, an `Activation` or a `KernelSpectrum`.
        teacher: A density on a sphere; beyond S^2 one with known harmonic moments.
        degree: Highest degree looked at.
        inputs: Law of the inputs: it changes eigenvalues, not which of them vanish.

    Raises:
        InputError: If the feature lives elsewhere, or the teacher's harmonics are not known.
    """
    sphere = teacher.manifold
    if not isinstance(features, Ramps | Activation | KernelSpectrum) or not isinstance(
        sphere, Sphere
    ):
        raise InputError(f"identifiability: {shown(features)} on {sphere}; activations on spheres")
    kernel = population_kernel(features, sphere, inputs)
    return Identifiability(kernel.eigenvalues(degree), degree_power(teacher, degree))


def degree_power(density: Density, degree: int) -> Array:
    """Squared L2 norm of a density's part of each degree up to L, (L + 1,).

    Relative to the uniform probability of its sphere: degree 0 is 1.

    Raises:
        InputError: Beyond S^2, for a density whose moments are not known.
    """
    parts, sphere = settled_moments(density), density.manifold
    if parts:
        counts, total = multiplicities(sphere.dim, degree), np.zeros(degree + 1)
        padded = [(axis, np.pad(m, (0, max(0, degree + 1 - len(m))))) for axis, m in parts]
        for axis, mine in padded:
            for other, theirs in padded:
                cosine = np.array(np.clip(axis @ other, -1, 1))
                harmonics = np.array(list(zonal_harmonics(sphere.dim, degree, cosine)))
                total += counts * mine[: degree + 1] * theirs[: degree + 1] * harmonics
        return total
    if sphere.dim > 2:
        raise InputError("identifiability: a function beyond S^2 has no known harmonics here")
    x, w = sphere.quadrature(4 * degree + 64)
    moments = (w * np.exp(density.log_density(x))) @ basis(sphere, degree, x)
    return np.bincount(degrees(sphere, degree), weights=moments**2)

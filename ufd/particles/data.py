"""From a user's words to a model: which data, which kernel, how it is evaluated."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from ufd.exceptions import InputError
from ufd.parallel import agree
from ufd.particles.circle import CircleModel
from ufd.particles.models import Model
from ufd.particles.population import PopulationModel
from ufd.particles.rows import HarmonicRows, SampleRows, harmonic_degree, split
from ufd.particles.sampled import SampledModel
from ufd.problem.checks import form, real_array, shown
from ufd.problem.densities import Density
from ufd.problem.euclidean import Euclidean
from ufd.problem.features import Feature, RadialBump
from ufd.problem.kernels import draw_inputs, population_kernel
from ufd.problem.manifolds import Manifold, Sphere, Torus
from ufd.problem.measures import Measure
from ufd.problem.positions import independent
from ufd.problem.potentials import network_output, settled_moments, teacher_potential

Array = NDArray[np.float64]
# A kernel of low rank replaces the closed form if all that it drops is below this share of lam.
TRUNCATION = 1e-6


@dataclass(frozen=True, eq=False)
class Data:
    """What outer weights are fitted to.

    Attributes:
        features: Feature of the network.
        teacher: The density, or the atoms, whose network gives the targets.
        inputs: (N, d) samples, or None for the population.
        law: Of the inputs.
    """

    features: Feature
    teacher: Density | Measure
    inputs: Array | None
    law: str


def choose_data(
    manifold: Manifold,
    features: Any,
    teacher: Density,
    data: Any,
    law: str,
    target: Any,
    rng: np.random.Generator,
) -> Data:
    """Check features, samples and teacher, and draw what has to be drawn: the same on every rank.

    Args:
        manifold: Of the features.
        features: A `Feature`.
        teacher: Density of the problem.
        data: None, a number of samples, or an (N, d) array.
        law: Of drawn inputs, or of the population.
        target: None, a number of atoms to draw from the teacher, or (points, weights).
        rng: Draws the atoms, then the inputs.

    Raises:
        InputError: If an argument does not fit; the message names it.
    """
    if not hasattr(features, "check"):
        raise InputError(f"features = {shown(features)} must be a feature such as ufd.ReLU()")
    features.check(manifold)
    if isinstance(features, RadialBump) and isinstance(manifold, Torus):
        features = features.on(manifold)
    atoms = _target(manifold, target, teacher, rng)
    return Data(features, atoms, _inputs(manifold, data, law, rng), law)


def _target(
    manifold: Manifold, target: Any, teacher: Density, rng: np.random.Generator
) -> Density | Measure:
    if target is None:
        if isinstance(manifold, Euclidean):
            raise InputError("target: missing; on R^d give atoms: target=(points, weights)")
        return teacher
    if isinstance(target, Measure):
        return target
    if isinstance(target, Integral) and not isinstance(target, bool):
        if target < 1:
            raise InputError(f"target = {target!r}: at least one atom of the teacher is needed")
        return Measure(independent(teacher, int(target), rng), np.full(int(target), 1 / target))
    try:
        points, weights = target
        weights = real_array(weights)
    except (TypeError, ValueError):
        raise InputError(
            f"target = {shown(target)} must be None, a number of atoms, or (points, weights)"
        ) from None
    points = manifold.points(points)
    if weights.shape != (len(points),) or not np.isfinite(weights).all():
        raise InputError(f"target: {len(points)} points and weights of shape {weights.shape}")
    return Measure(points, weights)


def _inputs(manifold: Manifold, data: Any, law: str, rng: np.random.Generator) -> Array | None:
    if data is None:
        return None
    d = manifold.ambient_dim
    if isinstance(data, Integral) and not isinstance(data, bool):
        if data < 1:
            raise InputError(f"data = {data!r}: at least one sample is needed")
        return draw_inputs(law, int(data), d, rng)
    try:
        inputs = real_array(data)
    except (TypeError, ValueError):
        inputs = np.empty(0)
    if inputs.ndim != 2 or inputs.shape[1] != d or not len(inputs):
        raise InputError(
            f"data: samples of {form(data)} given, (N, {d}) needed for features on "
            f"{manifold}; or give their number, or None for the population"
        )
    bad = np.flatnonzero(~np.isfinite(inputs).all(axis=1))
    if len(bad):
        raise InputError(f"data: row {bad[0]} = {inputs[bad[0]].tolist()} is not finite")
    return inputs


def build_model(
    data: Data, manifold: Manifold, lam: float, width: int, comm: MPI.Comm, kernel: str | None
) -> Model:
    """The model of some data.

    Args:
        data: From `choose_data`.
        manifold: Of the features.
        lam: Regularisation: it decides which harmonics of a population kernel matter.
        width: Number of features, likewise.
        comm: The ranks that share the rows.
        kernel: "closed" or "harmonic" for the population, "dense" or "circle" for samples, or
            None for a choice.

    Raises:
        InputError: If the kernel does not exist for these data.
    """
    known = ("closed", "harmonic") if data.inputs is None else ("dense", "circle")
    if kernel not in (None, *known):
        which = "the population" if data.inputs is None else "samples"
        raise InputError(f"kernel = {kernel!r} must be {known[0]!r} or {known[1]!r} for {which}")
    if data.inputs is not None:
        return _empirical(data, data.inputs, manifold, comm, kernel)
    population = population_kernel(data.features, manifold, data.law)
    parts = None if isinstance(data.teacher, Measure) else settled_moments(data.teacher)
    degree = harmonic_degree(population, lam, TRUNCATION) if parts else None
    if kernel == "harmonic" and degree is None:
        raise InputError(
            "kernel = 'harmonic' needs a circle, a teacher with known moments, and lam above the "
            f"eigenvalues of degree 1024; lam = {lam:g}"
        )
    about: dict[str, Any] = {"data": None, "inputs": data.law}
    cheaper = degree is not None and 2 * degree + 1 <= width / 2
    if degree is not None and parts and (kernel == "harmonic" or (kernel is None and cheaper)):
        rows = HarmonicRows(population, degree)
        about |= {"kernel": "harmonic", "degree": degree, "truncation": TRUNCATION}
        return SampledModel(rows, rows.targets(parts), 1.0, MPI.COMM_SELF, about)
    potential = teacher_potential(population, data.teacher)
    return PopulationModel(population, potential, about | {"kernel": "closed"})


def _empirical(
    data: Data, inputs: Array, manifold: Manifold, comm: MPI.Comm, kernel: str | None
) -> Model:
    """The exact fast model for multiples of ReLU on the circle, the same on every rank, or rows."""
    terms: tuple[tuple[float, int], ...] = getattr(data.features, "terms", ())
    plain = manifold == Sphere(1) and len(terms) == 1 and terms[0][1] == 1
    if kernel == "circle" and not plain:
        raise InputError("kernel = 'circle' is for features c * ReLU() on the circle")
    if kernel == "dense" or not plain:
        return sampled_model(data, inputs, comm)
    targets = agree(comm, lambda: network_output(data.features, data.teacher, inputs))
    about = {"data": len(inputs), "inputs": data.law, "kernel": "circle"}
    # c relu(x) = sign(c) relu(|c| x): the sign goes to the targets.
    factor = terms[0][0]
    return CircleModel(abs(factor) * inputs, math.copysign(1.0, factor) * targets, about)


def sampled_model(data: Data, inputs: Array, comm: MPI.Comm) -> SampledModel:
    """Least squares over samples, spread over the ranks."""
    own = inputs[split(len(inputs), comm.rank, comm.size)]
    targets = agree(comm, lambda: network_output(data.features, data.teacher, own))
    about = {"data": len(inputs), "inputs": data.law, "kernel": "dense"}
    return SampledModel(SampleRows(data.features, own), targets, 1 / len(inputs), comm, about)


def batches_of(data: Data, size: int, rng: np.random.Generator) -> Callable[[], Model]:
    """Mini-batches: without replacement within an epoch, or fresh draws from the population."""
    order: list[int] = []
    pool = data.inputs
    if pool is not None and size > len(pool):
        raise InputError(f"batch = {size} is larger than the {len(pool)} samples")

    def draw() -> Model:
        if pool is None:
            d = _ambient(data)
            return sampled_model(data, draw_inputs(data.law, size, d, rng), MPI.COMM_SELF)
        if len(order) < size:
            order[:] = rng.permutation(len(pool)).tolist()
        chosen, order[:] = order[:size], order[size:]
        return sampled_model(data, pool[chosen], MPI.COMM_SELF)

    return draw


def _ambient(data: Data) -> int:
    teacher = data.teacher
    if isinstance(teacher, Measure):
        return teacher.points.shape[1]
    return teacher.manifold.ambient_dim

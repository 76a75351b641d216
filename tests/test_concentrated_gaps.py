"""`ufd.spectral_gap` of concentrated teachers, with default arguments: right, or refused."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
import weighted_modes
from mpi4py import MPI

import ufd
from ufd.fem.discretization import Discretization
from ufd.fem.spectrum import laplacian_modes
from ufd.fem.surfaces import Circle


def gaps(teacher, reference, **options) -> float:
    """Relative error of the first three eigenvalues."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = ufd.spectral_gap(teacher, count=3, **options)
    return float(np.abs(found / reference - 1).max())


def test_references_agree():
    """Two ways to the same numbers, and numbers known otherwise."""
    np.testing.assert_allclose(
        weighted_modes.sphere_eigenvalues(60.0), [60, 60, 117.965], rtol=1e-5
    )
    teacher = ufd.VonMisesFisher([0.6, 0.8], 250.0)
    found = weighted_modes.circle_eigenvalues(teacher.log_density, nodes=401)
    assert found[0] == pytest.approx(249.4985, rel=1e-6)
    uniform = ufd.Uniform(ufd.Sphere(1))
    found = weighted_modes.circle_eigenvalues(uniform.log_density, nodes=41)
    np.testing.assert_allclose(found, [1, 1, 4], rtol=1e-10)


@pytest.mark.parametrize(
    "kappa", [60.0, 80.0, *(pytest.param(k, marks=pytest.mark.slow) for k in (20.0, 40.0, 150.0))]
)
def test_sphere(kappa):
    reference = weighted_modes.sphere_eigenvalues(kappa)
    assert gaps(ufd.VonMisesFisher([0.48, -0.6, 0.64], kappa), reference) < 1e-5


@pytest.mark.parametrize("kappa", [100.0, 250.0, 340.0])
def test_circle(kappa):
    teacher = ufd.VonMisesFisher([0.6, 0.8], kappa)
    assert gaps(teacher, weighted_modes.circle_eigenvalues(teacher.log_density, nodes=401)) < 1e-7


def mixture(rng: np.random.Generator, dim: int, sharpest: float) -> ufd.Mixture:
    count = int(rng.integers(1, 4))
    parts = [
        ufd.VonMisesFisher(rng.normal(size=dim + 1), sharpest ** rng.uniform(0.2, 1))
        for _ in range(count)
    ]
    weights = np.append(0.7 * rng.dirichlet(5 * np.ones(count)), 0.3)
    weights[-1] = 1 - weights[:-1].sum()
    return ufd.Mixture([*parts, ufd.Uniform(ufd.Sphere(dim))], list(weights))


@pytest.mark.parametrize("seed", [0, *(pytest.param(s, marks=pytest.mark.slow) for s in (1, 2))])
def test_circle_mixtures(seed):
    """Peaks up to 1000, none refused and none wrong."""
    rng = np.random.default_rng(seed)
    for _ in range(4):
        teacher = mixture(rng, 1, 1000.0)
        reference = weighted_modes.circle_eigenvalues(teacher.log_density, nodes=1001)
        assert gaps(teacher, reference) < 1e-5


@pytest.mark.slow
def test_sphere_mixtures():
    """Against a mesh of another degree, and more nodes."""
    rng = np.random.default_rng(0)
    for _ in range(10):
        teacher = mixture(rng, 2, 100.0)
        finer = ufd.spectral_gap(teacher, count=3, cells=10, degree=8)
        assert gaps(teacher, finer) < 1e-3


@pytest.mark.parametrize(
    ("teacher", "options", "reason"),
    [
        (ufd.VonMisesFisher([0, 0, 1], 300.0), {"cells": 8, "degree": 8}, "falls by .* cells = "),
        (ufd.VonMisesFisher([0, 0, 1], 60.0), {"cells": 5}, "falls by 18.8 across a cell"),
        (ufd.VonMisesFisher([0, 0, 1], 300.0), {}, "falls by .* across a cell.*degree = 1"),
        (ufd.VonMisesFisher([0, 1], 1000.0), {}, "underflows double precision"),
        (ufd.Uniform(ufd.Torus(1)), {}, r"Torus\(dim=1.*solved for on spheres"),
        (ufd.Uniform(ufd.Torus(2)), {}, r"Torus\(dim=2.*solved for on spheres"),
    ],
)
def test_refused(teacher, options, reason):
    """For the right reason, in one line."""
    with pytest.raises(ufd.InputError) as caught:
        ufd.spectral_gap(teacher, **options)
    text = str(caught.value)
    assert re.search(reason, text) and "\n" not in text and len(text) < 300
    assert "metastable" not in text


def test_separate_parts_are_metastable():
    """Two far peaks and nothing between them: the one case in which that is the reason."""
    teacher = ufd.Mixture([ufd.VonMisesFisher([s, 0], 60.0) for s in (1, -1)], [0.5, 0.5])
    with pytest.raises(ufd.SolverError, match="metastable"):
        ufd.spectral_gap(teacher)


def test_modes_of_a_run():
    """Modes that hide between the nodes of a run's own mesh are refused, or warned of."""
    teacher = ufd.VonMisesFisher([0.6, 0.8], 250.0)
    spurious = Discretization(Circle(64, 8), teacher, MPI.COMM_SELF)
    with pytest.raises(ufd.SolverError, match="does not resolve the teacher: modes hide"):
        laplacian_modes(spurious, 1)
    coarse = Discretization(Circle(6, 4), ufd.Uniform(ufd.Sphere(1)), MPI.COMM_SELF)
    with pytest.warns(UserWarning, match="modes: the mesh resolves the first 16"):
        laplacian_modes(coarse, 16)

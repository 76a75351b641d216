"""Eigenvalues of the weighted Laplacian: exact ones, tabulated ones, and refusals."""

from __future__ import annotations

import numpy as np
import pytest

import ufd
from ufd.fem import spectrum

CIRCLE, SPHERE = ufd.Sphere(1), ufd.Sphere(2)
PAPER = [(2 / 3, 0.0), (1 / 3, 0.4 * np.pi)]


def test_first_eigenvalue_of_the_sphere():
    """2 with multiplicity 3, to 1e-10 with 1,538 nodes of degree 4."""
    values = ufd.spectral_gap(ufd.Uniform(SPHERE), cells=4, degree=4, count=3)
    np.testing.assert_allclose(values, 2, rtol=0, atol=1e-10)


@pytest.mark.mpi
def test_first_two_eigenvalues_of_the_sphere():
    """2 three times and 6 five times, to 1e-11 with 3,458 nodes of degree 6."""
    values = ufd.spectral_gap(ufd.Uniform(SPHERE), cells=4, degree=6, count=9)
    np.testing.assert_allclose(values[:3], 2, rtol=0, atol=1e-11)
    np.testing.assert_allclose(values[3:8], 6, rtol=0, atol=1e-11)
    assert values[8] > 11


@pytest.mark.mpi
def test_eigenvalues_of_the_circle():
    """k^2, twice each."""
    values = ufd.spectral_gap(ufd.Uniform(CIRCLE), cells=16, degree=8, count=6)
    np.testing.assert_allclose(values, [1, 1, 4, 4, 9, 9], rtol=1e-10)


@pytest.mark.parametrize(
    ("kappa", "gap"), [(0.5, 1.041594), (1, 1.165497), (2, 1.647365), (4, 3.334214)]
)
def test_von_mises_gaps_are_double(kappa, gap):
    """Circle: the tabulated gap, exactly double (nu and 1/nu have one spectrum)."""
    values = ufd.spectral_gap(ufd.VonMisesFisher([1, 0], kappa), cells=32, degree=8, count=2)
    np.testing.assert_allclose(values, gap, rtol=0, atol=6e-7)
    assert values[1] - values[0] < 1e-9


@pytest.mark.parametrize(
    ("kappa", "gap", "zonal"),
    [
        (1, 2.148765, 2.199712),
        (2, 2.580171, 2.795305),
        (4, 4.089847, 5.118553),
        (8, 8.000344, 13.090799),
    ],
)
def test_von_mises_fisher_gaps(kappa, gap, zonal):
    """Sphere: the tabulated gap (a double mode) and the first zonal eigenvalue."""
    values = ufd.spectral_gap(ufd.VonMisesFisher([0.6, 0, 0.8], kappa), cells=4, degree=8, count=8)
    np.testing.assert_allclose(values[:2], gap, rtol=0, atol=6e-7)
    assert np.abs(values - zonal).min() < 6e-7


@pytest.mark.parametrize(
    ("gamma", "gap"), [(1, 0.990302), (10, 0.913501), (100, 0.819548), (1000, 0.774321)]
)
def test_wrapped_cauchy_gaps(gamma, gap):
    """Circle: the tabulated gap of the wrapped Cauchy density."""
    value = ufd.spectral_gap(ufd.AngularCauchy(gamma), cells=192, degree=8)[0]
    assert value == pytest.approx(gap, abs=6e-7)


@pytest.mark.parametrize(
    ("gamma", "gap"), [(1, 1.004620), (10, 1.060975), (100, 0.997369), (1000, 0.394335)]
)
def test_gaps_of_the_papers_teacher(gamma, gap):
    """Circle: the tabulated gap of the paper's two modes."""
    teacher = ufd.Mixture([ufd.AngularCauchy(gamma, c) for _, c in PAPER], [w for w, _ in PAPER])
    value = ufd.spectral_gap(teacher, cells=192, degree=8)[0]
    assert value == pytest.approx(gap, abs=6e-7)


@pytest.mark.mpi
def test_a_gap_below_round_off_is_refused():
    """Two far, narrow modes: the gap exists but no matrix in double precision shows it."""
    poles = [ufd.VonMisesFisher([0, 0, z], 30) for z in (1, -1)]
    with pytest.raises(ufd.SolverError, match="below"):
        ufd.spectral_gap(ufd.Mixture(poles, [0.5, 0.5]), cells=6, degree=6)


@pytest.mark.mpi
@pytest.mark.parametrize("count", [0, -1, 1.5, True, 10**6])
def test_bad_counts_are_refused(count):
    """One line names the argument."""
    with pytest.raises(ufd.InputError, match="count"):
        ufd.spectral_gap(ufd.Uniform(CIRCLE), cells=4, degree=2, count=count)


@pytest.mark.mpi
@pytest.mark.parametrize("always", [False, True], ids=["once", "always"])
def test_a_missing_copy_is_noticed(monkeypatch, always):
    """One of three equal eigenvalues is lost: inertia counts, and SLEPc is asked again."""
    find, asked = spectrum._smallest, []

    def lossy(*arguments):
        asked.append(arguments)
        pairs = find(*arguments)
        return pairs[:1] + pairs[2:] if always or len(asked) == 1 else pairs

    monkeypatch.setattr(spectrum, "_smallest", lossy)
    if always:
        with pytest.raises(ufd.SolverError, match="1 eigenvalues are missing among the first 3"):
            ufd.spectral_gap(ufd.Uniform(SPHERE), cells=2, degree=4, count=3)
        return
    values = ufd.spectral_gap(ufd.Uniform(SPHERE), cells=2, degree=4, count=3)
    np.testing.assert_allclose(values, 2, rtol=1e-5)
    assert len(asked) == 2

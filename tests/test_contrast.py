"""Methods side by side: one teacher, each method on its own clock."""

from __future__ import annotations

import numpy as np
import pytest
from mpi4py import MPI

import ufd
from ufd.analysis.contrast import read_contrast
from ufd.analysis.contrast_report import contrast_lines, write_contrast_report
from ufd.meanfield.linear import mode_beside_teacher
from ufd.meanfield.solver import MeanFieldSolver
from ufd.parallel import total

MIXED = ufd.ReLU() + 0.5 * ufd.ReLU(power=2)
SPHERE = ufd.Sphere(2)
NARROW = ufd.UltraFastDiffusion(ufd.VonMisesFisher([1, 0], 1.5), ufd.Uniform(ufd.Sphere(1)))


@pytest.fixture(scope="module")
def found():
    """A small contrast on the circle."""
    return ufd.contrast(
        NARROW,
        MIXED,
        10.0,
        epsilons=[1e-3],
        temperatures=[0.05],
        width=32,
        densities={"cells": 128},
    )


def test_rates(found):
    """Predicted and measured, for all methods of densities."""
    rated = [m for m in found.methods if not m.floor]
    assert len(rated) == 4
    for method in rated:
        assert method.deviation == pytest.approx(0, abs=5e-3), method
    # An even and an odd mode share this eigenvalue; the mesh splits them.
    gap = ufd.spectral_gap(NARROW.teacher, cells=128, degree=8)[0]
    assert rated[0].predicted == pytest.approx(gap, rel=5e-4)
    # Slower and slower: the diffusion, finite regularisation, fixed weights, noise.
    assert np.all(np.diff([m.predicted for m in rated]) < 0)
    assert "4 of 5 methods have a predicted and a measured rate" in found.sentence()


def test_ends(found):
    """Densities without noise tend to the teacher; atoms to their floor, noise to its own end."""
    far = {m.name: m.to_teacher[-1] for m in found.methods}
    assert far["ultra-fast diffusion"] < 1e-3 < far["noisy descent, tau = 0.05"]
    atoms = found.methods[2]
    assert atoms.floor < atoms.to_teacher[-1] < 2 * atoms.floor
    noisy = found.methods[-1]
    assert noisy.to_limit[-1] < 1e-3 * noisy.to_limit[0]
    assert noisy.t[-1] > 2 * found.methods[0].t[-1]


def test_page(found, tmp_path):
    """Saved, read, and shown with every clock and rate."""
    found.save(tmp_path)
    again = read_contrast(tmp_path)
    assert again == found
    page = write_contrast_report(again, tmp_path).read_text()
    for word in ("Clocks", "t = eps s", "exp(-x)", "no gap", *(m.name for m in found.methods)):
        assert word in page
    assert contrast_lines(again)[-1] == found.sentence()
    (tmp_path / "contrast.json").write_text('{"methods": []}')
    with pytest.raises(ufd.StorageError, match="missing or wrong"):
        read_contrast(tmp_path)


@pytest.mark.parametrize("lam", [None, 1e-2])
def test_rate_beside_a_uniform_teacher(lam):
    """Lambda_l kappa_l/(kappa_l + lam), with fixed weights Lambda_l kappa_l."""
    problem = ufd.UltraFastDiffusion(ufd.Uniform(SPHERE), ufd.ZonalHarmonic([0, 0, 1.0], 1, 0.1))

    def kappa(l):
        return (1.0 + l**2) ** -2

    solver = MeanFieldSolver(
        problem, features=ufd.KernelSpectrum(kappa), lam=lam, inputs="sphere", cells=4
    )
    exact = 2 * (kappa(1) if lam is None else kappa(1) / (kappa(1) + lam))
    mode = mode_beside_teacher(solver.system, 0)
    assert mode.rate == pytest.approx(exact, rel=2e-3)
    assert np.abs(mode.shape).max() == 1


@pytest.mark.mpi
def test_mode_over_ranks(comm):
    """The same mode on any number of ranks, and the same amplitude of a state."""
    # Without the double eigenvalues of a single von Mises density.
    parts = [ufd.VonMisesFisher([1, 0], 2), ufd.VonMisesFisher([0, 1], 1)]
    teacher = ufd.Mixture(parts, [0.7, 0.3])
    problem = ufd.UltraFastDiffusion(teacher, ufd.Uniform(teacher.manifold))
    found = []
    for ranks in (comm, MPI.COMM_SELF):
        solver = MeanFieldSolver(problem, features=MIXED, lam=1e-2, cells=48, comm=ranks)
        mode = mode_beside_teacher(solver.system, 0)
        w = solver.evolution.values
        found.append((mode.rate, abs(total(ranks, float(mode.weights @ (w - 1))))))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-8)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"end": -1.0}, "end = -1.0 must be positive"),
        ({"end": "x"}, "end = 'x' is not a number"),
        ({"width": 0}, "width = 0"),
        ({"temperatures": [-1.0]}, "temperature = -1.0"),
        ({"lam": -1.0}, "lam = -1.0"),
        ({"epsilons": [0.0]}, "epsilons[0] = 0.0 must be positive"),
    ],
)
def test_bad_input(change, words):
    """One line that names what is wrong."""
    arguments = {"end": 0.1, "epsilons": [], "densities": {"cells": 32}, **change}
    with pytest.raises(ufd.InputError) as error:
        ufd.contrast(NARROW, MIXED, **arguments)
    assert words in str(error.value) and "\n" not in str(error.value)

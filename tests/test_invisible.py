"""Teachers that features do not see: forces vanish to round-off, however small lam is."""

from __future__ import annotations

import numpy as np
import pytest

import ufd
from ufd.problem.kernels import population_kernel
from ufd.problem.potentials import (
    CirclePotential,
    ZonalPotential,
    network_output,
    settled_moments,
)

CIRCLE = ufd.Sphere(1)
WIDTHS = [200, 201, 217, 234, 239, 240, 250, 256, 259, 260]


def third(x):
    """1 + 0.6 cos 3 theta as a function, which tells no moments."""
    return (1 + 0.6 * (4 * x[:, 0] ** 3 - 3 * x[:, 0])) / (2 * np.pi)


UNSEEN = ufd.UltraFastDiffusion(ufd.density(CIRCLE, third), ufd.Uniform(CIRCLE))


@pytest.mark.parametrize("lam", [1e-2, 1e-3, 1e-4, 1e-5, 1e-6])
def test_odd_harmonics_do_not_move_plain_relu(lam):
    """Velocities at the start, at every width, and the way of the features until t = 1."""
    for width in WIDTHS:
        solver = ufd.VarProSolver(UNSEEN, features=ufd.ReLU(), lam=lam, width=width)
        features = solver.state.features
        assert np.max(np.abs(solver.system.slope(0.0, features))) < 2e-15 / lam
        if lam >= 1e-4:
            solver.advance(1.0)
            assert np.max(np.abs(solver.state.features - features)) < 2e-16 / lam


def test_odd_harmonics_on_the_sphere():
    """Of a function: the features move as under the uniform teacher."""
    sphere = ufd.Sphere(2)
    teacher = ufd.density(sphere, lambda x: (1 + 0.3 * x[:, 0] * x[:, 1] * x[:, 2]) / (4 * np.pi))
    for lam in (1e-2, 1e-4):
        moves = []
        for nu in (teacher, ufd.Uniform(sphere)):
            problem = ufd.UltraFastDiffusion(nu, ufd.Uniform(sphere))
            solver = ufd.VarProSolver(problem, features=ufd.ReLU(), lam=lam, width=100)
            moves.append(solver.system.slope(0.0, solver.state.features))
        assert np.max(np.abs(moves[0] - moves[1])) < 2e-13 / lam


KERNELS = {
    "relu": ufd.ReLU(),
    "step": ufd.Step(),
    "mixed": ufd.ReLU() + 0.5 * ufd.ReLU(power=2),
}


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize(
    "teacher",
    [
        ufd.VonMisesFisher([0.6, 0.8], 30.0),
        ufd.AngularCauchy(200.0, 2.0),
        ufd.Mixture([ufd.VonMisesFisher([0, 1], 2.0), ufd.Uniform(CIRCLE)], [0.5, 0.5]),
    ],
    ids=["narrow", "tails", "mixture"],
)
def test_potentials_of_functions_and_of_closed_forms(name, teacher):
    """The same values, tangential gradients and energy by moments and by Fourier coefficients."""
    kernel = population_kernel(KERNELS[name], CIRCLE, "gaussian")
    closed = ZonalPotential(kernel, settled_moments(teacher))
    values = ufd.density(CIRCLE, lambda x: np.exp(teacher.log_density(x)))
    found = CirclePotential(kernel, values)
    angle = np.random.default_rng(0).uniform(0, 2 * np.pi, 300)
    omega = np.column_stack([np.cos(angle), np.sin(angle)])
    expected, gradient = closed.at(omega)
    got, slope = found.at(omega)
    scale = np.abs(expected).max()
    assert got == pytest.approx(expected, abs=1e-14 * scale)
    along = np.column_stack([-omega[:, 1], omega[:, 0]])
    turned = np.einsum("ni,ni->n", gradient, along)
    assert np.einsum("ni,ni->n", slope, along) == pytest.approx(turned, abs=1e-12 * scale)
    assert found.energy == pytest.approx(closed.energy, rel=1e-13)
    inputs = np.random.default_rng(1).normal(size=(200, 2))
    outputs = [network_output(KERNELS[name], nu, inputs) for nu in (teacher, values)]
    assert outputs[1] == pytest.approx(outputs[0], abs=1e-13 * np.abs(outputs[0]).max())

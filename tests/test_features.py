"""Features and population kernels: coefficients, closed forms, potentials, network outputs.

References: the table of docs/theory.md, quadrature that is split where an integrand has a kink,
closed forms of exponential features, and finite differences.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special

import ufd
from ufd.problem.harmonics import multiplicities, zonal_sum
from ufd.problem.kernels import population_kernel
from ufd.problem.potentials import network_output, teacher_potential

DIMS = [1, 2, 4]
MIXED = ufd.ReLU() + 0.5 * ufd.ReLU(power=2)
FULL = 0.3 * ufd.Step() + MIXED
T = np.array([-0.97, -0.6, -0.1, 0.0, 0.35, 0.8, 0.99])
TANH = ufd.Activation(np.tanh, lambda t: 1 / np.cosh(t) ** 2)
EXP = ufd.Activation(np.exp, np.exp)


def gauss(a: float, b: float, panels: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre's rule of order 40 on each of some panels."""
    x, w = np.polynomial.legendre.leggauss(40)
    length = (b - a) / panels
    starts = a + length * np.arange(panels)[:, None]
    return (starts + length * (x + 1) / 2).ravel(), np.tile(w * length / 2, panels)


def harmonic(dim: int, l: int, t: np.ndarray) -> np.ndarray:
    """P_l by SciPy."""
    if dim == 1:
        return special.eval_chebyt(l, t)
    P = special.eval_gegenbauer(l, (dim - 1) / 2, np.append(t, 1.0))
    return P[:-1] / P[-1]


def coefficient(dim: int, l: int, function, start: float, end: float) -> float:
    """int function(cos a) P_l(cos a) over angles, in the law of the angle on S^dim."""
    a, w = gauss(start, end)
    law = np.sin(a) ** (dim - 1) * math.gamma((dim + 1) / 2) / math.gamma(dim / 2)
    return float(w @ (law * function(a) * harmonic(dim, l, np.cos(a)))) / math.sqrt(math.pi)


def table(d: int, l: int, power: int) -> float:
    """The table of Funk-Hecke coefficients of ReLU and the step in R^d."""
    g, root = math.gamma, math.sqrt(math.pi)
    if l == 0:
        return g(d / 2) / (2 * root * g((d + 1) / 2)) if power else 0.5
    if power == 1 and l == 1:
        return 1 / (2 * d)
    if l % 2 == power:
        return 0.0
    if power:
        bottom = root * 2**l * g(l / 2) * g((l + d + 1) / 2)
        return (-1) ** (l // 2 - 1) * g(d / 2) * math.factorial(l - 2) / bottom
    bottom = root * 2**l * g((l + 1) / 2) * g((l + d) / 2)
    return (-1) ** ((l - 1) // 2) * g(d / 2) * math.factorial(l - 1) / bottom


@pytest.mark.parametrize("d", [2, 3, 5])
def test_coefficients(d):
    """The closed table for ReLU and step, quadrature for all powers; exact zeros are zeros."""
    found = FULL.coefficients(d - 1, 24)
    for power in (0, 1):
        expected = [table(d, l, power) for l in range(25)]
        np.testing.assert_allclose(found[power], expected, rtol=1e-13, atol=0)
    for power in (0, 1, 2):
        by_rule = [
            coefficient(d - 1, l, lambda a, k=power: np.cos(a) ** k, 0, np.pi / 2)
            for l in range(25)
        ]
        np.testing.assert_allclose(found[power], by_rule, rtol=0, atol=1e-14)
    assert not found[2][4::2].any() and not found[1][3::2].any() and not found[0][2::2].any()


@pytest.mark.parametrize("law", ["gaussian", "sphere"])
@pytest.mark.parametrize("dim", DIMS)
def test_kernel_and_its_eigenvalues(dim, law):
    """Two derivations agree: closed forms integrated over the angle, and squared coefficients."""
    kernel = population_kernel(FULL, ufd.Sphere(dim), law)
    found = kernel.eigenvalues(12)
    by_rule = [
        coefficient(dim, l, lambda a: kernel.values(np.cos(a))[0], 0, np.pi) for l in range(13)
    ]
    np.testing.assert_allclose(found, by_rule, rtol=0, atol=3e-14 * found[0])
    smooth = population_kernel(MIXED, ufd.Sphere(dim), law)
    degree = 1000
    series = smooth.eigenvalues(degree) * multiplicities(dim, degree)
    np.testing.assert_allclose(zonal_sum(dim, series, T), smooth.values(T)[0], rtol=0, atol=1e-8)


@pytest.mark.parametrize("d", [2, 3, 5])
def test_closed_forms(d):
    """Arc-cosine kernels of Gaussian inputs in any dimension; on the sphere ReLU's over d."""
    phi, sphere = np.arccos(T), ufd.Sphere(d - 1)
    rest = np.pi - phi
    closed = {
        ufd.Step(): rest / (2 * np.pi),
        ufd.ReLU(): (np.sin(phi) + rest * np.cos(phi)) / (2 * np.pi),
        ufd.ReLU(power=2): (3 * np.sin(phi) * T + rest * (1 + 2 * T**2)) / (2 * np.pi),
    }
    for (feature, expected), share in zip(closed.items(), (1, d, d * (d + 2)), strict=True):
        gaussian = population_kernel(feature, sphere, "gaussian").values(T)[0]
        np.testing.assert_allclose(gaussian, expected, rtol=0, atol=1e-15)
        on_sphere = population_kernel(feature, sphere, "sphere").values(T)[0]
        np.testing.assert_allclose(on_sphere, expected / share, rtol=0, atol=1e-15)


@pytest.mark.parametrize("law", ["gaussian", "sphere"])
@pytest.mark.parametrize("feature", [FULL, ufd.Step(), ufd.ReLU(power=2), TANH, EXP])
def test_kernel_slopes(feature, law):
    """kappa'(t) against differences of fourth order."""
    kernel, h = population_kernel(feature, ufd.Sphere(2), law), 1e-3
    t = T[1:-1]
    far, near = ([kernel.values(t + s * k * h)[0] for s in (1, -1)] for k in (2, 1))
    expected = (8 * (near[0] - near[1]) - (far[0] - far[1])) / (12 * h)
    np.testing.assert_allclose(kernel.values(t)[1], expected, rtol=0, atol=2e-10)


def test_exponential_features():
    """E exp(a.x) exp(b.x): e^(1 + t) for Gaussian inputs, a Bessel function of |a + b| else."""
    t = np.append(T, 1.0)
    for dim in DIMS:
        kernel = population_kernel(EXP, ufd.Sphere(dim), "gaussian")
        np.testing.assert_allclose(kernel.values(t)[0], np.exp(1 + t), rtol=1e-13)
        np.testing.assert_allclose(kernel.values(t)[1], np.exp(1 + t), rtol=1e-12)
        kernel = population_kernel(EXP, ufd.Sphere(dim), "sphere")
        order, r = (dim - 1) / 2, np.sqrt(2 + 2 * t)
        expected = math.gamma(order + 1) * (2 / r) ** order * special.iv(order, r)
        np.testing.assert_allclose(kernel.values(t)[0], expected, rtol=1e-13)
        lam = [coefficient(dim, l, lambda a: np.exp(np.cos(a)), 0, np.pi) ** 2 for l in range(9)]
        np.testing.assert_allclose(kernel.eigenvalues(8), lam, rtol=0, atol=1e-13)


def test_smooth_activation():
    """tanh by a trapezoidal rule in the plane (Gaussian), and on the circle and S^2."""
    t = np.append(T, 1.0)
    x = np.arange(-66, 67) * 0.14
    w = np.exp(-(x**2) / 2) * 0.14 / math.sqrt(2 * math.pi)
    beta = 2 * np.pi * np.arange(256) / 256
    z, wz = gauss(-1, 1, 2)
    for i, (c, s) in enumerate(zip(t, np.sqrt(1 - t**2), strict=True)):
        plane = (w * np.tanh(x)) @ np.tanh(c * x[:, None] + s * x) @ w
        circle = np.mean(np.tanh(np.cos(beta)) * np.tanh(c * np.cos(beta) + s * np.sin(beta)))
        r = np.sqrt(1 - z**2)[:, None]
        a, b = np.tanh(r * np.cos(beta)), np.tanh(r * (c * np.cos(beta) + s * np.sin(beta)))
        sphere = wz / 2 @ (a * b).mean(axis=1)
        cases = (4, "gaussian", plane), (1, "sphere", circle), (2, "sphere", sphere)
        for dim, law, expected in cases:
            value = population_kernel(TANH, ufd.Sphere(dim), law).values(t[i : i + 1])[0][0]
            assert value == pytest.approx(expected, abs=2e-13)


def test_low_rank_of_an_odd_activation():
    """Eigenvalues that are zero up to the sign of round-off leave finite outer weights."""
    problem = ufd.UltraFastDiffusion(ufd.VonMisesFisher([1, 0], 1.0), ufd.Uniform(ufd.Sphere(1)))
    values = []
    for kernel in ("harmonic", "closed"):
        options = {"features": TANH, "lam": 1e-2, "width": 64, "kernel": kernel}
        values.append(ufd.VarProSolver(problem, **options).functionals())
    assert values[0] == pytest.approx(values[1], rel=1e-5)


def around(pole: np.ndarray, end: float, panels: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Points within an angle of a pole on S^1 or S^2, weights of the surface, cosines."""
    a, w = gauss(0, end, panels)
    if len(pole) == 2:
        a, w = np.concatenate([-a, a]), np.concatenate([w, w])
        side = np.array([-pole[1], pole[0]])
        return np.outer(np.cos(a), pole) + np.outer(np.sin(a), side), w
    first = np.linalg.svd(pole[None])[2][1:]
    beta = 2 * np.pi * np.arange(128) / 128
    ring = np.column_stack([np.cos(beta), np.sin(beta)]) @ first
    x = np.cos(a)[:, None, None] * pole + np.sin(a)[:, None, None] * ring
    return x.reshape(-1, 3), np.repeat(w * np.sin(a), 128) / 128 * 2 * np.pi


def teachers(dim: int) -> list:
    axis = np.array([0.6, 0.8]) if dim == 1 else np.array([0.48, -0.6, 0.64])
    other = np.eye(dim + 1)[0]
    plain = ufd.VonMisesFisher(axis, 3.0)
    mixed = ufd.Mixture([ufd.ZonalHarmonic(other, 3, 0.8), plain], [0.3, 0.7])
    log = plain.log_density
    own = ufd.density(ufd.Sphere(dim), lambda x: np.exp(log(x)))
    return [plain, mixed, own, *([ufd.AngularCauchy(100.0, 0.7)] if dim == 1 else [])]


@pytest.mark.parametrize(("dim", "number"), [(1, 0), (1, 1), (1, 3), (2, 0), (2, 1)])
def test_potential(dim, number):
    """kappa * nu, its tangential gradient and its energy, by rules around the points."""
    sphere, kernel = ufd.Sphere(dim), population_kernel(FULL, ufd.Sphere(dim), "gaussian")
    teacher = teachers(dim)[number]
    omega = sphere.retract(np.random.default_rng(1).normal(size=(5, dim + 1)))
    potential = teacher_potential(kernel, teacher)
    values, gradient = potential.at(omega)
    for i, pole in enumerate(omega):
        x, w = around(pole, np.pi, 40 if dim == 1 else 3)
        weights = w * np.exp(teacher.log_density(x))
        k, slope = kernel.values(x @ pole)
        assert values[i] == pytest.approx(weights @ k, abs=1e-11)
        expected = sphere.tangent(omega[i : i + 1], ((weights * slope) @ x)[None])
        actual = sphere.tangent(omega[i : i + 1], gradient[i : i + 1])
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-9)
    nodes, w = sphere.quadrature(1024 if dim == 1 else 48)
    weights = w * np.exp(teacher.log_density(nodes))
    assert potential.energy == pytest.approx(weights @ potential.at(nodes)[0], rel=1e-11)


@pytest.mark.parametrize(("dim", "order", "tolerance"), [(1, 512, 1e-8), (2, 48, 1e-4)])
def test_potential_of_atoms(dim, order, tolerance):
    """The nodes of a rule stand for a density as well as the rule takes the kernel's kink."""
    sphere, kernel = ufd.Sphere(dim), population_kernel(MIXED, ufd.Sphere(dim), "gaussian")
    omega = sphere.retract(np.random.default_rng(1).normal(size=(5, dim + 1)))
    teacher, (x, w) = teachers(dim)[0], sphere.quadrature(order)
    atoms = ufd.Measure(x, w * np.exp(teacher.log_density(x)))
    exact, found = (teacher_potential(kernel, teacher) for teacher in (teacher, atoms))
    np.testing.assert_allclose(found.at(omega)[0], exact.at(omega)[0], rtol=0, atol=tolerance)
    gradients = [sphere.tangent(omega, potential.at(omega)[1]) for potential in (exact, found)]
    np.testing.assert_allclose(*gradients, rtol=0, atol=100 * tolerance)
    assert found.energy == pytest.approx(exact.energy, rel=tolerance)


@pytest.mark.parametrize("dim", [1, 2])
def test_network_output(dim):
    """f*(x) against a rule on the half space that sees x, at inputs of any length."""
    x = np.random.default_rng(2).normal(size=(6, dim + 1)) * np.array([[5.0, 1, 1, 1, 1, 0.01]]).T
    lengths = np.linalg.norm(x, axis=1)
    for teacher in teachers(dim)[:2]:
        for feature in (ufd.Step(), ufd.ReLU(), FULL):
            found = network_output(feature, teacher, x)
            for i, pole in enumerate(x / lengths[:, None]):
                theta, w = around(pole, np.pi / 2)
                seen = feature.activation(theta @ x[i]) * np.exp(teacher.log_density(theta))
                assert found[i] == pytest.approx(w @ seen, abs=1e-12 * max(1, lengths[i] ** 2))
    assert network_output(FULL, teachers(dim)[0], np.zeros((1, dim + 1)))[0] <= 0.3


def test_network_of_atoms_and_of_functions():
    """Atoms are summed as they are; a density without moments goes through a rule."""
    rng = np.random.default_rng(3)
    theta, x = ufd.Sphere(2).retract(rng.normal(size=(7, 3))), rng.normal(size=(9, 3))
    atoms = ufd.Measure(theta, np.arange(7.0) - 2)
    expected = MIXED.activation(x @ theta.T) @ atoms.weights
    np.testing.assert_allclose(network_output(MIXED, atoms, x), expected, rtol=0, atol=1e-13)
    known, own = teachers(2)[0], teachers(2)[2]
    by_moments, by_rule = (network_output(TANH, teacher, x) for teacher in (known, own))
    np.testing.assert_allclose(by_rule, by_moments, rtol=0, atol=1e-11)
    kinked = [network_output(ufd.ReLU(), teacher, x) for teacher in (known, own)]
    np.testing.assert_allclose(*kinked, rtol=0, atol=2e-4)


@pytest.mark.parametrize("bump", [ufd.LaplaceRBF(0.5, 8.0), ufd.GaussianRBF(0.3, 2.0)])
@pytest.mark.parametrize("dim", [1, 2])
def test_bumps(dim, bump):
    """Values by the nearest of many images, periodicity, gradients by differences."""
    torus, rng = ufd.Torus(dim, 4.0), np.random.default_rng(4)
    feature = bump.on(torus)
    omega, x = rng.uniform(0, 4, (5, dim)), 3 * rng.normal(size=(30, dim))
    values, pullback = feature.evaluate(omega, x)
    images = np.stack(np.meshgrid(*[4.0 * np.arange(-6, 7)] * dim), axis=-1).reshape(-1, 1, 1, dim)
    r = np.linalg.norm(omega[None] - x[:, None] + images, axis=-1).min(axis=0)
    law = np.exp(-r / 0.5) if bump.kind == "laplace" else np.exp(-(r**2) / (2 * 0.3**2))
    np.testing.assert_allclose(values, bump.amplitude * law, rtol=1e-12)
    shifted = feature.evaluate(omega + 8.0, x - 4.0)[0]
    np.testing.assert_allclose(shifted, values, rtol=1e-12)
    weights, h = rng.normal(size=30), 1e-4
    for k in range(dim):
        ends = [weights @ feature.evaluate(omega + s * h * np.eye(dim)[k], x)[0] for s in (1, -1)]
        expected = (ends[0] - ends[1]) / (2 * h)
        np.testing.assert_allclose(pullback(weights)[:, k], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("feature", [MIXED, TANH])
def test_gradients_on_spheres(feature):
    """What turns weights of inputs into gradients, against differences."""
    rng, h = np.random.default_rng(5), 1e-5
    omega, x, weights = rng.normal(size=(4, 3)), rng.normal(size=(20, 3)), rng.normal(size=20)
    gradient = feature.evaluate(omega, x)[1](weights)
    for k in range(3):
        ends = [weights @ feature.evaluate(omega + s * h * np.eye(3)[k], x)[0] for s in (1, -1)]
        np.testing.assert_allclose(gradient[:, k], (ends[0] - ends[1]) / (2 * h), atol=1e-8)


def test_algebra():
    """Sums merge powers, factors multiply, what cancels is left out; tables name the powers."""
    assert (ufd.ReLU() + ufd.ReLU()).terms == (2 * ufd.ReLU()).terms == ((2.0, 1),)
    assert (ufd.ReLU() * -3).terms == ((-3.0, 1),)
    assert (MIXED + -1 * ufd.ReLU()).terms == ((0.5, 2),)
    t = np.linspace(-2, 2, 9)
    np.testing.assert_allclose(FULL.activation(t), (t > 0) * (0.3 + t + t**2 / 2))
    np.testing.assert_allclose(FULL.slope(t), (t > 0) * (1 + t))
    assert FULL.describe()["terms"] == {"step": 0.3, "relu": 1.0, "relu2": 0.5}
    assert TANH.describe() is None
    kappa = population_kernel(FULL, ufd.Sphere(2), "sphere").eigenvalues(40)
    assert (kappa > 0).all()


def test_refusals():
    """In one line with the offending value."""
    sphere, torus = ufd.Sphere(1), ufd.Torus(1)
    on_torus = ufd.LaplaceRBF().on(torus)
    for action, words in (
        (lambda: ufd.ReLU(power=3), "power = 3 must be 1 or 2"),
        (lambda: ufd.ReLU(power=True), "power = True"),
        (lambda: ufd.ReLU(power=0), "Step()"),
        (lambda: 0 * ufd.ReLU(), "factor = 0"),
        (lambda: "x" * ufd.ReLU(), "factor = 'x' is not a number"),
        (lambda: math.nan * ufd.ReLU(), "factor = nan"),
        (lambda: ufd.ReLU() + -1.0 * ufd.ReLU(), "sum is zero"),
        (lambda: ufd.LaplaceRBF(0.0), "laplace: scale = 0.0 must be positive"),
        (lambda: ufd.GaussianRBF(1.0, -2), "gaussian: amplitude = -2"),
        (lambda: ufd.GaussianRBF(math.inf), "scale = inf"),
        (lambda: ufd.Activation(np.tanh, 3), "derivative = 3 is no function"),
        (lambda: ufd.Step().evaluate(np.eye(2), np.eye(2)), "a step has no gradient"),
        (lambda: ufd.LaplaceRBF().check(sphere), "lives on a Torus"),
        (lambda: ufd.ReLU().check(torus), "lives on a Sphere"),
        (lambda: TANH.check(torus), "lives on a Sphere"),
        (lambda: population_kernel(on_torus, torus, "gaussian"), "need samples"),
    ):
        with pytest.raises(ufd.InputError) as caught:
            action()
        assert words in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(TypeError):
        ufd.ReLU() + 1

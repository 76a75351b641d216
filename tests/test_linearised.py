"""Particles near equilibrium: every mode decays at its own rate, or not at all.

For the uniform teacher and a kernel of eigenvalues kappa_l the mode l of a small perturbation
decays at l (l + dim - 1) kappa_l/(kappa_l + lam), times (kappa_0/(kappa_0 + lam))^2 if the outer
weights are biased to zero (docs/theory.md).
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from mpi4py import MPI

import ufd
from ufd.problem.harmonics import basis, degrees
from ufd.problem.kernels import population_kernel

MIXED = ufd.ReLU() + 0.5 * ufd.ReLU(power=2)
LAM, SMALL = 1e-2, 1e-3


def rate(feature, dim: int, l: int, lam: float, reference: float, law: str = "gaussian") -> float:
    kappa = population_kernel(feature, ufd.Sphere(dim), law).eigenvalues(l)
    bias = 1.0 if reference == 1 else (kappa[0] / (kappa[0] + lam)) ** 2
    return l * (l + dim - 1) * kappa[l] / (kappa[l] + lam) * bias


def circle(theta: np.ndarray) -> np.ndarray:
    return np.column_stack([np.cos(theta), np.sin(theta)])


def uniform(dim: int) -> ufd.UltraFastDiffusion:
    return ufd.UltraFastDiffusion(ufd.Uniform(ufd.Sphere(dim)), ufd.Uniform(ufd.Sphere(dim)))


def amplitudes(start: np.ndarray, l: int, times: list[float], **options) -> np.ndarray:
    """Moments of degree l at some times, (times, columns)."""
    dim = start.shape[1] - 1
    options = {"features": MIXED, "lam": LAM, "stepper": ufd.RK23(), "dt": 0.04} | options
    options |= {"comm": MPI.COMM_SELF}
    solver = ufd.VarProSolver(uniform(dim), width=len(start), start=start, **options)
    if "kernel" in options:
        assert solver.describe()["kernel"] == options["kernel"]
    columns = degrees(ufd.Sphere(dim), l) == l
    found = [
        basis(ufd.Sphere(dim), l, state.features)[:, columns].mean(axis=0)
        for _, state in solver.iterate(times)
    ]
    assert solver.status is ufd.StopReason.FINISHED
    return np.array(found)


def measured(moments: np.ndarray, times: list[float]) -> float:
    """The rate between two times of the component along the first moment."""
    first, last = moments[0], moments[-1]
    assert np.linalg.norm(first) > 1e-5
    return math.log(first @ first / (first @ last)) / (times[-1] - times[0])


def wave(l: int, count: int) -> np.ndarray:
    theta = 2 * np.pi * (np.arange(count) + 0.5) / count
    return circle(theta + SMALL * np.sin(l * theta))


@pytest.mark.parametrize("reference", [1.0, 0.0])
@pytest.mark.parametrize(
    ("feature", "l", "kernel", "count", "tolerance"),
    [
        (MIXED, 1, "closed", 96, 8e-3),
        (MIXED, 2, "closed", 96, 1e-3),
        (MIXED, 3, "closed", 96, 5e-3),
        (ufd.ReLU(), 2, "closed", 96, 1e-3),
        (ufd.ReLU(), 2, "harmonic", 288, 1e-3),
    ],
)
def test_rates_on_the_circle(feature, l, kernel, count, tolerance, reference):
    """Within 1 % of the linearised rate, by the closed kernel and by the one of low rank.

    M equispaced particles alias: the kink of the kernel moves the rates by O(1/(lam M^2)).
    """
    times = [0.02, 0.3]
    options = {"features": feature, "kernel": kernel, "reference": reference}
    moments = amplitudes(wave(l, count), l, times, **options)
    expected = rate(feature, 1, l, LAM, reference)
    assert measured(moments, times) == pytest.approx(expected, rel=tolerance)


def test_aliasing_falls_with_width():
    """The error of the first mode's rate is O(1/M^2) for even M."""
    times, expected = [0.02, 0.3], rate(ufd.ReLU(), 1, 1, LAM, 1.0)
    errors = [
        measured(amplitudes(wave(1, count), 1, times, features=ufd.ReLU()), times) / expected - 1
        for count in (48, 96, 192)
    ]
    assert errors[0] < 0 and errors[0] / errors[1] == pytest.approx(4, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.1)


@pytest.mark.parametrize("lam", [1e-1, 1e-3])
def test_rates_follow_lam(lam):
    """From slow modes at large lam to those of the diffusion, l^2, at small lam."""
    moments = amplitudes(wave(2, 96), 2, [0.02, 0.3], lam=lam, kernel="closed")
    found = measured(moments, [0.02, 0.3])
    assert found == pytest.approx(rate(MIXED, 1, 2, lam, 1.0), rel=2e-3)
    assert (abs(found - 4) < 0.2) == (lam < 1e-2)


def test_rates_for_inputs_on_the_circle():
    """Another law of the inputs, other eigenvalues."""
    feature = ufd.Activation(np.exp, np.exp)
    moments = amplitudes(wave(2, 64), 2, [0.02, 0.3], features=feature, inputs="sphere")
    expected = rate(feature, 1, 2, LAM, 1.0, "sphere")
    assert measured(moments, [0.02, 0.3]) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("reference", [1.0, 0.0])
@pytest.mark.parametrize("l", [1, 2])
def test_rates_on_the_sphere(l, reference):
    """Within 1 %, once the drift of the unperturbed points is subtracted."""
    times, count = [0.02, 0.14], 160
    axis = [0.48, -0.6, 0.64]
    densities = [ufd.ZonalHarmonic(axis, l, a) for a in (0.05, -0.05)]
    # Half the difference of two opposite perturbations has no drift and no quadratic part.
    plus, minus = (
        amplitudes(ufd.quantiles(d, count), l, times, reference=reference) for d in densities
    )
    found = measured((plus - minus) / 2, times)
    assert found == pytest.approx(rate(MIXED, 2, l, LAM, reference), rel=0.01)


@pytest.mark.parametrize("kernel", ["closed", "harmonic"])
def test_what_relu_does_not_see(kernel):
    """A teacher that differs from the start by an odd harmonic alone: plain ReLU stays."""
    sphere = ufd.Sphere(1)
    problem = ufd.UltraFastDiffusion(ufd.ZonalHarmonic([1, 0], 3, 0.8), ufd.Uniform(sphere))
    options = {"lam": LAM, "width": 288, "times": [2.0], "kernel": kernel, "comm": MPI.COMM_SELF}
    frozen = ufd.train(problem, ufd.ReLU(), **options)
    assert frozen.configuration["particles"]["kernel"] == kernel
    moved = np.abs(frozen.features(2.0) - frozen.features(0.0)).max()
    assert moved < 1e-10
    np.testing.assert_allclose(frozen.outer_weights(2.0), 1, rtol=0, atol=1e-9)
    assert abs(frozen.series["risk"]).max() < 1e-8


def test_what_an_injective_feature_sees():
    """The same teacher through ReLU plus its square: the third mode is learnt."""
    sphere = ufd.Sphere(1)
    problem = ufd.UltraFastDiffusion(ufd.ZonalHarmonic([1, 0], 3, 0.8), ufd.Uniform(sphere))
    run = ufd.train(problem, MIXED, 1e-4, 96, [2.0], comm=MPI.COMM_SELF)
    third = [basis(sphere, 3, run.features(t))[:, 5].mean() for t in (0.0, 2.0)]
    assert abs(third[0]) < 1e-12
    assert third[1] == pytest.approx(0.4 * math.sqrt(2), rel=0.02)

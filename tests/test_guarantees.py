"""The guaranteed rates themselves: the inequalities behind them, their values, their limits.

Whether runs obey is tested in test_certificates.py.
"""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
import pytest

import ufd
from ufd.problem.divergences import entropy_curvature, power_entropy
from ufd.problem.guarantees import GUARANTEED, guaranteed_rates

GAP = 1.7
EXPONENTS = [-3, -2, -1.5, -1, -1 + 1e-9, -0.3, -1e-6, 0, 1e-9, 1e-3, 0.1, 0.25, 0.4, 0.5 - 1e-7]
EXPONENTS += [0.5, 0.5 + 1e-9, 0.55, 0.75, 0.9, 1 - 1e-6, 1 - 1e-12, 1]


def rates(m: float, C, c) -> dict[str, np.ndarray]:
    """Guaranteed rates for the exponent m and a gap of 1.7."""
    return guaranteed_rates(ufd.PowerDivergence(1 - m), GAP, C, c)


def ranges(seed: int, size: int = 4000) -> tuple[np.random.Generator, np.ndarray, np.ndarray]:
    """Upper and lower bounds of ratios: contrasts up to 1e6, many of them near 1."""
    rng = np.random.default_rng(seed)
    scale = rng.choice([1e-4, 1e-2, 1.0, np.log(1e3)], size)
    return rng, np.exp(scale * rng.random(size)), np.exp(-scale * rng.random(size))


RULE = np.polynomial.legendre.leggauss(80)


def moment(b: np.ndarray, w: np.ndarray, power: float, first: bool) -> np.ndarray:
    """int_b^w x^power dx, or int_b^w (w - x) x^power dx, by a rule in log x: nothing cancels."""
    length = (np.log(w) - np.log(b))[:, None]
    u, weights = length * (1 + RULE[0]) / 2, length * RULE[1] / 2
    distance = np.exp(u) * np.expm1(length - u) if first else 1.0
    value = (weights * distance * np.exp((power + 1) * u)).sum(axis=1)
    return b ** (power + 1 + first) * value


@pytest.mark.parametrize("m", EXPONENTS)
def test_pointwise_inequality_of_the_divergence(m):
    """B(w, b) <= C^(1-m) max(1/2, kappa(C/c)) (G(w) - G(b))^2 for b, w in [c, C], by quadrature."""
    rng, C, c = ranges(1)
    bound = GAP / rates(m, C, c)["divergence"]
    for _ in range(5):
        b, w = (c * (C / c) ** rng.random(C.size) for _ in range(2))
        keep = np.abs(np.log(w / b)) > 1e-7
        ratio = moment(b, w, m - 2, True) / moment(b, w, m - 1.5, False) ** 2
        assert (ratio <= bound * (1 + 1e-9))[keep].all()
    # It is sharp: reached at w, b -> C, or at w = C, b = c.
    near = C * (1 - 1e-5)
    ends = [moment(b, C, m - 2, True) / moment(b, C, m - 1.5, False) ** 2 for b in (near, c)]
    np.testing.assert_allclose(np.maximum(*ends), bound, rtol=1e-4)


@pytest.mark.parametrize("m", EXPONENTS)
def test_pointwise_inequalities_of_the_others(m):
    """chi2: phi' >= C^(m-1); H^-1: the chord of phi; Psi: Psi(w)/(w-1)^2; equality at w = C."""
    rng, C, c = ranges(2)
    law, found = ufd.PowerDivergence(1 - m), rates(m, C, c)
    for w in (c * (C / c) ** rng.random(C.size), C):
        tol = 1 + 1e-9
        assert (found["chi2"] / (2 * GAP) <= w ** (m - 1) * tol).all()
        chord = moment(np.minimum(w, 1), np.maximum(w, 1), m - 1, False) / np.abs(w - 1)
        assert (found["hminus1"] / (2 * GAP) <= chord * tol).all()
        assert (found["lyapunov"] * law.lyapunov(w) <= GAP * (w - 1) ** 2 * tol).all()
    np.testing.assert_allclose(found["chi2"], 2 * GAP * C ** (m - 1), rtol=1e-13)
    np.testing.assert_allclose(found["hminus1"], 2 * GAP * chord, rtol=1e-10)
    np.testing.assert_allclose(found["lyapunov"], GAP * (C - 1) ** 2 / law.lyapunov(C), rtol=1e-12)


@pytest.mark.parametrize("m", EXPONENTS)
def test_rates_near_equilibrium_and_their_order(m):
    """All tend to twice the gap as w tends to 1, first order in C - 1, and are never above it."""
    for e in (0, 1e-15, 1e-12, 1e-8, 1e-4):
        for name, rate in rates(m, 1 + e, 1 - e).items():
            assert rate == pytest.approx(2 * GAP, rel=10 * e + 1e-14), name
    _, C, c = ranges(3)
    for rate in rates(m, C, c).values():
        assert (rate > 0).all() and (rate <= 2 * GAP * (1 + 1e-14)).all()
    if m == 1:
        np.testing.assert_allclose(rates(m, C, c)["hminus1"], 2 * GAP, rtol=1e-15)


@pytest.mark.parametrize("m", EXPONENTS)
def test_rates_are_monotone(m):
    """None grows with C, none falls as c grows: a rate taken at one time holds from then on."""
    C = np.concatenate([[1], 1 + np.geomspace(1e-12, 1e6, 400)])
    for c in (1.0, 0.5, 1e-6):
        for name, rate in rates(m, C, c).items():
            assert (np.diff(rate) <= 1e-13 * rate[:-1]).all(), name
    for top in (1.0, 1.5, 1e3):
        rate = rates(m, np.full(400, top), np.geomspace(1e-12, 1, 400))["divergence"]
        assert (np.diff(rate) >= -1e-13 * rate[1:]).all()


def exact(m: Decimal, C: Decimal, c: Decimal) -> dict[str, Decimal]:
    """The formulas as docs/theory.md has them, in as many digits as the context gives."""

    def integral(power: Decimal, x: Decimal) -> Decimal:
        return x.ln() if power == 0 else (x**power - 1) / power

    def entropy(q: Decimal, x: Decimal) -> Decimal:
        if q == 0:
            return x - 1 - x.ln()
        return x * x.ln() - x + 1 if q == 1 else (x**q - 1 - q * (x - 1)) / (q * (q - 1))

    z, half, gap = C / c, Decimal("0.5"), Decimal(GAP)
    kappa = z ** (m - 1) * entropy(m, z) / integral(m - half, z) ** 2
    return {
        "chi2": 2 * gap * C ** (m - 1),
        "hminus1": 2 * gap * integral(m, C) / (C - 1),
        "lyapunov": gap * (C - 1) ** 2 / entropy(3 - m, C),
        "divergence": gap * C ** (m - 1) / (half if m <= 0 else max(half, kappa)),
    }


@pytest.mark.parametrize("m", EXPONENTS)
@pytest.mark.parametrize("C", [1 + 2**-40, 1 + 2**-20, 1.01, 1.19, 1.21, 3.7, 1e3])
@pytest.mark.parametrize("c", [1e-3, 0.3, 0.9, 1 - 2**-30])
def test_values_to_round_off(m, C, c):
    """Against 100 digits: nothing cancels near C = 1, near m = 0, 1/2, 1."""
    found = rates(m, C, c)
    with localcontext(prec=100):
        # The exponent that the code sees.
        for name, value in exact(Decimal(1 - (1 - m)), Decimal(C), Decimal(c)).items():
            assert found[name] == pytest.approx(float(value), rel=1e-13), name


@pytest.mark.parametrize("q", [-3, -1, -0.5, -1e-9, 0, 1e-9, 0.3, 0.5, 0.7, 1, 1 + 1e-9, 2, 4, 6])
def test_power_entropy_to_round_off(q):
    """H_q and H_q/(w-1)^2 against 100 digits, on both sides of 1 and near it."""
    w = np.array([1e-6, 0.1, 0.79, 0.81, 1 - 2**-30, 1.0, 1 + 2**-40, 1.19, 1.21, 9.0, 1e6])
    curvature, value = entropy_curvature(w, q), power_entropy(w, q)
    assert curvature[5] == pytest.approx(0.5, rel=1e-15) and value[5] == 0
    with localcontext(prec=100):
        e = Decimal(q)
        for i in (0, 1, 2, 3, 4, 6, 7, 8, 9, 10):
            x = Decimal(float(w[i]))
            if q in (0, 1):
                right = x * x.ln() - x + 1 if q else x - 1 - x.ln()
            else:
                right = (x**e - 1 - e * (x - 1)) / (e * (e - 1))
            assert value[i] == pytest.approx(float(right), rel=2e-14)
            assert curvature[i] == pytest.approx(float(right / (x - 1) ** 2), rel=2e-14)


def test_extreme_ratios():
    """No node may be empty for 0 < m < 1: then nothing is promised for the divergence."""
    assert rates(0.5, 2.0, 0.0)["divergence"] == 0 < rates(-1, 2.0, 0.0)["divergence"]
    assert rates(0.25, 1e300, 1e-300)["divergence"] >= 0
    assert rates(-1, 0.5, 0.1)["chi2"] == 2 * GAP  # a nu-mean of 1 above sup w is round-off
    table = rates(0.3, np.array([1.0, 2, 3]), np.array([1.0, 0.5, 0.1]))
    assert set(table) == set(GUARANTEED) and all(r.shape == (3,) for r in table.values())


@pytest.mark.parametrize("gap", [0.0, -1.0, np.nan])
def test_a_gap_must_be_positive(gap):
    """One line says so."""
    with pytest.raises(ufd.InputError, match=r"gap = .* must be positive"):
        guaranteed_rates(ufd.PowerDivergence(2), gap, 2.0, 0.5)

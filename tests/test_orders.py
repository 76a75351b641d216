"""Orders of convergence: fitted with an honest error, refused with a reason."""

from __future__ import annotations

import numpy as np
import pytest

import ufd
from ufd.analysis.orders import OrderFit, fit_order, local_orders

H = 0.5 ** np.arange(5)


@pytest.mark.parametrize("constant", [1e-9, 1.0, 1e100])
@pytest.mark.parametrize("order", [0.5, 1.0, 4.0, 16.0])
@pytest.mark.parametrize("sizes", [H, H[:3], 1 / np.array([8, 12, 16, 24]), H[::-1]])
def test_exact_power_law(sizes, order, constant):
    """To 1e-12, whatever the sizes, their direction and the constant."""
    fit = fit_order(sizes, constant * sizes**order)
    assert fit.order == pytest.approx(order, rel=1e-12)
    assert 0 <= fit.stderr < 1e-11 and fit.points == len(sizes)
    assert fit.pairwise == pytest.approx([order] * (len(sizes) - 1), rel=1e-12)


@pytest.mark.parametrize("ratio", [0.5, 2 / 3, 0.75])
@pytest.mark.parametrize("count", [3, 4, 5, 6])
@pytest.mark.parametrize("second", [1, 2])
@pytest.mark.parametrize("share", [-0.5, -0.1, 0.1, 1.0])
@pytest.mark.parametrize("order", [1, 2, 5, 9])
def test_two_powers(order, share, second, count, ratio):
    """A second power bends the line: the error covers what the slope misses of the limit."""
    sizes = 0.8 * ratio ** np.arange(count)
    fit = fit_order(sizes, sizes**order * (1 + share * sizes**second))
    assert abs(fit.order - order) <= 3 * fit.stderr
    assert fit.stderr < 10 * abs(fit.order - order), "an error far too large is useless too"


@pytest.mark.parametrize("count", [3, 4, 5, 8])
def test_noise(count):
    """The true order lies within three standard errors in nine of ten trials at least."""
    rng = np.random.default_rng(count)
    sizes = 0.5 ** np.arange(count)
    deviations = []
    for _ in range(200):
        fit = fit_order(sizes, sizes**3 * np.exp(0.05 * rng.normal(size=count)))
        deviations.append(abs(fit.order - 3) / fit.stderr)
    assert np.mean(np.array(deviations) < 3) >= 0.9
    assert np.median(deviations) > 0.1


def test_floor():
    """Errors at or below the floor are left out, even where they vanish or rise."""
    errors = np.array([1e-2, 1e-2 / 16, 1e-2 / 256, 1e-9, 2e-9, 0.0])
    sizes = 0.5 ** np.arange(6)
    fit = fit_order(sizes, errors, floor=1e-8)
    assert fit.order == pytest.approx(4, rel=1e-12) and fit.points == 3 and len(fit.pairwise) == 2
    assert fit_order(sizes[:3], errors[:3]) == fit
    with pytest.raises(ufd.InputError, match=r"2 errors lie above the floor 3\.9e-05"):
        fit_order(sizes, errors, floor=1e-2 / 256)


def test_direction():
    """Local orders come in the order of the sizes; the fit does not care."""
    errors = H**2 * (1 + H)
    down, up = fit_order(H, errors), fit_order(H[::-1], errors[::-1])
    assert down.pairwise == up.pairwise[::-1]
    assert (down.order, down.stderr) == pytest.approx((up.order, up.stderr), rel=1e-12)
    np.testing.assert_allclose(local_orders(H, errors), down.pairwise, rtol=1e-14)


@pytest.mark.parametrize(
    ("sizes", "errors", "options", "reason"),
    [
        (H[:2], H[:2], {}, "2 errors lie above the floor 0.0e+00; 3 needed, so add coarser"),
        ([], [], {}, "0 errors lie above the floor"),
        (H, H, {"floor": 0.25}, "2 errors lie above the floor 2.5e-01; 3 needed"),
        (H, H[1:], {}, "5 sizes and 4 errors; give two arrays of one length"),
        (H.reshape(1, 5), H.reshape(1, 5), {}, "give two arrays"),
        (1.0, 1.0, {}, "give two arrays"),
        (H, H * (H != 0.25), {}, "the error 0 at size 0.25 must be positive and finite; give"),
        (H, -H, {}, "the error -1 at size 1 must be positive"),
        (H, -H, {"floor": 1e-3}, "the error -1 at size 1 must be positive"),
        (H, np.where(H == 0.5, np.nan, H), {}, "the error nan at size 0.5 must be"),
        (H, np.where(H == 0.5, np.inf, H), {"floor": 1e-3}, "the error inf at size 0.5 must be"),
        (-H, H, {}, "the size -1 must be positive and finite"),
        (np.where(H == 0.5, np.nan, H), H, {}, "the size nan must be positive"),
        ([1, 0.5, 0.5, 0.2], [4, 3, 2, 1], {}, "the sizes 0.5 and 0.5 follow each other; they"),
        ([1, 1, 0.5], [4, 3, 2], {}, "the sizes 1 and 1 follow"),
        ([1, 0.25, 0.5], [3, 1, 2], {}, "the sizes 0.25 and 0.5 follow each other"),
        (H, 1 / H, {}, "the error 1 at size 1 does not fall to size 0.5 (2); raise the floor"),
        (1 / H, H, {}, "the error 0.0625 at size 16 does not fall to size 8"),
        (H, [1, 0.1, 0.01, 0.01, 1e-3], {}, "the error 0.01 at size 0.25 does not fall to size 0"),
        (H, H, {"floor": -1.0}, "floor = -1.0 must be finite and not negative"),
        (H, H, {"floor": np.nan}, "floor = nan must be finite"),
    ],
)
def test_refusals(sizes, errors, options, reason):
    """One line with the one thing that is wrong."""
    with pytest.raises(ufd.InputError) as caught:
        fit_order(sizes, errors, **options)
    text = str(caught.value)
    assert text.startswith("fit_order: ") and reason in text and "\n" not in text


def test_as_dict():
    """Plain values for JSON."""
    fit = OrderFit(2.0, 0.1, 3, (1.9, 2.1))
    assert fit.as_dict() == {"order": 2.0, "stderr": 0.1, "points": 3, "pairwise": [1.9, 2.1]}

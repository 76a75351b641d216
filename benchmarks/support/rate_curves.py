"""Decays whose rate is 1 by construction: noise, floors, a second exponential."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import ufd

Array = NDArray[np.float64]
Curve = tuple[Array, Array, float | None]
CORRELATIONS, NOISES = (0.0, 0.5, 0.9, 0.99), (2e-3, 1e-2)
RATIOS = (1.1, 1.2, 1.3, 1.5, 2.0, 3.0)


def correlated(rng: np.random.Generator, count: int, rho: float) -> Array:
    """First-order autoregressive noise of variance 1."""
    noise, level = np.empty(count), rng.normal()
    for i, kick in enumerate(math.sqrt(1 - rho**2) * rng.normal(size=count)):
        level = rho * level + kick
        noise[i] = level
    return noise


def _noisy(rho: float, size: float) -> Callable[[np.random.Generator], Curve]:
    def draw(rng: np.random.Generator) -> Curve:
        t = np.linspace(0, rng.uniform(10, 30), int(rng.integers(100, 400)))
        return t, np.exp(-t + size * correlated(rng, len(t), rho)), None

    return draw


def _second(ratio: float, size: float) -> Callable[[np.random.Generator], Curve]:
    def draw(rng: np.random.Generator) -> Curve:
        t = np.linspace(0, rng.uniform(4, 14), 200)
        sums = np.exp(-t) + 10 ** rng.uniform(-1, 1.7) * np.exp(-ratio * t)
        return t, sums * np.exp(size * correlated(rng, 200, rng.choice(CORRELATIONS[:3]))), None

    return draw


def _floor(known: bool) -> Callable[[np.random.Generator], Curve]:
    def draw(rng: np.random.Generator) -> Curve:
        t, floor = np.linspace(0, 20, 200), 10 ** rng.uniform(-8, -4)
        values = np.exp(-t) + floor * (1 + 0.3 * rng.normal(size=200))
        return t, np.maximum(values, 1e-300), 10 * floor if known else None

    return draw


def families() -> dict[str, Callable[[np.random.Generator], Curve]]:
    """A draw of times, values and floor for every family."""
    noise = {
        f"noise {size:g}, correlated by {rho:g}": _noisy(rho, size)
        for size in NOISES
        for rho in CORRELATIONS
    }
    second = {
        f"a second rate, {ratio:g} times" + (f", noise {size:g}" if size else ""):
            _second(ratio, size)
        for size in (0.0, NOISES[0])
        for ratio in RATIOS
    }  # fmt: skip
    floors = {"a floor that is told": _floor(True), "a floor that is not": _floor(False)}
    return noise | second | floors


@dataclass(frozen=True)
class Coverage:
    """What became of the draws of one family.

    Attributes:
        family: Its name.
        draws: How many.
        accepted: How many gave a rate.
        covered: Share of these with the truth within two standard errors.
        error: Their median standard error.
    """

    family: str
    draws: int
    accepted: int
    covered: float
    error: float


def coverage(name: str, draws: int, first: int = 0) -> Coverage:
    """Fit the draws of a family."""
    draw, inside, errors = families()[name], 0, []
    number = list(families()).index(name)
    for seed in range(first, first + draws):
        t, values, floor = draw(np.random.default_rng([seed, number]))
        try:
            fit = ufd.fit_rate(t, values, floor=floor)
        except ufd.InputError:
            continue
        errors.append(fit.stderr)
        inside += abs(fit.rate - 1) <= 2 * fit.stderr + 1e-9
    share = inside / len(errors) if errors else float("nan")
    middle = float(np.median(errors)) if errors else float("nan")
    return Coverage(name, draws, len(errors), share, middle)

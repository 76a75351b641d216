"""The published curves of arXiv 2504.18208, the set-ups behind them, and how ours are judged."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

import ufd

Array = NDArray[np.float64]
CURVES = Path(__file__).resolve().parents[1] / "data" / "published_curves_2504.18208.json"
# Iterations in one unit of time, and the times at which curves are compared.
ITERATIONS, TIMES = 1024, (1.0, 5.0, 31.25)
CLOSE, WORDS = 0.2, ("within 20 %", "within the spread", "differs")
NAMES = {"M": "M", "l": "lam", "g": "gamma"}
# Of a mixture on the circle; on the torus both modes have half of the mass.
SHIFT, CENTRES, PERIOD = 0.4 * np.pi, ((-1.0, 0.0), (1.0, 1.0)), 4.0


@dataclass(frozen=True)
class Setup:
    """What is trained: everything but the seed.

    Attributes:
        ground: "circle" or "torus".
        width: M.
        lam: Regularisation.
        gamma: Concentration of the teacher; on the torus infinity for two atoms.
        reference: 1 for the unbiased penalty, 0 for the biased one.
    """

    ground: str
    width: int = 1024
    lam: float = 1e-3
    gamma: float = 100.0
    reference: float = 1.0

    @property
    def name(self) -> str:
        """Short, and good for a file."""
        bias = "unbiased" if self.reference else "biased"
        return f"{self.ground}_M{self.width}_lam{self.lam:g}_gamma{self.gamma:g}_{bias}"

    @property
    def problem(self) -> ufd.UltraFastDiffusion:
        """The diffusion that the teacher's density and the student's start belong to."""
        gamma = min(self.gamma, 1e3)
        if self.ground == "circle":
            modes = [ufd.AngularCauchy(gamma, angle) for angle in (0.0, SHIFT)]
            teacher = ufd.Mixture(modes, [2 / 3, 1 / 3])
        else:
            teacher = ufd.Mixture(
                [ufd.PeriodicCauchy(gamma, c, PERIOD) for c in CENTRES], [1 / 2, 1 / 2]
            )
        return ufd.UltraFastDiffusion(teacher, ufd.Uniform(teacher.manifold))

    @property
    def features(self) -> object:
        """Those of the ground."""
        return ufd.ReLU() if self.ground == "circle" else ufd.LaplaceRBF(0.5, 8.0)

    def atoms(self, count: int, seed: int) -> Array:
        """The teacher: ``count`` atoms of equal weight, or two in the limit of gamma."""
        if math.isinf(self.gamma):
            return np.array(CENTRES) % PERIOD
        rng = np.random.default_rng([seed, 99])
        if self.ground == "circle":
            angles = cauchy_angles(self.gamma, count, rng)
            angles[1::3] += SHIFT
            return np.column_stack([np.cos(angles), np.sin(angles)])
        angles = cauchy_angles(self.gamma, 2 * count, rng).reshape(count, 2)
        centres = np.repeat(CENTRES, [count - count // 2, count // 2], axis=0)
        return (centres + PERIOD / (2 * np.pi) * angles) % PERIOD


def cauchy_angles(gamma: float, count: int, rng: np.random.Generator) -> Array:
    """Independent angles in (-pi, pi) of density ~ 1/(1 + gamma sin^2(x/2))."""
    return 2 * np.arctan(np.tan(np.pi * (rng.random(count) - 0.5)) / math.sqrt(1 + gamma))


@dataclass(frozen=True)
class Curve:
    """One published curve.

    Attributes:
        figure: Where it stands.
        key: Its name there.
        quantity: "teacher", "diff" or "risk".
        setup: Behind it.
        x: Iterations, increasing.
        y: Values; straight between them on a logarithmic scale, as they were drawn.
    """

    figure: str
    key: str
    quantity: str
    setup: Setup
    x: Array
    y: Array

    def at(self, t: ArrayLike) -> Array:
        """Value at times t."""
        return np.exp(np.interp(np.multiply(ITERATIONS, t), self.x, np.log(self.y)))

    @property
    def label(self) -> str:
        """What sets it apart within its figure."""
        word = self.key.partition(":")[2].split()[0]
        name, value = re.fullmatch(r"([Mlg])(.+)", word).groups()
        return f"{NAMES[name]} = {value.replace('inf', '∞')}"

    @property
    def bias(self) -> str:
        """Of its penalty."""
        return "unbiased" if self.setup.reference else "biased"


def read_key(figure: str, key: str) -> tuple[str, Setup]:
    """The quantity and the set-up that a published curve belongs to.

    Raises:
        ValueError: If a word of the key is unknown.
    """
    base = Setup("torus" if figure.startswith("conv_") else "circle")
    if figure == "gamma":
        base = replace(base, lam=1e-4)
    elif figure == "conv_gamma":
        base = replace(base, lam=1e-2)
    quantity, _, rest = key.partition(":")
    quantity, _, bias = quantity.partition("_")
    for word in [*rest.split(), *([bias] if bias else [])]:
        letter, number = re.fullmatch(r"([Mlg]?)(.+)", word).groups()
        if word in ("unb", "bia"):
            base = replace(base, reference=float(word == "unb"))
        elif letter == "M":
            base = replace(base, width=int(number))
        elif letter == "l":
            base = replace(base, lam=float(number))
        elif letter == "g":
            base = replace(base, gamma=float(number))
        else:
            raise ValueError(f"{figure}, {key}: {word!r} is not understood")
    return quantity, base


def published() -> list[Curve]:
    """Every published curve, in the order of the file."""
    curves = []
    for figure, found in json.loads(CURVES.read_text()).items():
        for key, points in found.items():
            x, first = np.unique(np.maximum(points["x"], 0.0), return_index=True)
            quantity, setup = read_key(figure, key)
            curves.append(Curve(figure, key, quantity, setup, x, np.array(points["y"])[first]))
    return curves


@dataclass(frozen=True)
class Verdict:
    """Ours against one published value.

    Attributes:
        t: Time.
        published: Value.
        median: Of ours over the seeds.
        low: Least of ours.
        high: Largest of ours.
        sigmas: How far off, in standard deviations of our seeds' logarithms; nan for few seeds.
    """

    t: float
    published: float
    median: float
    low: float
    high: float
    sigmas: float

    @property
    def difference(self) -> float:
        """Relative, of the median."""
        return self.median / self.published - 1

    @property
    def word(self) -> str:
        """The verdict."""
        if abs(self.difference) <= CLOSE:
            return WORDS[0]
        return WORDS[1 if self.low <= self.published <= self.high else 2]


def judge(t: float, published: float, ours: ArrayLike) -> Verdict:
    """Compare values of several seeds with the published one of a single seed."""
    values = np.asarray(ours, dtype=float)
    logs = np.log(np.maximum(values, 1e-300))
    spread = logs.std(ddof=1) if len(values) > 2 else 0.0
    off = abs(math.log(published) - logs.mean()) / spread if spread > 0 else math.nan
    return Verdict(t, float(published), float(np.median(values)), values.min().item(),
                   values.max().item(), float(off))  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """One published curve and ours.

    Attributes:
        curve: As published.
        iteration: Of ours.
        values: Ours, (seeds, iterations).
    """

    curve: Curve
    iteration: Array
    values: Array

    def at(self, t: float) -> Array:
        """Ours at a time of the schedule, (seeds,)."""
        return self.values[:, np.searchsorted(self.iteration, ITERATIONS * t)]

    def verdicts(self) -> list[Verdict]:
        """One for each time."""
        return [judge(t, float(self.curve.at(t)), self.at(t)) for t in TIMES]

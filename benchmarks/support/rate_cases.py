"""The runs of the convergence-rate report: families of cases, and what theory says of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ufd.sweep import Job

CASES = Path(__file__).resolve().parents[1] / "cases" / "rates"


@dataclass(frozen=True)
class Run:
    """One run and what is known of it beforehand.

    Attributes:
        title: For a reader.
        changes: Keys of the case file that are set.
        eigenvalue: Of the mode that it must name, from docs/theory.md, section 4.
        tolerance: Largest relative deviation of fit and prediction.
        options: Further arguments of `rate_claim`.
    """

    title: str
    changes: dict[str, Any]
    eigenvalue: float | None = None
    tolerance: float = 1e-3
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Family:
    """A section of the report: runs of one case file."""

    id: str
    short: str
    title: str
    text: str
    case: str
    runs: list[Run] = field(default_factory=list)

    def jobs(self, output: Path, root: Path) -> Iterator[tuple[str, Run, Job]]:
        """Identifier, run and job of each run; the case is named relative to ``root``."""
        case = (CASES / f"{self.case}.toml").relative_to(root)
        for number, run in enumerate(self.runs, 1):
            name = f"{self.id}-{number}"
            yield name, run, Job(case, tuple(run.changes.items()), output / name)


SMALL = 0.05
TEACHER, START = "problem.teacher", "problem.initial"
EXPONENTS = {2.0: "-1", 1.0: "0", 0.5: "1/2", 0.0: "1"}
# First eigenvalues: the gap on the circle (double), gap and first zonal mode on the sphere.
CIRCLE_GAP = {0.5: 1.041594, 1.0: 1.165497, 2.0: 1.647365, 4.0: 3.334214}
SPHERE_GAP = {1.0: 2.148765, 2.0: 2.580171, 4.0: 4.089847, 8.0: 8.000344}
SPHERE_ZONAL = {1.0: 2.199712, 2.0: 2.795305, 4.0: 5.118553, 8.0: 13.090799}
BIMODAL_GAP = {1.0: 1.004620, 10.0: 1.060975, 100.0: 0.997369, 1000.0: 0.394335}


def circle_harmonics() -> Family:
    """Starts in one mode: rates k^2 for every exponent."""
    runs = [
        Run(f"k = {k}, m = {m}",
            {f"{START}.degree": k, "problem.p": p, "time.end": 17 / k**2}, float(k**2), 1e-4)
        for k in (1, 2, 3, 4)
        for p, m in EXPONENTS.items()
    ]  # fmt: skip
    text = (
        "Teacher uniform on the circle, start 1 + 0.3 cos(k angle): the amplitude decays at k^2, "
        "whatever the exponent m of the diffusion, since phi'(1) = 1. Lower modes are never "
        "excited: the rate is not the gap."
    )
    return Family(
        "circle-modes", "S¹ uniform", "Circle, one mode at the start", text, "circle_harmonic", runs
    )


def sphere_harmonics() -> Family:
    """Starts in one spherical harmonic: rates l(l+1), until a lower degree takes over."""

    def start(degree: int, p: float, end: float, amplitude: float = 0.3) -> dict[str, Any]:
        return {f"{START}.degree": degree, f"{START}.amplitude": amplitude, "problem.p": p,
                "time.end": end}  # fmt: skip

    runs = [
        Run(f"l = {d}, m = {EXPONENTS[p]}", start(d, p, 17 / (d * (d + 1))), d * (d + 1.0))
        for d in (1, 2)
        for p in (2.0, 1.0)
    ]
    # The divergence is about half of |w - 1|^2; mode 9 is the first of degree 3.
    early = {"functional": "divergence", "index": 8, "between": (4e-7, 5e-10)}
    runs += [
        Run("l = 3, m = 1", start(3, 0.0, 17 / 12), 12.0),
        Run("l = 3, m = -1, as long as it leads", start(3, 2.0, 1.0, 0.01), 12.0,
            options=early),
        Run("l = 3, m = -1, in the end", start(3, 2.0, 4.0, 0.9), 2.0),
    ]  # fmt: skip
    text = (
        "Teacher uniform on the sphere, start 1 + a P_l about an oblique axis: the amplitude "
        "decays at l(l+1), an eigenvalue of multiplicity 2l + 1. For l = 3 and m < 1 that is not "
        "the end: P_3 squared holds P_2, and P_3 P_2 holds P_1, so the slower degrees 2 and 1 "
        "appear at the orders a^2 and a^3 and take over. In the linear case m = 1 they never do."
    )
    return Family(
        "sphere-modes", "S² uniform", "Sphere, one mode at the start", text, "sphere_harmonic", runs
    )


def circle_mises(concentrations: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0, 8.0)) -> Family:
    """Von Mises teachers on the circle: the double gap."""
    runs = [
        Run(f"κ = {k:g}",
            {f"{TEACHER}.kappa": k, f"{START}.kappa": 1.25 * k}, CIRCLE_GAP.get(k))
        for k in concentrations
    ]  # fmt: skip
    text = (
        "Every eigenvalue is exactly double: an even and an odd mode. The start is narrower than "
        "the teacher and turned by 16 degrees, so it excites both."
    )
    return Family(
        "circle-mises", "S¹ von Mises", "Circle, von Mises teacher", text, "circle_vmf", runs
    )


def circle_bimodal() -> Family:
    """The teachers of the paper."""
    # The gap of gamma = 1000 belongs to the passage between two nearly separate peaks.
    runs = [
        Run(f"γ = {g:g}", {f"{TEACHER}.components.{i}.gamma": g for i in (0, 1)}
            | ({"time.end": 60.0} if g == 1000 else {}), gap)
        for g, gap in BIMODAL_GAP.items()
    ]  # fmt: skip
    text = (
        "The teacher of arXiv 2504.18208, 2/3 of a wrapped Cauchy density at 0 and 1/3 at 0.4 pi, "
        "from the uniform density. The second eigenvalue is so close to the gap that the "
        "divergence, which sees both, keeps a mixed rate until round-off; the projection on the "
        "first mode does not."
    )
    return Family(
        "circle-bimodal", "S¹ paper", "Circle, the paper's teacher", text, "circle_bimodal", runs
    )


def sphere_mises(concentrations: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0, 8.0)) -> Family:
    """Von Mises-Fisher teachers on the sphere, gap excited."""
    runs = [
        Run(f"κ = {k:g}",
            {f"{TEACHER}.kappa": k, f"{START}.kappa": 1.25 * k, "time.end": 18 / (1 + k)},
            SPHERE_GAP.get(k))
        for k in concentrations
    ]  # fmt: skip
    text = (
        "The start is turned by 17 degrees against the teacher: it excites the gap, a double mode "
        "that turns once around the teacher's axis (|m| = 1)."
    )
    return Family(
        "sphere-mises", "S² vMF", "Sphere, von Mises-Fisher teacher", text, "sphere_vmf", runs
    )


def axisymmetric(concentrations: tuple[float, ...] = (1.0, 2.0)) -> Family:
    """The trap: symmetric starts hide the gap; a tilt of 1e-3 brings it back."""
    runs = [
        Run(f"κ = {k:g}, uniform start",
            {f"{TEACHER}.kappa": k, "time.end": 20 / SPHERE_ZONAL[k]}, SPHERE_ZONAL[k])
        for k in concentrations
    ]  # fmt: skip
    narrow = {f"{START}.kind": "von_mises_fisher"}
    runs += [
        Run(f"κ = {k:g}, narrower start on the axis",
            narrow | {f"{START}.mean": [0.0, 0.0, 1.0], f"{START}.kappa": 1.25 * k,
                      f"{TEACHER}.kappa": k, "time.end": 20 / SPHERE_ZONAL[k]}, SPHERE_ZONAL[k])
        for k in (4.0, 8.0)
    ]  # fmt: skip
    runs.append(
        Run("κ = 8, the same start tilted by 1e-3",
            narrow | {f"{START}.mean": [1e-3, 0.0, 1.0], f"{START}.kappa": 10.0,
                      f"{TEACHER}.kappa": 8.0, "time.end": 3.0}, SPHERE_GAP[8.0])
    )  # fmt: skip
    runs.append(
        Run("κ = 2, uniform start tilted by 1e-3",
            {f"{START}.kind": "zonal_harmonic", f"{START}.axis": [1.0, 0.0, 0.0],
             f"{START}.degree": 1, f"{START}.amplitude": 1e-3, f"{TEACHER}.kappa": 2.0,
             "time.end": 7.0}, SPHERE_GAP[2.0])
    )  # fmt: skip
    text = (
        "Teacher and start share an axis: the gap's modes, which turn around it, are forbidden, "
        "and the run decays at the first zonal eigenvalue. A tilt of 1e-3 excites the gap a "
        "little. For κ = 8 it takes the lead at the crossover that is marked, and the rate changes "
        "to it; for κ = 2 the two eigenvalues are so close that the lead would change far below "
        "round-off: the projection on the gap's modes decays at the gap, the divergence does not."
    )
    return Family("axis", "S² on the axis", "The axisymmetric trap", text, "sphere_axis", runs)


def certified() -> Family:
    """Degree 1 with backward Euler: discrete rates and certificates."""
    runs = [
        Run("P1, backward Euler, rtol = 3e-4", {"solver.cells": 3}),
        Run("P1, backward Euler, dt = 0.05", {"solver.cells": 3, "solver.dt": 0.05}),
    ]
    text = (
        "The discrete solution itself obeys the envelopes, with the factor 1/(1 + r dt) for each "
        "step. Backward Euler decays more slowly than the equation: the fit must be compared with "
        "its discrete rate, and the verdict says so."
    )
    return Family(
        "certified",
        "S² certified",
        "Certificates: degree 1, backward Euler",
        text,
        "certified",
        runs,
    )


def small(place: str) -> Family:
    """Small starts in the first mode: slaved second harmonics, and claims that are too bold."""
    runs = [
        Run(f"{place}, m = {m}", {f"{START}.amplitude": SMALL, "problem.p": p})
        for p, m in EXPONENTS.items()
    ]
    name = "A small start in the first mode"
    return Family(f"small-{place}", place, name, "", f"{place}_harmonic", runs)


def quick() -> list[Family]:
    """The sections of the report."""
    families: list[Callable[[], Family]] = [
        circle_harmonics, circle_mises, circle_bimodal, sphere_harmonics, sphere_mises,
        axisymmetric, certified,
    ]  # fmt: skip
    return [family() for family in families]


def slow() -> list[Family]:
    """What the full report adds: a start far from the teacher, where a front has to pass first."""
    changes = {f"{TEACHER}.kappa": 2.0, f"{START}.kappa": 0.0, "solver.cells": 64,
               "time.end": 20.0}  # fmt: skip
    text = "The uniform start is far from a narrow teacher: the asymptotic rate comes late."
    runs = [Run("von Mises κ = 2, uniform start", changes, CIRCLE_GAP[2.0])]
    return [Family("front", "S¹ front", "After a front", text, "circle_vmf", runs)]

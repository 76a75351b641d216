"""What `ufd` is compared with on the sphere: an expert's NGSolve solver of the same equation.

nu d_t w = div(nu grad phi(w)), phi(w) = -1/w, on a curved triangulation, with H1 elements of any
order. It is written to be as fast as NGSolve allows, not as a straw man, with three unknowns:

- ``"log w"``, int nu e^u u_t v + int nu e^-u grad u . grad v = 0: an expert's, to keep w positive.
- ``"log w, conserved"``: the same, with int nu e^u v stepped in time, so that mass is conserved.
- ``"1/w"``, with int nu v/p stepped: the idea of `ufd`; constant stiffness, symmetric Jacobian.

All assemble the exact Jacobian at stored points and keep its factorisation over stages and steps
while the residual falls fast enough; residuals are products with stored shape functions. Newton
starts from the extrapolation of the last three stages. The mesh can be refined where w0 is large,
since only a front there is sharp.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ngsolve as ng
import numpy as np

from support.ngsolve_log import ConservedLogarithm, Logarithm
from support.ngsolve_space import Array, CurvedSphere, Reciprocal, StageFailed, Teacher
from ufd.evolution.steppers import SDIRK2, SDIRK4

CASES: dict[str, Teacher] = {
    "front": ((0.6, (0.0, 0.0, 1.0), 4.0), (0.4, (1.0, 0.0, 0.0), 6.0)),
    "mild": ((0.6, (0.0, 0.0, 1.0), 2.0), (0.4, (1.0, 0.0, 0.0), 3.0)),
}
# The cheapest configurations found for 1/w and each accuracy (all with esdirk4), cheapest first.
FRONT_GRID: tuple[dict[str, Any], ...] = (
    {"maxh": 0.6, "order": 2, "rtol": 1e-2, "levels": 0},
    {"maxh": 0.5, "order": 4, "rtol": 1e-3, "levels": 0},
    {"maxh": 0.3, "order": 4, "rtol": 1e-3, "levels": 0},
    {"maxh": 0.4, "order": 4, "rtol": 1e-3, "levels": 1},
    {"maxh": 0.3, "order": 4, "rtol": 1e-4, "levels": 1},
    {"maxh": 0.3, "order": 4, "rtol": 1e-4, "levels": 2},
    {"maxh": 0.2, "order": 4, "rtol": 1e-5, "levels": 2},
)
MILD_GRID: tuple[dict[str, Any], ...] = (
    {"maxh": 0.8, "order": 2, "rtol": 1e-2},
    {"maxh": 0.6, "order": 3, "rtol": 1e-3},
    {"maxh": 0.5, "order": 5, "rtol": 1e-4},
    {"maxh": 0.4, "order": 5, "rtol": 1e-5},
    {"maxh": 0.3, "order": 5, "rtol": 1e-6},
    {"maxh": 0.4, "order": 8, "rtol": 1e-7},
)
UNKNOWNS: dict[str, type[CurvedSphere]] = {
    "1/w": Reciprocal,
    "log w": Logarithm,
    "log w, conserved": ConservedLogarithm,
}
_FIRST_STEP, _SMALLEST_STEP, _MAX_ITERATIONS = 1e-5, 1e-13, 60
# The slowest decay of the residual, and the largest change of the step, with which a factorisation
# is kept.
_DECAY, _CHANGE = 0.3, 2.0


@dataclass(frozen=True)
class Outcome:
    """What one run gave.

    Attributes:
        divergence: 1/2 int (w - 1)^2/w dnu at the end, or at the time of the failure.
        mass_defect: int w dnu - 1 there.
        steps: Accepted steps.
        newton: Linear solves in Newton's method.
        factorisations: Numerical factorisations.
        dofs: Unknowns.
        cpu_seconds: Of one core, from the mesh to the divergence.
        failure: Why the run cannot be used; empty if it can.
    """

    divergence: float
    mass_defect: float
    steps: int
    newton: int
    factorisations: int
    dofs: int
    cpu_seconds: float
    failure: str = ""


@dataclass(frozen=True)
class Tableau:
    """A diagonally implicit, stiffly accurate method; a row None is an explicit first stage.

    Attributes:
        gamma: Diagonal entry.
        rows: Strictly lower rows; the last one is b without gamma.
        embedded: Weights of the embedded method.
        order: Power of the step with which the error estimate falls.
    """

    gamma: float
    rows: tuple[tuple[float, ...] | None, ...]
    embedded: tuple[float, ...]
    order: int

    @property
    def error(self) -> Array:
        """Weights of the estimate: b less the embedded ones."""
        return np.array([*(self.rows[-1] or ()), self.gamma]) - self.embedded


def _methods() -> dict[str, Tableau]:
    methods = {}
    for ours in (SDIRK2(), SDIRK4()):
        b = np.array([*ours.lower[-1], ours.gamma])
        embedded: tuple[float, ...] = tuple(b - ours.error_weights)
        methods[ours.name] = Tableau(ours.gamma, ours.lower, embedded, ours.order)
    # Hosea & Shampine (1996); then Kennedy & Carpenter (2003), ARK3(2)4L[2]SA and ARK4(3)6L[2]SA.
    g, w = 1 - 1 / math.sqrt(2), math.sqrt(2) / 4
    embedded = ((1 - w) / 3, (3 * w + 1) / 3, g / 3)
    methods["trbdf2"] = Tableau(g, (None, (g,), (w, w)), embedded, 3)
    g = 1767732205903 / 4055673282236
    embedded = (2756255671327 / 12835298489170, -10771552573575 / 22201958757719,
                9247589265047 / 10645013368117, 2193209047091 / 5459859503100)  # fmt: skip
    methods["esdirk3"] = Tableau(g, (
        None,
        (g,),
        (2746238789719 / 10658868560708, -640167445237 / 6845629431997),
        (1471266399579 / 7840856788654, -4482444167858 / 7529755066697,
         11266239266428 / 11593286722821),
    ), embedded, 3)  # fmt: skip
    embedded = (4586570599 / 29645900160, 0, 178811875 / 945068544, 814220225 / 1159782912,
                -3700637 / 11593932, 61727 / 225920)  # fmt: skip
    methods["esdirk4"] = Tableau(1 / 4, (
        None,
        (1 / 4,),
        (8611 / 62500, -1743 / 31250),
        (5012029 / 34652500, -654441 / 2922500, 174375 / 388108),
        (15267082809 / 155376265600, -71443401 / 120774400, 730878875 / 902184768,
         2285395 / 8070912),
        (82889 / 524892, 0, 15625 / 83664, 69875 / 102672, -2260 / 8211),
    ), embedded, 4)  # fmt: skip
    return methods


METHODS = _methods()


class _Run:
    """Stages and steps of one run."""

    def __init__(self, space: CurvedSphere, tableau: Tableau, rtol: float, fresh: bool) -> None:
        self.space, self.tableau, self.rtol, self.fresh = space, tableau, rtol, fresh
        self.t, self.y, self.z, self.slope = 0.0, space.start, space.first, space.initial_slope
        self.steps = self.newton = 0
        self._history: list[tuple[float, Array]] = []

    def stage(self, r: Array, tau: float, z: Array) -> Array:
        """Solve y = r + tau dy/dt by Newton's method from z."""
        space = self.space
        previous = np.inf
        G = space.residual(z, r, tau)
        for _ in range(_MAX_ITERATIONS):
            size = float(np.abs(G).sum())
            if size <= space.newton * self.rtol:
                return z
            if not np.isfinite(size):
                raise StageFailed("Newton's method left the domain")
            usable = 1 / _CHANGE < tau / (space.tau or np.inf) < _CHANGE
            current = self.fresh or not usable or size > _DECAY * previous
            previous = size
            if current:
                space.factorise(z, r, tau)
            step = space.solve(G) * (2 / (1 + tau / space.tau))
            self.newton += 1
            length = space.room(z, step)
            if length < 1 and not current:
                previous = 0.0  # the old factorisation leads out of the domain: make a new one
                continue
            before = G
            for _ in range(30):
                new = z + length * step
                G = space.residual(new, r, tau)
                if space.falls(before, G, step):
                    break
                length /= 2
            z = new
        raise StageFailed("Newton's method did not converge")

    def _guess(self, history: Sequence[tuple[float, Array]], t: float, near: Array) -> Array:
        """Lagrange's extrapolation of the last three stages, if it does not go too far."""
        recent = history[-3:]
        if len(recent) < 2:
            return near
        u = np.zeros(self.space.dofs)
        for i, (ti, zi) in enumerate(recent):
            others = [tj for j, (tj, _) in enumerate(recent) if j != i]
            u += math.prod((t - tj) / (ti - tj) for tj in others) * zi[: len(u)]
        # Extended anew: extrapolated, the round-off between the parts would grow from step to step.
        guess = self.space.extended(u)
        return guess if self.space.room(near, guess - near) == 1 else near

    def step(self, dt: float) -> float:
        """Try a step, keep it if the estimate of its relative L1(mu) error is below rtol.

        Returns:
            The estimate over rtol.
        """
        space, tableau = self.space, self.tableau
        tau, z, r = tableau.gamma * dt, self.z, self.y
        history, slopes = list(self._history), []
        for row in tableau.rows:
            if row is None:
                slopes.append(self.slope)
                continue
            t = self.t + (sum(row) + tableau.gamma) * dt
            r = self.y + sum((dt * a) * k for a, k in zip(row, slopes, strict=True))
            z = self.stage(r, tau, self._guess(history, t, z))
            slopes.append(space.slope(z, r, tau))
            history = [(s, zs) for s, zs in history if abs(s - t) > 1e-3 * dt] + [(t, z)]
        defect = sum((dt * e) * k for e, k in zip(tableau.error, slopes, strict=True))
        if space.factorisations == 0:  # a first step so short that its guesses are good enough
            space.factorise(z, r, tau)
        scaled = space.error(np.asarray(defect), z) / self.rtol
        if scaled <= 1:
            self.t += dt
            self.y, self.z, self.slope = r + tau * slopes[-1], z, slopes[-1]
            self._history = history[-3:]
            self.steps += 1
        return scaled

    def advance(self, end: float, deadline: float) -> str:
        """Step to ``end``; returns why it could not."""
        dt, before = _FIRST_STEP, 1.0
        while end - self.t > 1e-14 * end:
            if time.process_time() > deadline:
                return f"out of time at t = {self.t:.3g}"
            rest = end - self.t
            dt = rest if dt > rest else rest / 2 if dt > rest / 1.5 else dt
            try:
                scaled = max(self.step(dt), 1e-8)
            except StageFailed as failure:
                if dt < _SMALLEST_STEP:
                    return f"{failure} at t = {self.t:.3g}"
                dt /= 4
                continue
            power = 1 / self.tableau.order
            if scaled > 1:
                dt *= max(0.2, 0.85 * scaled**-power)
            else:
                dt *= min(5.0, max(0.2, 0.85 * scaled ** (-0.7 * power) * before ** (0.4 * power)))
                before = scaled
        return ""


def solve(
    case: str | Teacher,
    *,
    unknown: str = "1/w",
    maxh: float,
    order: int,
    rtol: float,
    method: str = "esdirk4",
    fresh: bool = False,
    levels: int = 0,
    end: float = 1.0,
    limit: float = 120.0,
) -> Outcome:
    """Solve from the uniform density to ``end`` on one core.

    Args:
        case: A name in `CASES`, or weights, means and kappas of von Mises-Fisher densities.
        unknown: A name in `UNKNOWNS`.
        maxh: Size of the triangles before refinement.
        order: Of the elements and of the surface.
        rtol: Bound of the relative L1(mu) error of a step.
        method: A name in `METHODS`.
        fresh: Factorise in every iteration of Newton's method.
        levels: How often triangles are refined where w0 exceeds 1.5, 4.5, 13.5, ...
        end: Last time.
        limit: CPU seconds after which the run is given up.

    Returns:
        With a ``failure`` if ``end`` was not reached or the mass is off by more than 10 ``rtol``.
    """
    ng.SetNumThreads(1)
    begin = time.process_time()
    teacher = CASES[case] if isinstance(case, str) else case
    space = UNKNOWNS[unknown](teacher, maxh, order, levels)
    run = _Run(space, METHODS[method], rtol, fresh)
    failure = run.advance(end, begin + limit)
    divergence, mass_defect = space.functionals(run.z)
    if not abs(mass_defect) <= 10 * rtol:
        failure = failure or f"the mass is off by {mass_defect:.1e}"
    seconds = time.process_time() - begin
    counts = (run.steps, run.newton, space.factorisations, space.dofs)
    return Outcome(divergence, mass_defect, *counts, seconds, failure)

"""The tables of a case file and what they build."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ufd.config.densities import DensityTable, Table, UniformTable, at
from ufd.config.langevin import LangevinTable
from ufd.config.meanfield import MeanFieldTable
from ufd.config.particles import ParticlesTable
from ufd.evolution.schedules import doubling_times, landing_times, merged
from ufd.evolution.steppers import STEPPERS
from ufd.fem.focus import Focus
from ufd.problem.diffusion import UltraFastDiffusion
from ufd.problem.divergences import PowerDivergence
from ufd.problem.manifolds import Sphere, Torus


class ProblemTable(Table):
    """``[problem]``."""

    manifold: Literal["sphere", "torus"] = "sphere"
    dim: Literal[1, 2] = 2
    period: float = Field(1.0, gt=0)
    p: float = Field(2.0, ge=0)
    teacher: DensityTable
    initial: DensityTable = UniformTable(kind="uniform")

    def build(self) -> UltraFastDiffusion:
        """The frozen problem."""
        torus = self.manifold == "torus"
        manifold = Torus(self.dim, self.period) if torus else Sphere(self.dim)
        with at("problem.teacher"):
            teacher = self.teacher.build(manifold)
        with at("problem.initial"):
            initial = self.initial.build(manifold)
        return UltraFastDiffusion(teacher, initial, PowerDivergence(self.p))


class FocusTable(Table):
    """``[solver.focus]``; see `Focus`."""

    direction: list[float] | None = None
    factor: float = Field(2.0, ge=1, le=100)

    def build(self, problem: UltraFastDiffusion) -> Focus:
        """The map."""
        with at("solver.focus"):
            if self.direction is None:
                return Focus.where_empty(problem, self.factor)
            return Focus(tuple(self.direction), self.factor)


class SolverTable(Table):
    """``[solver]``; see `DiffusionSolver`."""

    degree: int | None = Field(None, ge=1, le=8)
    cells: int | None = Field(None, ge=0)
    mesh: str | None = None
    stepper: Literal["backward_euler", "sdirk2", "sdirk3", "sdirk4"] = "sdirk4"
    rtol: float = Field(1e-6, gt=0, lt=1)
    dt: float | None = Field(None, gt=0)
    newton_tol: float | None = Field(None, gt=0, lt=1e-3)
    linear: Literal["direct", "frozen", "multigrid"] | None = None
    focus: FocusTable | None = None


class TimeTable(Table):
    """``[time]``."""

    end: float = Field(4.0, gt=0)
    times: list[float] | None = None


class OutputTable(Table):
    """``[output]``."""

    times: list[float] = Field(default_factory=list)
    modes: int = Field(8, ge=0, le=200)
    guarantees: bool = True
    estimate_error: bool = False


class LimitsTable(Table):
    """``[limits]``."""

    contrast: float = Field(1e30, gt=1)
    wall_clock: float | None = Field(None, gt=0)


class CheckpointTable(Table):
    """``[checkpoint]``; see `Checkpoint`."""

    interval: float = Field(600.0, ge=0)


class Case(Table):
    """A whole case file."""

    problem: ProblemTable
    solver: SolverTable = SolverTable()
    time: TimeTable = TimeTable()
    output: OutputTable = OutputTable()
    limits: LimitsTable = LimitsTable()
    checkpoint: CheckpointTable = CheckpointTable()
    particles: ParticlesTable | None = None
    meanfield: MeanFieldTable | None = None
    langevin: LangevinTable | None = None

    @property
    def times(self) -> list[float]:
        """Every time that is landed on and stored."""
        asked = self.time.times
        if asked is None and not self.output.times:
            return doubling_times(self.time.end)
        for key, times in (("time.times", asked or []), ("output.times", self.output.times)):
            with at(key):
                if times:
                    merged(landing_times(times), end=self.time.end)
        return merged(asked or [], self.output.times, end=self.time.end)

    def identity(self) -> dict[str, Any]:
        """The case as JSON, without what changes no number: when it is saved, and its patience."""
        return self.model_dump(mode="json", exclude={"checkpoint": True, "limits": {"wall_clock"}})

    def solver_options(self) -> dict[str, Any]:
        """Arguments of `DiffusionSolver` that the case fixes, the mesh excepted."""
        solver, focus = self.solver, self.solver.focus
        return {
            "rtol": solver.rtol,
            "cells": solver.cells,
            "degree": solver.degree,
            "stepper": STEPPERS[solver.stepper](),
            "dt": solver.dt,
            "newton_tol": solver.newton_tol,
            "linear": solver.linear,
            "focus": None if focus is None else focus.build(self.problem.build()),
            "contrast": self.limits.contrast,
        }

"""Case files: TOML to frozen values, with one line for whatever is wrong."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ufd.evolution.schedules import doubling_times, landing_times, merged
from ufd.evolution.steppers import STEPPERS
from ufd.exceptions import InputError, StorageError, UfdError
from ufd.problem.densities import AngularCauchy, Density, Mixture, Uniform, VonMisesFisher
from ufd.problem.diffusion import UltraFastDiffusion
from ufd.problem.divergences import PowerDivergence
from ufd.problem.manifolds import Sphere


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class UniformTable(_Table):
    """The uniform density."""

    kind: Literal["uniform"]

    def build(self, sphere: Sphere) -> Density:
        """The density on ``sphere``."""
        return Uniform(sphere)


class VonMisesFisherTable(_Table):
    """A von Mises-Fisher density."""

    kind: Literal["von_mises_fisher"]
    mean: list[float]
    kappa: float = Field(ge=0)

    def build(self, sphere: Sphere) -> Density:
        """The density on ``sphere``."""
        if len(self.mean) != sphere.ambient_dim:
            raise InputError(
                f"mean = {self.mean!r} has {len(self.mean)} entries; "
                f"a sphere of dim = {sphere.dim} needs {sphere.ambient_dim}"
            )
        return VonMisesFisher(self.mean, self.kappa)


class AngularCauchyTable(_Table):
    """A wrapped Cauchy density on the circle."""

    kind: Literal["angular_cauchy"]
    gamma: float = Field(ge=0)
    centre: float = 0.0

    def build(self, sphere: Sphere) -> Density:
        """The density on ``sphere``."""
        if sphere.dim != 1:
            raise InputError(f'kind = "angular_cauchy" lives on the circle, and dim = {sphere.dim}')
        return AngularCauchy(self.gamma, self.centre)


class MixtureTable(_Table):
    """A mixture; its weights sum to 1, or are divided by their sum on request."""

    kind: Literal["mixture"]
    weights: list[Annotated[float, Field(gt=0)]]
    components: list[DensityTable]
    normalize: bool = False

    def build(self, sphere: Sphere) -> Density:
        """The density on ``sphere``."""
        parts = []
        for i, table in enumerate(self.components):
            with _at(f"components.{i}"):
                parts.append(table.build(sphere))
        total = sum(self.weights) if self.normalize else 1.0
        try:
            return Mixture(parts, [weight / total for weight in self.weights])
        except InputError as error:
            if len(parts) != len(self.weights):
                raise
            raise InputError(f"{error}; or set normalize = true") from None


DensityTable = Annotated[
    UniformTable | VonMisesFisherTable | AngularCauchyTable | MixtureTable,
    Field(discriminator="kind"),
]


class ProblemTable(_Table):
    """``[problem]``."""

    manifold: Literal["sphere"] = "sphere"
    dim: Literal[1, 2] = 2
    p: float = Field(2.0, ge=0)
    teacher: DensityTable
    initial: DensityTable = UniformTable(kind="uniform")

    def build(self) -> UltraFastDiffusion:
        """The frozen problem."""
        sphere = Sphere(self.dim)
        with _at("problem.teacher"):
            teacher = self.teacher.build(sphere)
        with _at("problem.initial"):
            initial = self.initial.build(sphere)
        return UltraFastDiffusion(teacher, initial, PowerDivergence(self.p))


class SolverTable(_Table):
    """``[solver]``; see `DiffusionSolver`."""

    degree: int | None = Field(None, ge=1, le=8)
    cells: int | None = Field(None, ge=0)
    mesh: str | None = None
    stepper: Literal["backward_euler", "sdirk2", "sdirk3", "sdirk4"] = "sdirk4"
    rtol: float = Field(1e-6, gt=0, lt=1)
    dt: float | None = Field(None, gt=0)
    newton_tol: float | None = Field(None, gt=0, lt=1e-3)
    linear: Literal["direct", "multigrid"] | None = None


class TimeTable(_Table):
    """``[time]``."""

    end: float = Field(4.0, gt=0)
    times: list[float] | None = None


class OutputTable(_Table):
    """``[output]``."""

    times: list[float] = []
    modes: int = Field(8, ge=0, le=200)
    estimate_error: bool = False


class LimitsTable(_Table):
    """``[limits]``."""

    contrast: float = Field(1e30, gt=1)


class Case(_Table):
    """A whole case file."""

    problem: ProblemTable
    solver: SolverTable = SolverTable()
    time: TimeTable = TimeTable()
    output: OutputTable = OutputTable()
    limits: LimitsTable = LimitsTable()

    @property
    def times(self) -> list[float]:
        """Every time that is landed on and stored."""
        asked = self.time.times
        if asked is None and not self.output.times:
            return doubling_times(self.time.end)
        for key, times in (("time.times", asked or []), ("output.times", self.output.times)):
            with _at(key):
                if times:
                    merged(landing_times(times), end=self.time.end)
        return merged(asked or [], self.output.times, end=self.time.end)

    def solver_options(self) -> dict[str, Any]:
        """Arguments of `DiffusionSolver` that the case fixes, the mesh excepted."""
        solver = self.solver
        return {
            "rtol": solver.rtol,
            "cells": solver.cells,
            "degree": solver.degree,
            "stepper": STEPPERS[solver.stepper](),
            "dt": solver.dt,
            "newton_tol": solver.newton_tol,
            "linear": solver.linear,
            "contrast": self.limits.contrast,
        }


class _at:
    """Puts the place in the case file before the message of an error."""

    def __init__(self, place: str) -> None:
        self._place = place

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind, error, trace) -> None:
        if isinstance(error, InputError):
            raise InputError(f"{self._place}: {error}") from None


def _known_keys(location: tuple, case: type[BaseModel]) -> list[str]:
    """Fields of the table at a location of pydantic's."""
    model: Any = case
    tags = {
        "uniform": UniformTable,
        "von_mises_fisher": VonMisesFisherTable,
        "angular_cauchy": AngularCauchyTable,
        "mixture": MixtureTable,
    }
    for part in location:
        if part in tags:
            model = tags[part]
        elif isinstance(part, str) and part in model.model_fields:
            annotation = model.model_fields[part].annotation
            if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                model = annotation
    return list(model.model_fields)


def _one_line(error: ValidationError, case: type[BaseModel]) -> str:
    errors = error.errors()
    # A misspelt key is also a missing one: the misspelling says more.
    first = next((each for each in errors if each["type"] == "extra_forbidden"), errors[0])
    location, kind, given = first["loc"], first["type"], first["input"]
    tags = {"uniform", "von_mises_fisher", "angular_cauchy", "mixture"}
    key = ".".join(str(part) for part in location if part not in tags)
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(str(location[-1]), _known_keys(location[:-1], case), 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return f"{key}: unknown key{hint}"
    if kind == "missing":
        return f"{key}: missing, and it has no default"
    if kind == "union_tag_not_found":
        return f"{key}.kind: missing; one of {', '.join(sorted(tags))}"
    if kind == "union_tag_invalid":
        return f"{key}.kind = {given.get('kind')!r}: must be one of {', '.join(sorted(tags))}"
    if kind in ("model_type", "model_attributes_type"):
        return f"{key} = {given!r}: must be a table"
    shown = "a table" if isinstance(given, Mapping) else repr(given)
    message = first["msg"].replace("Input should be", "must be")
    return f"{key} = {shown}: {message[0].lower()}{message[1:]}"


def _validated(model: type[BaseModel], table: Any) -> Any:
    try:
        return model.model_validate(table)
    except ValidationError as error:
        raise InputError(_one_line(error, model)) from None


def read_case(path: str | Path) -> Case:
    """Read and validate a case file.

    Raises:
        StorageError: If it cannot be read.
        InputError: If it is no valid case; one line names the key, the value and the remedy.
    """
    try:
        table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a TOML file: {error}") from None
    try:
        case = _validated(Case, table)
        case.problem.build()
        _ = case.times
    except UfdError as error:
        raise InputError(f"{path}: {error}") from None
    return case


def problem_from(table: Mapping[str, Any]) -> UltraFastDiffusion:
    """The problem of a ``[problem]`` table.

    Raises:
        InputError: If the table is not valid.
    """
    return _validated(ProblemTable, dict(table)).build()

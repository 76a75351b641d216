"""From TOML to a `Case`, with one line for whatever is wrong."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from ufd.config.case import Case, ProblemTable
from ufd.config.changes import apply_changes
from ufd.config.densities import DENSITIES, at
from ufd.exceptions import InputError, StorageError, UfdError
from ufd.problem.diffusion import UltraFastDiffusion


def _known_keys(location: tuple, case: type[BaseModel]) -> list[str]:
    """Fields of the table at a location of pydantic's."""
    model: Any = case
    for part in location:
        if part in DENSITIES:
            model = DENSITIES[part]
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
    key = ".".join(str(part) for part in location if part not in DENSITIES)
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(str(location[-1]), _known_keys(location[:-1], case), 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return f"{key}: unknown key{hint}"
    if kind == "missing":
        return f"{key}: missing, and it has no default"
    if kind == "union_tag_not_found":
        return f"{key}.kind: missing; one of {', '.join(sorted(DENSITIES))}"
    if kind == "union_tag_invalid":
        return f"{key}.kind = {given.get('kind')!r}: must be one of {', '.join(sorted(DENSITIES))}"
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


def read_case(
    path: str | Path, changes: Mapping[str, Any] | Sequence[tuple[str, Any]] = ()
) -> Case:
    """Read, change and validate a case file.

    Args:
        path: A TOML file.
        changes: Values by dotted key that replace those of the file, such as
            ``{"problem.teacher.components.0.kappa": 2.0, "solver.dt": 0.1}``; see `apply_changes`.

    Raises:
        StorageError: If it cannot be read.
        InputError: If it is no valid case; one line names the key, the value and the remedy.
    """
    try:
        table = tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a TOML file: {error}") from None
    try:
        apply_changes(table, changes)
        case = _validated(Case, table)
        case.problem.build()
        if case.particles is not None:
            with at("particles"):
                case.particles.options()
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

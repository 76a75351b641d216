"""One teacher learned by several methods: distances over each one's own clock, and its rates."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from ufd.exceptions import StorageError
from ufd.storage import make_directory, read_json, write_json

CONTRAST = "contrast.json"


@dataclass
class Method:
    """How one method did.

    Attributes:
        name: Of the method.
        functional: What it descends.
        clock: What one unit of its time is.
        t: Times, increasing.
        to_teacher: Energy MMD to the teacher at them.
        to_limit: Distance to where the method itself ends, or None where that is the teacher.
        predicted: Rate of the amplitude near its end, or None.
        measured: Fitted rate of the amplitude, or None.
        error: Of the fit, or None.
        note: What the prediction is, or why there is no fit.
        floor: Distance below which its atoms tell nothing, 0 for densities.
    """

    name: str
    functional: str
    clock: str
    t: list[float]
    to_teacher: list[float]
    to_limit: list[float] | None
    predicted: float | None
    measured: float | None
    error: float | None
    note: str
    floor: float = 0.0

    @property
    def deviation(self) -> float | None:
        """Of the measured rate from the predicted one, relatively."""
        if self.measured is None or self.predicted is None:
            return None
        return self.measured / self.predicted - 1


@dataclass
class Contrast:
    """The methods side by side.

    Attributes:
        methods: In the order of the page.
        configuration: What was asked for, as it was resolved.
        provenance: Versions, commit, machine.
    """

    methods: list[Method]
    configuration: dict[str, Any]
    provenance: dict[str, Any]

    def sentence(self) -> str:
        """The findings, for a person."""
        rated = [m for m in self.methods if m.deviation is not None]
        worst = max((abs(m.deviation or 0.0) for m in rated), default=0.0)
        ends = min(self.methods, key=lambda m: m.to_teacher[-1])
        return (
            f"{len(rated)} of {len(self.methods)} methods have a predicted and a measured rate, "
            f"{100 * worst:.2g} % apart at most; closest to the teacher ends {ends.name}, at an "
            f"MMD of {ends.to_teacher[-1]:.2g}."
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a JSON document."""
        return {"kind": "contrast", "findings": self.sentence(), **asdict(self)}

    def save(self, directory: str | PathLike) -> None:
        """Write contrast.json; on one rank.

        Raises:
            StorageError: If it cannot be written.
        """
        make_directory(Path(directory))
        write_json(Path(directory) / CONTRAST, self.as_dict())


def read_contrast(directory: Path) -> Contrast:
    """Read what `Contrast.save` wrote.

    Raises:
        StorageError: If there is none, or a damaged one.
    """
    stored = read_json(directory / CONTRAST)
    try:
        methods = [Method(**table) for table in stored["methods"]]
        return Contrast(methods, stored["configuration"], stored["provenance"])
    except (KeyError, TypeError) as error:
        raise StorageError(
            f"cannot read {directory / CONTRAST}: an entry is missing or wrong ({error})"
        ) from None

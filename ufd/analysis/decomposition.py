"""A distance split into its parts: width, regularisation, identifiability."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ufd.exceptions import StorageError
from ufd.storage import make_directory, read_json, write_json

Array = NDArray[np.float64]
DECOMPOSITION = "decomposition.json"
WIDTH, LAM, BLIND, FLOOR = "width", "regularisation", "identifiability", "floor"
# A width part below this many floors is what so many atoms cost anyway.
_AT_FLOOR = 1.5
_WORDS = {
    WIDTH: "width-limited",
    LAM: "regularisation-limited",
    BLIND: "identifiability-limited",
    FLOOR: "at the sampling floor",
}
_CURES = {
    WIDTH: "more particles",
    LAM: "a smaller lam",
    BLIND: "a feature that sees more, such as ReLU + 0.5 ReLU^2",
    FLOOR: "more particles",
}


@dataclass(frozen=True)
class Interval:
    """Times in which one part is the largest.

    Attributes:
        kind: "width", "regularisation", "identifiability", or "floor": width, at the floor.
        start: First of them.
        end: Last of them.
    """

    kind: str
    start: float
    end: float


@dataclass(eq=False)
class Decomposition:
    """Trained particles on their way to the diffusion, by energy MMD.

    Attributes:
        times: When the distances were taken.
        lam: Regularisation.
        width: Number M of particles.
        particles: By seed, distances of the particles to the "mean_field", the "diffusion" and the
            "teacher", one value for each time.
        regularisation: Distance of the mean-field equation at lam to the limit.
        identifiability: Distance of the limit to the diffusion; zero for a feature that sees all.
        both: Distance of the mean-field equation to the diffusion.
        floor: Distance to the mean-field equation of as many quantiles of it, or root mean square
            of as many draws, as the particles start.
        to_teacher: Distances of "mean_field", "limit" and "diffusion" to the teacher.
        configuration: What was asked for.
        provenance: Versions, commit, machine.
        failures: Why runs did not end, by seed.
        runs: The densities' own runs, if they were made here: "mean_field", "limit", "diffusion".
    """

    times: list[float]
    lam: float
    width: int
    particles: list[dict[str, list[float]]]
    regularisation: list[float]
    identifiability: list[float]
    both: list[float]
    floor: list[float]
    to_teacher: dict[str, list[float]]
    configuration: dict[str, Any]
    provenance: dict[str, Any] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    runs: dict[str, Any] = field(default_factory=dict, repr=False)

    def mean(self, name: str) -> tuple[Array, Array]:
        """Root mean square over the seeds and its standard error, at the times.

        The error is nan for one seed, both are nan without a finished run.

        Args:
            name: "mean_field" (the width part), "diffusion" (the total) or "teacher".
        """
        rows = np.array([own[name] for own in self.particles], dtype=float)
        rows = rows.reshape(len(self.particles), len(self.times))
        missing = np.full(len(self.times), math.nan)
        if not len(rows):
            return missing, missing
        mean = np.sqrt(np.mean(rows**2, axis=0))
        if len(rows) == 1:
            return mean, missing
        spread = np.std(rows**2, axis=0, ddof=1) / math.sqrt(len(rows))
        return mean, spread / np.maximum(2 * mean, 1e-300)

    @property
    def predicted(self) -> Array:
        """Total that the parts make if squares add (docs/theory.md section 20)."""
        return np.hypot(self.mean("mean_field")[0], self.both)

    @property
    def bound(self) -> Array:
        """Total that the triangle inequality allows."""
        width = self.mean("mean_field")[0]
        return width + np.array(self.regularisation) + np.array(self.identifiability)

    def kinds(self) -> list[str]:
        """The largest part at each time; the floor where width is, and is no more than that."""
        width, floor = self.mean("mean_field")[0], np.array(self.floor)
        found = []
        for i in range(len(self.times)):
            parts = {WIDTH: width[i], LAM: self.regularisation[i], BLIND: self.identifiability[i]}
            kind = max(parts, key=lambda name: parts[name])
            at_floor = kind == WIDTH and width[i] <= _AT_FLOOR * floor[i]
            found.append(FLOOR if at_floor else kind)
        return found

    def verdict(self) -> list[Interval]:
        """Which part rules when."""
        pairs = list(zip(self.kinds(), self.times, strict=True))
        intervals = []
        for kind, group in itertools.groupby(pairs, key=lambda pair: pair[0]):
            times = [t for _, t in group]
            intervals.append(Interval(kind, times[0], times[-1]))
        return intervals

    def sentence(self) -> str:
        """The verdict for a person, with what would help in the end."""
        if not self.particles:
            return "No run of the particles finished: no verdict."
        found = self.verdict()
        parts = [f"{_WORDS[each.kind]} from t = {each.start:g}" for each in found]
        return (
            f"Your run is {', '.join(parts)}; what would help in the end: {_CURES[found[-1].kind]}."
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a JSON document."""
        kept = {name: value for name, value in vars(self).items() if name != "runs"}
        return {"kind": "decomposition", "verdict": self.sentence(), **kept}

    def save(self, directory: str | PathLike) -> None:
        """Write decomposition.json; on one rank.

        Raises:
            StorageError: If it cannot be written.
        """
        make_directory(Path(directory))
        write_json(Path(directory) / DECOMPOSITION, self.as_dict())


def read_decomposition(directory: Path) -> Decomposition:
    """Read what `Decomposition.save` wrote.

    Raises:
        StorageError: If there is none, or a damaged one.
    """
    stored = read_json(directory / DECOMPOSITION)
    try:
        return Decomposition(
            **{name: value for name, value in stored.items() if name not in ("kind", "verdict")}
        )
    except (AttributeError, TypeError) as error:
        raise StorageError(
            f"cannot read {directory / DECOMPOSITION}: an entry is missing or wrong ({error})"
        ) from None

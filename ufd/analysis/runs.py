"""What every finished or stopped run has: series, status, statistics, configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ufd.evolution.evolve import StopReason
from ufd.exceptions import StorageError
from ufd.problem.checks import place_of_time
from ufd.storage import read_arrays, read_json, write_arrays, write_json

Array = NDArray[np.float64]
RUN, SERIES, CHECKPOINT = "run.json", "series.npz", "checkpoint"


@dataclass(eq=False)
class Run:
    """A finished or stopped run of any room.

    Attributes:
        series: Arrays over the accepted steps, the start included; ``"t"`` is the time.
        status: Why the run stopped.
        stats: Counters.
        times: The times at which states are stored.
        configuration: What was asked for, as it was resolved.
        provenance: Versions, commit, machine.
    """

    series: dict[str, Array]
    status: StopReason
    stats: dict[str, Any]
    times: list[float]
    configuration: dict[str, Any]
    provenance: dict[str, Any]

    def at_times(self, name: str) -> Array:
        """A series at the stored times."""
        index = [place_of_time(t, self.series["t"], "a step; steps") for t in self.times]
        return self.series[name][index]

    def summary(self) -> dict[str, Any]:
        """What run.json holds."""
        return {
            "status": self.status.name,
            "reason": self.status.value,
            "configuration": self.configuration,
            "stats": self.stats,
            "times": self.times,
            "provenance": self.provenance,
        }

    def save_summary(self, place: Path) -> None:
        """Write run.json and series.npz.

        Raises:
            StorageError: If a file cannot be written.
        """
        write_arrays(place / SERIES, **self.series)
        write_json(place / RUN, self.summary())


def read_summary(directory: Path, run: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `Run` from what was stored.

    Args:
        directory: Of the run.
        run: Its run.json.

    Raises:
        StorageError: If an entry is missing or wrong.
    """
    try:
        return {
            "series": read_arrays(directory / SERIES),
            "status": StopReason[run["status"]],
            "stats": run["stats"],
            "times": run["times"],
            "configuration": run["configuration"],
            "provenance": run["provenance"],
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise damaged(directory, error) from None


def read_run(directory: Path) -> dict[str, Any]:
    """The run.json of a directory.

    Raises:
        StorageError: If there is none, or a damaged one.
    """
    run = read_json(directory / RUN)
    if not isinstance(run, dict):
        raise damaged(directory, ValueError("no table"))
    return run


def read_status(directory: Path) -> tuple[StopReason, Any]:
    """How a stored run ended, and the case that it was, None if it was none.

    Raises:
        StorageError: If there is none, or a damaged one.
    """
    run = read_run(directory)
    try:
        return StopReason[run["status"]], run["configuration"].get("case")
    except (KeyError, TypeError, AttributeError) as error:
        raise damaged(directory, error) from None


def damaged(directory: Path, error: Exception) -> StorageError:
    """One line for a run.json that does not hold what it should."""
    return StorageError(f"cannot read {directory / RUN}: an entry is missing or wrong ({error})")

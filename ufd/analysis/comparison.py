"""Particles against their limit: distances over time by width, regularisation and seed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ufd.analysis.orders import OrderFit, fit_order
from ufd.exceptions import InputError, StorageError
from ufd.problem.checks import place_of_time
from ufd.storage import make_directory, read_json, write_json

Array = NDArray[np.float64]
COMPARISON = "comparison.json"
# A distance below this many floors is mostly floor: no order is read off it.
_FLOORS, _FEWEST = 3.0, 3
# Distances of a run: to the diffusion, to the teacher, to the widest run of the same lam and seed.
DISTANCES = ("diffusion", "teacher", "widest")


@dataclass
class Member:
    """One run of an ensemble.

    Attributes:
        lam: Regularisation.
        width: Number of particles.
        seed: Of its draws.
        distances: By the names of ``DISTANCES``, one value for each time.
        risk: At the times.
        stats: Counters of the run.
        failure: Why it did not reach its end; "" if it did.
    """

    lam: float
    width: int
    seed: int
    distances: dict[str, list[float]]
    risk: list[float]
    stats: dict[str, Any]
    failure: str = ""


@dataclass(frozen=True)
class LocalOrder:
    """Order of a distance between two neighbouring widths or regularisations.

    Attributes:
        first: The coarser width, or the larger lam.
        second: The other.
        order: log of the ratio of distances over log of the ratio of sizes; positive: it falls.
        stderr: What the scatter over the seeds does to it; nan with one seed.
        at_floor: Whether the second distance is below three times its floor.
    """

    first: float
    second: float
    order: float
    stderr: float
    at_floor: bool


@dataclass(eq=False)
class Comparison:
    """An ensemble of trainings beside the diffusion.

    Attributes:
        times: When the distances were taken.
        members: The runs.
        floors: By width, at the times: the distance to the diffusion of as many of its own
            "quantiles", and the root mean square one of "independent" draws.
        limit: Distance of the diffusion to the teacher, at the times.
        configuration: What was asked for.
        provenance: Versions, commit, machine.
    """

    times: list[float]
    members: list[Member]
    floors: dict[str, dict[str, list[float]]]
    limit: list[float]
    configuration: dict[str, Any]
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def lams(self) -> list[float]:
        """The regularisations, descending."""
        return sorted({member.lam for member in self.members}, reverse=True)

    @property
    def widths(self) -> list[int]:
        """The widths, ascending."""
        return sorted({member.width for member in self.members})

    def values(self, name: str, lam: float, width: int) -> Array:
        """A distance over seeds and times, (finished runs, times)."""
        rows = [
            member.distances[name]
            for member in self.members
            if member.lam == lam and member.width == width and not member.failure
        ]
        return np.array(rows, dtype=float).reshape(len(rows), len(self.times))

    def excess(self, lam: float, width: int) -> Array:
        """What of the distance to the diffusion the floor does not explain, at the times.

        sqrt(distance^2 - floor^2): atoms add their own square to that of a smooth displacement
        (docs/theory.md section 13), so this is the bias of lam once the width is resolved.
        """
        mean, floor = self.mean("diffusion", lam, width)[0], self.floor(width)
        return np.sqrt(np.maximum(mean**2 - floor**2, 0.0))

    def mean(self, name: str, lam: float, width: int) -> tuple[Array, Array]:
        """Mean over the seeds and its standard error (nan for one seed), at the times."""
        rows = self.values(name, lam, width)
        if not len(rows):
            missing = np.full(len(self.times), math.nan)
            return missing, missing
        if len(rows) == 1:
            return rows[0], np.full(len(self.times), math.nan)
        return rows.mean(axis=0), rows.std(axis=0, ddof=1) / math.sqrt(len(rows))

    def floor(self, width: int) -> Array:
        """Distance of the diffusion to as many of its own quantiles, at the times."""
        return np.array(self.floors[str(width)]["quantiles"], dtype=float)

    def sampling(self, width: int) -> Array:
        """Root mean square distance of the diffusion to as many independent draws, at the times."""
        return np.array(self.floors[str(width)]["independent"], dtype=float)

    def orders_in_width(self, lam: float, t: float, name: str = "diffusion") -> list[LocalOrder]:
        """Local orders in M of a distance at fixed lam and time t."""
        return self._orders(name, t, [(float(m), lam, m) for m in self.widths], 1.0)

    def orders_in_lam(self, width: int, t: float, name: str = "diffusion") -> list[LocalOrder]:
        """Local orders in lam of a distance at fixed width and time t."""
        return self._orders(name, t, [(lam, lam, width) for lam in self.lams], -1.0)

    def fit_in_width(self, lam: float, t: float, name: str = "diffusion") -> OrderFit:
        """One power of 1/M fitted above three floors.

        Raises:
            InputError: If fewer than three distances lie there, or they do not fall.
        """
        i = self.index(t)
        floors = [_FLOORS * float(self.floor(m)[i]) for m in self.widths]
        pairs = [
            (1 / m, float(self.mean(name, lam, m)[0][i]))
            for m, floor in zip(self.widths, floors, strict=True)
            if name == "widest" or float(self.mean(name, lam, m)[0][i]) > floor
        ]
        pairs = [pair for pair in pairs if pair[1] > 0]
        return _power(pairs, "three floors")

    def fit_in_lam(self, width: int, t: float) -> OrderFit:
        """One power of lam fitted to the excess over the floor, where it is above half of that.

        Raises:
            InputError: If fewer than three lie there, or they do not fall.
        """
        i = self.index(t)
        floor = float(self.floor(width)[i]) / 2
        values = [(lam, float(self.excess(lam, width)[i])) for lam in self.lams]
        kept = [(lam, value) for lam, value in values if value > floor]
        return _power(kept, "half of the floor")

    def index(self, t: float) -> int:
        """The place of a time.

        Raises:
            InputError: If it was not compared at; the message lists those that were.
        """
        return place_of_time(t, self.times, "compared at; times")

    def _orders(
        self, name: str, t: float, steps: Sequence[tuple[float, float, int]], sign: float
    ) -> list[LocalOrder]:
        i, orders = self.index(t), []
        for (x, lam, m), (x2, lam2, m2) in itertools.pairwise(steps):
            (a, ea), (b, eb) = (
                (float(v[i]) for v in self.mean(name, *at)) for at in ((lam, m), (lam2, m2))
            )
            if not (a > 0 and b > 0):
                continue
            size = sign * math.log(x2 / x)
            floor = 0.0 if name == "widest" else _FLOORS * float(self.floor(m2)[i])
            error = math.hypot(ea / a, eb / b) / abs(size)
            orders.append(LocalOrder(x, x2, math.log(a / b) / size, error, b < floor))
        return orders

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a JSON document; nan becomes None."""
        return _plain(
            {
                "kind": "comparison",
                "times": self.times,
                "members": [vars(member) for member in self.members],
                "floors": self.floors,
                "limit": self.limit,
                "configuration": self.configuration,
                "provenance": self.provenance,
            }
        )

    def save(self, directory: str | PathLike) -> None:
        """Write comparison.json; on one rank.

        Raises:
            StorageError: If it cannot be written.
        """
        make_directory(Path(directory))
        write_json(Path(directory) / COMPARISON, self.as_dict())


def read_comparison(directory: Path) -> Comparison:
    """Read what `Comparison.save` wrote.

    Raises:
        StorageError: If there is none, or a damaged one.
    """
    stored = read_json(directory / COMPARISON)
    try:
        return Comparison(
            times=stored["times"],
            members=[Member(**member) for member in stored["members"]],
            floors=stored["floors"],
            limit=stored["limit"],
            configuration=stored["configuration"],
            provenance=stored["provenance"],
        )
    except (KeyError, TypeError) as error:
        raise StorageError(
            f"cannot read {directory / COMPARISON}: an entry is missing or wrong ({error})"
        ) from None


def _power(pairs: list[tuple[float, float]], bound: str) -> OrderFit:
    if len(pairs) < _FEWEST:
        raise InputError(f"{len(pairs)} distances lie above {bound}; {_FEWEST} needed for a power")
    return fit_order([size for size, _ in pairs], [value for _, value in pairs])


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(entry) for entry in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value

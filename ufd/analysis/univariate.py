"""What few neurons on an interval found: jumps, losses, and how theory fared."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from ufd.analysis.runs import RUN, damaged
from ufd.parallel import on_root
from ufd.problem.checks import place_of_time
from ufd.problem.knots import Knots, StepTarget, target_from
from ufd.problem.recovery import condition, loss_floor, probability, recovered, recovery_bounds
from ufd.storage import make_directory, read_arrays, write_arrays, write_json

Array = NDArray[np.float64]
PATHS = "neurons.npz"


@dataclass(frozen=True, eq=False)
class Trajectory:
    """One run at the stored times.

    Attributes:
        seed: Of the start and the samples.
        positions: u, (K, axes, m).
        weights: a_0 and a, (K, 1 + axes m); None for the limit, where they are means.
        losses: int (f* - f)^2, (K,).
        reached: When a neuron came to stay at each jump (limit), (n,), nan if none; else None.
        failure: Why the run ended early, or "".
    """

    seed: int
    positions: Array
    weights: Array | None
    losses: Array
    reached: Array | None
    failure: str = ""

    @classmethod
    def failed(cls, seed: int, start: Array, count: int, failure: str) -> Trajectory:
        """A run without result: it stays at its start, with no loss."""
        rows = np.repeat(start[None], count, axis=0)
        return cls(seed, rows, None, np.full(count, np.nan), None, failure)


@dataclass(eq=False)
class UnivariateRun:
    """An ensemble of few neurons; axis 0 of all arrays are the runs, in the order of their seeds.

    Attributes:
        targets: One for each coordinate.
        times: Slow times tau = eps t, (K,).
        paths: The runs.
        configuration: What was asked for, as it was resolved.
        provenance: Versions, commit, machine.
    """

    targets: list[Knots]
    times: Array
    paths: list[Trajectory]
    configuration: dict[str, Any]
    provenance: dict[str, Any]

    def _at(self, t: float | None) -> int:
        return -1 if t is None else place_of_time(t, list(self.times))

    def positions(self, t: float | None = None) -> Array:
        """u at a stored time, the last by default, (runs, axes, m).

        Raises:
            InputError: If ``t`` was not stored; the message lists the times that were.
        """
        return np.array([path.positions[self._at(t)] for path in self.paths])

    def losses(self, t: float | None = None) -> Array:
        """int (f* - f)^2 at a stored time, the last by default, (runs,)."""
        return np.array([path.losses[self._at(t)] for path in self.paths])

    def recovered(self, t: float | None = None) -> NDArray[np.bool]:
        """Which jumps have a neuron within reach, of all coordinates in turn, (runs, jumps)."""
        within, u = self.configuration["within"], self.positions(t)
        each = [recovered(target, u[:, d], within) for d, target in enumerate(self.targets)]
        found = np.concatenate(each, axis=1)
        found[[bool(path.failure) for path in self.paths]] = False
        return found

    def condition(self) -> NDArray[np.bool]:
        """Which starts have two neurons in every piece: sufficient in the limit, (runs,)."""
        u = self.positions(0.0)
        each = [condition(target, u[:, d]) for d, target in enumerate(self.targets)]
        return np.all(each, axis=0)

    def probability(self) -> float:
        """Of the condition, exactly."""
        width = self.configuration["neurons"]
        return float(np.prod([probability(target, width) for target in self.targets]))

    def floor(self) -> float:
        """(eta/28) sum J_i^2, the loss of steps on every jump; 0 for ramps and for the limit."""
        eta = self.configuration["eta"] or 0.0
        steps = [target for target in self.targets if isinstance(target, StepTarget)]
        return sum(loss_floor(target, eta) for target in steps)

    def recovery_times(self) -> tuple[Array, Array]:
        """When jumps were reached in the limit, and the bounds 2 s/J^2, (runs, jumps) each.

        Bounds are nan where the condition does not hold, times where no neuron stays.
        """
        target, width = self.targets[0], len(self.targets[0].positions)
        bounds = [recovery_bounds(target, path.positions[0, 0]) for path in self.paths]
        none = np.full(width, np.nan)
        reached = [none if path.reached is None else path.reached for path in self.paths]
        return np.array(reached), np.array(bounds)

    def sentence(self) -> str:
        """The findings, for a person."""
        found, meets = self.recovered().all(axis=1), self.condition()
        settings = self.configuration
        how = settings["method"]
        if settings["epsilon"] is not None:
            how += f" at eps = {settings['epsilon']:g}"
        floor = self.floor()
        return (
            f"{how}: {found.sum()} of {len(found)} runs recover every jump "
            f"({(found & meets).sum()} of {meets.sum()} that meet the sufficient condition, which "
            f"holds with probability {self.probability():.3g}); loss "
            f"{np.nanmedian(self.losses()):.4g} in the median"
            + (f", floor {floor:.4g}." if floor else ".")
        )

    def summary(self) -> dict[str, Any]:
        """What run.json holds."""
        return {
            "kind": "univariate",
            "findings": self.sentence(),
            "failures": {str(p.seed): p.failure for p in self.paths if p.failure},
            "configuration": self.configuration,
            "times": self.times.tolist(),
            "provenance": self.provenance,
        }

    def save(self, directory: str | PathLike, comm: MPI.Comm = MPI.COMM_WORLD) -> None:
        """Write run.json and neurons.npz into a directory; collective.

        Raises:
            StorageError: If a file cannot be written.
        """
        place = Path(directory)
        none = np.empty(0)

        def write() -> None:
            make_directory(place)
            arrays = {"seeds": np.array([path.seed for path in self.paths])}
            for name in ("positions", "weights", "losses", "reached"):
                for path in self.paths:
                    value = getattr(path, name)
                    arrays[f"{name}_{path.seed}"] = none if value is None else value
            write_arrays(place / PATHS, **arrays)
            write_json(place / RUN, self.summary())

        on_root(comm, write)


def read_univariate(directory: Path, run: dict[str, Any]) -> UnivariateRun:
    """Read what `UnivariateRun.save` wrote.

    Raises:
        StorageError: If a file is missing or damaged.
    """
    stored = read_arrays(directory / PATHS)

    def kept(name: str, seed: int) -> Any:
        value = stored[f"{name}_{seed}"]
        return value if value.size else None

    try:
        paths = [
            Trajectory(
                int(seed),
                kept("positions", seed),
                kept("weights", seed),
                kept("losses", seed),
                kept("reached", seed),
                run["failures"].get(str(seed), ""),
            )
            for seed in stored["seeds"]
        ]
        return UnivariateRun(
            targets=[target_from(table) for table in run["configuration"]["target"]],
            times=np.array(run["times"]),
            paths=paths,
            configuration=run["configuration"],
            provenance=run["provenance"],
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise damaged(directory, error) from None

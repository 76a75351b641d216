"""What a snapshot of a run holds, when one is written, and how a run goes on from it.

A run keeps two generations, ``snapshot-000007`` and the one before, and beside them, each written
once, what does not change any more: its states at requested times, and what the room adds. A
generation names the checksums of all that it needs.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ufd.evolution.evolve import Evolution, Snapshot, Statistics, StopReason
from ufd.evolution.observers import Recorder
from ufd.evolution.shards import MANIFEST, NodeStore, read_common, read_manifest
from ufd.evolution.stopping import Signals, StopRequests
from ufd.exceptions import InputError, StorageError
from ufd.parallel import on_root
from ufd.storage import discard_tree, first_difference

Array = NDArray[np.float64]
_SNAPSHOT, _STATE = "snapshot-", "state-"
_KEPT = 2
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """Where and when a run is saved, and what may stop it early.

    Args:
        directory: Holds the snapshots; written by one run at a time.
        interval: Seconds of wall time between snapshots. One is also written when the run stops,
            for whatever reason.
        wall_clock: Seconds since the start of the process after which it may be killed; the run
            stops early enough to write a snapshot. None: no limit.
        signals: Notes signals that ask the run to stop, such as ``ufd.signals.StopSignals``.
        resume: The command that goes on with the run, for messages.
        say: Told on rank 0 where a run is taken up.
    """

    directory: str | PathLike
    interval: float = 600.0
    wall_clock: float | None = None
    signals: Signals | None = None
    resume: str = "ufd.solve(..., restart=True)"
    say: Callable[[str], Any] = lambda line: None

    def __post_init__(self) -> None:
        if not self.interval >= 0:
            raise InputError(f"checkpoint: interval = {self.interval!r} must not be negative")
        if self.wall_clock is not None and not self.wall_clock > 0:
            raise InputError(f"checkpoint: wall_clock = {self.wall_clock!r} must be positive")


def generations(place: Path) -> list[Path]:
    """Snapshots of one run, the newest first."""
    return sorted(place.glob(f"{_SNAPSHOT}*"), reverse=True)


def packed(snapshot: Snapshot) -> tuple[dict[str, Any], dict[str, Array]]:
    """Numbers for JSON, and arrays by name, from which `unpacked` makes a snapshot again."""
    numbers = {
        "t": snapshot.t,
        "dt": snapshot.dt,
        "slopes": [t for t, _ in snapshot.slopes],
        "control": snapshot.control,
        "system": list(snapshot.system),
        "statistics": asdict(snapshot.statistics),
        "status": snapshot.status.name,
    }
    arrays = {"values": snapshot.values}
    arrays |= {f"slope-{i}": slope for i, (_, slope) in enumerate(snapshot.slopes)}
    arrays |= {f"system-{name}": array for name, array in snapshot.system.items()}
    return numbers, arrays


def unpacked(numbers: Mapping[str, Any], arrays: Mapping[str, Array]) -> Snapshot:
    """See `packed`."""
    return Snapshot(
        t=numbers["t"],
        values=arrays["values"],
        dt=numbers["dt"],
        slopes=[(t, arrays[f"slope-{i}"]) for i, t in enumerate(numbers["slopes"])],
        control=numbers["control"],
        system={name: arrays[f"system-{name}"] for name in numbers["system"]},
        statistics=Statistics(**numbers["statistics"]),
        status=StopReason[numbers["status"]],
    )


class Keeper:
    """Saves one run in a directory, and takes it up again; its methods are collective.

    Args:
        place: Directory of the run.
        store: Writes and reads its arrays.
        evolution: The run.
        recorder: Its series.
        states: Its states at requested times, which an observer adds to.
        identity: What the run is, as nested tables of JSON: only the same one is taken up.
        settings: When to save.
        requests: What may stop it.

    Attributes:
        lasting: Further arrays that are written once, with JSON values about them, by name.
        work: Counters of this process that no `Statistics` holds, by name.
        earlier: The same of the processes before it.
    """

    def __init__(
        self,
        place: Path,
        store: NodeStore,
        evolution: Evolution,
        recorder: Recorder,
        states: dict[float, Array],
        identity: Mapping[str, Any],
        settings: Checkpoint,
        requests: StopRequests,
    ) -> None:
        self._place, self._store, self._comm = place, store, store.comm
        self._evolution, self._recorder, self._states = evolution, recorder, states
        self._identity = json.loads(json.dumps(identity))
        self._settings, self._requests = settings, requests
        self.lasting: dict[str, tuple[dict[str, Any], dict[str, Array]]] = {}
        self.work: Callable[[], Mapping[str, int]] = dict
        self.earlier: dict[str, int] = {}
        # Name and checksum of what was written once; the generations that can be trusted.
        self._written: dict[str, str] = {}
        self._good: list[Path] = []
        self._number, self._first, self._saved_at = 0, 0, time.monotonic()
        self._saved: Snapshot | None = None

    def start(self) -> None:
        """Watch over the run: call before its first step."""
        self._evolution.asked = self._between_steps
        self._first = self._evolution.statistics.steps
        self._requests.start()
        self._saved_at = time.monotonic()

    def _between_steps(self) -> StopReason | None:
        steps = self._evolution.statistics.steps
        self._requests.moved |= steps > self._first
        due = self._comm.rank == 0 and time.monotonic() - self._saved_at >= self._settings.interval
        reason, due = self._requests.agreed(due)
        if reason is None:
            # A stopped run is saved once it has come to rest.
            if due and steps:
                self.save()
            self._requests.go_on()
        return reason

    def save(self) -> None:
        """Write a generation, then remove the ones before the last; nothing if none is needed.

        Raises:
            StorageError: If the disk refuses; the generations before it stay.
        """
        snapshot = self._evolution.snapshot()
        if self._saved is not None and _same(self._saved, snapshot):
            return
        begin = time.monotonic()
        for i, (t, values) in enumerate(self._states.items()):
            self._write_once(f"{_STATE}{i:04d}", {"t": t}, {"values": values})
        for name, (about, arrays) in self.lasting.items():
            self._write_once(name, about, arrays)
        numbers, arrays = packed(snapshot)
        about = {
            "run": numbers,
            "work": self.all_work(),
            "needs": self._written,
            "identity": self._identity,
            "resume": self._settings.resume,
        }
        place = self._place / f"{_SNAPSHOT}{self._number + 1:06d}"
        self._store.write(place, arrays, about, common=self._recorder.series)
        self._number, self._saved = self._number + 1, snapshot
        self._good = [*self._good, place][-_KEPT:]
        on_root(self._comm, self._tidy)
        self._saved_at = time.monotonic()
        self._requests.saving = self._saved_at - begin

    def all_work(self) -> dict[str, int]:
        """``work`` and ``earlier`` together."""
        return {name: n + self.earlier.get(name, 0) for name, n in self.work().items()}

    def _write_once(self, name: str, about: dict[str, Any], arrays: dict[str, Array]) -> None:
        if name not in self._written:
            self._written[name] = self._store.write(self._place / name, arrays, about)

    def _tidy(self) -> None:
        for place in generations(self._place):
            if place not in self._good:
                discard_tree(place)
        for place in list(self._place.glob(".*")):
            discard_tree(place)

    def resume(self) -> bool:
        """Take the run up from the newest generation that is whole; False if there is none at all.

        Raises:
            InputError: If it is of another run; the message names the first key that differs.
            StorageError: If there are generations and none is whole.
        """
        places = on_root(self._comm, lambda: generations(self._place))
        damage: list[StorageError] = []
        for place in places:
            try:
                self._take_up(place)
            except StorageError as error:
                damage.append(error)
                continue
            self._number = int(places[0].name.removeprefix(_SNAPSHOT))
            self._good = [place]
            if damage and self._comm.rank == 0:
                _log.warning("%s; falling back to %s", damage[0], place.name)
            return True
        if damage:
            raise StorageError(
                f"{damage[0]}; no other snapshot is whole: remove {self._place.parent} and start "
                "again"
            )
        return False

    def _take_up(self, place: Path) -> None:
        manifest = on_root(self._comm, lambda: read_manifest(place))
        about = manifest["about"]
        difference = first_difference(about["identity"], self._identity)
        if difference:
            raise InputError(
                f"{difference}: the checkpoint in {self._place.parent} is of another run; change "
                "it back, or name another directory"
            )
        arrays = self._store.read(place, manifest)
        series = on_root(self._comm, lambda: read_common(place, manifest))
        states, lasting = {}, {}
        for name, checksum in about["needs"].items():
            own, found = self._read_once(self._place / name, checksum)
            if name.startswith(_STATE):
                states[own["t"]] = found["values"]
            else:
                lasting[name] = (own, found)
        # Nothing is touched before all is read: a damaged file leads to the generation before.
        self._states.clear()
        self._states.update(states)
        self.lasting, self._written = lasting, dict(about["needs"])
        self._recorder.recall(series)
        self.earlier = about["work"]
        self._saved = unpacked(about["run"], arrays)
        self._evolution.restore(self._saved)
        if self._comm.rank == 0:
            run = self._saved
            steps = f"step {run.statistics.steps}, t = {run.t:.6g}"
            self._settings.say(f"resumed from {place}: {steps}")

    def _read_once(self, place: Path, checksum: str) -> tuple[dict[str, Any], dict[str, Array]]:
        def named() -> dict[str, Any]:
            manifest = read_manifest(place)
            if manifest["sha256"] != checksum:
                raise StorageError(f"cannot read {place / MANIFEST}: it is of another snapshot")
            return manifest

        manifest = on_root(self._comm, named)
        return manifest["about"], self._store.read(place, manifest)


def _same(one: Snapshot, other: Snapshot) -> bool:
    """Whether nothing has happened between two snapshots of a run, on any rank."""
    return (one.t, one.status, one.statistics) == (other.t, other.status, other.statistics)


def stopped_at(directory: Path) -> tuple[float, int, str] | None:
    """Time, steps and the command to go on of the newest readable snapshot of a run.

    Args:
        directory: Of the snapshots of one run; not collective.
    """
    for place in generations(directory):
        try:
            about = read_manifest(place)["about"]
        except StorageError:
            continue
        return about["run"]["t"], about["run"]["statistics"]["steps"], about["resume"]
    return None

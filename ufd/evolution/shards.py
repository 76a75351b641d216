"""Arrays keyed by node, in one file for each rank that wrote them, read on any number of ranks.

A set is a directory: ``part-0000.npz`` and so on, and ``manifest.json``, written last, with the
size and the SHA-256 of every file. It appears under its name by one rename, whole or not at all.
No rank holds more than its share and a few parts: each reads some of the files, and values reach
the rank that asks for their key.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from ufd import __version__
from ufd.exceptions import InputError, StorageError
from ufd.parallel import agree, lookup, on_root, total
from ufd.storage import (
    discard_tree,
    make_directory,
    npz_arrays,
    read_bytes,
    read_json,
    sync_directory,
    write_json,
    write_whole,
)

Array = NDArray[Any]
MANIFEST, COMMON = "manifest.json", "common.npz"
_FORMAT, _KEYS = 1, "node"


def _checksum(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_manifest(place: Path) -> dict[str, Any]:
    """The manifest of a set: ``about``, ``files``, ``arrays``, ``ranks`` and its own ``sha256``.

    Raises:
        StorageError: If it is missing or damaged.
        InputError: If it is of another format: nothing is wrong with it.
    """
    stored = read_json(place / MANIFEST)
    if not isinstance(stored, dict) or not isinstance(content := stored.get("content"), dict):
        raise StorageError(f"cannot read {place / MANIFEST}: it is damaged")
    if _checksum(content) != stored.get("sha256"):
        raise StorageError(f"cannot read {place / MANIFEST}: its checksum is wrong")
    if content["format"] != _FORMAT:
        raise InputError(
            f"cannot read {place / MANIFEST}: its format is {content['format']}, and this is "
            f"ufd {__version__}, which reads format {_FORMAT}"
        )
    return {**content, "sha256": stored["sha256"]}


def read_common(place: Path, manifest: Mapping[str, Any]) -> dict[str, Array]:
    """What `NodeStore.write` was given as ``common``; to be called on one rank.

    Raises:
        StorageError: If the file is missing or damaged.
    """
    entry = next(each for each in manifest["files"] if each["name"] == COMMON)
    return _verified(place, entry)


def _verified(place: Path, entry: Mapping[str, Any]) -> dict[str, Array]:
    path = place / entry["name"]
    content = read_bytes(path)
    if len(content) != entry["size"]:
        raise StorageError(
            f"cannot read {path}: it has {len(content)} bytes instead of {entry['size']}"
        )
    if hashlib.sha256(content).hexdigest() != entry["sha256"]:
        raise StorageError(f"cannot read {path}: its checksum is wrong")
    return npz_arrays(path, io.BytesIO(content))


def _write(path: Path, arrays: Mapping[str, Array]) -> dict[str, Any]:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    content = buffer.getvalue()
    write_whole(path, lambda stream: stream.write(content))
    digest = hashlib.sha256(content).hexdigest()
    return {"name": path.name, "size": len(content), "sha256": digest}


@dataclass(frozen=True, eq=False)
class NodeStore:
    """Writes and reads arrays whose first axis runs over the nodes of this rank; collective.

    Args:
        comm: The ranks that share the nodes.
        keys: Number of each node of this rank, (n,); each of 0, ..., size - 1 is on one rank.
        size: Number of nodes.
    """

    comm: MPI.Comm
    keys: NDArray[np.int64]
    size: int

    def write(
        self,
        place: Path,
        arrays: Mapping[str, Array],
        about: Mapping[str, Any],
        common: Mapping[str, Array] | None = None,
    ) -> str:
        """Write a set, in place of one that may be there.

        Args:
            place: Its directory; the folder above is made if it is missing.
            arrays: By name, (n, ...).
            about: JSON values for the manifest, equal on every rank.
            common: More arrays of any shape, which rank 0 writes.

        Returns:
            The checksum of the manifest.

        Raises:
            StorageError: On every rank, if the disk refuses; nothing partial stays behind.
        """
        part = place.with_name(f".{place.name}.part")

        def begin() -> None:
            shutil.rmtree(part, ignore_errors=True)
            make_directory(part)

        def share() -> list[dict[str, Any]]:
            own = {_KEYS: self.keys, **arrays}
            files = [_write(part / f"part-{self.comm.rank:04d}.npz", own)]
            if self.comm.rank == 0 and common is not None:
                files.append(_write(part / COMMON, common))
            return files

        try:
            on_root(self.comm, begin)
            files = self.comm.gather(agree(self.comm, share))
            return on_root(self.comm, lambda: self._publish(part, place, arrays, about, files))
        except StorageError:
            if self.comm.rank == 0:
                shutil.rmtree(part, ignore_errors=True)
            raise

    def _publish(
        self,
        part: Path,
        place: Path,
        arrays: Mapping[str, Array],
        about: Mapping[str, Any],
        files: Sequence[list[dict[str, Any]]] | None,
    ) -> str:
        content = {
            "format": _FORMAT,
            "ufd": __version__,
            "ranks": self.comm.size,
            "nodes": self.size,
            "arrays": {name: [a.dtype.str, list(a.shape[1:])] for name, a in arrays.items()},
            "files": [each for theirs in files or () for each in theirs],
            "about": dict(about),
        }
        checksum = _checksum(content)
        write_json(part / MANIFEST, {"sha256": checksum, "content": content})
        sync_directory(part)
        discard_tree(place)
        try:
            part.rename(place)
        except OSError as error:
            raise StorageError(f"cannot write {place}: {error.strerror}") from None
        sync_directory(place.parent)
        return checksum

    def read(self, place: Path, manifest: Mapping[str, Any]) -> dict[str, Array]:
        """The arrays of a set at the nodes of this rank, however many ranks wrote it.

        Args:
            place: Its directory.
            manifest: From `read_manifest`.

        Raises:
            StorageError: On every rank, if a file is missing or damaged.
        """

        def share() -> list[dict[str, Array]]:
            if manifest["nodes"] != self.size:
                raise StorageError(
                    f"cannot read {place}: it holds {manifest['nodes']} nodes, not {self.size}"
                )
            parts = [entry for entry in manifest["files"] if entry["name"] != COMMON]
            return [_verified(place, entry) for entry in parts[self.comm.rank :: self.comm.size]]

        parts = agree(self.comm, share)
        keys = self._joined([part[_KEYS] for part in parts], "<i8", [])
        found = lookup(self.comm, keys, np.ones(len(keys)), self.keys, self.size)
        count = total(self.comm, len(keys))

        def check() -> None:
            if count != self.size or not found.all():
                raise StorageError(f"cannot read {place}: nodes are missing or come twice")

        agree(self.comm, check)
        result = {}
        for name, (dtype, shape) in manifest["arrays"].items():
            own = self._joined([part[name] for part in parts], dtype, shape)
            result[name] = lookup(self.comm, keys, own, self.keys, self.size)
        return result

    @staticmethod
    def _joined(arrays: Sequence[Array], dtype: str, shape: Sequence[int]) -> Array:
        return np.concatenate([np.empty((0, *shape), dtype), *arrays])

"""Files on disk: directories that are not overwritten, and writes that are whole or absent."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from ufd.exceptions import StorageError

_ZIP = (zipfile.BadZipFile, zlib.error)


def new_directory(path: str | os.PathLike) -> Path:
    """Create ``path``; an existing one must be empty.

    Raises:
        StorageError: If it is a file, is not empty, or cannot be created.
    """
    directory = Path(path)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        taken = next(directory.iterdir(), None)
    except (FileExistsError, NotADirectoryError):
        raise StorageError(f"output: {directory} is, or lies below, a file") from None
    except OSError as error:
        raise StorageError(f"output: cannot use {directory}: {error.strerror}") from None
    if not os.access(directory, os.W_OK):
        raise StorageError(f"output: {directory} is not writable")
    if taken is not None:
        raise StorageError(
            f"output: {directory} is not empty (it holds {taken.name}); name a new one, remove it, "
            "or resume a stopped run with --restart"
        )
    return directory


def make_directory(directory: Path) -> None:
    """Create a directory unless it is there.

    Raises:
        StorageError: If it cannot be created.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot create {directory}: {error.strerror}") from None


def discard_empty(directory: Path) -> None:
    """Remove a directory that holds nothing; leave any other."""
    with contextlib.suppress(OSError):
        directory.rmdir()


def sync_directory(directory: Path) -> None:
    """Put the names in a directory on the disk, where the file system knows how.

    Raises:
        StorageError: If the disk refuses.
    """
    try:
        place = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(place)
        finally:
            os.close(place)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise StorageError(f"cannot write {directory}: {error.strerror}") from None


def discard_tree(directory: Path) -> None:
    """Remove a directory and all in it; under another name first, so that none sees a half.

    Raises:
        StorageError: If it cannot be removed.
    """
    hidden = directory.with_name(f".{directory.name}.old")
    try:
        if directory.exists():
            shutil.rmtree(hidden, ignore_errors=True)
            os.replace(directory, hidden)
        if hidden.exists():
            shutil.rmtree(hidden)
    except OSError as error:
        raise StorageError(f"cannot remove {directory}: {error.strerror or error}") from None


def write_whole(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Call ``write`` on a temporary file, flush it to disk, then give it its name.

    Raises:
        StorageError: If the disk refuses; nothing partial stays behind.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        with open(part, "wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from None


def write_arrays(path: Path, **arrays: Any) -> None:
    """Write named arrays as ``.npz``."""
    write_whole(path, lambda stream: np.savez(stream, **arrays))


def read_arrays(path: Path) -> dict[str, Any]:
    """Read an ``.npz`` file; no pickles.

    Raises:
        StorageError: If it is missing or damaged.
    """
    try:
        stream = open(path, "rb")
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from None
    with stream:
        return npz_arrays(path, stream)


def npz_arrays(path: Path, stream: IO[bytes]) -> dict[str, Any]:
    """The arrays in the content of an ``.npz`` file; no pickles.

    Raises:
        StorageError: If it is damaged; the message names ``path``.
    """
    try:
        with np.load(stream, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, TypeError, EOFError, KeyError, RuntimeError, *_ZIP) as error:
        raise StorageError(f"cannot read {path}: it is damaged, or no .npz file") from error


def read_bytes(path: Path) -> bytes:
    """The content of a file.

    Raises:
        StorageError: If it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from None


def write_json(path: Path, value: Any) -> None:
    """Write a JSON document."""
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    write_whole(path, lambda stream: stream.write(text.encode()))


def read_json(path: Path) -> Any:
    """Read a JSON document.

    Raises:
        StorageError: If it is missing or damaged.
    """
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise StorageError(f"cannot read {path}: {error}") from None


def first_difference(stored: Any, wanted: Any) -> str:
    """The first key in which two nested tables of JSON differ, with both values; "" if none."""
    there, here = dict(_leaves(stored)), dict(_leaves(wanted))
    for key in {**here, **there}:
        old, new = there.get(key, "missing"), here.get(key, "missing")
        if old != new:
            return f"{key} = {old!r} there, {new!r} here"
    return ""


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of nested tables and of the tables in lists."""
    if isinstance(value, list) and any(isinstance(entry, dict) for entry in value):
        value = dict(enumerate(value))
    if not isinstance(value, dict):
        yield key, value
        return
    for name, entry in value.items():
        yield from _leaves(entry, f"{key}.{name}" if key else str(name))

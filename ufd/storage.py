"""Files on disk: directories that are not overwritten, and writes that are whole or absent."""

from __future__ import annotations

import contextlib
import json
import os
import zipfile
import zlib
from collections.abc import Callable
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
            f"output: {directory} is not empty (it holds {taken.name}); name a new one or remove it"
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
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, TypeError, EOFError, KeyError, RuntimeError, *_ZIP) as error:
        raise StorageError(f"cannot read {path}: it is damaged, or no .npz file") from error


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

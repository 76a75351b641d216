"""Changes of a case from outside its file: ``solver.dt = 0.1``, before anything is validated."""

from __future__ import annotations

import copy
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any

from ufd.exceptions import InputError

# Text that a shell user would not quote: names of methods and kinds, paths of meshes.
_BARE = re.compile(r"(?:[A-Za-z_]|\.{0,2}/)[\w./+-]*")
_EXAMPLES = 'give a TOML value, such as 2.0, true, [1.0, 0.0] or "text"'

Change = tuple[str, Any]


def _toml(text: str) -> Any:
    """The value of ``v = text``.

    Raises:
        ValueError: If it is no TOML value; a line break would start another key.
    """
    table = tomllib.loads(f"v = {text}")
    if table.keys() != {"v"}:
        raise ValueError(text)
    return table["v"]


def parse_value(text: str) -> Any:
    """Read a TOML value; a bare word is a string.

    Raises:
        InputError: If it is neither.
    """
    text = text.strip()
    try:
        return _toml(text)
    except ValueError:
        if _BARE.fullmatch(text):
            return text
    raise InputError(f"{text!r} is no value: {_EXAMPLES}")


def parse_values(text: str) -> list[Any]:
    """Read values separated by commas.

    Raises:
        InputError: If there is none, or one of them cannot be read.
    """
    if not text.strip():
        raise InputError("there is no value; give one or more, separated by commas")
    try:
        return _toml(f"[{text}]")
    except ValueError:
        return [parse_value(part) for part in text.split(",")]


def parse_change(text: str, read: Any = parse_value) -> Change:
    """Split ``key=value`` and read the value.

    Args:
        text: As it stands on a command line.
        read: `parse_value`, or `parse_values` for a list without brackets.

    Raises:
        InputError: If there is no key, or the value cannot be read; the message shows the text.
    """
    key, separator, value = text.partition("=")
    key = key.strip()
    if not separator or not key:
        raise InputError(f"{text!r} is no change: write key=value, such as solver.dt=0.1")
    try:
        return key, read(value)
    except InputError as error:
        raise InputError(f"{key}: {error}") from None


def format_value(value: Any) -> str:
    """The text from which `parse_value` reads a value again."""
    if isinstance(value, str) and _BARE.fullmatch(value) and parse_value(value) == value:
        return value
    return _inline(value)


def _inline(value: Any) -> str:
    if isinstance(value, bool | str):
        # What JSON escapes TOML escapes in the same way, but for DEL and other alphabets.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if isinstance(value, Mapping):
        pairs = (f"{_key(str(key))} = {_inline(entry)}" for key, entry in value.items())
        return "{" + ", ".join(pairs) + "}"
    return str(value)


def _key(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z0-9_-]+", text) else _inline(text)


def apply_changes(table: dict[str, Any], changes: Mapping[str, Any] | Iterable[Change]) -> None:
    """Change a table of TOML in place.

    Args:
        table: As ``tomllib`` read it.
        changes: Values by dotted key; integers count the entries of lists from 0. Tables that
            are missing are created, entries of lists are not. Later changes win.

    Raises:
        InputError: If a key leads nowhere. Unknown keys are left for validation to find.
    """
    for key, value in changes.items() if isinstance(changes, Mapping) else changes:
        parts = key.split(".")
        if not all(parts):
            raise InputError(f"{key!r} is no key: write table.key, such as solver.dt")
        place: Any = table
        for i, part in enumerate(parts[:-1]):
            if isinstance(place, dict) and part not in place:
                if parts[i + 1].isdigit():
                    above = ".".join(parts[: i + 1])
                    raise InputError(
                        f"{key}: there is no list {above}, so it has no entry {parts[i + 1]}; "
                        f"give the whole list as {above}"
                    )
                place[part] = {}
            place = place[_step(place, parts, i)]
        # A copy: a later change may go into this value.
        place[_step(place, parts, len(parts) - 1)] = copy.deepcopy(value)


def _step(place: Any, parts: list[str], i: int) -> Any:
    """What ``parts[i]`` means in a place: the key of a table or the number of an entry."""
    key, above, part = ".".join(parts), ".".join(parts[:i]), parts[i]
    if isinstance(place, dict):
        return part
    if not isinstance(place, list):
        raise InputError(f"{key}: {above} = {place!r} is no table, so it has no {part}")
    if not (part.isascii() and part.isdigit() and int(part) < len(place)):
        allowed = f"its entries are 0 to {len(place) - 1}" if place else "it is empty"
        raise InputError(f"{key}: {part} is no entry of {above}, a list; {allowed}")
    return int(part)

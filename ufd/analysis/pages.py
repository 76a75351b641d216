"""Pages: one set of values as HTML and as Markdown, and how a number is written in them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

from ufd.storage import write_whole

Table = dict[str, Any]
MISSING = "–"
# Decimals that a value next to its error may have before the error gets an exponent.
_DECIMALS = 8


def short(value: Any) -> str:
    """A scalar or a list of them with six digits."""
    if isinstance(value, list):
        return "(" + ", ".join(short(v) for v in value) + ")"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def cell(value: Any) -> str:
    """Like ``short``; lists without brackets, yes and no for a truth value, a dash for None."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(cell(v) for v in value) or MISSING
    return MISSING if value is None else short(value)


def number(value: float | None, digits: int = 6) -> str:
    """A number with ``digits`` significant digits; a dash for None."""
    return MISSING if value is None else f"{value:.{digits}g}"


def percent(value: float | None) -> str:
    """A signed share in per cent with three digits; a dash for None."""
    return MISSING if value is None else f"{100 * value:+.3g} %"


def with_error(value: float, error: float) -> str:
    """A value and its error: two digits of the error, and as many decimals of the value."""
    if not 0 < error < math.inf:
        return f"{value:.8g} ± {error:g}"
    # The exponent after rounding to two digits: 0.0996 becomes 0.10, not 0.100.
    decimals = 1 - int(f"{error:.1e}".split("e")[1])
    if 0 <= decimals <= _DECIMALS:
        return f"{value:.{decimals}f} ± {error:.{decimals}f}"
    return f"{value:.10g} ± {error:.1e}"


def four_digits(value: float | None) -> str:
    """A number with four digits; a dash for what is not known."""
    return MISSING if value is None or not math.isfinite(value) else f"{value:#.4g}"


def measured(value: float, error: float) -> str:
    """A value and its error; a dash for what is not known."""
    if not math.isfinite(value):
        return MISSING
    if math.isfinite(error):
        return with_error(value, error)
    return f"{four_digits(value)} ± {MISSING}"


def bare(text: str) -> str:
    """A measured value without the dash of an unknown error."""
    return text.removesuffix(f" ± {MISSING}")


def table(title: str, columns: Sequence[str], rows: Any, note: str = "", none: str = "") -> Table:
    """A table for both pages: texts, a note, and what to say instead of no rows."""
    texts = [[cell(value) for value in row] for row in rows]
    return {"title": title, "columns": columns, "rows": texts, "note": note, "none": none}


def plain(value: Any) -> str:
    """Text as Markdown that shows it unchanged, on one line, in a table too."""
    text = " ".join(str(value).split())
    text = re.sub(r"&(?=#?\w+;)", "&amp;", text)
    return re.sub(r"[\\`*<|~\[\]]|(?<!\w)_|_(?!\w)", lambda found: "\\" + found[0], text)


def paragraphs(text: str) -> list[str]:
    """The paragraphs of a text that parts them by blank lines."""
    return [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]


def fill_pages(template: str, context: Mapping[str, Any]) -> dict[str, str]:
    """Fill ``<template>.html.jinja`` and ``<template>.md.jinja``; a missing value is an error.

    Returns:
        The texts under "html" and "md".
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("ufd.analysis")
    texts = {}
    for kind in ("html", "md"):
        environment = Environment(
            loader=loader, autoescape=kind == "html", undefined=StrictUndefined
        )
        environment.filters.update(cell=cell, plain=plain, paragraphs=paragraphs)
        texts[kind] = environment.get_template(f"{template}.{kind}.jinja").render(context)
    return texts


def write_pages(directory: Path, name: str, texts: Mapping[str, str]) -> Path:
    """Write each text as ``<name>.<kind>``; returns the HTML file.

    Raises:
        StorageError: If a file cannot be written.
    """
    for kind, text in texts.items():
        write_whole(directory / f"{name}.{kind}", partial(_write, text))
    return directory / f"{name}.html"


def _write(text: str, stream: IO[bytes]) -> None:
    stream.write(text.encode())

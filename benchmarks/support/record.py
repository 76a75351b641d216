"""Results of a benchmark: one JSON document, and the Markdown that is made from it.

`launch` is how every script starts: ``--help`` says what it claims and what it costs, a run writes
under output/benchmarks, and only ``--record`` replaces the record of the repository. A claim that
does not hold ends with exit code 1.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, NoReturn

from ufd.analysis.provenance import collect
from ufd.fem.stack import versions

RECORDS = Path(__file__).resolve().parents[1] / "results"
# Where documents go; `launch` turns it to the records where that is asked for.
RESULTS = Path("output/benchmarks")


@dataclass(frozen=True)
class Claim:
    """One statement with its threshold, what was measured, and whether it holds."""

    text: str
    threshold: str
    measured: str
    holds: bool


@dataclass(frozen=True)
class Table:
    """Rows under named columns."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


def results() -> Path:
    """Where documents go, made if it is missing."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    return RESULTS


def launch(
    run: Callable[..., Sequence[Claim]],
    description: str,
    arguments: Callable[[argparse.ArgumentParser], object] = lambda parser: None,
) -> NoReturn:
    """Run a benchmark from the command line, and end with 0 if all of its claims hold.

    Args:
        run: Measures, writes into `results`, and returns the claims, the same on every rank.
        description: The docstring of the script.
        arguments: Adds options of its own, by the names of what ``run`` takes.
    """
    global RESULTS
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--record", action="store_true",
        help=f"replace the record in benchmarks/results instead of writing to {RESULTS}",
    )  # fmt: skip
    arguments(parser)
    options = vars(parser.parse_args())
    if options.pop("record"):
        RESULTS = RECORDS
    failed = [claim for claim in run(**options) if not claim.holds]
    if failed:
        names = "; ".join(f"{claim.text}: {claim.measured}" for claim in failed)
        print(f"{len(failed)} claims do not hold: {names}", file=sys.stderr)
    sys.exit(1 if failed else 0)


def cpu_seconds[T](action: Callable[[], T], repeats: int = 1) -> tuple[float, T]:
    """Median CPU time of an action, and what it returned last."""
    seconds = []
    for _ in range(repeats):
        begin = time.process_time()
        result = action()
        seconds.append(time.process_time() - begin)
    return median(seconds), result


def record(
    name: str,
    title: str,
    claims: Sequence[Claim],
    tables: Sequence[Table],
    settings: dict[str, Any],
    notes: Sequence[str] = (),
) -> None:
    """Write NAME.json and NAME.md into `results`, and print the latter."""
    document = {
        "title": title,
        "claims": [asdict(claim) for claim in claims],
        "tables": [asdict(table) for table in tables],
        "settings": settings,
        "notes": list(notes),
        "provenance": collect(1, settings, versions()) | {"host": None, "command": f"{name}.py"},
    }
    place = results()
    (place / f"{name}.json").write_text(json.dumps(document, indent=1, default=_plain) + "\n")
    text = _markdown(document)
    (place / f"{name}.md").write_text(text)
    print(text)


def _plain(value: Any) -> Any:
    """NumPy's scalars as Python's."""
    return value.item()


def _markdown(document: dict[str, Any]) -> str:
    lines = [
        f"# {document['title']}",
        "",
        "| claim | threshold | measured | holds |",
        "|---|---|---|---|",
    ]
    for claim in document["claims"]:
        holds = "yes" if claim["holds"] else "**no**"
        lines.append(f"| {claim['text']} | {claim['threshold']} | {claim['measured']} | {holds} |")
    for table in document["tables"]:
        lines += ["", f"## {table['title']}", "", "| " + " | ".join(table["columns"]) + " |"]
        lines.append("|" + "---|" * len(table["columns"]))
        lines += ["| " + " | ".join(_cell(c) for c in row) + " |" for row in table["rows"]]
    if document["notes"]:
        lines += ["", "## Notes", "", *(f"- {note}" for note in document["notes"])]
    origin = document["provenance"]
    shown = ("ufd", "git_commit", "git_dirty", "numpy", "scipy", "dolfinx", "petsc", "finished")
    lines += ["", "Made by " + ", ".join(f"{key} {origin[key]}" for key in shown) + ".", ""]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return str(value)

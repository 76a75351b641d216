"""The report of rates: one page that sets every fitted rate beside theory, as HTML and Markdown."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ufd.analysis.pages import (
    MISSING,
    cell,
    fill_pages,
    number,
    percent,
    with_error,
    write_pages,
)
from ufd.analysis.rate_figures import (
    Claim,
    claim_figure,
    deviation_figure,
    drawable,
    section_figure,
)
from ufd.analysis.verdicts import VERDICTS, error_in_words
from ufd.exceptions import InputError

_SUMMARY = (
    *("#", "case", "mode", "gap", "predicted (continuous)", "predicted (discrete)"),
    *("guaranteed (start → end)", "fitted ± error", "deviation", "threshold", "verdict"),
)
_SLUG = re.compile(r"[A-Za-z][\w.-]*")
# What the ids of the page's own elements start with.
_RESERVED = ("curve-", "point-", "fig-", "section-", "table-", "part-")


class Cell(NamedTuple):
    """What a cell of a table shows, and the number it is sorted by; None for a text."""

    text: str
    value: float | None = None


def write_rate_report(document: Mapping[str, Any], directory: Path, name: str = "rates") -> Path:
    """Write NAME.html, NAME.md and NAME.json; returns the HTML file.

    Nothing is written unless all three can be made.

    Args:
        document: Title, sections, claims, tables, omitted, settings and provenance; plain values.
        directory: Where the files go; it exists.
        name: Their common name.

    Raises:
        InputError: If ids clash, a claim names no section, or a number is not finite.
        StorageError: If a file cannot be written.
    """
    _check(document)
    try:
        plain = json.dumps(document, indent=2, allow_nan=False) + "\n"
    except (ValueError, TypeError) as error:
        raise InputError(f"report of rates: the document is not plain JSON: {error}") from None
    claims = list(enumerate(document["claims"], 1))
    tables = [_table(table) for table in document["tables"]]
    texts = fill_pages(
        "rates",
        {
            "title": document["title"],
            "name": name,
            "introduction": document["introduction"],
            "verdicts": VERDICTS,
            "headline": _headline(document["claims"]),
            "counts": _counts(document),
            "summary": {"columns": _SUMMARY, "rows": [_row(n, claim) for n, claim in claims]},
            "deviations": deviation_figure(claims),
            "sections": [_section(section, claims) for section in document["sections"]],
            "tables": tables,
            "omitted": document["omitted"],
            "settings": document["settings"],
            "provenance": document["provenance"],
        },
    )
    return write_pages(directory, name, {**texts, "json": plain})


def _check(document: Mapping[str, Any]) -> None:
    sections = {section["id"] for section in document["sections"]}
    for kind in ("sections", "claims", "tables"):
        names = [entry["id"] for entry in document[kind]]
        for name, count in Counter(names).items():
            taken = kind == "claims" and name.startswith(_RESERVED)
            if count > 1 or taken or not _SLUG.fullmatch(name):
                raise InputError(
                    f"report of rates: id {name!r} in {kind}: give each its own, of letters, "
                    "digits, - and _, that does not start with " + ", ".join(_RESERVED)
                )
    for claim in document["claims"]:
        if claim["section"] not in sections:
            raise InputError(
                f"report of rates: claim {claim['id']} names the section {claim['section']!r}, "
                "which does not exist"
            )
        if claim["verdict"] not in VERDICTS:
            raise InputError(
                f"report of rates: claim {claim['id']} has the verdict {claim['verdict']!r}; "
                f"there are {', '.join(VERDICTS)}"
            )


def _headline(claims: Sequence[Claim]) -> str:
    agree = sum(claim["verdict"] == "agrees" for claim in claims)
    verb = "agrees" if agree == 1 else "agree"
    return f"{agree} of {len(claims)} comparisons {verb} with theory"


def _counts(document: Mapping[str, Any]) -> list[str]:
    """The other outcomes, always with their number: none of them is hidden by not being there."""
    verdicts = Counter(claim["verdict"] for claim in document["claims"])
    lines = [f"{verdicts['differs']} {'differs' if verdicts['differs'] == 1 else 'differ'}"]
    if verdicts["discrete"]:
        lines.insert(0, f"{verdicts['discrete']} with the rate of the time stepper only")
    lines.insert(0, f"{verdicts['within']} within the error of the fit only")
    lines += [f"{verdicts[verdict]} {VERDICTS[verdict]}" for verdict in ("short", "refused")]
    lines.append(f"{len(document['omitted'])} failed or omitted")
    bounds = [claim["guaranteed"] for claim in document["claims"] if claim["guaranteed"]]
    held = sum(bound["holds"] for bound in bounds)
    lines.append(f"the guarantee holds in {held} of {len(bounds)}")
    return lines


def _guarantee(claim: Claim) -> str:
    bound = claim["guaranteed"]
    if bound is None:
        return MISSING
    text = f"{number(bound['start'], 4)} → {number(bound['end'], 4)}"
    return text if bound["holds"] else f"{text} (violated)"


def _fit(claim: Claim) -> str:
    fitted = claim["fitted"]
    return MISSING if fitted is None else with_error(fitted["rate"], fitted["stderr"])


def _row(n: int, claim: Claim) -> dict[str, Any]:
    """One row of the summary."""
    mode, predicted = claim["mode"], claim["predicted"] or {"continuous": None, "discrete": None}
    bound, fitted = claim["guaranteed"], claim["fitted"]
    threshold = claim["threshold"]
    return {
        "id": claim["id"],
        "verdict": claim["verdict"],
        "cells": [
            Cell(str(n), n),
            Cell(claim["title"]),
            Cell(MISSING if mode is None else mode["name"]),
            Cell(number(claim["gap"]), claim["gap"]),
            Cell(number(predicted["continuous"]), predicted["continuous"]),
            Cell(number(predicted["discrete"]), predicted["discrete"]),
            Cell(_guarantee(claim), None if bound is None else bound["start"]),
            Cell(_fit(claim), None if fitted is None else fitted["rate"]),
            Cell(percent(claim["deviation"]), claim["deviation"]),
            Cell(f"{100 * threshold:.3g} %", threshold),
            Cell(VERDICTS[claim["verdict"]], list(VERDICTS).index(claim["verdict"])),
        ],
    }


def _facts(claim: Claim) -> list[tuple[str, str]]:
    """Every number of a claim in words."""
    mode, bound, fitted = claim["mode"], claim["guaranteed"], claim["fitted"]
    rate = partial(number, digits=10)
    facts = [("functional", f"{claim['functional']} ({claim['kind']})")]
    facts.append(("spectral gap", rate(claim["gap"])))
    facts.append((claim["role"], MISSING))
    if mode is not None:
        name = f"{mode['name']}: " if mode["name"] else ""
        facts[-1] = (
            claim["role"],
            f"{name}number {mode['number']}, eigenvalue {rate(mode['eigenvalue'])}, "
            f"multiplicity {mode['multiplicity']}, share {100 * mode['share']:.3g} %",
        )
    predicted = claim["predicted"] or {"continuous": None, "discrete": None}
    facts.append(("predicted rate, continuous", rate(predicted["continuous"])))
    facts.append(("predicted rate, discrete", rate(predicted["discrete"])))
    facts.append(("guaranteed rate", MISSING))
    if bound is not None:
        facts[-1] = (
            "guaranteed rate",
            f"{number(bound['start'])} at the start, {number(bound['end'])} at the end of the run; "
            f"{'certified' if bound['certified'] else 'not certified'}, "
            f"{'all envelopes and the mass hold' if bound['holds'] else 'VIOLATED'}, the end lies "
            f"exp({number(-bound['margin'], 4)}) below the bound"
            + (f"; {bound['text']}" if bound["text"] else ""),
        )
    facts.append(("fitted rate", _fit(claim)))
    if fitted is not None:
        first, last = fitted["window"]
        where = f"t in [{number(first, 4)}, {number(last, 4)}], {fitted['points']} points"
        facts.append(("fitted window", where))
        facts.append(("error of the fit", error_in_words(fitted)))
    facts.append(("deviation", percent(claim["deviation"])))
    facts.append(("threshold", f"{100 * claim['threshold']:.3g} %"))
    facts += [
        ("crossover", f"t = {number(crossing['t'], 4)}: {crossing['text']}")
        for crossing in claim["crossovers"]
    ]
    return facts


def _section(section: Mapping[str, Any], numbered: Sequence[tuple[int, Claim]]) -> dict[str, Any]:
    claims = [(n, claim) for n, claim in numbered if claim["section"] == section["id"]]
    return {
        **section,
        "figure": section_figure(section["id"], claims),
        "undrawn": [claim["title"] for _, claim in claims if not drawable(claim)],
        "claims": [
            {
                **claim,
                "number": n,
                "fit": _fit(claim),
                "percent": percent(claim["deviation"]),
                "facts": _facts(claim),
                "figure": claim_figure(claim),
            }
            for n, claim in claims
        ],
    }


def _table(table: Mapping[str, Any]) -> dict[str, Any]:
    return {**table, "rows": [[_cell(value) for value in row] for row in table["rows"]]}


def _cell(value: Any) -> Cell:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return Cell(cell(value), value if is_number else None)

"""The document of a rate report: claims with their sections, tables, and what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def rate_document(
    claims: Sequence[Mapping[str, Any]],
    *,
    title: str,
    provenance: Mapping[str, Any],
    introduction: str = "",
    sections: Sequence[Mapping[str, str]] | None = None,
    tables: Iterable[Mapping[str, Any]] = (),
    failed: Iterable[Mapping[str, str]] = (),
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Put together what `rate_report.write_rate_report` writes.

    Args:
        claims: From `claims.rate_claim`, each with id, section, title and command added.
        title: Of the page.
        provenance: From `provenance.collect`.
        introduction: Paragraphs parted by blank lines.
        sections: id, title and text of each section; by default one for all claims.
        tables: id, title, columns, rows and note of each table.
        failed: title, reason and command of each run that gave no result.
        settings: What the report was made with.
    """
    if sections is None:
        names = dict.fromkeys(claim["section"] for claim in claims)
        sections = [{"id": name, "title": name, "text": ""} for name in names]
    refused = [
        {"title": c["title"], "reason": c["verdict_text"], "command": c["command"]}
        for c in claims
        if c["verdict"] in ("short", "refused")
    ]
    return {
        "title": title,
        "introduction": introduction,
        "sections": list(sections),
        "claims": list(claims),
        "tables": list(tables),
        "omitted": [*failed, *refused],
        "settings": dict(settings or {}),
        "provenance": dict(provenance),
    }

"""The report of rates: a page, its Markdown and its document, from one synthetic document."""

from __future__ import annotations

import copy
import json
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from ufd.analysis.pages import cell, number, paragraphs, percent, plain, with_error
from ufd.analysis.rate_report import write_rate_report
from ufd.exceptions import InputError, StorageError

VOID = {"meta", "link", "br"}


def claim(name: str, **changes) -> dict:
    """A claim that agrees: exp(-4t) after a faster start, with a guarantee of 3."""
    t = np.linspace(0, 5, 301)
    value = 0.7 * np.exp(-4 * t) + 0.3 * np.exp(-9 * t)
    return {
        "id": name,
        "section": "circle",
        "title": f"Case {name}",
        "equation": "chi2(t) ~ exp(-2 λ t)",
        "command": f"ufd run cases/{name}.toml",
        "functional": "chi2",
        "kind": "quadratic",
        "role": "first excited mode",
        "mode": {
            "number": 1,
            "eigenvalue": 2.0,
            "multiplicity": 2,
            "name": "cos θ, sin θ",
            "share": 0.97,
        },
        "gap": 2.0,
        "predicted": {"continuous": 4.0, "discrete": 4.00012},
        "guaranteed": {
            "start": 3.0,
            "end": 3.9,
            "certified": True,
            "holds": True,
            "margin": 1.4,
            "text": "from the largest ratio",
        },
        "fitted": {
            "rate": 4.0008,
            "stderr": 0.0012,
            "parts": {"window": 0.0012},
            "window": [2.0, 5.0],
            "points": 120,
        },
        "deviation": 2e-4,
        "threshold": 1e-3,
        "verdict": "agrees",
        "verdict_text": "The fit agrees: 0.02 % off, and 0.1 % is the threshold.",
        "notes": ["The first mode is double."],
        "crossovers": [{"t": 1.0, "label": "mode 2 → 1", "text": "mode 1 overtakes mode 2"}],
        "curve": {
            "t": t.tolist(),
            "value": value.tolist(),
            "envelope": (1.2 * np.exp(-3 * t)).tolist(),
        },
        **changes,
    }


def document() -> dict:
    """Five claims of every outcome, two sections, two tables; nasty texts everywhere."""
    t = np.linspace(0, 2, 81)
    swing = (np.exp(-t) * np.cos(3 * t)).tolist()
    return {
        "title": "Rates of convergence <& limits>",
        "introduction": "First paragraph with a < b & c.\n\nSecond <script>alert(1)</script> one.",
        "sections": [
            {"id": "circle", "title": "The circle | S^1", "text": "Text of *the* section."},
            {"id": "sphere", "title": "The sphere", "text": ""},
            {"id": "void", "title": "Nothing yet", "text": ""},
        ],
        "claims": [
            claim("good"),
            claim(
                "bad",
                verdict="differs",
                deviation=-0.031,
                fitted={
                    "rate": 3.876,
                    "stderr": 0.0004,
                    "parts": {},
                    "window": [2.0, 5.0],
                    "points": 99,
                },
                verdict_text="The fit differs: 3.1 % off, and 0.1 % is the threshold.",
            ),
            claim(
                "close",
                section="sphere",
                title="Two <b>modes</b> & $one$ window | narrow",
                verdict="within",
                deviation=0.2,
                fitted={
                    "rate": 4.8,
                    "stderr": 0.3,
                    "parts": {"neighbours": 0.3},
                    "window": [0.5, 1.0],
                    "points": 8,
                },
                verdict_text="Within its error: the gap closes (threshold 0.1 %).",
            ),
            claim(
                "bare",
                section="sphere",
                verdict="refused",
                kind="amplitude",
                functional="a_1",
                mode=None,
                gap=None,
                predicted=None,
                guaranteed=None,
                fitted=None,
                deviation=None,
                notes=[],
                crossovers=[],
                verdict_text="Refused: it changes its sign (threshold 0.1 %).",
                curve={"t": t.tolist(), "value": swing, "envelope": None},
            ),
            claim("ten", section="sphere", predicted={"continuous": 10.0, "discrete": None}),
        ],
        "tables": [
            {
                "id": "modes",
                "title": "Modes & eigenvalues",
                "columns": ["mode", "eigenvalue", "a|b"],
                "rows": [["one", 9.5, True], ["x | <y>", 10, None], ["three", 0.25, "z"]],
                "note": "A note with <angle>.",
            }
        ],
        "omitted": [
            {"title": "Large <p>", "reason": "no memory & no time", "command": "ufd run big.toml"}
        ],
        "settings": {"rtol": 1e-9, "cells": [16, 32], "none": None, "stepper": "tr|bdf2"},
        "provenance": {"commit": "abc123", "versions": ["numpy 2", "scipy 1.15"]},
    }


class Page(HTMLParser):
    """Ids, tags, texts and references of a page; open and close tags must match."""

    def __init__(self, text: str):
        super().__init__()
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.references: list[str] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        for key, value in attrs:
            if key == "id":
                self.ids.append(value)
            if key in ("src", "href", "xlink:href", "srcset", "data", "action"):
                self.references.append(value)
            if value:
                self.references += re.findall(r"url\(([^)]*)\)", value)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    directory = tmp_path_factory.mktemp("report")
    page = write_rate_report(document(), directory)
    assert page == directory / "rates.html"
    return directory


@pytest.fixture(scope="module")
def html(written):
    return (written / "rates.html").read_text()


def test_files(written):
    """Three files; the JSON is the document itself."""
    assert sorted(p.name for p in written.iterdir()) == ["rates.html", "rates.json", "rates.md"]
    assert json.loads((written / "rates.json").read_text()) == document()


def test_page_says_everything(html):
    page = Page(html)
    for text in (
        "2 of 5 comparisons agree",
        "1 differs",
        "1 within the error of the fit only",
        "1 refused",
        "1 failed or omitted",
        "the guarantee holds in 4 of 4",
        "a < b & c",
        "Second <script>alert(1)</script> one.",
        "Two <b>modes</b> & $one$ window | narrow",
        "4.0008 ± 0.0012",
        "3 → 3.9",
        "+0.02 %",
        "-3.1 %",
        "number 1, eigenvalue 2, multiplicity 2, share 97 %",
        "t in [2, 5], 120 points",
        "certified, all envelopes and the mass hold, the end lies exp(-1.4) below the bound; from",
        "t = 1: mode 1 overtakes mode 2",
        "Refused: it changes its sign (threshold 0.1 %).",
        "Not drawn, for lack of a predicted rate or of a positive start: Case bare.",
        "No comparison belongs to this section.",
        "no memory & no time",
        "tr|bdf2",
        "numpy 2, scipy 1.15",
        "16, 32",
    ):
        assert text in page.text, text
    assert "<b>modes" not in html and "<script>alert" not in html
    for entry in document()["claims"]:
        assert f'<details class="card" id="{entry["id"]}">' in html
        assert html.count(f'data-claim="{entry["id"]}"') == 1
    assert 'data-value="0.0002"' in html and 'data-value="-0.031"' in html


def test_figures(html):
    """One per claim, one per section with a curve, one of all deviations; text stays text."""
    page = Page(html)
    assert page.tags.count("svg") == 5 + 2 + 1
    for name in ("good", "bad", "close", "ten"):
        assert f"curve-{name}" in page.ids and f"point-{name}" in page.ids
    assert "curve-bare" not in page.ids and "point-bare" not in page.ids
    for text in ("fitted 4.0008 ± 0.0012", "predicted slope 4", "guaranteed", "|a_1|", "exp(-x)"):
        assert text in page.text, text
    assert "10⁻⁸" in page.text
    assert "'DejaVu" not in html


def test_ids_and_references(html):
    """Ids are unique; every reference stays in the page and leads somewhere."""
    page = Page(html)
    assert len(page.ids) == len(set(page.ids))
    assert {r for r in page.references if not r.startswith("#")} == {"data:,"}
    assert {r[1:] for r in page.references if r.startswith("#")} <= set(page.ids)
    assert (
        "http" not in html and "@import" not in html and "url(" not in re.sub(r"url\(#", "", html)
    )


def test_same_bytes(written, tmp_path):
    write_rate_report(document(), tmp_path)
    for path in written.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def cells(line: str) -> list[str]:
    assert line.startswith("|") and line.endswith("|")
    return re.split(r"(?<!\\)\|", line)[1:-1]


def test_markdown(written):
    """All tables, each row with as many cells as its head, whatever pipes the texts hold."""
    text = (written / "rates.md").read_text()
    tables = re.findall(r"(?:^\|.*\n)+", text, re.M)
    assert len(tables) == 1 + 5 + 1 + 2
    for table in tables:
        rows = [cells(line) for line in table.splitlines()]
        assert len({len(row) for row in rows}) == 1
        assert set("".join(rows[1])) == {" ", "-"}
    assert len(tables[0].splitlines()) == 2 + 5
    assert r"| Two \<b>modes\</b> & $one$ window \| narrow |" in tables[0]
    assert r"| x \| \<y> | 10 | – |" in text and "| one | 9.5 | yes |" in text
    assert "    ufd run cases/good.toml\n" in text and "      ufd run big.toml\n" in text
    assert (
        "**2 of 5 comparisons agree with theory**; 1 within the error of the fit only; 1 differs;"
        in text
    )
    assert r"- **Large \<p>**: no memory & no time" in text
    assert r"Text of \*the\* section." in text
    assert "Verdict: **differs**. The fit differs: 3.1 % off, and 0.1 % is the threshold." in text
    assert not re.search(r"(?<!\\)<", text)
    assert "\n\n\n" not in text


def test_nothing(tmp_path):
    """A document without any claim is still a page, and says so."""
    empty = {
        **document(),
        **{"claims": [], "sections": [], "tables": [], "omitted": []},
    }
    page = Page(write_rate_report(empty, tmp_path, "none").read_text())
    assert "0 of 0 comparisons agree" in page.text and "Nothing." in page.text
    assert "\nNothing.\n" in (tmp_path / "none.md").read_text()


def test_odd_values(tmp_path):
    """Zeros, missing values, a rate without an error, a violated guarantee and many claims."""
    odd = document()
    first = odd["claims"][0]
    first["curve"]["value"][0] = None
    first["curve"]["value"][-20:] = [0.0] * 20
    first["deviation"] = 0.0
    first["fitted"]["stderr"] = 0.0
    first["guaranteed"]["holds"] = False
    odd["claims"][1]["curve"]["value"] = [0.0] * 301
    odd["claims"] += [claim(f"more-{i}") for i in range(12)]
    page = Page(write_rate_report(odd, tmp_path).read_text())
    assert "3 → 3.9 (violated)" in page.text and "VIOLATED" in page.text
    assert "4.0008 ± 0" in page.text
    assert "curve-good" not in page.ids and "point-good" in page.ids
    assert len(page.ids) == len(set(page.ids))


def test_size(tmp_path):
    """Forty claims of a thousand noisy values each stay below two megabytes."""
    rng = np.random.default_rng(1)
    t = np.linspace(0, 8, 1000)
    many = document()
    many["claims"] = []
    for i in range(40):
        value = np.exp(-4 * t) + 1e-12 * rng.random(1000)
        curve = {"t": t.tolist(), "value": value.tolist(), "envelope": np.exp(-3 * t).tolist()}
        many["claims"].append(claim(f"c{i}", curve=curve, section=("circle", "sphere")[i % 2]))
    assert write_rate_report(many, tmp_path).stat().st_size < 2e6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["claims"][1].update(id="good"), "id 'good' in claims"),
        (lambda d: d["claims"][1].update(id="curve-x"), "id 'curve-x' in claims"),
        (lambda d: d["claims"][1].update(id="a b"), "id 'a b' in claims"),
        (lambda d: d["tables"].append(d["tables"][0]), "id 'modes' in tables"),
        (lambda d: d["claims"][1].update(section="moon"), "section 'moon'"),
        (lambda d: d["claims"][1].update(verdict="fine"), "verdict 'fine'"),
        (lambda d: d["claims"][1].update(gap=math.nan), "not plain JSON"),
        (lambda d: d["settings"].update(x=np.arange(2)), "not plain JSON"),
    ],
)
def test_refused(tmp_path, change, message):
    """Refused with a reason, and nothing is written."""
    wrong = copy.deepcopy(document())
    change(wrong)
    with pytest.raises(InputError, match=re.escape(message)):
        write_rate_report(wrong, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_place(tmp_path):
    with pytest.raises(StorageError, match="cannot write"):
        write_rate_report(document(), tmp_path / "absent")


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (3.99812345, 0.000134, "3.99812 ± 0.00013"),
        (3.99812345, 0.0996, "4.00 ± 0.10"),
        (3.99812345, 1.2e-12, "3.99812345 ± 1.2e-12"),
        (123.4, 17.0, "123 ± 17"),
        (1234.0, 170.0, "1234 ± 1.7e+02"),
        (4.0, 0.0, "4 ± 0"),
    ],
)
def test_value_with_error(value, error, text):
    assert with_error(value, error) == text


def test_formats():
    assert number(None) == percent(None) == cell(None) == "–"
    assert number(2 / 3) == "0.666667" and number(2 / 3, 10) == "0.6666666667"
    assert percent(-0.00012345) == "-0.0123 %" and percent(0.0) == "+0 %"
    assert cell(True) == "yes" and cell([1, 0.5, "a"]) == "1, 0.5, a" and cell([]) == "–"
    assert plain("a|b *c* _d_ e_f <g> &amp; `h`\n i") == (
        r"a\|b \*c\* \_d\_ e_f \<g> &amp;amp; \`h\` i"
    )
    assert paragraphs("one\ntwo\n\n \nthree\n") == ["one\ntwo", "three"]

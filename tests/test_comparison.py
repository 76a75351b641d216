"""The comparison of particles with the diffusion: its numbers, its page, and one real ensemble."""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest

import ufd
from ufd.analysis.comparison import COMPARISON, Comparison, Member, read_comparison
from ufd.analysis.comparison_report import comparison_lines, write_comparison_report
from ufd.exceptions import InputError, StorageError

LAMS, WIDTHS, TIMES = [0.1, 0.01, 0.001], [16, 32, 64], [0.5, 1.0]
FIGURES = ("diffusion", "teacher", "lam", "width")


def bias(lam: float) -> float:
    return 0.3 * lam**0.5


def floor(width: int) -> float:
    return 1 / width


def member(lam: float, width: int, seed: int = 0, scale: float = 1.0, failure: str = "") -> Member:
    """Bias of order 0.5 in lam and floor of order 1 in M, added in squares, times ``scale``."""
    if failure:
        empty: dict = {name: [] for name in ("diffusion", "teacher", "widest")}
        return Member(lam, width, seed, empty, [], {}, failure)
    distance = scale * math.hypot(bias(lam), floor(width))
    distances = {
        "diffusion": [distance, distance],
        "teacher": [0.4, 0.3],
        "widest": [0.0 if width == WIDTHS[-1] else scale / width] * 2,
    }
    stats = {"steps": 12, "rejected": 1, "evaluations": 77 + seed, "seconds": 0.25}
    return Member(lam, width, seed, distances, [0.02, 0.01], stats)


def comparison(members: list[Member] | None = None, seeds: int = 1, **changes) -> Comparison:
    if members is None:
        scales = np.linspace(1, 1.5, seeds) if seeds > 1 else [1.0]
        members = [member(a, m, s, scale) for a in LAMS for m in WIDTHS
                   for s, scale in enumerate(scales)]  # fmt: skip
    start = changes.pop("start", "iid" if seeds > 1 else "quantile")
    particles = {
        "features": {"kind": "activation", "terms": {"relu": 1.0, "relu2": 0.5}},
        "data": None, "inputs": "gaussian", "target": None, "reference": 1.0, "start": start,
        "epsilon": None, "batch": None, "momentum": 0.0, "stepper": "rkc", "rtol": 1e-3,
        "dt": None,
    }  # fmt: skip
    problem = {
        "manifold": "sphere", "dim": 1, "p": 2.0, "initial": {"kind": "uniform"},
        "teacher": {"kind": "von_mises_fisher", "mean": [1.0, 0.0], "kappa": 3.0},
    }  # fmt: skip
    configuration = {
        "identifiability": "the feature sees every degree up to 64",
        "problem": problem, "p": 2.0, "particles": particles | changes.pop("particles", {}),
        "start": start, "seeds": seeds,
        "diffusion": {"degree": 4, "cells": 8, "stepper": "sdirk4", "rtol": 1e-8, "dt": None},
    }  # fmt: skip
    floors = {
        str(m): {"quantiles": [floor(m)] * 2, "independent": [m**-0.5] * 2}
        for m in {each.width for each in members}
    }
    return Comparison(
        TIMES, members, floors, [0.4, 0.3], configuration | changes,
        {"commit": "abc<1>", "git_dirty": None, "command": ["a|b"]},
    )  # fmt: skip


class TestNumbers:
    def test_sorted(self):
        assert comparison().lams == LAMS and comparison().widths == WIDTHS

    def test_mean_and_standard_error(self):
        values = [1.0, 1.5, 2.0]
        members = [member(0.1, 16, s, scale) for s, scale in enumerate(values)]
        mean, error = comparison(members, seeds=3).mean("widest", 0.1, 16)
        np.testing.assert_allclose(mean, 1.5 / 16)
        np.testing.assert_allclose(error, 0.5 / math.sqrt(3) / 16)

    def test_one_run_has_no_error_and_no_run_no_mean(self):
        one = comparison([member(0.1, 16), member(0.1, 32, failure="stalled")])
        mean, error = one.mean("diffusion", 0.1, 16)
        assert np.isfinite(mean).all() and np.isnan(error).all()
        assert np.isnan(one.mean("diffusion", 0.1, 32)).all()
        assert one.values("diffusion", 0.1, 32).shape == (0, 2)

    def test_failed_runs_do_not_count(self):
        both = comparison([member(0.1, 16), member(0.1, 16, 1, failure="stalled")], seeds=2)
        np.testing.assert_allclose(both.mean("widest", 0.1, 16)[0], 1 / 16)

    @pytest.mark.parametrize("lam", LAMS)
    @pytest.mark.parametrize("width", WIDTHS)
    def test_excess_is_the_bias(self, lam, width):
        np.testing.assert_allclose(comparison().excess(lam, width), bias(lam), rtol=1e-12)

    def test_nothing_below_the_floor(self):
        below = comparison([member(0.001, 16, scale=0.5)])
        np.testing.assert_array_equal(below.excess(0.001, 16), 0)

    def test_floor_and_sampling(self):
        """The floor is that of quantiles for every start; draws have a yardstick of their own."""
        for start in ("quantile", "iid"):
            np.testing.assert_allclose(comparison(start=start).floor(16), 1 / 16)
            np.testing.assert_allclose(comparison(start=start).sampling(16), 1 / 4)

    def test_exact_orders(self):
        """Order 1 in M of the width part and, without a floor, 0.5 in lam of the distance."""
        some = comparison()
        (order,) = some.orders_in_width(0.1, 1.0, "widest")
        assert (order.first, order.second, order.at_floor) == (16, 32, False)
        assert order.order == pytest.approx(1, abs=1e-12) and math.isnan(order.stderr)
        for each in some.members:
            each.distances["diffusion"] = [bias(each.lam)] * 2
        orders = some.orders_in_lam(64, 0.5)
        assert [(o.first, o.second) for o in orders] == [(0.1, 0.01), (0.01, 0.001)]
        assert [o.order for o in orders] == pytest.approx([0.5, 0.5], abs=1e-12)

    def test_error_of_an_order(self):
        """Relative errors of both ends in squares, over log 2."""
        some = comparison(seeds=4)
        (order,) = some.orders_in_width(0.1, 1.0, "widest")
        mean, error = some.mean("widest", 0.1, 16)
        assert order.stderr == pytest.approx(math.sqrt(2) * error[0] / mean[0] / math.log(2))

    def test_at_floor(self):
        """With the bias 0.095, three floors are above the distance at M = 16 and below at 32."""
        some = comparison([member(0.1, m) for m in (8, 16, 32)])
        assert [o.at_floor for o in some.orders_in_width(0.1, 1.0)] == [True, False]
        assert [o.at_floor for o in comparison().orders_in_lam(64, 1.0)] == [True, True]

    def test_missing_run_leaves_its_orders_out(self):
        some = comparison([member(0.1, 16), member(0.1, 32, failure="x"), member(0.1, 64)])
        assert some.orders_in_width(0.1, 1.0) == []

    def test_fits(self):
        fit = comparison().fit_in_lam(64, 1.0)
        assert (fit.order, fit.points) == (pytest.approx(0.5, abs=1e-9), 3)
        members = [member(0.1, m) for m in (16, 32, 64, 8)]
        fit = comparison(members).fit_in_width(0.1, 1.0, "widest")
        assert (fit.order, fit.points) == (pytest.approx(1, abs=1e-12), 3)

    def test_fits_refuse(self):
        with pytest.raises(InputError):
            comparison().fit_in_width(0.1, 1.0)
        with pytest.raises(InputError):
            comparison([member(a, 16, scale=0.5) for a in LAMS]).fit_in_lam(16, 1.0)
        rising = [member(a, 64, scale=0.05 / a) for a in LAMS]
        with pytest.raises(InputError, match="does not fall"):
            comparison(rising).fit_in_lam(64, 1.0)

    def test_index(self):
        assert comparison().index(1.0 + 1e-14) == 1
        with pytest.raises(InputError, match=re.escape("t = 0.7 was not compared at; times: 0.5")):
            comparison().index(0.7)


class TestFile:
    def test_round_trip(self, tmp_path):
        some = comparison(seeds=2)
        some.save(tmp_path / "new")
        again = read_comparison(tmp_path / "new")
        assert again.as_dict() == some.as_dict() and again.members == some.members

    def test_nan_is_null_and_readable(self, tmp_path):
        some = comparison([member(0.1, 16)])
        some.members[0].distances["diffusion"][1] = math.nan
        some.members[0].stats["steps"] = np.int64(3)
        some.save(tmp_path)
        stored = json.loads((tmp_path / COMPARISON).read_text())
        assert stored["members"][0]["distances"]["diffusion"][1] is None
        mean = read_comparison(tmp_path).mean("diffusion", 0.1, 16)[0]
        assert np.isfinite(mean[0]) and np.isnan(mean[1])

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("{", "cannot read"),
            ("[]", "missing or wrong"),
            ('{"times": []}', "missing or wrong"),
            ('{"times": [], "members": [{"lam": 1}]}', "missing or wrong"),
        ],
    )
    def test_damaged(self, tmp_path, text, message):
        (tmp_path / COMPARISON).write_text(text)
        with pytest.raises(StorageError, match=message):
            read_comparison(tmp_path)

    def test_absent(self, tmp_path):
        with pytest.raises(StorageError, match="No such file"):
            read_comparison(tmp_path)


class Page(HTMLParser):
    """Text, ids, references and tags of a page; open and close tags must match."""

    def __init__(self, text: str):
        super().__init__()
        self.source = text
        self.text, self.ids, self.references, self.tags, self.open = "", [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        for key, value in attrs:
            if key == "id":
                self.ids.append(value)
            if key in ("src", "href", "xlink:href"):
                self.references.append(value)
            self.references += re.findall(r"url\(([^)]*)\)", value or "")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def written(some: Comparison, directory) -> tuple[Page, str]:
    path = write_comparison_report(some, directory)
    assert path == directory / "comparison.html"
    return Page(path.read_text()), (directory / "comparison.md").read_text()


def check(page: Page, markdown: str) -> None:
    """Self-contained, ids that are unique and found, tables with full rows, no nan anywhere."""
    assert len(page.ids) == len(set(page.ids))
    assert {r for r in page.references if not r.startswith("#")} == {"data:,"}
    assert {r[1:] for r in page.references if r.startswith("#")} <= set(page.ids)
    assert "script" not in page.tags and {"title", "html"} <= set(page.tags)
    for text in (page.text, markdown):
        assert not re.search(r"\b(nan|inf|None)\b", text)
    for found in re.findall(r"(?:^\|.*\n)+", markdown, re.M):
        assert len({len(re.split(r"(?<!\\)\|", line)) for line in found.splitlines()}) == 1
    assert "\n\n\n" not in markdown


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> tuple[Page, str]:
    """The page of three lam, three widths, two times, one seed."""
    return written(comparison(), tmp_path_factory.mktemp("page"))


class TestPage:
    def test_one_seed(self, plain):
        page, markdown = plain
        check(page, markdown)
        for text in (
            *(f"lam = {lam:g}" for lam in LAMS),
            *(f"M = {m}" for m in WIDTHS),
            "Particles and their diffusion on the circle S^1, p = 2",
            "At t = 1 the 64 particles with lam = 0.001 are 0.01828 from the diffusion",
            "the floor is 0.01562",
            "von_mises_fisher(mean = (1, 0), kappa = 3)",
            "activation(terms = (relu = 1, relu2 = 0.5))",
            "quantiles of the initial density",
            "nothing is drawn: deterministic",
            "0.01828 ± –",
            "1.000 ± –",
            ", at floor",
            "distances lie above half of the floor",
            "3 points",
            "Every run finished.",
            "docs/theory.md",
            "abc<1>",
            "a|b",
        ):
            assert text in page.text, text
        assert page.tags.count("svg") == len(FIGURES)
        assert "http" not in page.source

    def test_markdown_has_the_same_tables(self, plain):
        page, markdown = plain
        titles = ["What is compared", "Distances", "Orders in lam", "Orders in M of the distance",
                  "Orders in M of the width part", "Runs", "Failures", "Provenance"]  # fmt: skip
        for title in titles:
            assert f"## {title}\n" in markdown and title in page.text
        assert len(re.findall(r"(?:^\|.*\n)+", markdown, re.M)) == len(titles) - 1
        assert markdown.count("| 0.001 | 64 | 1 | 0.01828 ± – | 0.01562 | 0.009487 ± – |") == 1
        assert r"| a\|b |" in markdown

    def test_several_seeds(self, tmp_path):
        page, markdown = written(comparison(seeds=3), tmp_path)
        check(page, markdown)
        assert "one standard error over 3 seeds" in page.text and "± –" not in page.text
        assert "Bands and bars are one standard error" in page.text
        assert "repel each other" in page.text

    def test_one_seed_of_a_draw(self, tmp_path):
        page, markdown = written(comparison(start="iid"), tmp_path)
        check(page, markdown)
        assert "one seed: no error is known" in page.text

    def test_failed_member(self, tmp_path):
        last = member(0.001, 64, failure="Stopped <early>: a|b")
        members = [*comparison().members[:-1], last]
        page, markdown = written(comparison(members), tmp_path)
        check(page, markdown)
        assert "Stopped <early>: a|b" in page.text and "0 of 1" in page.text
        assert "No run of M = 64 with lam = 0.001 finished." in page.text
        assert r"| 0.001 | 64 | 0 | Stopped \<early>: a\|b |" in markdown

    def test_nothing_finished(self, tmp_path):
        members = [member(a, m, failure="lost") for a in LAMS for m in WIDTHS]
        check(*written(comparison(members), tmp_path))
        assert any(line.split("  (")[0].endswith(" none") for line in comparison_lines(
            comparison(members)))  # fmt: skip

    @pytest.mark.parametrize(
        ("lams", "widths", "figures"), [([0.1], WIDTHS, 3), (LAMS, [16], 3), ([0.1], [16], 2)]
    )
    def test_one_of_a_kind(self, tmp_path, lams, widths, figures):
        page, markdown = written(comparison([member(a, m) for a in lams for m in widths]), tmp_path)
        check(page, markdown)
        assert page.tags.count("svg") == figures
        assert "Fewer than two values, so no order." in page.text

    def test_functions(self, tmp_path):
        """A problem and features that no case file holds; drawn data; a fixed step."""
        particles = {"features": None, "data": 500, "target": 20, "dt": 0.01, "batch": 10}
        page, markdown = written(comparison(problem=None, particles=particles), tmp_path)
        check(page, markdown)
        for text in ("a Python function", "500 samples", "20 atoms drawn", "dt = 0.01, batch = 10"):
            assert text in page.text, text

    def test_same_bytes(self, tmp_path):
        small = comparison([member(a, m) for a in LAMS[:2] for m in WIDTHS[:2]])
        first = write_comparison_report(small, tmp_path).read_bytes()
        assert write_comparison_report(small, tmp_path).read_bytes() == first

    def test_no_place(self, tmp_path):
        with pytest.raises(StorageError, match="cannot write"):
            write_comparison_report(comparison([member(0.1, 16)]), tmp_path / "absent")


class TestLines:
    def test_one_seed(self):
        assert comparison_lines(comparison()) == [
            "runs                    9 finished, 0 failed  (nothing is drawn: deterministic)",
            "MMD to the diffusion    0.01828  (lam = 0.001, M = 64, t = 1; floor 0.01562)",
            "local order in lam      0.454  (0.1 to 0.01, at floor; M = 64, t = 1)",
            "local order in lam      0.267  (0.01 to 0.001, at floor; M = 64, t = 1)",
            "local order in M        0.953  (16 to 32, at floor; lam = 0.001, t = 1)",
            "local order in M        0.837  (32 to 64, at floor; lam = 0.001, t = 1)",
        ]

    def test_errors_and_failures(self):
        members = [member(0.1, 16, s, 1 + s / 4) for s in range(3)] + [
            member(0.1, 16, 3, failure="lost")
        ]
        lines = comparison_lines(comparison(members, seeds=4))
        assert lines[0].endswith("3 finished, 1 failed  (errors: one standard error over 4 seeds)")
        assert "0.142 +- 0.016  (lam = 0.1, M = 16, t = 1; floor 0.06250)" in lines[1]
        assert [line[24:28] for line in lines[2:]] == ["none", "none"]
        assert all(line.isascii() for line in lines)


CIRCLE = ufd.UltraFastDiffusion(ufd.VonMisesFisher([1, 0], 1.0), ufd.Uniform(ufd.Sphere(1)))
ASKED = {
    "lam": [1e-1, 1e-2], "width": [8, 16], "times": [0.1, 0.2],
    "diffusion": {"cells": 8, "degree": 4, "rtol": 1e-5},
}  # fmt: skip


class TestReal:
    def test_quantiles(self, tmp_path):
        """Nothing is drawn, so seeds are not repeated; nearly all of the distance is floor."""
        some = ufd.compare(CIRCLE, ufd.ReLU(), **ASKED, seeds=5)
        assert [(m.lam, m.width, m.seed) for m in some.members] == [
            (lam, m, 0) for lam in (1e-1, 1e-2) for m in (8, 16)
        ]
        assert not any(m.failure for m in some.members)
        for m in (8, 16):
            distance, own = some.mean("diffusion", 1e-2, m)[0], some.floor(m)
            assert (distance >= own).all() and (distance < 1.1 * own).all()
        (order,) = some.orders_in_width(1e-2, 0.2)
        assert order.order == pytest.approx(1, abs=0.05) and order.at_floor
        assert (np.diff(some.limit) < 0).all()
        some.save(tmp_path)
        check(*written(read_comparison(tmp_path), tmp_path))

    def test_independent(self, tmp_path):
        told: list[str] = []
        some = ufd.compare(
            CIRCLE, ufd.ReLU(), **ASKED, start="iid", seeds=3, say=told.append, rtol=1e-2
        )
        assert len(some.members) == len(told) == 12
        assert {m.seed for m in some.members} == {0, 1, 2}
        assert np.isfinite(some.mean("diffusion", 1e-2, 16)[1]).all()
        np.testing.assert_array_equal(some.values("widest", 1e-1, 16), 0)
        assert some.sampling(8) == pytest.approx(math.sqrt(2) * some.sampling(16))
        assert some.floor(8) == pytest.approx(2 * some.floor(16), rel=0.02)
        check(*written(some, tmp_path))

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"times": [0.0]}, "positive time"),
            ({"lam": []}, "lam and width"),
            ({"seeds": 0}, "seeds = 0"),
            ({"seeds": True}, "seeds = True"),
            ({"width": [1.5]}, "width"),
        ],
    )
    def test_refused(self, changes, message):
        with pytest.raises(InputError, match=message):
            ufd.compare(CIRCLE, ufd.ReLU(), **ASKED | changes)


def test_sphere():
    """On S^2 the floor is that of a transported Fibonacci lattice, for one axis and for two."""
    sphere = ufd.Sphere(2)
    one = ufd.VonMisesFisher([0.0, 0.6, 0.8], 1.0)
    two = ufd.Mixture([one, ufd.VonMisesFisher([1.0, 0.0, 0.0], 1.0)], [0.5, 0.5])
    for teacher in (one, two):
        problem = ufd.UltraFastDiffusion(teacher, ufd.Uniform(sphere))
        some = ufd.compare(
            problem, ufd.ReLU(), 1e-1, 32, [0.1], rtol=1e-2,
            diffusion={"cells": 2, "degree": 4, "rtol": 1e-4},
        )  # fmt: skip
        (floor,) = some.floor(32)
        lattice = ufd.mmd((ufd.quantiles(teacher, 32), None), teacher)
        assert floor == pytest.approx(lattice, rel=0.1)
        assert some.mean("diffusion", 1e-1, 32)[0] > 0.9 * floor

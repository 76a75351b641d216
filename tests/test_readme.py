"""What the README shows runs as it stands, and what it names exists."""

from __future__ import annotations

import re
import typing
from pathlib import Path

import pytest

import ufd
from ufd.config import Case

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def test_python_blocks_run(tmp_path, monkeypatch, capsys):
    """All Python blocks, one after the other, in one namespace."""
    monkeypatch.chdir(tmp_path)
    namespace: dict = {}
    for block in re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL):
        exec(compile(block, "README.md", "exec"), namespace)
    assert namespace["result"].status is ufd.StopReason.FINISHED
    assert namespace["fit"].rate == pytest.approx(2 * namespace["mode"].eigenvalue, rel=1e-2)
    assert namespace["mode"].index > 0
    assert (tmp_path / "state.npz").is_file()


@pytest.mark.parametrize("name", ["README.md", "docs/cases.md", "docs/batch.md", "docs/theory.md"])
def test_links_and_paths_exist(name):
    """Relative links, and paths in backticks that look like files of the repository."""
    text = (ROOT / name).read_text()
    links = [target for target in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in target]
    paths = re.findall(r"`((?:benchmarks|docs|meshes|tests|ufd)/[\w./]+)`", text)
    for target in links:
        assert (ROOT / name).parent.joinpath(target).exists(), target
    for path in paths:
        assert (ROOT / path).exists(), path


def _table(annotation):
    """The model of an optional table."""
    return next((a for a in typing.get_args(annotation) if a is not type(None)), annotation)


def test_every_key_of_a_case_is_documented():
    """docs/cases.md names each key of each table, and no key that does not exist."""
    text = (ROOT / "docs/cases.md").read_text().split("## Files")[0]
    documented = set(re.findall(r"^\| `(\w+\.\w+)` \|", text, flags=re.MULTILINE))
    tables = {name: _table(field.annotation) for name, field in Case.model_fields.items()}
    exist = {f"{name}.{key}" for name, table in tables.items() for key in table.model_fields}
    assert documented == exist


@pytest.mark.parametrize("target", ["help", "run", "test", "test-all", "lint", "bench", "clean"])
def test_make_targets_are_explained(target):
    """`make help` lists every target that a person would use."""
    assert re.search(rf"^{target}:.*## ", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)

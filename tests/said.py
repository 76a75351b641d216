"""How tests read what a program printed."""

from __future__ import annotations


def lines_of(text: str) -> list[str]:
    """The lines of a text that never returns to the start of one."""
    assert "\r" not in text
    return text.splitlines()


def said_once(text: str, *parts: str) -> None:
    """``text`` is one line that starts with the program's name and holds ``parts``."""
    lines = lines_of(text)
    assert len(lines) == 1, lines
    assert lines[0].startswith("ufd: ")
    for part in parts:
        assert part in lines[0]

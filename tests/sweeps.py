"""A tiny case to change and to sweep over, and what a sweep left on disk."""

from __future__ import annotations

import json
from pathlib import Path

TINY = """[problem]
dim = 1
[problem.teacher]
kind = "mixture"
weights = [0.5, 0.5]
[[problem.teacher.components]]
kind = "von_mises_fisher"
mean = [1.0, 0.0]
kappa = 1.0
[[problem.teacher.components]]
kind = "uniform"
[solver]
degree = 2
cells = 6
dt = 0.05
[time]
end = 0.2
[output]
modes = 2
"""
P, KAPPA = "problem.p", "problem.teacher.components.0.kappa"
TWO = ["--over", f"{P}=1,2", "--over", f"{KAPPA}=1,2"]
NAMES = ["p=1,kappa=1", "p=1,kappa=2", "p=2,kappa=1", "p=2,kappa=2"]


def statuses(folder: str | Path = "out") -> dict[str, str]:
    """What ``sweep.json`` says of each directory."""
    jobs = json.loads((Path(folder) / "sweep.json").read_text())["jobs"]
    return {job["directory"]: job["status"] for job in jobs}


def written(folder: str | Path = "out") -> dict[str, int]:
    """When each finished run was stored."""
    return {file.parent.name: file.stat().st_mtime_ns for file in Path(folder).glob("*/run.json")}

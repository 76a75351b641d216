"""Where a number comes from: versions, commit, machine."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import platform
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import ufd


def _git(*arguments: str) -> str | None:
    here = Path(ufd.__file__).resolve().parents[1]
    if not (here / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(here), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def collect(ranks: int, configuration: Any, stack: dict[str, str]) -> dict[str, Any]:
    """What must be known to get a result again; JSON values only.

    Args:
        ranks: Number of MPI ranks.
        configuration: The resolved configuration, also hashed.
        stack: Versions of the libraries that computed the result.
    """
    import numpy as np
    import scipy

    changes = _git("status", "--porcelain", "--untracked-files=no")
    text = json.dumps(configuration, sort_keys=True)
    return {
        "ufd": ufd.__version__,
        "git_commit": _git("rev-parse", "HEAD"),
        "git_dirty": None if changes is None else bool(changes),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        **stack,
        "configuration_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "ranks": ranks,
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "command": sys.argv,
        "seed": None,
        "finished": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
    }

"""stub"""
from __future__ import annotations
import argparse
from support.particle_runs import Run, measure
from support.published import published


def wanted(seeds, only=None):
    setups = {c.setup for c in published() if only in (None, c.setup.ground)}
    cost = lambda s: (s.ground == "torus", s.width, -s.lam)
    return [Run(setup, seed) for seed in range(seeds) for setup in sorted(setups, key=cost)]


if __name__ == "__main__":
    p = argparse.ArgumentParser()
    p.add_argument("--seeds", type=int, default=6)
    p.add_argument("--only")
    o = p.parse_args()
    for run in wanted(o.seeds, o.only):
        if run.results() is None:
            k = measure(run)
            print(run.path.stem, f"{k['seconds']:.1f} s", k["evaluations"], flush=True)

"""Noisy training in the report of rates: its runs, and the section they fill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mpi4py import MPI

import ufd
from ufd.analysis.langevin_claims import langevin_claim

SECTION = {
    "id": "noise",
    "title": "Noisy training: the Fokker-Planck equation",
    "text": "d_t mu = div(mu grad F'(mu)) + tau Laplace(mu), F the risk with outer weights that "
    "stay 1 or with optimal ones (lam). G = F + tau KL(mu|uniform) falls to G* at twice the first "
    "rate beside the fixed point that the run contains; guaranteed is 2 alpha tau, alpha the "
    "log-Sobolev constant of each step's proximal Gibbs measure after Holley and Stroock.",
}
_COMMAND = "python benchmarks/convergence_rates.py"


@dataclass(frozen=True)
class NoisyRun:
    """One run.

    Attributes:
        title: For a reader.
        problem: Teacher and start.
        features: Of the network.
        temperature: tau.
        end: Last time.
        lam: Regularisation, or None.
        options: Of `ufd.langevin`.
        tolerance: Largest relative deviation of fit and prediction.
    """

    title: str
    problem: ufd.UltraFastDiffusion
    features: Any
    temperature: float
    end: float
    lam: float | None = None
    options: dict[str, Any] = field(default_factory=dict)
    tolerance: float = 1e-3

    def claim(self, number: int) -> dict[str, Any]:
        """Run it, and compare."""
        run = ufd.langevin(
            self.problem, self.features, self.temperature, [self.end], lam=self.lam,
            comm=MPI.COMM_SELF, rtol=1e-7, **self.options,
        )  # fmt: skip
        head = {"id": f"noise-{number}", "section": SECTION["id"], "title": self.title}
        return head | {"command": _COMMAND} | langevin_claim(run, threshold=self.tolerance)


def noisy_runs() -> list[NoisyRun]:
    """Two on the circle, two on the sphere."""
    circle, sphere = ufd.Sphere(1), ufd.Sphere(2)
    narrow = ufd.UltraFastDiffusion(ufd.VonMisesFisher([1, 0], 1.5), ufd.Uniform(circle))
    tilted = ufd.UltraFastDiffusion(ufd.VonMisesFisher([0, 0.6, 0.8], 1), ufd.Uniform(sphere))
    smooth = ufd.KernelSpectrum(lambda l: (1.0 + l**2) ** -2)
    mixed = ufd.ReLU() + 0.5 * ufd.ReLU(power=2)
    line, ball = {"cells": 256, "inputs": "sphere"}, {"cells": 3, "degree": 1}
    return [
        NoisyRun("Noise: S¹, tau = 0.05", narrow, smooth, 0.05, 60.0, None, line),
        NoisyRun("Noise: S¹, tau = 0.05, lam = 0.01", narrow, smooth, 0.05, 20.0, 1e-2, line),
        NoisyRun("Noise: S², tau = 0.5", tilted, mixed, 0.5, 12.0, None, ball),
        NoisyRun("Noise: S², tau = 0.5, lam = 0.01", tilted, mixed, 0.5, 12.0, 1e-2, ball),
    ]


def noisy_claims(runs: Sequence[NoisyRun], comm: MPI.Comm) -> list[dict[str, Any]]:
    """The claims of runs that the ranks share out, on every rank; collective."""
    own = [(n, run.claim(n)) for n, run in enumerate(runs, 1) if n % comm.size == comm.rank]
    every = [pair for theirs in comm.allgather(own) for pair in theirs]
    return [claim for _, claim in sorted(every, key=lambda pair: pair[0])]

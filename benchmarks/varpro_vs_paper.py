"""Training by variable projection: accuracy per CPU second against the published method.

The paper's default circle (arXiv 2504.18208): ReLU features, N = 4096 Gaussian inputs, targets of
4096 teacher atoms (gamma = 100), M = 1024 particles, lam = 1e-3, unbiased, to t = 31.25, which is
32,000 steps of explicit Euler with normalisation. Claims, one core, in one run:

1. At an MMD-to-teacher curve within 2e-3 of a fine reference, at least 300 times less CPU than
   the same maths in plain PyTorch (timed over 50 steps; float64, and float32 as published).
2. The same on the sphere S^2 (dense kernels, any dimension): at least 100 times.
3. The population kernel on the circle at rtol 1e-3: at most 20 dense float64 evaluations.
4. The Gram matrix of a dense evaluation runs at 80 % of the machine's own matrix product.

PyTorch lives in an environment of its own, since nothing else here needs it: --torch names its
Python, as `python3 -m venv output/torch; output/torch/bin/pip install torch numpy` makes one. Ours
is measured with everything but imports: positions, targets, set-up, all evaluations.

    python benchmarks/varpro_vs_paper.py --torch PYTHON        about 8 CPU minutes
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import dgemm, dsyrk
from support.record import Claim, Table, cpu_seconds, launch, record

import ufd

Array = NDArray[np.float64]
N, M, LAM, ATOMS, END = 4096, 1024, 1e-3, 4096, 31.25
STEPS = 32_000
TIMES = [0.25, 0.5, 1, 1.5, 2, 3, 4, 5, 7, 10, 15, 20, 25, END]
LOOP = Path(__file__).resolve().parent / "support" / "torch_euler.py"


def circle_problem() -> ufd.UltraFastDiffusion:
    """The published teacher, gamma = 100, from the uniform start."""
    modes = [ufd.AngularCauchy(100.0), ufd.AngularCauchy(100.0, 0.4 * np.pi)]
    return ufd.UltraFastDiffusion(ufd.Mixture(modes, [2 / 3, 1 / 3]), ufd.Uniform(ufd.Sphere(1)))


def sphere_problem() -> ufd.UltraFastDiffusion:
    """Its like on S^2: two concentrated modes."""
    modes = [ufd.VonMisesFisher([0, 0, 1], 10.0), ufd.VonMisesFisher([1, 0, 0], 10.0)]
    return ufd.UltraFastDiffusion(ufd.Mixture(modes, [2 / 3, 1 / 3]), ufd.Uniform(ufd.Sphere(2)))


def solver_of(problem: ufd.UltraFastDiffusion, **options: Any) -> ufd.VarProSolver:
    """The published sizes."""
    sizes = {"features": ufd.ReLU(), "lam": LAM, "width": M}
    drawn = {"data": N, "target": ATOMS, "start": "iid"}
    return ufd.VarProSolver(problem, **sizes, **{**drawn, **options})


def curve(problem: ufd.UltraFastDiffusion, **options: Any) -> tuple[float, Array, dict]:
    """CPU seconds of a run to the end, its MMD to the teacher at TIMES, and its counters."""

    def run() -> tuple[list[Array], ufd.VarProSolver]:
        solver = solver_of(problem, **options)
        return [solver.advance(t).features for t in TIMES], solver

    seconds, (states, solver) = cpu_seconds(run)
    distances = [ufd.mmd((x, None), solver.teacher) for x in states]
    return seconds, np.array(distances), solver.stats


def published(problem: ufd.UltraFastDiffusion, python: str, steps: int) -> dict[str, float]:
    """Seconds per step of the PyTorch loop by precision, and how far it is from our Euler."""
    solver = solver_of(problem, stepper=ufd.Euler("normalise"), dt=2.0**-10, kernel="dense")
    inputs, targets = solver.samples()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "problem.npz"
        start = solver.state.features
        np.savez(path, inputs=inputs, targets=targets, features=start, lam=LAM)
        for precision in ("float64", "float32"):
            command = [python, str(LOOP), str(path), str(steps), precision]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found[precision] = float(done.stdout)
            after = np.load(f"{path}.after.npy")
            if precision == "float64":
                ours = solver.advance(steps * 2.0**-10).features
                found["difference"] = float(np.abs(after - ours).max())
    return found


def matrix_rates() -> tuple[float, float, float]:
    """Flops per second of a product and of the Gram, and CPU seconds of a dense evaluation."""
    rng = np.random.default_rng(0)
    a = np.asfortranarray(rng.standard_normal((2048, 2048)))
    product, _ = cpu_seconds(lambda: dgemm(1.0, a, a), 5)
    phi = np.maximum(rng.standard_normal((N, M)), 0)
    gram, _ = cpu_seconds(lambda: dsyrk(1.0, phi.T), 7)
    solver = solver_of(circle_problem(), kernel="dense")
    state = solver.state.features
    model, training = solver.system.training.model, solver.system.training
    dense, _ = cpu_seconds(lambda: model.optimum(state, LAM, training.penalty), 7)
    return 2 * 2048**3 / product, M * M * N / gram, dense


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--torch", required=True, help="a Python that imports torch")
    parser.add_argument("--steps", type=int, default=51, help="timed steps of the rival, plus one")


def run(torch: str, steps: int) -> list[Claim]:
    """Measure and record."""
    claims, rows, notes = [], [], []
    for name, problem, needed, kernel in (
        ("circle", circle_problem(), 300, None),
        ("sphere", sphere_problem(), 100, "dense"),
    ):
        theirs = published(problem, torch, steps)
        total = {p: STEPS * theirs[p] for p in ("float64", "float32")}
        _, fine, fine_stats = curve(problem, rtol=2e-5 if name == "circle" else 1e-3, kernel=kernel)
        tolerances = (2e-2, 1e-2, 1e-3) if name == "circle" else (1e-2,)
        best = None
        for rtol in tolerances:
            seconds, found, stats = curve(problem, rtol=rtol, kernel=kernel)
            error = float(np.abs(found - fine).max())
            ratios = [total[p] / seconds for p in ("float64", "float32")]
            rows.append([name, rtol, stats["evaluations"], seconds, error, *ratios])
            if error <= 2e-3 and (best is None or ratios[0] > best[0]):
                best = (*ratios, error)
        if name == "circle":
            for exact in ("dense",):
                seconds, found, stats = curve(problem, rtol=1e-2, kernel=exact)
                error = float(np.abs(found - fine).max())
                ratios = [total[p] / seconds for p in ("float64", "float32")]
                rows.append(
                    [f"{name}, {exact}", 1e-2, stats["evaluations"], seconds, error, *ratios]
                )
        rows.append([f"{name}, PyTorch float64", None, STEPS, total["float64"], None, 1.0, None])
        rows.append([f"{name}, PyTorch float32", None, STEPS, total["float32"], None, None, 1.0])
        holds = best is not None and best[0] >= needed
        measured = (
            "no run within 2e-3"
            if best is None
            else (f"{best[0]:.0f} (float64), {best[1]:.0f} (float32) at error {best[2]:.1e}")
        )
        text = f"{name}: CPU of the published loop over ours, MMD curve within 2e-3"
        claims.append(Claim(text, f">= {needed} (float64)", measured, holds))
        notes.append(
            f"{name}: after {steps} steps the float64 loop and our Euler (normalise) "
            f"differ by {theirs['difference']:.1e}; the fine reference took "
            f"{fine_stats['evaluations']} evaluations."
        )
    product, gram, dense = matrix_rates()
    population, _, stats = curve(
        circle_problem(), data=None, target=None, start="quantile", rtol=1e-3
    )
    claims += [
        Claim(
            "population kernel on the circle, rtol 1e-3: cost in dense evaluations",
            "<= 20",
            f"{population / dense:.1f} ({population:.2f} s against {dense:.3f} s each, "
            f"{stats['evaluations']} evaluations)",
            population <= 20 * dense,
        ),
        Claim(
            "Gram of a dense evaluation, share of the matrix product's rate",
            ">= 80 %",
            f"{100 * gram / product:.0f} % ({gram / 1e9:.1f} of {product / 1e9:.1f} Gflop/s)",
            gram >= 0.8 * product,
        ),
    ]
    columns = ["run", "rtol", "evaluations", "CPU s", "error of MMD", "ratio f64", "ratio f32"]
    table = Table(f"N = {N}, M = {M}, lam = {LAM:g}, to t = {END:g}", columns, rows)
    record(
        "varpro_vs_paper",
        "Variable projection: CPU against the published explicit Euler",
        claims,
        [table],
        {"N": N, "M": M, "lam": LAM, "atoms": ATOMS, "end": END, "steps": steps},
        notes,
    )
    return claims


if __name__ == "__main__":
    launch(run, __doc__, _options)

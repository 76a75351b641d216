"""The published training loop in plain PyTorch, as a script of its own: one thread, on the CPU.

Explicit Euler of variable projection with normalisation, at 2^-10 per step, written as a user of
PyTorch would: features, ridge regression of the outer weights, the loss with those frozen,
automatic differentiation, normalisation.

    python torch_euler.py PROBLEM.npz STEPS float64|float32

PROBLEM.npz holds inputs (N, d), targets (N,), features (M, d), lam. Prints CPU seconds per step
(the first is left out) and writes the features after all steps to PROBLEM.npz.after.npy.
"""

import sys
import time

import numpy as np
import torch


def main() -> None:
    torch.set_num_threads(1)
    path, steps, dtype = sys.argv[1], int(sys.argv[2]), getattr(torch, sys.argv[3])
    stored = np.load(path)
    inputs = torch.tensor(stored["inputs"], dtype=dtype)
    targets = torch.tensor(stored["targets"], dtype=dtype)
    omega = torch.tensor(stored["features"], dtype=dtype)
    lam, (count, width) = float(stored["lam"]), (len(inputs), len(omega))
    identity = torch.eye(width, dtype=dtype)
    begin = 0.0
    for step in range(steps):
        if step == 1:
            begin = time.process_time()
        omega.requires_grad_()
        phi = torch.relu(inputs @ omega.T)
        with torch.no_grad():
            gram = phi.T @ phi / (count * width)
            outer = torch.linalg.solve(gram + lam * identity, phi.T @ targets / count + lam)
        misfit = ((phi @ outer / width - targets) ** 2).mean() / (2 * lam)
        (gradient,) = torch.autograd.grad(misfit, omega)
        with torch.no_grad():
            omega = omega - width * 2.0**-10 * gradient
            omega = omega / omega.norm(dim=1, keepdim=True)
    print((time.process_time() - begin) / (steps - 1))
    np.save(path + ".after.npy", omega.numpy())


main()

"""Which modes a symmetry forbids, and what the modes are called.

A density that singles out the directions a_1, ..., a_k (`Density.axes`) is invariant under every
orthogonal map that fixes them. If teacher and start share such a group, so does w at all times: a
mode is excited only in as far as it is invariant too. How a group element acts on a computed
eigenspace is read off its values at sample points, so the mesh need not be symmetric.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ufd.fem.spectrum import Modes

Array = NDArray[np.float64]
# Rotations that are told apart: turns |m| up to half of it.
_ANGLES = 24
# An eigenspace is mapped to itself; a part of one is not, by more than the mesh's error.
_CLOSED = 0.05
# A forbidden mode projects to the error of the mesh, not to this part of the start.
_SEEN = 1e-2


@dataclass(frozen=True)
class Symmetry:
    """How one group acts on computed modes.

    Attributes:
        invariant: Dimension of the invariant part of each mode's eigenspace, (count,); -1 where
            nothing is known.
        names: What the group tells about each mode, "" where it tells nothing.
    """

    invariant: NDArray[np.int64]
    names: list[str]

    def unless_seen(self, shares: Array) -> NDArray[np.int64]:
        """``invariant``, with -1 for what is called forbidden but holds a part of the start.

        Args:
            shares: Projections of the start on the modes relative to its |w - 1|, (count,).
        """
        return np.where((self.invariant == 0) & (np.abs(shares) > _SEEN), -1, self.invariant)


def stacked_axes(*axes: Array | None) -> Array | None:
    """An orthonormal basis (k, d) of what several densities single out; None if unknown."""
    known = [a for a in axes if a is not None]
    if len(known) < len(axes):
        return None
    _, size, basis = np.linalg.svd(np.concatenate(known), full_matrices=False)
    return basis[size > 1e-10]


def _maps(basis: Array) -> tuple[list[Array], str]:
    """Elements of the group that fixes ``basis``, and what is invariant under it."""
    k, d = basis.shape
    across = np.linalg.svd(basis, full_matrices=True)[2][k:] if k else np.eye(d)
    if d - k == 1:
        return [np.eye(d) - 2 * np.outer(across[0], across[0])], "reflection"
    if d - k == 2:
        turn = np.outer(across[1], across[0]) - np.outer(across[0], across[1])
        plane = across.T @ across
        angles = 2 * np.pi * np.arange(1, _ANGLES) / _ANGLES
        return [np.eye(d) + (np.cos(a) - 1) * plane + np.sin(a) * turn for a in angles], "rotation"
    return [], ""


def harmonic_names(eigenvalues: Array, dim: int) -> list[str]:
    """The degree l of each mode of the unweighted Laplacian, l (l + dim - 1) its eigenvalue."""
    half = (dim - 1) / 2
    return [f"degree {round(np.sqrt(value + half**2) - half)}" for value in eigenvalues]


def symmetry_of(
    modes: Modes, partitions: Sequence[list[list[int]]], basis: Array | None
) -> Symmetry:
    """Invariant dimensions and names of modes; collective.

    Args:
        modes: Computed modes.
        partitions: Numbers of the modes in groups that may be eigenspaces, wide groups first: a
            coarse mesh splits eigenspaces. A wide group counts if it is invariant as a whole or
            not at all; in between it may hold several eigenspaces.
        basis: From `stacked_axes`.
    """
    count = len(modes.eigenvalues)
    invariant, names = np.full(count, -1), [""] * count
    maps, kind = _maps(basis) if basis is not None else ([], "")
    if not maps:
        return Symmetry(invariant, names)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4 * count + 20, basis.shape[1]))  # type: ignore[union-attr]
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    points = np.concatenate([x, *(x @ R.T for R in maps)])
    values = modes.space.interpolate(modes.vectors.T, points).T
    values = values.reshape(count, len(maps) + 1, -1)
    for wide, groups in enumerate(partitions, 1 - len(partitions)):
        for group in groups:
            traces = _traces(values[group])
            if traces is None or invariant[group[0]] >= 0:
                continue
            size = len(group)
            dimension = round((size + sum(traces)) / (len(maps) + 1))
            if wide < 0 and 0 < dimension < size:
                continue
            for i in group:
                invariant[i] = dimension
                names[i] = _name(kind, size, dimension, traces[0])
    return Symmetry(invariant, names)


def _traces(values: Array) -> list[float] | None:
    """Traces of the maps on a group, from its values at x and at each Rx, (size, maps + 1, n).

    None if the maps do not leave its span: it is cut off by the number of modes, or split by the
    mesh, and nothing is known.
    """
    here = values[:, 0].T
    turned = np.concatenate([each.T for each in values[:, 1:].swapaxes(0, 1)], axis=1)
    action = np.linalg.lstsq(here, turned, rcond=None)[0]
    if np.linalg.norm(here @ action - turned) > _CLOSED * np.linalg.norm(turned):
        return None
    return [float(np.trace(block)) for block in np.split(action, values.shape[1] - 1, axis=1)]


def _name(kind: str, size: int, dimension: int, trace: float) -> str:
    if kind == "reflection":
        return {0: "odd", size: "even"}.get(dimension, "even and odd")
    if dimension == size:
        return "zonal"
    if dimension == 0 and size == 2:
        turns = round(np.arccos(np.clip(trace / 2, -1, 1)) * _ANGLES / (2 * np.pi))
        return f"|m| = {turns}"
    return "zonal and others" if dimension else "not zonal"

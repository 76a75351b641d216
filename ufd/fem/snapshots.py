"""What the finite elements add to a snapshot: keys of the nodes, the mesh's identity, the modes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ufd.evolution.shards import NodeStore
from ufd.fem.discretization import Discretization
from ufd.fem.spectrum import Modes

Array = NDArray[np.float64]


def node_store(space: Discretization) -> NodeStore:
    """Stores nodal arrays by their number in the mesh as it was built: for any rank count."""
    return NodeStore(space.comm, space.input_index, space.size)


def mesh_identity(space: Discretization) -> dict[str, Any]:
    """What tells a mesh from others; JSON values, equal on every rank."""
    return {"nodes": int(space.size), **space.surface.identity()}


def packed_modes(modes: Modes) -> tuple[dict[str, Any], dict[str, Array]]:
    """Modes as JSON values and nodal arrays.

    They are stored, not found again: signs, and bases of eigenspaces, are arbitrary, and a series
    of amplitudes must not jump where a run was stopped.
    """
    about = {"eigenvalues": modes.eigenvalues.tolist()}
    return about, {"vectors": np.ascontiguousarray(modes.vectors.T)}


def unpacked_modes(
    space: Discretization, about: Mapping[str, Any], arrays: Mapping[str, Array]
) -> Modes:
    """See `packed_modes`."""
    vectors = np.ascontiguousarray(arrays["vectors"].T)
    return Modes(space, np.array(about["eigenvalues"]), vectors)

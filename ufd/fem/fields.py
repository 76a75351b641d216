"""The stored states of a run: kept in memory, saved for any rank count, written for ParaView."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mpi4py import MPI

import numpy as np
from dolfinx.io import vtkhdf
from numpy.typing import ArrayLike, NDArray

from ufd.exceptions import StorageError
from ufd.fem.discretization import Discretization
from ufd.fem.focus import Focus
from ufd.fem.meshes import sphere_mesh
from ufd.fem.state import State
from ufd.fem.surfaces import ArrayMesh, SurfaceMesh
from ufd.parallel import on_root
from ufd.problem.checks import place_of_time
from ufd.problem.diffusion import UltraFastDiffusion
from ufd.storage import read_arrays, write_arrays

Array = NDArray[np.float64]


class FieldHistory:
    """States of one run by time; as an observer it keeps those at requested times.

    Args:
        problem: What was solved.
        space: The discretisation on which it was solved.

    Attributes:
        states: w at the owned nodes by time, (n,) each.
    """

    def __init__(self, problem: UltraFastDiffusion, space: Discretization) -> None:
        self.problem, self.space = problem, space
        self.states: dict[float, Array] = {}

    def __call__(self, t: float, values: Array, landed: bool) -> None:
        """See `evolution.evolve.Observer`."""
        if landed:
            self.states[t] = values.copy()

    @property
    def times(self) -> list[float]:
        """The stored times."""
        return list(self.states)

    def at(self, t: float) -> State:
        """The state at a stored time.

        Raises:
            InputError: If ``t`` was not stored; the message lists the times that were.
        """
        stored = self.times[place_of_time(t, self.times)]
        return State(stored, self.states[stored], self.space, self.problem.teacher)

    def ratio(self, points: ArrayLike, t: float) -> Array:
        """w = mu/nu at points and a stored time; collective, see `State.ratio`."""
        return self.at(t).ratio(points)

    def density(self, points: ArrayLike, t: float) -> Array:
        """mu at points and a stored time; collective, see `State.density`."""
        return self.at(t).density(points)

    def save(self, path: Path) -> None:
        """Write the states, keyed on the numbering of the built mesh; collective.

        Raises:
            StorageError: If the file cannot be written.
        """
        ratios = [self.space.in_input_order(w) for w in self.states.values()]
        surface = self.space.surface
        mesh: dict[str, Any] = {"mesh": json.dumps(surface.identity())}
        if surface.subdivisions is None:
            mesh |= {"points": surface.points, "cells": surface.cells}
        problem = json.dumps(self.problem.describe())
        arrays = {"times": self.times, "ratio": ratios, "problem": problem, **mesh}
        on_root(self.space.comm, lambda: write_arrays(path, **arrays))

    def write_vtkhdf(self, directory: Path) -> None:
        """Write ``ratio.vtkhdf`` and ``density.vtkhdf`` with a time series each; collective."""
        mesh, nu = self.space.output_mesh, np.exp(self.space.log_nu + np.log1p(self.space.defect))
        for name, factor in (("ratio", 1.0), ("density", nu)):
            path = directory / f"{name}.vtkhdf"
            vtkhdf.write_mesh(path, mesh)
            for t, values in self.states.items():
                data = self.space.to_output(values * factor)
                vtkhdf.write_point_data(path, mesh, data, t)


def stored_problem(path: Path, comm: MPI.Comm) -> dict | None:
    """The ``[problem]`` table in a file written by `FieldHistory.save`."""
    stored = on_root(comm, lambda: read_arrays(path))
    try:
        return json.loads(str(stored["problem"]))
    except (KeyError, ValueError):
        raise StorageError(f"cannot read {path}: it holds no problem") from None


def read_fields(path: Path, problem: UltraFastDiffusion, comm: MPI.Comm) -> FieldHistory:
    """Read what `FieldHistory.save` wrote, on any number of ranks; collective.

    Raises:
        StorageError: If the file is missing, damaged, or does not fit its own mesh.
    """
    stored = on_root(comm, lambda: read_arrays(path))
    try:
        mesh = json.loads(str(stored["mesh"]))
        degree, focus = mesh["degree"], mesh.get("focus")
        if mesh["subdivisions"] is None:
            surface: SurfaceMesh = ArrayMesh(
                stored["points"], stored["cells"], mesh["cell_type"], degree
            )
        else:
            focus = None if focus is None else Focus(**focus)
            surface = sphere_mesh(problem.manifold.dim, mesh["subdivisions"], degree, focus)
        times, ratios = stored["times"], stored["ratio"]
    except (KeyError, ValueError, TypeError) as error:
        raise StorageError(f"cannot read {path}: {error} is missing or wrong") from None
    history = FieldHistory(problem, Discretization(surface, problem.teacher, comm))
    if ratios.shape != (len(times), history.space.size):
        raise StorageError(f"cannot read {path}: its values do not fit its mesh")
    for t, ratio in zip(times, ratios, strict=True):
        history(float(t), ratio[history.space.input_index], landed=True)
    return history

"""What a verb returns: series over the steps, fields at the stored times, and how it was found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from mpi4py import MPI
from numpy.typing import ArrayLike, NDArray

from ufd.analysis.decay import Decay
from ufd.analysis.runs import Run, damaged, read_run, read_summary
from ufd.parallel import on_root
from ufd.problem.diffusion import UltraFastDiffusion
from ufd.storage import make_directory

Array = NDArray[np.float64]
FIELDS = "fields.npz"


class Fields(Protocol):
    """States at stored times, whoever keeps them."""

    problem: UltraFastDiffusion

    @property
    def times(self) -> list[float]:
        """The stored times."""

    def at(self, t: float) -> Any:
        """The state at a stored time."""

    def ratio(self, points: ArrayLike, t: float) -> Array:
        """w = mu/nu at points."""

    def density(self, points: ArrayLike, t: float) -> Array:
        """mu at points."""

    def save(self, path: Path) -> None:
        """Write the states; collective."""

    def write_vtkhdf(self, directory: Path) -> None:
        """Write them for ParaView; collective."""


@dataclass(eq=False)
class Result(Run, Decay):
    """A finished or stopped run of the diffusion.

    Attributes:
        series: Arrays over the accepted steps: t, mass, chi2 = int (w-1)^2 dnu, chi2_reverse =
            int (w-1)^2/w dnu, divergence = int f(1/w) dmu, lyapunov = int Psi(w) dnu with
            Psi'' = 1/phi', min_ratio, max_ratio; amplitudes (n, k) of w - 1 in the modes, and
            hminus1 = |w-1|^2 in H^-1_nu, if asked for.
        status: Why the run stopped.
        stats: Steps, rejected steps, Newton and Krylov iterations, seconds, dofs.
        times: The times at which fields are stored.
        configuration: What was asked for, as a case file says it.
        provenance: Versions, commit, machine.
        spectrum: "eigenvalues" (k,), "amplitudes" (n, k) at ``times``, "invariant", "names" (k,)
            and "coupling" (see `analysis.modes.Spectrum`); None if not asked for.
        errors: Estimated absolute errors at ``times`` by functional, and "density" (relative
            L1(mu)); None if not asked for.
    """

    open_fields: Callable[[], Fields] = field(repr=False)
    spectrum: dict[str, Array] | None = None
    errors: dict[str, Array] | None = None

    @cached_property
    def fields(self) -> Fields:
        """The stored states."""
        return self.open_fields()

    def at(self, t: float) -> Any:
        """The state at a stored time, with ``.ratio``, ``.density`` and ``.measure``.

        Raises:
            InputError: If ``t`` was not stored; the message lists the times that were.
        """
        return self.fields.at(t)

    def density(self, points: ArrayLike, t: float) -> Array:
        """mu at (n, ambient_dim) points and a stored time, (n,).

        Collective: every rank gives the same points and time.
        """
        return self.fields.density(points, t)

    def ratio(self, points: ArrayLike, t: float) -> Array:
        """w = mu/nu at (n, ambient_dim) points and a stored time, (n,); collective as `density`."""
        return self.fields.ratio(points, t)

    def save(self, directory: str | PathLike, comm: MPI.Comm = MPI.COMM_WORLD) -> None:
        """Write run.json, series.npz, fields.npz and VTKHDF fields into a directory; collective.

        Raises:
            StorageError: If a file cannot be written.
        """
        place = Path(directory)
        on_root(comm, lambda: make_directory(place))
        self.fields.save(place / FIELDS)
        self.fields.write_vtkhdf(place)
        on_root(comm, lambda: self.save_summary(place))

    def summary(self) -> dict[str, Any]:
        """See `Run.summary`."""
        more = {"spectrum": _lists(self.spectrum), "errors": _lists(self.errors)}
        return super().summary() | more


def _lists(table: Mapping[str, Array] | None) -> dict[str, Any] | None:
    return None if table is None else {k: np.asarray(v).tolist() for k, v in table.items()}


def _arrays(table: Mapping[str, Any] | None) -> dict[str, Array] | None:
    return None if table is None else {k: np.asarray(v) for k, v in table.items()}


def read_result(directory: Path, open_fields: Callable[[], Fields]) -> Result:
    """Read the summary of a run; the fields are opened when first asked for.

    Raises:
        StorageError: If the directory holds no run, or a damaged one.
    """
    run = read_run(directory)
    common = read_summary(directory, run)
    try:
        return Result(
            **common,
            open_fields=open_fields,
            spectrum=_arrays(run["spectrum"]),
            errors=_arrays(run["errors"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise damaged(directory, error) from None

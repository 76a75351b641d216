"""What this process needs around it: the right MPI launcher, and a C compiler for its kernels.

A wrong launcher would run N copies of rank 0. Nothing here imports MPI, since a foreign launcher
can make that import end the process.
"""

from __future__ import annotations

import importlib.metadata
import os
import shlex
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from ufd.exceptions import SetupError

_OPEN_MPI, _SLURM, _PMIX = "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS", "PMIX_RANK"
_RANKS = {_OPEN_MPI: "OMPI_COMM_WORLD_RANK", _SLURM: "SLURM_PROCID", "PMI_SIZE": "PMI_RANK"}


def own_mpirun() -> Path:
    """The launcher that belongs to this Python environment."""
    return Path(sys.prefix) / "bin" / "mpirun"


def has_mpich_wheel() -> bool:
    """Whether MPI comes from the MPICH wheel, which only its own launcher can start."""
    try:
        importlib.metadata.distribution("mpich")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def c_compiler(environment: Mapping[str, str] = os.environ) -> list[str]:
    """The words of the command by which FFCx compiles kernels: CC, or Python's own compiler."""
    command = environment.get("CC", "").strip() or sysconfig.get_config_var("CC") or "cc"
    try:
        return shlex.split(command)
    except ValueError:  # a quotation without an end
        return command.split()


def without_launcher(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment in which a child process takes no part in this MPI job."""
    return {k: v for k, v in environment.items() if not k.startswith(("PMI", "HYDRA", "MPI"))}


def is_first_of_its_launcher(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the launcher, right or wrong, calls this process number 0."""
    return all(environment.get(name, "0") == "0" for name in (*_RANKS.values(), _PMIX))


def refuse_foreign_launcher(environment: Mapping[str, str] = os.environ) -> None:
    """Call before MPI is imported.

    Raises:
        SetupError: If Open MPI's launcher, or one that speaks PMIx only, started a process whose
            MPI is MPICH from the wheel.
    """
    if _OPEN_MPI in environment and has_mpich_wheel():
        raise SetupError(
            "this job was started by Open MPI's mpirun, and ufd runs on MPICH; "
            f"start it with {own_mpirun()}"
        )
    if _PMIX in environment and "PMI_RANK" not in environment and has_mpich_wheel():
        raise SetupError(
            f"this job was started with PMIx ({_PMIX} is set), which this MPICH does not know; "
            f"start it with {own_mpirun()}, or with srun --mpi=pmi2"
        )


def refuse_singletons(size: int, environment: Mapping[str, str] = os.environ) -> None:
    """Call once MPI runs with ``size`` ranks in its world.

    Raises:
        SetupError: If the launcher started several processes and none knows of the others.
    """
    for name in _RANKS:
        started = environment.get(name, "")
        if started.isdigit() and int(started) > 1 and size == 1:
            raise SetupError(
                f"{started} separate jobs were started instead of one with {started} ranks "
                f"({name} = {started}); start it with {own_mpirun()} -n {started}, "
                "or with srun and a PMI that MPICH knows (srun --mpi=list)"
            )

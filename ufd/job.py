"""One invocation of the command line: its ranks, its voice, its exit code."""

from __future__ import annotations

import logging
import sys
import traceback
import warnings
from typing import TYPE_CHECKING, NoReturn

import click

from ufd.exceptions import UfdError
from ufd.launch import is_first_of_its_launcher, refuse_foreign_launcher, refuse_singletons

if TYPE_CHECKING:
    from mpi4py import MPI


class Job:
    """One invocation of ``ufd``: its ranks, once they are known, and how it ends."""

    def __init__(self) -> None:
        self._comm: MPI.Comm | None = None
        self._guard: MPI.Comm | None = None

    @property
    def comm(self) -> MPI.Comm:
        """All ranks, once it is sure that they know of each other."""
        if self._comm is None:
            refuse_foreign_launcher()
            from mpi4py import MPI

            self._comm, self._guard = MPI.COMM_WORLD, MPI.COMM_WORLD.Dup()
            refuse_singletons(self._comm.size)
            logging.basicConfig(format="ufd: %(message)s", level=logging.WARNING)
            warnings.showwarning = lambda message, *_: logging.getLogger("ufd").warning(message)
            if self._comm.rank:
                logging.disable()
        return self._comm

    def say(self, *lines: str) -> None:
        """Print lines once."""
        if self.comm.rank == 0:
            for line in lines:
                click.echo(line)

    def end(self, error: BaseException) -> NoReturn:
        """One message for all ranks, and the exit code of the error on each."""
        if self._guard is not None and self._comm is not None and self._comm.size > 1:
            from ufd.parallel import exit_together

            exit_together(self._guard, error)
        if is_first_of_its_launcher():
            if not isinstance(error, UfdError):
                traceback.print_exception(error)
            click.echo(f"ufd: {error}", err=True)
        sys.exit(error.exit_code if isinstance(error, UfdError) else 1)

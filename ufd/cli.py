"""The command line: ``ufd run | report | doctor``, alone or under mpirun.

Heavy libraries are imported inside the commands, so that ``ufd --help`` is quick.
"""

from __future__ import annotations

import logging
import sys
import traceback
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from ufd import __version__
from ufd.exceptions import InputError, StorageError, UfdError
from ufd.launch import is_first_of_its_launcher, refuse_foreign_launcher, refuse_singletons

if TYPE_CHECKING:
    from mpi4py import MPI

_EXIT_CODES = """Exit codes: 0 finished; 2 bad input; 3 input or output; 4 solver."""


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=_EXIT_CODES,
    invoke_without_command=True,
)
@click.version_option(__version__, message="ufd %(version)s")
@click.pass_context
def commands(context: click.Context) -> None:
    """Weighted ultra-fast diffusion: feature learning in the two-timescale regime."""
    if context.invoked_subcommand is None:
        if is_first_of_its_launcher():
            click.echo(context.get_help(), err=True)
        sys.exit(InputError.exit_code)


@commands.command(epilog=_EXIT_CODES)
@click.argument("case", type=click.Path(path_type=Path))
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Directory of the results; by default output/ and the name of the case.",
)
@click.option("--check", is_flag=True, help="Validate the case and estimate its cost; run nothing.")
@click.option(
    "--progress/--no-progress",
    default=None,
    help="Force or forbid the bar; by default it shows on a terminal.",
)
@click.option("--report/--no-report", default=True, help="Write report.html at the end.")
@click.pass_obj
def run(
    job: _Job, case: Path, output: Path | None, check: bool, progress: bool | None, report: bool
) -> None:
    """Run a case file; also under mpirun -n N."""
    comm = job.comm
    from ufd.config import read_case
    from ufd.parallel import on_root

    settings = on_root(comm, lambda: read_case(case))
    if check:
        from ufd.plan import plan_case

        job.say(*plan_case(settings, case.parent, comm))
        return
    from ufd.evolution.evolve import StopReason
    from ufd.solve import solve_case
    from ufd.storage import discard_empty, new_directory

    place = on_root(comm, lambda: new_directory(output or Path("output") / case.stem))
    job.say(f"{case}: {comm.size} rank{'s' * (comm.size > 1)}, results in {place}")
    try:
        result = solve_case(settings, case.parent, comm=comm, progress=progress)
    except UfdError:
        if comm.rank == 0:
            discard_empty(place)
        raise
    result.save(place, comm)
    job.say(*on_root(comm, lambda: _conclude(place, report)))
    if result.status is not StopReason.FINISHED:
        sys.exit(4)


def _conclude(place: Path, report: bool) -> list[str]:
    """What rank 0 alone does with a stored run: name its rates and write its report."""
    from mpi4py import MPI

    from ufd.analysis.report import summary_lines, write_report
    from ufd.solve import load

    if place.is_file():
        raise StorageError(f"cannot read {place}: it is a file; name the directory of a run")
    result = load(place, comm=MPI.COMM_SELF)
    lines = summary_lines(result)
    if report:
        lines.append(f"report                  {write_report(result, place)}")
    return lines


@commands.command()
@click.argument("directories", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.pass_obj
def report(job: _Job, directories: tuple[Path, ...]) -> None:
    """Write report.html and report.md again for finished runs."""
    comm = job.comm
    from ufd.parallel import on_root

    for place in directories:
        job.say(*on_root(comm, partial(_conclude, place, report=True)))


@commands.command()
def doctor() -> None:
    """Look at Python, compiler, MPI, the libraries and OpenGL: what is wrong, and the cure."""
    from ufd.doctor import examine

    if not is_first_of_its_launcher():
        return
    worst = 0
    for finding in examine():
        click.echo(str(finding))
        worst = max(worst, finding.severity)
    sys.exit(1 if worst > 1 else 0)


class _Job:
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


def main(arguments: list[str] | None = None) -> Any:
    """Entry point of ``ufd``."""
    job = _Job()
    try:
        commands.main(arguments, prog_name="ufd", standalone_mode=False, obj=job)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        job.end(InputError(f"{error.format_message().rstrip('.')}; see ufd --help"))
    except Exception as error:
        job.end(error)


if __name__ == "__main__":
    main()

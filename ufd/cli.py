"""The command line: ``ufd run | sweep | report | doctor``, alone or under mpirun.

Heavy libraries are imported inside the commands, so that ``ufd --help`` is quick.
"""

from __future__ import annotations

import shlex
import sys
from functools import partial
from pathlib import Path
from typing import Any

import click

from ufd import __version__
from ufd.exceptions import InputError, UfdError
from ufd.job import Job
from ufd.launch import is_first_of_its_launcher

_EXIT_CODES = (
    "Exit codes: 0 finished; 2 bad input; 3 input or output; 4 solver; "
    "75 stopped by a signal or the wall clock, to be resumed with ufd run --restart."
)


def _show_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    """What click's own option does, but once for all ranks."""
    if wanted and not context.resilient_parsing:
        if is_first_of_its_launcher():
            click.echo(f"ufd {__version__}")
        context.exit()


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=_EXIT_CODES,
    invoke_without_command=True,
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
@click.pass_context
def commands(context: click.Context) -> None:
    """Weighted ultra-fast diffusion: feature learning in the two-timescale regime."""
    if context.invoked_subcommand is None:
        if is_first_of_its_launcher():
            click.echo(context.get_help(), err=True)
        sys.exit(InputError.exit_code)


_set = click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a key of the case, such as solver.dt=0.1; can be repeated.",
)


@commands.command(epilog=_EXIT_CODES)
@click.argument("case", type=click.Path(path_type=Path))
@_set
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Directory of the results; by default output/ and the name of the case.",
)
@click.option(
    "--restart",
    is_flag=True,
    help="Go on with the run in that directory; start it if there is none, do nothing if it "
    "is finished.",
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
    job: Job,
    case: Path,
    changes: tuple[str, ...],
    output: Path | None,
    restart: bool,
    check: bool,
    progress: bool | None,
    report: bool,
) -> None:
    """Run a case file; also under mpirun -n N."""
    comm = job.comm
    from ufd.config import parse_change, read_case
    from ufd.parallel import on_root

    settings = on_root(comm, lambda: read_case(case, [parse_change(text) for text in changes]))
    if check:
        from ufd.plan import plan_case

        job.say(*plan_case(settings, case.parent, comm))
        return
    from ufd.evolution.evolve import StopReason
    from ufd.signals import StopSignals

    place = output or Path("output") / case.stem
    words = [word for text in changes for word in ("--set", text)]
    resume = shlex.join(["ufd", "run", str(case), *words, "--output", str(place), "--restart"])
    with StopSignals() as signals:
        from ufd.batch import run_case

        status, worked = run_case(
            settings,
            case,
            place,
            comm=comm,
            restart=restart,
            progress=progress,
            resume=resume,
            signals=signals,
            say=job.say,
        )
        from ufd.reports import conclude

        if worked or (report and not on_root(comm, (place / "report.html").exists)):
            job.say(*on_root(comm, lambda: conclude(place, report)))
        else:
            job.say(f"{place}: finished before; nothing is left to do")
    if status is not StopReason.FINISHED:
        sys.exit(4)


@commands.command(epilog=_EXIT_CODES)
@click.argument("case", type=click.Path(path_type=Path))
@click.option(
    "--over",
    "lists",
    multiple=True,
    required=True,
    metavar="KEY=A,B,...",
    help="Run every value of a key; repeated, every combination.",
)
@_set
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Directory of the runs; by default output/ and the name of the case with -sweep.",
)
@click.option("--across", is_flag=True, help="Each rank runs cases of its own.")
@click.option("--check", is_flag=True, help="Validate and estimate every case; run nothing.")
@click.pass_obj
def sweep(
    job: Job,
    case: Path,
    lists: tuple[str, ...],
    changes: tuple[str, ...],
    output: Path | None,
    across: bool,
    check: bool,
) -> None:
    """Run a case for all values of some keys; again, only what is missing."""
    comm = job.comm
    from ufd.config import parse_change, parse_values
    from ufd.parallel import on_root
    from ufd.sweep import exit_code, jobs_of, run_jobs, write_sweep, write_sweep_report

    place = output or Path("output") / f"{case.stem}-sweep"
    over = [parse_change(text, parse_values) for text in lists]
    jobs = jobs_of(case, over, place, [parse_change(text) for text in changes])
    if check:
        _check_all(job, jobs, across)
        return
    # Across ranks each speaks of its own cases.
    outcomes = run_jobs(jobs, comm=comm, across=across, say=click.echo)
    on_root(comm, lambda: write_sweep(place, case, over, outcomes))
    page = on_root(comm, lambda: write_sweep_report(place))
    failed = sum(outcome.status == "failed" for outcome in outcomes)
    job.say(f"{len(jobs) - failed} runs at hand, {failed} failed: {page}")
    if failed:
        sys.exit(exit_code(outcomes))


def _check_all(job: Job, jobs: list[Any], across: bool) -> None:
    from mpi4py import MPI

    from ufd.parallel import on_root
    from ufd.plan import plan_case
    from ufd.sweep import read_cases

    cases = on_root(job.comm, lambda: read_cases(jobs))
    code = 0
    for each, settings in zip(jobs, cases, strict=True):
        job.say(each.command)
        team = MPI.COMM_SELF if across else job.comm
        try:
            job.say(*plan_case(settings, each.case.parent, team))
        except UfdError as error:
            job.say(f"refused                 {error}")
            code = max(code, error.exit_code)
    if code:
        sys.exit(code)


@commands.command()
@click.argument("directories", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--rates",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write one rates.html over all these runs into DIR instead.",
)
@click.pass_obj
def report(job: Job, directories: tuple[Path, ...], rates: Path | None) -> None:
    """Write the report again: report.html of a run, rates.html of a sweep."""
    comm = job.comm
    from ufd.parallel import on_root

    if rates is not None:
        from ufd.sweep import write_runs_report

        page = on_root(comm, lambda: write_runs_report(directories, rates))
        job.say(f"report                  {page}")
        return
    from ufd.reports import conclude

    for place in directories:
        job.say(*on_root(comm, partial(conclude, place, report=True)))


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


def main(arguments: list[str] | None = None) -> Any:
    """Entry point of ``ufd``."""
    job = Job()
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

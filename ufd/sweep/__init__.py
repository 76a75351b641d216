"""Many runs of one case: a grid of changes, each in a directory of its own, resumed after a stop.

Nothing is remembered but the runs themselves: the same command goes on where it was interrupted.
"""

from ufd.sweep.jobs import Job as Job
from ufd.sweep.jobs import Outcome as Outcome
from ufd.sweep.jobs import grid as grid
from ufd.sweep.jobs import jobs_of as jobs_of
from ufd.sweep.jobs import read_cases as read_cases
from ufd.sweep.jobs import slugs as slugs
from ufd.sweep.report import write_runs_report as write_runs_report
from ufd.sweep.report import write_sweep_report as write_sweep_report
from ufd.sweep.running import SWEEP as SWEEP
from ufd.sweep.running import exit_code as exit_code
from ufd.sweep.running import run_jobs as run_jobs
from ufd.sweep.running import write_sweep as write_sweep
from ufd.sweep.stored import summary_of as summary_of

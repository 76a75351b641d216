"""Case files: TOML to frozen values, with one line for whatever is wrong."""

from ufd.config.case import Case as Case
from ufd.config.changes import format_value as format_value
from ufd.config.changes import parse_change as parse_change
from ufd.config.changes import parse_value as parse_value
from ufd.config.changes import parse_values as parse_values
from ufd.config.reading import problem_from as problem_from
from ufd.config.reading import read_case as read_case

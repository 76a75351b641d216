"""Case files: TOML to frozen values, with one line for whatever is wrong."""

from ufd.config.case import Case as Case
from ufd.config.reading import problem_from as problem_from
from ufd.config.reading import read_case as read_case

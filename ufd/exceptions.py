"""The errors of the package; each carries the exit code that the command line returns."""


class UfdError(Exception):
    """Base of every error raised on purpose by this package."""

    exit_code = 4


class InputError(UfdError, ValueError):
    """A value given by the user cannot be used; the message names it and the remedy."""

    exit_code = 2


class SetupError(UfdError, RuntimeError):
    """The machine lacks something, or the job was started in a way that cannot work."""

    exit_code = 2


class StorageError(UfdError, OSError):
    """A file or directory cannot be read or written."""

    exit_code = 3


class Interrupted(UfdError):
    """A run was asked to stop; the step at hand is discarded and the run can be resumed."""

    exit_code = 75


class SolverError(UfdError, RuntimeError):
    """A computation failed in a way that smaller steps do not cure."""

    exit_code = 4

"""Errors whose message is a sentence for the user.

The library raises; only the command line prints and exits.

    CriteoStreamError          exit code 1
    ├── UsageError             a wrong option or argument; exit code 2
    ├── InputError             raw logs that are missing, damaged or not Criteo
    ├── DataSetError           a prepared data set that is incomplete, damaged or of another version
    ├── OutputError            an output folder that is in use, not empty, or on a full disk
    ├── RunError               a run folder or checkpoint that does not fit, or a run that diverged
    └── OtherRankError         the cause is on another rank, which reports it
"""


class CriteoStreamError(Exception):
    """Base of all errors that a user can act on: what is wrong, where, and what to do."""

    exit_code = 1


class UsageError(CriteoStreamError):
    """A wrong option or argument."""

    exit_code = 2


class InputError(CriteoStreamError):
    """Raw logs that are missing, damaged or not Criteo."""


class DataSetError(CriteoStreamError):
    """A prepared data set that is incomplete, damaged or of another format version."""


class OutputError(CriteoStreamError):
    """An output folder that is in use, not empty, or on a full disk."""


class RunError(CriteoStreamError):
    """A run folder or checkpoint that does not fit, or a run that diverged."""


class OtherRankError(CriteoStreamError):
    """The cause is on another rank, which reports it; the message may be empty."""

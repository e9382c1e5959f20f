"""A call in a process of its own: what it leaves in memory goes with the process."""

import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable
from subprocess import PIPE, Popen
from typing import ParamSpec, TypeVar

from criteo_stream.base.errors import CriteoStreamError

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def in_own_process(
    function: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
) -> Result:
    """Call a function of a module there, and wait for it; an interruption here ends it.

    Args:
        function: what to call; it, its arguments and its result can be pickled.
        *args: its arguments.
        **kwargs: its arguments by name.

    Raises:
        Exception: what the function raised.
        CriteoStreamError: the process was ended from outside.
    """
    path = [str(entry) for entry in sys.path]
    program = f"import sys; sys.path[:] = {path!r}; from {__name__} import serve; serve()"
    with Popen([sys.executable, "-c", program], stdin=PIPE, stdout=PIPE) as process:
        try:
            answer, _ = process.communicate(pickle.dumps((function, args, kwargs)))
        except BaseException:
            process.terminate()
            raise
    if not answer:
        code = process.returncode
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        raise CriteoStreamError(
            f"the process of {function.__name__.strip('_')} was ended ({how}): see whether memory "
            "ran out, and run the same command again"
        )
    result, error = pickle.loads(answer)  # of our own process
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]


def serve() -> None:
    """Do the call that standard input asks for, and answer on standard output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal; the one who waits ends this
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what is printed is no answer
    function, args, kwargs = pickle.load(sys.stdin.buffer)
    result, failed = None, None
    try:
        result = function(*args, **kwargs)
    except Exception as error:
        if not isinstance(error, CriteoStreamError):
            error.add_note(traceback.format_exc())  # a traceback cannot be pickled
        failed = error
    with answers:
        pickle.dump((result, failed), answers)

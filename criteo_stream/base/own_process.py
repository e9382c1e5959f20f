"""A call in a process of its own: what it leaves in memory goes with the process."""

import importlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from subprocess import PIPE, Popen
from typing import Any

from criteo_stream.base import errors
from criteo_stream.base.errors import CriteoStreamError


def in_own_process(function: Callable[..., Any], *arguments: object) -> Any:
    """Call a function of a module there, and wait for it; an interruption here ends it.

    Args:
        function: what to call; its arguments and its result are plain values, as JSON has them.
        *arguments: by position.

    Raises:
        CriteoStreamError: what the function raised, or the process was ended from outside.
        RuntimeError: the function raised anything else, with its traceback.
    """
    path = [str(entry) for entry in sys.path]
    program = f"import sys; sys.path[:] = {path!r}; from {__name__} import serve; serve()"
    call = [function.__module__, function.__name__, arguments]
    with Popen([sys.executable, "-c", program], stdin=PIPE, stdout=PIPE) as process:
        try:
            answer, _ = process.communicate(json.dumps(call).encode())
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
    kind, result = json.loads(answer)
    if kind is not None:
        raise getattr(errors, kind, RuntimeError)(result)
    return result


def serve() -> None:
    """Do the call that standard input asks for, and answer on standard output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal; the one who waits ends this
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what is printed is no answer
    module, name, arguments = json.load(sys.stdin)
    answer: tuple[str | None, Any]
    try:
        answer = (None, getattr(importlib.import_module(module), name)(*arguments))
    except CriteoStreamError as error:
        answer = (type(error).__name__, str(error))
    except Exception:
        answer = (RuntimeError.__name__, traceback.format_exc())
    with answers:
        json.dump(answer, answers)

"""A call in a process of its own: what it leaves in memory goes with the process."""

import signal
import traceback
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, ParamSpec, TypeVar

from criteo_stream.base.errors import CriteoStreamError

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def in_own_process(
    function: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
) -> Result:
    """Call a function of a module there, and wait for it; an interruption here ends it.

    Args:
        function: what to call; it, its arguments and its result can be sent to a process.
        *args: its arguments.
        **kwargs: its arguments by name.

    Raises:
        Exception: what the function raised.
        CriteoStreamError: the process was ended from outside.
    """
    context = get_context("spawn")  # a fork would share what is in memory here
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(sender, function, args, kwargs), daemon=True)
    process.start()
    sender.close()
    result, error = None, None
    try:
        result, error = receiver.recv()
    except EOFError:
        process.join()
        code = process.exitcode or 0
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        raise CriteoStreamError(
            f"the process of {function.__name__.strip('_')} was ended ({how}): see whether memory "
            "ran out, and run the same command again"
        ) from None
    except BaseException:
        process.terminate()
        raise
    finally:
        process.join()
        receiver.close()
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]


def _serve(
    sender: Connection, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """Do the call, and send its result or what it raised."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal; the one who waits ends this
    result, failed = None, None
    try:
        result = function(*args, **kwargs)
    except Exception as error:
        if not isinstance(error, CriteoStreamError):
            error.add_note(traceback.format_exc())  # a traceback cannot be sent
        failed = error
    with sender:
        sender.send((result, failed))

"""Connections whose other end is gone without a word: a machine without power, a cut network.

Nothing arrives from there, and who only listens waits for ever. The system can ask whether
somebody is there, but libraries do not let it; so it is set for the connections that they made.
"""

import os
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

_ASK_AFTER: Final = 15
"""Seconds of silence."""
_ASK_EVERY: Final = 5


def fail_when_silent(seconds: int) -> None:
    """Let every TCP connection that this process has fail when its other end is silent for so long.

    The other end's system answers while it runs, whatever the process there does. A network that
    returns before goes on where it was.
    """
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # closed meanwhile, no socket, or not connected
            number = int(descriptor.name)
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                with socket.socket(fileno=os.dup(number)) as connection:
                    _fail_when_silent(connection, seconds)


def _fail_when_silent(connection: socket.socket, seconds: int) -> None:
    if connection.family not in (socket.AF_INET, socket.AF_INET6):
        return
    connection.getpeername()  # raises where it is not connected
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    tcp = {
        socket.TCP_KEEPIDLE: min(_ASK_AFTER, seconds),
        socket.TCP_KEEPINTVL: min(_ASK_EVERY, seconds),
        socket.TCP_KEEPCNT: max(1, (seconds - _ASK_AFTER) // _ASK_EVERY),
        socket.TCP_USER_TIMEOUT: seconds * 1000,  # for what was sent and is not acknowledged
    }
    for option, value in tcp.items():
        connection.setsockopt(socket.IPPROTO_TCP, option, value)

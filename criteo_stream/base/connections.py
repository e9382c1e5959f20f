"""Connections whose other end is gone without a word: a machine without power, a cut network.

Nothing arrives from there, and who only listens waits for ever. The system can ask whether
somebody is there, but libraries do not let it; so it is set for the connections that they made.
"""

import os
import socket
import stat
from contextlib import suppress
from typing import Final

from criteo_stream.base.system import open_descriptors

_ASK_AFTER: Final = 15
"""Seconds of silence."""
_ASK_EVERY: Final = 5


def fail_when_silent(seconds: int) -> None:
    """Let every TCP connection that this process has fail when its other end is silent for so long.

    The other end's system answers while it runs, whatever the process there does. A network that
    returns before goes on where it was.
    """
    for number in open_descriptors():
        with suppress(OSError):  # closed meanwhile, no socket, or not connected
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                with socket.socket(fileno=os.dup(number)) as connection:
                    _fail_when_silent(connection, seconds)


def _fail_when_silent(connection: socket.socket, seconds: int) -> None:
    if connection.family not in (socket.AF_INET, socket.AF_INET6):
        return
    connection.getpeername()  # raises where it is not connected
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    after = min(_ASK_AFTER, seconds)
    tcp = {
        "TCP_KEEPIDLE": after,
        "TCP_KEEPALIVE": after,  # macOS's name for it, whose value may mean others elsewhere
        "TCP_KEEPINTVL": min(_ASK_EVERY, seconds),
        "TCP_KEEPCNT": max(1, (seconds - _ASK_AFTER) // _ASK_EVERY),
        "TCP_USER_TIMEOUT": seconds * 1000,  # for what was sent and is not acknowledged
    }
    if hasattr(socket, "TCP_KEEPIDLE"):
        del tcp["TCP_KEEPALIVE"]
    for name, value in tcp.items():
        if (option := getattr(socket, name, None)) is not None:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)

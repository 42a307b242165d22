"""The way out of a box that has one: a listening socket made inside its network and handed to the server.

The server accepts on it from outside. So there is no relay in the box, no socket file that could be misused, and
nothing on the network of the host: programs see a proxy on 127.0.0.1.
"""

from __future__ import annotations

import posix
import sys

_AF_INET, _SOCK_STREAM, _SOL_SOCKET, _SCM_RIGHTS = 2, 1, 1, 1
_BACKLOG = 128


def hand_out(channel: int, port: int) -> None:
    """Listen on that port of the box's loopback, and send the listener over the socket `channel`."""
    import _socket

    listener = _socket.socket(_AF_INET, _SOCK_STREAM, 0)
    listener.bind(("127.0.0.1", port))
    listener.listen(_BACKLOG)
    carrier = _socket.socket(fileno=channel)
    carrier.sendmsg([b"."], [(_SOL_SOCKET, _SCM_RIGHTS, listener.fileno().to_bytes(4, sys.byteorder))])
    posix.close(carrier.detach())
    posix.close(listener.detach())

"""A tunnel through an HTTP proxy: CONNECT, and then the connection belongs to whoever wanted it (RFC 9110 §9.3.6)."""

from __future__ import annotations

import asyncio
from typing import cast

from freehold.outbound.failures import Unreachable

HEAD_BYTES = 65_536
"""The longest answer to a CONNECT that is read."""


class Tunnel(asyncio.Protocol):
    """The connection to the proxy until it has answered. `opened` is done when the tunnel is there."""

    def __init__(self) -> None:
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport
        self._got = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self.transport = cast(asyncio.Transport, transport)

    def ask(self, authority: str, credential: bytes | None) -> None:
        """Ask for a tunnel to `authority` (`host:port`)."""
        name = authority.encode("idna")
        lines = [b"CONNECT %b HTTP/1.1\r\nhost: %b\r\n" % (name, name)]
        if credential is not None:
            lines.append(b"proxy-authorization: %b\r\n" % credential)
        self.transport.write(b"".join([*lines, b"\r\n"]))

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._got += data
        head, end, rest = self._got.partition(b"\r\n\r\n")
        if not end:
            if len(self._got) > HEAD_BYTES:
                self._fail("its answer has no end")
            return
        status = head.split(b"\r\n", 1)[0].split(b" ", 2)
        if len(status) < 2 or not status[0].startswith(b"HTTP/1.") or not status[1].isdigit():
            self._fail("it does not speak HTTP")
        elif not status[1].startswith(b"2"):
            self._fail(_refusal(int(status[1])))
        elif rest:
            self._fail("it sent more than its answer")
        elif not self.opened.done():
            self.transport.pause_reading()  # what comes now is for the next protocol
            self.opened.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._fail("it hung up")

    def _fail(self, why: str) -> None:
        if not self.opened.done():
            self.opened.set_exception(Unreachable(f"the proxy opens no tunnel: {why}"))
            self.transport.abort()


def _refusal(status: int) -> str:
    if status == 407:
        return "it wants a user and password (407); put them into its URL"
    return f"it answered {status}"

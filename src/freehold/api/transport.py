"""Uvicorn's HTTP protocol, with one system call where it makes two or three.

It writes the head of an answer and each piece of its body by themselves, and uvloop sends each at once. A write to a
socket costs more than all that we do to a small answer, so what one turn of the loop writes is gathered and leaves when
the turn is over. Nothing is held longer than that. The server is told to use `GatheringProtocol` as its HTTP class.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class GatheringTransport:
    """A transport whose writes of one turn of the loop go out together; everything else is the transport's own."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._call_soon = asyncio.get_running_loop().call_soon
        self._held: bytes | None = None

    def write(self, data: bytes) -> None:
        """See `asyncio.Transport`."""
        if self._held is None:
            self._held = data
            self._call_soon(self._flush)
        else:
            self._held += data

    def close(self) -> None:
        """See `asyncio.Transport`: what was written still leaves."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        held = self._held
        if held is not None:
            self._held = None
            self._transport.write(held)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class GatheringProtocol(HttpToolsProtocol):
    """See the module."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        super().connection_made(cast(asyncio.Transport, GatheringTransport(cast(asyncio.Transport, transport))))

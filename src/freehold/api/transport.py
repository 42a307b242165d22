"""The transport under an HTTP connection: what one turn of the loop writes leaves in one system call.

The HTTP server writes the head of an answer and each piece of its body by themselves, and uvloop sends each at once. A
write to a socket costs more than all that we do to a small answer, so what one turn of the loop writes is gathered and
leaves when the turn is over. Nothing is held longer than that. What was written to several connections leaves in one
go: a reader that is awake already need not be woken for each, which costs as much as the write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

JOINED_BYTES = 16_384
"""Up to here one copy is cheaper than a list of pieces for the kernel."""


class Turn:
    """The transports of one loop that were written to in its turn, in that order."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._call_soon = loop.call_soon
        self._written: list[GatheringTransport] = []

    def add(self, transport: GatheringTransport) -> None:
        """It holds something that shall leave when the turn is over."""
        if not self._written:
            self._call_soon(self._over)
        self._written.append(transport)

    def _over(self) -> None:
        written, self._written = self._written, []
        for transport in written:
            transport.flush()


_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, Turn] = WeakKeyDictionary()


def _turn() -> Turn:
    loop = asyncio.get_running_loop()
    found = _turns.get(loop)
    if found is None:
        found = _turns[loop] = Turn(loop)
    return found


class GatheringTransport:
    """A transport whose writes of one turn of the loop go out together; everything else is the transport's own."""

    __slots__ = ("_held", "_held_bytes", "_transport", "_turn", "is_closing")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.is_closing = transport.is_closing
        self._turn = _turn()
        self._held: list[bytes] = []
        self._held_bytes = 0

    def write(self, data: bytes) -> None:
        """See `asyncio.Transport`."""
        if not self._held:
            self._turn.add(self)
        self._held.append(data)
        self._held_bytes += len(data)

    def chunks(self, flow: Any, first: Callable[[], None]) -> Callable[[bytes], bool]:
        """A sink (see `wire/sinks.py`) that writes each read as a chunk; before the first one `first` is called. It
        wants no more for now when `flow` says that the client is behind.
        """
        flows = False

        def take(data: bytes) -> bool:
            nonlocal flows
            if not flows:
                flows = True
                first()
            self.write(b"%x\r\n%b\r\n" % (len(data), data))
            return not flow.write_paused

        return take

    def send(self, head: bytes, body: bytes = b"") -> None:
        """Write both now, after whatever was held: nothing more will come in this turn."""
        if self._held:
            self.flush()
        if len(body) < JOINED_BYTES:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))

    def close(self) -> None:
        """See `asyncio.Transport`: what was written still leaves."""
        self.flush()
        self._transport.close()

    def flush(self) -> None:
        """Write what is held."""
        held = self._held
        if not held:
            return
        self._held = []
        if len(held) == 1:
            self._transport.write(held[0])
        elif self._held_bytes < JOINED_BYTES:
            self._transport.write(b"".join(held))
        else:
            self._transport.writelines(held)
        self._held_bytes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

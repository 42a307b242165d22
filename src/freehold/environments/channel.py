"""The server's end of a live box: sends calls, hands answers to whoever waits, notices its death.

It trusts nothing that comes back: a line is bounded, its shape is checked, and a box that talks nonsense is ended.
This module does not know what kind of box it is.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from freehold.environments.base import BoxDied, BoxFailed, Fenced, ToolName, ToolOutcome
from freehold.environments.journal import outcome_of
from freehold.environments.tools.specs import problem

_LINE_BYTES = 48 << 20
"""More than the largest outcome: a PDF of 20 MB in base64 and the JSON around it."""
START_TIMEOUT_S = 30.0
_END_TIMEOUT_S = 10.0

End = Callable[[], Awaitable[str]]
"""Ends the processes of the box and waits until they are gone; gives what they said on standard error."""


class LiveBox:
    """One box that answers on `connection`. `end` is called once, when it is closed or has died."""

    def __init__(self, session_id: str, connection: socket.socket, end: End) -> None:
        self.session_id = session_id
        self._connection = connection
        self._end = end
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._number = 0
        self._gone = asyncio.Event()
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._last_words = ""
        self._listening: asyncio.Task[None] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self.on_end: list[Callable[[], None]] = []
        """Called, in order, when the box is no longer there."""

    @property
    def alive(self) -> bool:
        """See `Box`."""
        return self._writer is not None and not self._gone.is_set()

    @property
    def ended(self) -> str:
        """See `Box`."""
        return self._last_words

    async def start(self, first: Mapping[str, Any]) -> None:
        """Tell the supervisor what it is and wait until it answers.

        Raises:
            BoxFailed: it did not, with its last words.
        """
        reader, self._writer = await asyncio.open_unix_connection(sock=self._connection, limit=_LINE_BYTES)
        self._listening = asyncio.create_task(self._listen(reader), name=f"box {self.session_id}")
        try:
            self._send(first)
            async with asyncio.timeout(START_TIMEOUT_S):
                await self._ready
        except (BoxDied, TimeoutError) as error:
            await self.close()
            words = self._last_words or f"no answer within {START_TIMEOUT_S:g} s"
            raise BoxFailed(f"the box did not come up: {words}") from error
        except BaseException:
            await self.close()
            raise

    async def call(self, name: ToolName, arguments: Mapping[str, Any], *, key: str, epoch: int) -> ToolOutcome:
        """See `Box`."""
        wrong = problem(name, arguments)
        if wrong:
            return ToolOutcome(({"type": "text", "text": wrong},), is_error=True)
        message = await self._ask({"name": name, "arguments": dict(arguments), "key": key, "epoch": epoch})
        if "fenced" in message:
            raise Fenced(f"the box of {self.session_id} serves epoch {message['fenced']}, not {epoch}")
        try:
            return outcome_of(message)
        except ValueError as error:
            await self.close()
            raise BoxDied(f"the box of {self.session_id} answered what no tool answers; it was closed") from error

    def stop(self, why: str) -> None:
        """End everything that runs in the box; calls that run end with an error that says why. The box stays."""
        if self.alive:
            self._send({"do": "stop", "why": why})

    async def close(self) -> None:
        """See `Box`."""
        if self._writer is not None:
            self._writer.close()
        if self._listening is not None and self._listening is not asyncio.current_task():
            await asyncio.wait([self._listening], timeout=_END_TIMEOUT_S)

    async def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        if not self.alive:
            raise BoxDied(self._epitaph())
        self._number += 1
        number = self._number
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            self._send({"do": "call", "id": number, **order})
            message: dict[str, Any] = await future
            return message
        except asyncio.CancelledError:
            if self.alive:
                self._send({"do": "cancel", "id": number})
            raise
        finally:
            self._waiting.pop(number, None)

    def _send(self, message: Mapping[str, Any]) -> None:
        if self._writer is not None:
            self._writer.write(json.dumps(message, separators=(",", ":")).encode("ascii") + b"\n")

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        try:
            while line := await reader.readline():
                self._take(json.loads(line))
        except (OSError, ValueError, RecursionError):
            pass  # cut off, too long or not JSON: ended below like any other death
        finally:
            self._gone.set()
            self._last_words = await self._end()
            self._bury()

    def _take(self, message: Any) -> None:
        if not isinstance(message, dict):
            raise ValueError("not an object")
        if "ready" in message and not self._ready.done():
            self._ready.set_result(None)
        waiting = self._waiting.get(message.get("id", 0))
        if waiting is not None and not waiting.done():
            waiting.set_result(message)

    def _bury(self) -> None:
        if self._writer is not None:
            self._writer.close()
        gone = BoxDied(self._epitaph())
        if not self._ready.done():
            self._ready.set_exception(gone)
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(BoxDied(str(gone)))
        if not self._ready.cancelled():
            self._ready.exception()  # `start` may not be waiting any more
        for callback in self.on_end:
            callback()

    def _epitaph(self) -> str:
        said = f": {self._last_words}" if self._last_words else ""
        return f"the box of {self.session_id} is gone{said}; whether the tool took effect is unknown"

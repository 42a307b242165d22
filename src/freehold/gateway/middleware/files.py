"""Files that a request refers to by id, put into it as they are: the upstream has no Files API, or does not know ours.

A request without `"file_id"` anywhere in its bytes goes through at the price of one search. In a session a file that
has gone since leaves a text in its place, so that the conversation can go on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

import msgspec

from freehold.calls import Call, Handler, Reply
from freehold.library.message_files import Missing
from freehold.wire.envelopes import parse_fields, replace_fields
from freehold.wire.search import contains

_SIGN = b'"file_id"'


class PutsFilesIn(Protocol):
    """See `library.message_files.MessageFiles`."""

    async def inlined(self, workspace_id: str, messages: Sequence[Any], *, missing: Missing = "refuse") -> list[Any]:
        """The messages with the files in place of their ids."""
        ...


class FilesInMessages:
    """`knows_files`: the upstream has files of its own; an id that is not ours is left for it to judge.

    Raises:
        NotFound: there is no such file in the caller's workspace.
        InvalidRequest, TooLarge: it cannot be in a message.
    """

    def __init__(self, files: PutsFilesIn, *, knows_files: bool) -> None:
        self._files = files
        self._missing: Missing = "leave" if knows_files else "refuse"

    def __call__(self, inner: Handler) -> Handler:
        """See `Middleware`."""

        def handle(call: Call) -> AbstractAsyncContextManager[Reply]:
            return self._handle(inner, call) if contains(call.body, _SIGN) else inner(call)

        return handle

    @asynccontextmanager
    async def _handle(self, inner: Handler, call: Call) -> AsyncIterator[Reply]:
        await self._put_in(call)
        async with inner(call) as reply:
            yield reply

    async def _put_in(self, call: Call) -> None:
        raw = call.fields.get("messages")
        if raw is None or _SIGN not in raw or call.caller is None:
            return
        messages = msgspec.json.decode(raw)
        if not isinstance(messages, list):
            return
        missing = "say" if call.session_id else self._missing
        inlined = await self._files.inlined(call.caller.workspace_id, messages, missing=missing)
        if inlined != messages:
            call.body = replace_fields(call.body, call.fields, {"messages": msgspec.json.encode(inlined)})
            call.fields = parse_fields(call.body)

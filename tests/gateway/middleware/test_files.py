"""Files in messages, seen from the pipeline."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from freehold.calls import Call, Caller, Reply
from freehold.gateway.middleware.files import FilesInMessages
from freehold.library.message_files import Missing
from freehold.wire.envelopes import parse_fields


class Shelf:
    """Files of which there are none; keeps how it was asked."""

    def __init__(self) -> None:
        self.asked: list[Missing] = []

    async def inlined(self, workspace_id: str, messages: Sequence[Any], *, missing: Missing = "refuse") -> list[Any]:
        self.asked.append(missing)
        return [{"role": "user", "content": "put in"}]


async def passed(body: bytes, *, knows_files: bool = False, session_id: str | None = None) -> tuple[Call, Shelf]:
    shelf, seen = Shelf(), []

    @asynccontextmanager
    async def inner(call: Call) -> AsyncIterator[Reply]:
        seen.append(call)
        yield Reply(200, [], whole=b"{}")

    caller = Caller("wrk_1", "key_1", "member")
    call = Call("req_1", "messages", body, parse_fields(body), [], "m", False, 0, caller, session_id=session_id)
    async with FilesInMessages(shelf, knows_files=knows_files)(inner)(call):
        pass
    return seen[0], shelf


async def test_a_body_without_the_sign_is_not_even_read() -> None:
    body = b'{"messages": [{"role": "user", "content": "a file_id"}]}'
    call, shelf = await passed(body)
    assert call.body is body and shelf.asked == []


async def test_all_but_the_messages_stay_byte_for_byte() -> None:
    call, _ = await passed(b'{ "model" : "m",\n "messages": [{"file_id": 1}], "max_tokens":1.0 }')
    assert call.body == b'{ "model" : "m",\n "messages": [{"role":"user","content":"put in"}], "max_tokens":1.0 }'
    assert msgspec.json.decode(call.fields["messages"]) == [{"role": "user", "content": "put in"}]


async def test_a_file_id_elsewhere_than_in_messages_is_left_alone() -> None:
    body = b'{"messages": [], "container": {"file_id": "file_1"}}'
    call, shelf = await passed(body)
    assert call.body is body and shelf.asked == []


@pytest.mark.parametrize(
    ("knows_files", "session_id", "missing"), [(False, None, "refuse"), (True, None, "leave"), (True, "sesn_1", "say")]
)
async def test_what_becomes_of_unknown_files_depends_on_who_asks_whom(
    knows_files: bool, session_id: str | None, missing: Missing
) -> None:
    body = b'{"messages": [{"file_id": "file_1"}]}'
    _, shelf = await passed(body, knows_files=knows_files, session_id=session_id)
    assert shelf.asked == [missing]

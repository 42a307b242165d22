"""The server's end of a box, against boxes that lie."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from freehold.environments.base import BoxDied, BoxFailed
from freehold.environments.channel import LiveBox

Answers = Callable[[dict[str, Any]], bytes]


async def lying(answers: Answers) -> tuple[LiveBox, list[str]]:
    """A live box whose other end is `answers`, and what happened to it."""
    ours, theirs = socket.socketpair()
    happened: list[str] = []

    async def serve() -> None:
        reader, writer = await asyncio.open_unix_connection(sock=theirs)
        with contextlib.closing(writer):
            await reader.readline()
            writer.write(b'{"ready":{}}\n')
            while line := await reader.readline():
                writer.write(answers(json.loads(line)))

    task = asyncio.create_task(serve())

    async def end() -> str:
        happened.append("ended")
        task.cancel()
        await asyncio.wait([task])
        return "last words"

    box = LiveBox("sesn_1", ours, end)
    await box.start({})
    return box, happened


@pytest.mark.parametrize(
    "answer",
    [
        b'{"id":1,"content":[],"is_error":false}\n',
        b'{"id":1,"content":[{"type":"tool_use"}],"is_error":false}\n',
        b'{"id":1}\n',
        b"not json\n",
        b"[1]\n",
        b"[" * 100_000 + b"\n",
    ],
)
async def test_a_box_that_talks_nonsense_is_ended(answer: bytes) -> None:
    box, happened = await lying(lambda _: answer)
    with pytest.raises(BoxDied):
        await box.call("bash", {"command": "true"}, key="k", epoch=1)
    await box.close()
    assert happened == ["ended"]
    assert not box.alive


async def test_answers_find_whoever_asked_in_any_order() -> None:
    held: list[int] = []

    def answers(order: dict[str, Any]) -> bytes:
        held.append(order["id"])
        if len(held) < 2:
            return b""
        lines = [
            {"id": number, "content": [{"type": "text", "text": str(number)}], "is_error": False} for number in held
        ]
        return b"".join(json.dumps(line).encode() + b"\n" for line in reversed(lines)) + b'{"id":99}\n'

    box, _ = await lying(answers)
    calls: list[Awaitable[Any]] = [box.call("glob", {"pattern": "*"}, key=key, epoch=1) for key in "ab"]
    first, second = await asyncio.gather(*calls)
    assert (first.content[0]["text"], second.content[0]["text"]) == ("1", "2")
    await box.close()


async def test_a_box_that_never_answers_did_not_come_up() -> None:
    ours, theirs = socket.socketpair()

    async def end() -> str:
        return "bwrap: no way"

    box = LiveBox("sesn_1", ours, end)
    theirs.close()
    with pytest.raises(BoxFailed, match="bwrap: no way"):
        await box.start({})


async def test_wrong_input_never_reaches_the_box() -> None:
    asked: list[dict[str, Any]] = []
    box, _ = await lying(lambda order: asked.append(order) or b"")  # type: ignore[func-returns-value]
    outcome = await box.call("read", {}, key="k", epoch=1)
    assert outcome.is_error
    assert asked == []
    await box.close()

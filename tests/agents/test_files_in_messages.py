"""Files by their id in Messages and in sessions, on a whole server whose upstream has no Files API."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from anthropic import APIStatusError, NotFoundError

from freehold import testing
from tests.agents.house import Script, text
from tests.agents.stage import Play, another
from tests.contract.manifest import shows_difference

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
INLINE = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PNG).decode()}


def image(file_id: str) -> Any:
    return {"type": "image", "source": {"type": "file", "file_id": file_id}}


async def upload(running: testing.Running) -> str:
    return (await running.client.files.upload(file=("a.png", PNG, "image/png"))).id


async def say(stage: Play, *blocks: Any) -> None:
    await stage.client.beta.sessions.events.send(
        stage.session, events=[{"type": "user.message", "content": list(blocks)}]
    )


async def test_the_upstream_gets_the_bytes_of_a_file_that_a_message_names() -> None:
    script = Script([text("seen")])
    async with testing.server(upstream=script) as running:
        content = [image(await upload(running)), {"type": "text", "text": 'what is a "file_id"?'}]
        asked: Any = [{"role": "user", "content": content}]
        await running.client.messages.create(model="claude-haiku-4-5", max_tokens=9, messages=asked)
    assert script.asked[0]["messages"][0]["content"] == [{"type": "image", "source": INLINE}, content[1]]
    assert list(script.asked[0]) == ["max_tokens", "messages", "model"]


async def test_a_message_that_only_speaks_of_file_ids_leaves_as_it_came() -> None:
    script = Script([text("seen")])
    body = (
        b'{"model": "claude-haiku-4-5",  "max_tokens": 9, "messages": [{"content": "a \\"file_id\\"", "role": "user"}]}'
    )
    async with testing.server(upstream=script) as running:
        await running.client.post(
            "/v1/messages", cast_to=object, content=body, options={"headers": {"content-type": "application/json"}}
        )
    assert script.calls[0].body == body


async def test_a_file_that_is_not_there_is_a_404_that_names_it_and_nobody_is_asked() -> None:
    script = Script([text("seen")])
    async with testing.server(upstream=script) as running:
        asked: Any = [{"role": "user", "content": [image("file_none")]}]
        with pytest.raises(NotFoundError, match="file_none"):
            await running.client.messages.create(model="claude-haiku-4-5", max_tokens=9, messages=asked)
        assert script.asked == []


async def test_the_simulator_counts_what_is_in_a_file() -> None:
    async with testing.server() as running:
        given = await running.client.files.upload(file=("a.txt", b"word " * 1000, "text/plain"))
        block: Any = {"type": "document", "source": {"type": "file", "file_id": given.id}}
        asked: Any = [{"role": "user", "content": [block]}]
        counted = await running.client.messages.count_tokens(model="claude-haiku-4-5", messages=asked)
        assert counted.input_tokens > 900


async def test_a_session_sees_an_image_by_its_id_and_its_log_shows_the_id() -> None:
    script = Script([text("seen")])
    async with testing.server(upstream=script) as running:
        file_id = await upload(running)
        stage = await another(running)
        await say(stage, image(file_id))
        await stage.idle(1)
        sent = next(event for event in await stage.events() if event.type == "user.message")
        assert sent.content[0].source.file_id == file_id
    assert script.asked[0]["messages"][0]["content"][0] == {"type": "image", "source": INLINE}


async def test_what_cannot_be_in_a_message_is_refused_when_it_is_sent() -> None:
    script = Script([text("seen")])
    async with testing.server(upstream=script) as running:
        stage = await another(running)
        archive = await running.client.files.upload(file=("a.zip", b"PK", "application/zip"))
        for file_id, status in (("file_none", 404), (archive.id, 400)):
            with pytest.raises(APIStatusError) as error:
                await say(stage, image(file_id))
            assert error.value.status_code == status and file_id in error.value.message
            first: Any = {"type": "user.message", "content": [image(file_id)]}
            with pytest.raises(APIStatusError) as error:
                await another(running, initial_events=[first])
            assert error.value.status_code == status
        assert await stage.events() == []


@shows_difference("files-that-are-gone")
async def test_a_session_goes_on_when_a_file_of_its_conversation_was_deleted() -> None:
    script = Script([text("seen"), text("still here")])
    async with testing.server(upstream=script) as running:
        file_id = await upload(running)
        stage = await another(running)
        await say(stage, image(file_id))
        await stage.idle(1)
        await running.client.files.delete(file_id)
        await stage.turn(2)
        assert not [event for event in await stage.events() if event.type == "session.error"]
    (block,) = script.asked[1]["messages"][0]["content"]
    assert block == {"type": "text", "text": f"[The file {file_id} is gone.]"}

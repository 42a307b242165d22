"""What the simulator's tests share: requests in short, answers parsed, and a real HTTP server around it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import uvicorn

from freehold.calls import Call, Caller, Headers, Reply
from freehold.clock import HandClock
from freehold.simulator.served import Served
from freehold.simulator.upstream import Simulator
from freehold.wire.frames import events
from freehold.wire.grammar import Fold, Grammar

OPUS_45 = "claude-opus-4-5"
HAIKU = "claude-haiku-5-5"
OLD_HAIKU = "claude-haiku-4-5"


def tool(
    name: str, description: str = "", required: tuple[str, ...] | None = None, **properties: Any
) -> dict[str, Any]:
    """A custom tool; every property is a schema or the name of a type."""
    shapes = {key: {"type": value} if isinstance(value, str) else value for key, value in properties.items()}
    schema = {"type": "object", "properties": shapes, "required": list(shapes if required is None else required)}
    return {"name": name, "description": description, "input_schema": schema}


def user(*content: Any) -> dict[str, Any]:
    """A user message: of one string, or of blocks."""
    only = content[0] if len(content) == 1 and isinstance(content[0], str) else list(content)
    return {"role": "user", "content": only}


def assistant(*content: Any) -> dict[str, Any]:
    """An assistant message."""
    return {**user(*content), "role": "assistant"}


def body(*messages: Any, model: str = OLD_HAIKU, max_tokens: int = 1_000, **more: Any) -> dict[str, Any]:
    """A request; a plain string is a user message."""
    listed = [user(one) if isinstance(one, str) else one for one in messages]
    return {"model": model, "max_tokens": max_tokens, "messages": listed, **more}


def call_of(
    request: Mapping[str, Any] | bytes,
    *,
    headers: Headers | None = None,
    workspace: str = "default",
    route: Any = "messages",
) -> Call:
    """A call as an API server would make it of a request."""
    raw = request if isinstance(request, bytes) else json.dumps(request).encode()
    parsed = json.loads(raw) if isinstance(request, bytes) else request
    stream = bool(parsed.get("stream")) if isinstance(parsed, dict) else False
    model = parsed.get("model", "") if isinstance(parsed, dict) else ""
    return Call("req_test", route, raw, {}, headers or [], str(model), stream, 0, Caller(workspace, "key_1", "member"))


async def events_of(reply: Reply) -> list[dict[str, Any]]:
    """Every event of a stream, held against the grammar."""
    assert reply.reads is not None
    grammar, found = Grammar(), []
    async for read in reply.reads:
        for _, data in events(read.data, read.borders):
            found.append(json.loads(data))
            grammar.accept(found[-1])
    return found


async def ask(simulator: Simulator, request: Mapping[str, Any] | bytes, **options: Any) -> tuple[int, dict[str, Any]]:
    """Status and answer; a stream is folded into its message."""
    async with simulator(call_of(request, **options)) as reply:
        if reply.whole is not None:
            answer: dict[str, Any] = json.loads(reply.whole)
            return reply.status, answer
        fold = Fold()
        for event in await events_of(reply):
            fold.add(event)
        return reply.status, fold.finish()


async def message(simulator: Simulator, request: Mapping[str, Any], **options: Any) -> dict[str, Any]:
    """The message; fails if it is an error."""
    status, answer = await ask(simulator, request, **options)
    assert status == 200, answer
    return answer


async def refusal(simulator: Simulator, request: Mapping[str, Any] | bytes, **options: Any) -> dict[str, Any]:
    """The `error` of a request that is refused as the caller's fault."""
    status, answer = await ask(simulator, request, **options)
    assert 400 <= status < 500, answer
    error: dict[str, Any] = answer["error"]
    return error


def text_of(answer: Mapping[str, Any]) -> str:
    """All text blocks of a message."""
    return "\n".join(block["text"] for block in answer["content"] if block["type"] == "text")


def calls_of(answer: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The tool calls of a message: name and input."""
    return [(block["name"], block["input"]) for block in answer["content"] if block["type"] == "tool_use"]


def results(answer: Mapping[str, Any], *texts: str, errors: tuple[int, ...] = ()) -> dict[str, Any]:
    """The user message that answers the tool calls of a message, in order."""
    uses = [block for block in answer["content"] if block["type"] == "tool_use"]
    assert len(uses) == len(texts), (uses, texts)
    blocks = [
        {"type": "tool_result", "tool_use_id": use["id"], "content": text}
        for use, text in zip(uses, texts, strict=True)
    ]
    for index in errors:
        blocks[index]["is_error"] = True
    return user(*blocks)


def simulator(**options: Any) -> Simulator:
    """A simulator on a clock that stands still."""
    return Simulator(HandClock(), **options)


@contextlib.asynccontextmanager
async def listening(served: Served) -> AsyncIterator[str]:
    """The simulator behind a real HTTP server on a free port: its address."""
    config = uvicorn.Config(served, host="127.0.0.1", port=0, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(60):
            while not server.started:  # noqa: ASYNC110  (uvicorn has no event for it)
                await asyncio.sleep(0.005)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task

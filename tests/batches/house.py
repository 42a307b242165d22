"""What tests of batches stand on: a server on any database, an upstream that answers as told, requests by the dozen."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from anthropic import AsyncAnthropic
from anthropic.types.messages import MessageBatch

from freehold.calls import Call, Headers, Reply
from freehold.simulator.served import Served, Settings
from freehold.wire.envelopes import error_body, error_from

MODEL = "claude-haiku-4-5"


def params(text: str, **more: Any) -> dict[str, Any]:
    return {"model": MODEL, "max_tokens": 64, "messages": [{"role": "user", "content": text}], **more}


def requests(count: int, first: int = 0) -> list[Any]:
    return [{"custom_id": f"item-{i}", "params": params(f"number {i}")} for i in range(first, first + count)]


async def ended(client: AsyncAnthropic, batch_id: str, seconds: float = 60) -> MessageBatch:
    """The batch once it has ended (bounded)."""
    async with asyncio.timeout(seconds):
        while True:
            batch = await client.messages.batches.retrieve(batch_id)
            if batch.processing_status == "ended":
                return batch
            await asyncio.sleep(0.02)  # polling from outside, as clients do


async def results(client: AsyncAnthropic, batch_id: str) -> dict[str, Any]:
    """Result by custom_id; each there once."""
    found = [one async for one in await client.messages.batches.results(batch_id)]
    assert len({one.custom_id for one in found}) == len(found)
    return {one.custom_id: one.result for one in found}


async def progress(client: AsyncAnthropic, batch_id: str) -> dict[str, Any]:
    got: dict[str, Any] = await client.get(f"/freehold/v1/batches/{batch_id}/progress", cast_to=dict[str, Any])
    return got


async def paused(client: AsyncAnthropic, batch_id: str) -> dict[str, Any]:
    """The progress of a batch once it has paused (bounded)."""
    async with asyncio.timeout(120):
        while True:
            now = await progress(client, batch_id)
            assert now["processing_status"] == "in_progress", now
            if now["paused"] and not now["running"]:
                return now
            await asyncio.sleep(0.02)  # polling from outside


async def until(told: Callable[[], object], seconds: float = 60) -> None:
    """Wait until something holds (bounded)."""
    async with asyncio.timeout(seconds):
        while True:
            if told():
                return
            await asyncio.sleep(0.01)


def message(text: str = "fine", **more: Any) -> bytes:
    whole = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 5},
        **more,
    }
    return json.dumps(whole).encode()


class Scripted:
    """A Handler that answers as its script says: from the text and how often it was asked to status, body, headers.

    `gate`, when it is closed, holds every call; `open` counts those that are held.
    """

    def __init__(self, script: Callable[[str, int], tuple[int, bytes] | tuple[int, bytes, Headers]]) -> None:
        self.script = script
        self.asked: Counter[str] = Counter()
        self.calls: list[Call] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.open = 0
        self.most_open = 0

    @asynccontextmanager
    async def __call__(self, call: Call) -> AsyncIterator[Reply]:
        text = json.loads(call.body)["messages"][0]["content"]
        self.asked[text] += 1
        self.calls.append(call)
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            await self.gate.wait()
            await asyncio.sleep(0)
            status, body, *rest = self.script(text, self.asked[text])
            yield Reply(status, [(b"content-type", b"application/json"), *(rest[0] if rest else [])], whole=body)
        finally:
            self.open -= 1


def fine(text: str, _: int) -> tuple[int, bytes]:
    return 200, message(f"answer to {text}")


def failed(status: int, kind: str = "") -> bytes:
    inner = {"type": kind, "message": "as told"} if kind else {"message": "as told"}
    return error_body(error_from(inner, status), "req_upstream")


def kinds(found: Iterable[Any]) -> Counter[str]:
    return Counter(one.type for one in found)


@asynccontextmanager
async def claude(settings: Settings) -> AsyncIterator[tuple[str, Served]]:
    """The simulator as a server of its own on a free port: its address, and it."""
    served = Served(settings)
    config = uvicorn.Config(served, host="127.0.0.1", port=0, log_config=None, lifespan="off", ws="none")
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    running = asyncio.create_task(server.serve())
    try:
        await until(lambda: server.started)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", served
    finally:
        server.should_exit = True
        await running

"""A worker follows its session through streams that break: nothing is missed, nothing is begun twice."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

from freehold.outbound.sdk_http import http_client
from freehold.upstreams.network import Network
from freehold.wire.frames import frame
from freehold.worker.credentials import client_of
from freehold.worker.following import Following
from tests.scripted_upstream import Line, Request, scripted


def event(kind: str, number: int, **fields: Any) -> dict[str, Any]:
    return {"id": f"sevt_{number}", "type": kind, "processed_at": "2026-01-01T00:00:00Z", **fields}


def call(number: int) -> dict[str, Any]:
    return event("agent.tool_use", number, name="bash", input={}, evaluated_permission="allow")


class Log:
    """A session's log on a server whose streams break off: each tells the next event and ends in its middle."""

    def __init__(self, *events: dict[str, Any]) -> None:
        self.events = events
        self.told = 0

    async def answer(self, request: Request, line: Line) -> None:
        if "/stream" not in request.line:
            body = {"data": self.events[: self.told], "next_page": None}
            await line.answer(200, json.dumps(body).encode())
            return
        await line.begin_stream()
        if self.told < len(self.events):
            live = self.events[self.told]
            self.told += 1
            await line.chunk(frame(live["type"], json.dumps(live).encode()))
        await asyncio.sleep(0.05)  # what was sent is read; then the connection is reset, as by a server that is killed
        line.hang_up()


async def test_a_stream_that_breaks_off_is_opened_again_and_each_call_begins_once() -> None:
    begun: list[str] = []

    async def begin(event: Any) -> None:
        begun.append(event.id)

    log = Log(call(1), call(2), event("session.status_terminated", 3))
    network = Network()
    async with scripted(log.answer) as upstream:
        way = http_client(lambda origin: network.client(origin, os.environ))
        client = client_of(upstream.url, "sk-key", way)
        following = Following(client, "sesn_1", {"bash"}, begin, idle_s=60)
        async with asyncio.timeout(60):
            await following.run()
        await way.aclose()
    assert following.over.is_set() and begun == ["sevt_1", "sevt_2"]

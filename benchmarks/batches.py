"""What a batch costs on the local engine: CPU of taking it in, of each item above a bare call, of reading results.

    python benchmarks/run.py batches [--quick]

Twice: with an upstream that answers in process and at once, so that only our own work is measured, and with the fake
Claude of `gateway/upstream.c` over HTTP. The pipeline's own CPU for a call is measured first, by the same calls without
a batch, and taken off. Beside it the same calls made by others (`batch_peers.py`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from types import TracebackType
from typing import Any

import httpx2

from benchmarks.batch_peers import OPEN_AT_ONCE, fake_claude, peers
from freehold.calls import Call, Caller, Reply
from freehold.inprocess import AsgiTransport
from freehold.testing.starting import server
from freehold.wire.envelopes import parse_fields

MESSAGE = json.dumps(
    {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-4-5",
        "content": [{"type": "text", "text": "x" * 200}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 5},
    }
).encode()
PEER_ITEMS = 3_000
PARAMS = b'{"model":"claude-haiku-4-5","max_tokens":64,"messages":[{"role":"user","content":"hello number %d"}]}'


class _Answer:
    async def __aenter__(self) -> Reply:
        return Reply(200, [(b"content-type", b"application/json")], whole=MESSAGE)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


def upstream(call: Call) -> _Answer:
    return _Answer()


def anonymous_mb() -> int:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) // 1024 for line in status if line.startswith("RssAnon"))


async def bare_call_us(running: Any, count: int) -> float:
    """The pipeline's CPU for one call, without HTTP and without a batch."""
    caller = Caller("wrkspc_bench", "apikey_bench", "member")
    began = time.process_time()

    async def part(first: int) -> None:
        for number in range(first, count, OPEN_AT_ONCE):
            await call(number)

    async def call(number: int) -> None:
        body = PARAMS % number
        made = Call(
            f"req_{number}", "messages", body, parse_fields(body), [], "claude-haiku-4-5", False, 0, caller=caller
        )
        async with running.application.handler(made):
            pass

    await asyncio.gather(*(part(first) for first in range(OPEN_AT_ONCE)))
    await running.application.store.flush()
    return (time.process_time() - began) / count * 1e6


async def measured(items: int, upstream: Any = None, settings: dict[str, Any] | None = None) -> dict[str, Any]:
    """One batch from its making to its results."""
    async with server(upstream=upstream, settings=settings or {}) as running:
        bare = await bare_call_us(running, min(items, 20_000))
        body = b'{"requests":['
        body += b",".join(b'{"custom_id":"item-%d","params":%b}' % (i, PARAMS % i) for i in range(items)) + b"]}"
        transport = AsgiTransport(running.application.asgi)
        headers = {"authorization": f"Bearer {running.key}"}
        async with httpx2.AsyncClient(transport=transport, base_url="http://x", headers=headers, timeout=600) as client:
            memory_mb, began = anonymous_mb(), time.process_time()
            made = (await client.post("/v1/messages/batches", content=body)).json()
            taken, wall = time.process_time(), time.monotonic()
            highest = anonymous_mb()
            while (await client.get(f"/v1/messages/batches/{made['id']}")).json()["processing_status"] != "ended":
                await asyncio.sleep(0.25)
                highest = max(highest, anonymous_mb())
            worked, wall = time.process_time(), time.monotonic() - wall
            found: set[str] = set()
            lines = 0
            async with client.stream("GET", f"/v1/messages/batches/{made['id']}/results") as answer:
                async for line in answer.aiter_lines():
                    lines += 1
                    found.add(line.split('"', 4)[3])
            read = time.process_time()
    return {
        "items": items,
        "insert_cpu_us_each": round((taken - began) / items * 1e6, 1),
        "item_cpu_us": round((worked - taken) / items * 1e6, 1),
        "bare_call_cpu_us": round(bare, 1),
        "engine_cpu_us_above_the_gateway": round((worked - taken) / items * 1e6 - bare, 1),
        "results_cpu_us_a_line": round((read - worked) / items * 1e6, 1),
        "items_per_s": round(items / wall),
        "memory_growth_mb": highest - memory_mb,
        "lost": items - len(found),
        "doubled": lines - len(found),
    }


def main() -> dict[str, Any]:
    """Both ways and the peers; the process's whole CPU counts, threads included."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the items")
    items = 10_000 if parser.parse_args().quick else 100_000
    report: dict[str, Any] = {"upstream_in_process": asyncio.run(measured(items, upstream))}
    with fake_claude() as url:
        report["fake_claude_over_http"] = asyncio.run(measured(items, settings={"upstream": url}))
        report["beside"] = peers(url, min(items, PEER_ITEMS))
    return report


if __name__ == "__main__":
    print(json.dumps(main(), indent=2))

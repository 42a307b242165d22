"""A day of calls with deadlines: does none come too late, and what does it cost beside asking each at once?

    python benchmarks/run.py offload [--quick]

10,000 calls come over 24 hours of a clock that is turned by hand, with deadlines from three minutes to a day. The
upstream answers a call in 5 to 40 seconds; its batches take a median of 20 minutes, some for hours, and one in fifty
expires unanswered. Engine, store and rules are the real ones; only the upstream and the clock are made up.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from freehold.batches.collected import Collected
from freehold.batches.keeper import Keeper
from freehold.batches.offload import Offload, OffloadPlan
from freehold.batches.upstream import UpstreamEngine
from freehold.calls import Call, Headers, Reply
from freehold.clock import HandClock, rfc3339
from freehold.ids import new_id
from freehold.jobs.owners import Owners
from freehold.ledger.rates import Rates
from freehold.store.deferred import DeferredRow, DeferredRows
from freehold.store.engine import Store
from freehold.store.workspaces import Workspace, ensure
from freehold.wire.facts import Usage

MODEL = "claude-haiku-4-5"
STEP_S = 30
DAY_S = 24 * 3600
DEADLINES_S = (180, 600, 1_800, 3_600, 7_200, 14_400, 28_800, 86_400)
USAGE = Usage(input_tokens=1_000, output_tokens=200)
MESSAGE = json.dumps(
    {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": [{"type": "text", "text": "fine"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": USAGE.input_tokens, "output_tokens": USAGE.output_tokens},
    }
)
PARAMS = b'{"model":"claude-haiku-4-5","max_tokens":300,"messages":[{"role":"user","content":"a question"}]}'


@dataclass
class _Batch:
    ids: list[str]
    created_us: int
    ends_us: int
    expires: bool


@dataclass
class FakeClaude:
    """Answers calls after seconds and batches after minutes or hours, by the clock that is turned."""

    clock: HandClock
    chance: random.Random
    batches: dict[str, _Batch] = field(default_factory=dict)
    asked: int = 0
    answered_in_batches: int = 0

    @asynccontextmanager
    async def __call__(self, call: Call) -> AsyncIterator[Reply]:
        """See `Handler`."""
        self.asked += 1
        await self.clock.sleep(self.chance.uniform(5, 40))
        yield Reply(200, [], whole=MESSAGE.encode())

    def batch_params(self, params: bytes) -> bytes:
        """See `RunsBatches`."""
        return params

    async def create_batch(self, body: bytes, headers: Headers) -> dict[str, Any]:
        """See `RunsBatches`."""
        ids = [one["custom_id"] for one in json.loads(body)["requests"]]
        name, now_us = f"msgbatch_up{len(self.batches)}", self.clock.now_us()
        expires = self.chance.random() < 0.02
        took_s = DAY_S if expires else min(DAY_S, math.exp(self.chance.gauss(math.log(1_200), 0.9)))
        self.batches[name] = _Batch(ids, now_us, now_us + round(took_s * 1e6), expires)
        return await self.batch(name)

    async def batch(self, batch_id: str) -> dict[str, Any]:
        """See `RunsBatches`."""
        one = self.batches[batch_id]
        ended = self.clock.now_us() >= one.ends_us
        counts = {"processing": len(one.ids), "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
        created = rfc3339(one.created_us)
        status = "ended" if ended else "in_progress"
        return {"id": batch_id, "processing_status": status, "request_counts": counts, "created_at": created}

    async def recent_batches(self) -> Sequence[dict[str, Any]]:
        """See `RunsBatches`."""
        return [await self.batch(name) for name in self.batches]

    async def cancel_batch(self, batch_id: str) -> dict[str, Any]:
        """See `RunsBatches`."""
        return await self.batch(batch_id)

    async def batch_results(self, batch_id: str) -> AsyncIterator[bytes]:
        """See `RunsBatches`."""
        one = self.batches[batch_id]
        for name in one.ids:
            if one.expires:
                yield b'{"custom_id":"%b","result":{"type":"expired"}}' % name.encode()
            else:
                self.answered_in_batches += 1
                yield f'{{"custom_id":"{name}","result":{{"type":"succeeded","message":{MESSAGE}}}}}'.encode()


async def day(
    calls: int, seed: int, url: str, *, hours: int = 24, deadlines_s: Sequence[int] = DEADLINES_S
) -> dict[str, Any]:
    """So many hours on that database, and as long as the last deadlines need."""
    clock, chance = HandClock(), random.Random(seed)
    rates, claude = Rates.load(), FakeClaude(clock, random.Random(seed + 1))
    store = await Store.open(url, clock=clock)
    with tempfile.TemporaryDirectory() as folder:
        owners = Owners(Path(folder), new_id)
        try:
            tenant = Workspace("wrkspc_day", "day", clock.now_us(), None)
            await store.write(lambda connection: ensure(connection, tenant))
            rows = DeferredRows(store)
            collected = Collected(store, rates, "claude", clock=clock, ids=new_id)
            engine = UpstreamEngine(store, owners.name, claude, collected, clock=clock, ids=new_id, poll_s=STEP_S)
            plan = OffloadPlan(hold_s=300, reserve_s=150, batch_s=3_600, batches=True)
            offload = Offload(store, rows, claude, plan, clock=clock, ids=new_id)
            keeper = Keeper(store, owners, clock=clock, ids=new_id)
            coming = sorted((chance.uniform(0, hours * 3600), chance.choice(deadlines_s)) for _ in range(calls))
            ids = await _turned(clock, rows, [offload.look, engine.look, keeper.look], coming)
            await offload.idle()
            done = [await rows.get("wrkspc_day", one) for one in ids]
            await offload.stop()
        finally:
            await store.close()
            owners.close()
    return _report(done, claude, rates, clock)


async def _turned(clock: HandClock, rows: DeferredRows, looks: Sequence[Any], coming: Sequence[Any]) -> list[str]:
    """Turn the clock until all are answered, two days at most; give the ids of all calls."""
    waiting, ids = list(reversed(coming)), []
    for step in range(0, 2 * DAY_S, STEP_S):
        while waiting and waiting[-1][0] <= step:
            _, deadline_s = waiting.pop()
            now_us = clock.now_us()
            row = DeferredRow(
                new_id("dfr"), "wrkspc_day", "k", "{}", "", PARAMS, now_us, now_us + deadline_s * 1_000_000
            )
            await rows.add(row)
            ids.append(row.id)
        for look in looks:
            await look()
        await clock.advance(STEP_S)
        await asyncio.sleep(0)
        if not waiting and step % 300 == 0 and not await rows.open("wrkspc_day"):
            break
    return ids


def _report(done: Sequence[DeferredRow], claude: FakeClaude, rates: Rates, clock: HandClock) -> dict[str, Any]:
    single = rates.cost(MODEL, USAGE, clock.now_us()) or 0
    half = rates.cost(MODEL, USAGE, clock.now_us(), batch=True) or 0
    cost = claude.asked * single + claude.answered_in_batches * half
    late = [row for row in done if row.ended_us is None or row.ended_us > row.deadline_us]
    return {
        "calls": len(done),
        "unanswered": sum(row.state != "done" for row in done),
        "missed": len(late),
        "by_batch": sum(row.via == "batch" for row in done),
        "interactive": sum(row.via == "interactive" for row in done),
        "batches": len(claude.batches),
        "paid_twice": claude.asked + claude.answered_in_batches - len(done),
        "cost_usd": round(cost / 1e9, 2),
        "all_interactive_usd": round(len(done) * single / 1e9, 2),
        "share_of_all_interactive": round(cost / (len(done) * single), 3),
    }


def main() -> dict[str, Any]:
    """The whole day."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the calls")
    calls = 1_000 if parser.parse_args().quick else 10_000
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(day(calls, 4, f"sqlite:///{folder}/day.db"))


if __name__ == "__main__":
    print(json.dumps(main(), indent=2))

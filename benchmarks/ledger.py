"""What budgets cost a call: CPU of a call with and without them, in one run; by parts; and a commit.

`python benchmarks/ledger.py [--calls N] [--write]` prints JSON; `--write` keeps it in benchmarks/results/ledger.json.
The upstream answers at once, so that nothing else is measured. Settlements are committed four times a second, whatever
the number of calls; what such a commit costs stands apart. Bar: reserve and settle at three budgets (organization,
key, user) add at most 12 µs a call.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from freehold.calls import Call, Caller, Handler, Headers, Reply
from freehold.clock import SystemClock
from freehold.gateway.backoff import RetrySettings
from freehold.gateway.middleware.budgets import Budgets as Middleware
from freehold.gateway.pipeline import build
from freehold.gateway.reading import read_call
from freehold.ids import new_id
from freehold.ledger.bounds import Bounds
from freehold.ledger.definitions import Who
from freehold.ledger.ledger import Ledger
from freehold.ledger.manage import Budgets, Wanted
from freehold.ledger.rates import Rates
from freehold.store.engine import Store
from freehold.store.workspaces import Workspace, ensure

CLOCK = SystemClock()
CALLER = Caller("wrkspc_bench", "apikey_bench", "member")
BODY = json.dumps(
    {"model": "claude-haiku-4-5", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello, Claude"}]}
).encode()
LONG = json.dumps(
    {"model": "claude-haiku-4-5", "max_tokens": 100, "messages": [{"role": "user", "content": "words " * 33_000}]}
).encode()
ANSWER = json.dumps(
    {
        "id": "msg_1",
        "type": "message",
        "model": "claude-haiku-4-5",
        "content": [],
        "usage": {"input_tokens": 10, "output_tokens": 20},
    }
).encode()
ROUNDS = 9


class AtOnce:
    """An upstream that costs nothing."""

    name = "at once"

    @asynccontextmanager
    async def __call__(self, call: Call) -> AsyncIterator[Reply]:
        """See `Handler`."""
        yield Reply(200, [(b"content-type", b"application/json")], whole=ANSWER)

    async def close(self) -> None:
        """Nothing is open."""


class NoKeys:
    """Every call says itself who makes it."""

    def check(self, headers: Headers) -> Caller:
        """See `ChecksKeys`."""
        return CALLER


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=4_000, help="a round")
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = await measured(Path(folder), asked.calls)
    told = json.dumps({"machine": machine(), "results": results}, indent=2)
    print(told)
    if asked.write:
        (Path(__file__).parent / "results" / "ledger.json").write_text(told + "\n", "utf-8")


async def measured(folder: Path, calls: int) -> dict[str, Any]:
    store = await Store.open(f"sqlite:///{folder / 'bench.db'}", clock=CLOCK)
    await store.write(lambda conn: ensure(conn, Workspace(CALLER.workspace_id, "bench", 1, None)))
    ledger = await Ledger.open(store, clock=CLOCK, ids=new_id, folder=folder / "ledger")
    rates = Rates.load()
    bounds = Bounds(rates)
    middleware = Middleware(ledger, bounds, rates, CLOCK)

    def handler(budgets: Middleware | None) -> Handler:
        return build(
            upstream=AtOnce(),
            keys=NoKeys(),
            store=store,
            rates=rates,
            clock=CLOCK,
            retries=RetrySettings(max_retries=0),
            budgets=budgets,
        )

    manage = Budgets(store, ledger, clock=CLOCK, ids=new_id)
    none = await rounds(store, handler(middleware), calls)
    for scope in ("organization", "key", "user"):
        workspace = None if scope == "organization" else CALLER.workspace_id
        await manage.put(Wanted(scope, "nanodollars", 10**15, workspace))
    plain, paid = handler(None), handler(middleware)
    await one_round(store, paid, 200)
    draws = ledger.bank.draws
    without, budgets, added = [], [], []
    for _ in range(ROUNDS):
        without.append(await one_round(store, plain, calls))
        budgets.append(await one_round(store, paid, calls))
        added.append(budgets[-1] - without[-1])
    waited = ledger.bank.draws - draws
    purses = ledger.find(Who(CALLER.workspace_id, CALLER.key_id, "ann"), CLOCK.now_us()).purses
    ample = await ledger.draw(purses, 10**13, 10**9, "req_0", "")  # so that no step below needs a commit
    ledger.bank.finish(ample, (0, 0), (0, 0), "req_0", "")
    commit = await commit_ms(ledger)
    parts = by_parts(ledger, middleware, calls)
    await ledger.close()
    await store.close()
    return {
        "cpu_us_a_call_without_budgets": round(statistics.median(without), 2),
        "cpu_us_a_call_with_three_budgets": round(statistics.median(budgets), 2),
        "cpu_us_added": round(statistics.median(added), 2),
        "cpu_us_where_there_is_no_budget": round(none, 2),
        "calls_that_waited_for_a_commit": waited,
        "calls": calls * ROUNDS,
        "commit_cpu_ms": commit,
        "parts_us": parts,
    }


async def rounds(store: Store, handler: Handler, calls: int) -> float:
    return statistics.median([await one_round(store, handler, calls) for _ in range(3)])


async def one_round(store: Store, handler: Handler, calls: int) -> float:
    """CPU µs a call of the event loop's thread, on which all calls are; commits run beside it."""
    made = [call(BODY, number) for number in range(calls)]
    gc.collect()
    before = time.thread_time()
    while made:
        async with handler(made.pop()):  # and it is gone, as a server's calls are
            pass
    spent = (time.thread_time() - before) / calls * 1e6
    await store.flush()
    return spent


async def commit_ms(ledger: Ledger) -> float:
    """CPU of all threads for one commit that settles calls of three budgets."""
    purses = ledger.find(Who(CALLER.workspace_id, CALLER.key_id, "ann"), CLOCK.now_us()).purses
    taken = []
    for _ in range(20):
        reservation = ledger.bank.reserve(purses, 600_000, 300, "req_1", "claude-haiku-4-5")
        assert reservation is not None
        ledger.bank.finish(reservation, (110_000, 30), (0, 0), "req_1", "claude-haiku-4-5")
        before = time.process_time()
        await ledger.bank.settled()
        taken.append((time.process_time() - before) * 1e3)
    return round(statistics.median(taken), 2)


def by_parts(ledger: Ledger, middleware: Middleware, calls: int) -> dict[str, float]:
    """What each step of the path costs by itself, without any commit."""
    small, long = call(BODY, 1), call(LONG, 2)
    purses = ledger.find(Who(CALLER.workspace_id, CALLER.key_id, "ann"), CLOCK.now_us()).purses
    bank = ledger.bank

    def both() -> None:
        reservation = bank.reserve(purses, 600_000, 300, "req_1", "claude-haiku-4-5")
        assert reservation is not None
        bank.finish(reservation, (110_000, 30), (0, 0), "req_1", "claude-haiku-4-5")

    return {
        "find the budgets": each(
            lambda: ledger.find(Who(CALLER.workspace_id, CALLER.key_id, "ann"), CLOCK.now_us()), calls
        ),
        "bound of a small call": each(lambda: middleware.bounds.of(small, CLOCK.now_us()), calls),
        "bound of a call of 200 KB": each(lambda: middleware.bounds.of(long, CLOCK.now_us()), calls // 10),
        "reserve and settle": each(both, min(calls, 4_000)),
    }


def each(step: Any, times: int) -> float:
    best = []
    for _ in range(5):
        before = time.process_time()
        for _ in range(times):
            step()
        best.append((time.process_time() - before) / times * 1e6)
    return round(statistics.median(best), 2)


def call(body: bytes, number: int) -> Call:
    made = read_call("messages", body, [], request_id=f"req_{number}_{time.time_ns()}", started_ns=CLOCK.monotonic_ns())
    made.caller, made.user_id = CALLER, "ann"
    return made


def machine() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "date": time.strftime("%Y-%m-%d"),
    }


if __name__ == "__main__":
    asyncio.run(main())

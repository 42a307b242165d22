"""What budgets cost a call: through the gateway's harness and in one process, with and without them; by parts.

`python -m benchmarks.ledger [--calls N] [--rounds N] [--write]` prints JSON; `--write` keeps it in
benchmarks/results/ledger.json. Bar: reserve and settle at three budgets (organization, key, user) add at most 12 µs of
CPU a call, and the gateway's own bars hold with them.

*Through the gateway*: a server with three budgets and one with none get the same load in turn, nginx with them; all
threads of the server count, so the commits of settlements are in it. *In one process*: the upstream answers at once, so
that nothing but the pipeline is measured, and commits stand apart.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks import compiled
from benchmarks.gateway.run import ADMIN_KEY, SCENARIOS, Bench, Target, about
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
LONG = next(one for one in SCENARIOS if one.name == "large").body()
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
SCOPES = ("organization", "key", "user")
LIMIT = 10**15
"""Nanodollars. Far away, as budgets are for most of their calls."""
BAR_US = 12.0
LOADS = ("small", "large", "burst", "flood")


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


def main() -> int:
    """Measure, print, write; 1 where the bar is passed."""
    compiled.run_compiled()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=4_000, help="a round in one process; 0: none")
    parser.add_argument("--rounds", type=int, default=9, help="through the gateway; 0: none")
    parser.add_argument("--only", default=",".join(LOADS), help="which loads of the gateway")
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    told: dict[str, Any] = {**about(), "bar_us": BAR_US}
    if asked.rounds:
        told["gateway"] = through_the_gateway(asked.rounds, asked.only.split(","))
    if asked.calls:
        with tempfile.TemporaryDirectory() as folder:
            told["in_one_process"] = asyncio.run(measured(Path(folder), asked.calls))
    told["load_average"] = round(os.getloadavg()[0], 2)
    print(json.dumps(told, indent=1))
    if asked.write:
        (Path(__file__).parent / "results" / "ledger.json").write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    added = told.get("gateway", {}).get("small", {}).get("added_us", 0.0)
    return 0 if added <= BAR_US else 1


def through_the_gateway(rounds: int, loads: list[str]) -> dict[str, Any]:
    """Microseconds of CPU a call without budgets and with three, and what they add, by load; windows in turn."""
    with tempfile.TemporaryDirectory(prefix="freehold-ledger-") as folder, contextlib.ExitStack() as on_exit:
        bench = Bench(Path(folder), on_exit)
        plain, paid, nginx = bench.freehold("without"), bench.freehold("with"), bench.nginx()
        for server in (plain, paid):
            server.headers = (*server.headers, "x-freehold-user-id: ann")
        for scope in SCOPES:
            put_budget(paid, scope)
        targets = [target for target in (nginx, plain, paid) if target is not None]
        return {load: one_load(bench, targets, load, rounds) for load in loads}


def one_load(bench: Bench, targets: list[Target], load: str, rounds: int) -> dict[str, Any]:
    scenario = next(one for one in SCENARIOS if one.name == load)
    seen: dict[str, list[float]] = {target.name: [] for target in targets}
    for target in targets:
        bench.load(target, scenario, 1.0)
    for _ in range(rounds):
        for target in targets:
            seen[target.name].append(bench.load(target, scenario, scenario.seconds)["cpu_s_per_1k"] * 1000)
    told: dict[str, Any] = {f"{name}_us": round(statistics.median(values), 1) for name, values in seen.items()}
    # Each window beside the other one of its round: what else the machine did falls out.
    beside = zip(seen["with"], seen["without"], strict=True)
    told["added_us"] = round(statistics.median(one - other for one, other in beside), 1)
    if "nginx" in seen:
        told["ratio_without"] = round(told["without_us"] / told["nginx_us"], 2)
        told["ratio_with"] = round(told["with_us"] / told["nginx_us"], 2)
        told["bar_ratio"] = scenario.bar
    return told


def put_budget(server: Target, scope: str) -> None:
    """A budget of that scope, far from its limit; and see that calls count at it."""
    headers = {"x-api-key": ADMIN_KEY, "content-type": "application/json"}
    body = json.dumps({"scope": scope, "limit": LIMIT}).encode()
    asked = urllib.request.Request(f"http://127.0.0.1:{server.port}/freehold/v1/budgets", body, headers)
    with urllib.request.urlopen(asked, timeout=10) as answer:
        assert json.load(answer)["scope"] == scope
    call = urllib.request.Request(f"http://127.0.0.1:{server.port}/v1/messages", SCENARIOS[0].body(), headers)
    with urllib.request.urlopen(call, timeout=10) as answer:
        assert "x-freehold-budget-remaining-nanodollars" in answer.headers or scope == "user"


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
    for scope in SCOPES:
        workspace = None if scope == "organization" else CALLER.workspace_id
        await manage.put(Wanted(scope, "nanodollars", LIMIT, workspace))
    plain, paid = handler(None), handler(middleware)
    await one_round(store, paid, 200)
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)  # as the server does
    draws = ledger.bank.draws
    without, budgets, added = [], [], []
    for _ in range(ROUNDS):
        without.append(await one_round(store, plain, calls))
        budgets.append(await one_round(store, paid, calls))
        added.append(budgets[-1] - without[-1])
    waited = ledger.bank.draws - draws
    purses = ledger.find(Who(CALLER.workspace_id, CALLER.key_id, "ann"), CLOCK.now_us())
    ample = await ledger.draw(purses, 10**13, 10**9, "req_0", "")  # so that no step below needs a commit
    ledger.bank.till.finish(ample, (0, 0), (0, 0), "req_0", "")
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
    purses = ledger.find(Who(CALLER.workspace_id, CALLER.key_id, "ann"), CLOCK.now_us())
    taken = []
    for _ in range(20):
        reservation = ledger.bank.till.reserve(purses, 600_000, 300, "req_1", "claude-haiku-4-5", CLOCK.now_us())
        assert reservation is not None
        ledger.bank.till.finish(reservation, (110_000, 30), (0, 0), "req_1", "claude-haiku-4-5")
        before = time.process_time()
        await ledger.bank.settled()
        taken.append((time.process_time() - before) * 1e3)
    return round(statistics.median(taken), 2)


def by_parts(ledger: Ledger, middleware: Middleware, calls: int) -> dict[str, float]:
    """What each step of the path costs by itself, without any commit."""
    small, long = call(BODY, 1), call(LONG, 2)
    purses = ledger.find(Who(CALLER.workspace_id, CALLER.key_id, "ann"), CLOCK.now_us())
    till = ledger.bank.till

    def both() -> None:
        reservation = till.reserve(purses, 600_000, 300, "req_1", "claude-haiku-4-5", CLOCK.now_us())
        assert reservation is not None
        till.finish(reservation, (110_000, 30), (0, 0), "req_1", "claude-haiku-4-5")

    return {
        "find the budgets": each(
            lambda: ledger.find(Who(CALLER.workspace_id, CALLER.key_id, "ann"), CLOCK.now_us()), calls
        ),
        "bound of a small call": each(lambda: middleware.desk.bounds.of(small, CLOCK.now_us()), calls),
        "bound of a call of 200 KB": each(
            lambda: middleware.desk.bounds.of(long, CLOCK.now_us(), roughly=True), calls // 10
        ),
        "bound of a call of 200 KB near a limit": each(
            lambda: middleware.desk.bounds.of(long, CLOCK.now_us()), calls // 10
        ),
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


if __name__ == "__main__":
    sys.exit(main())

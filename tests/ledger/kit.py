"""A pipeline with budgets over a real store and the simulator, and what is needed to look behind it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from freehold.calls import Call, Caller, Handler, Headers, Reply
from freehold.clock import Clock, SystemClock
from freehold.gateway.backoff import RetrySettings
from freehold.gateway.middleware.budgets import Budgets as BudgetsMiddleware
from freehold.gateway.pipeline import build
from freehold.gateway.reading import read_call
from freehold.ids import new_id
from freehold.ledger.bounds import Bounds
from freehold.ledger.ledger import Alert, Ledger, LedgerSettings
from freehold.ledger.manage import Budgets, Wanted
from freehold.ledger.rates import Rates
from freehold.simulator.pace import AT_ONCE, Pace
from freehold.simulator.upstream import Simulator
from freehold.store import ledger as rows
from freehold.store.budgets import BudgetRow
from freehold.store.engine import Store
from freehold.store.workspaces import Workspace, ensure
from freehold.upstreams.base import Upstream

HAIKU = "claude-haiku-4-5"
SONNET = "claude-sonnet-5-5"
WORKSPACE = "wrkspc_test"
CALLER = Caller(WORKSPACE, "apikey_test", "member")


class NoKeys:
    """Calls of tests say themselves who makes them."""

    def check(self, headers: Headers) -> Caller:
        return CALLER


@dataclass(slots=True)
class Kit:
    """One process: its ledger, its pipeline, its upstream."""

    store: Store
    ledger: Ledger
    budgets: Budgets
    upstream: Upstream
    handler: Handler
    clock: Clock
    rates: Rates
    alerts: list[Alert] = field(default_factory=list)
    _numbers: Any = field(default_factory=lambda: count(1))

    def call(self, content: object = "Hi", **fields: Any) -> Call:
        """A call of a test; `caller`, `user_id`, `session_id`, `headers` besides the request's own fields."""
        caller = fields.pop("caller", CALLER)
        own = {name: fields.pop(name) for name in ("user_id", "session_id", "task_type") if name in fields}
        headers = fields.pop("headers", [])
        body = {"model": HAIKU, "max_tokens": 100, "messages": [{"role": "user", "content": content}], **fields}
        raw = json.dumps(body).encode()
        number = next(self._numbers)
        request_id = f"req_{self.ledger.bank.holder_id[-6:]}_{number}"
        call = read_call("messages", raw, headers, request_id=request_id, started_ns=self.clock.monotonic_ns())
        call.caller = caller
        for name, value in own.items():
            setattr(call, name, value)
        return call

    async def ask(self, content: object = "Hi", **fields: Any) -> Reply:
        """Make a call and read its answer to the end."""
        async with self.handler(self.call(content, **fields)) as reply:
            if reply.reads is not None:
                async for _ in reply.reads:
                    pass
            return reply

    async def put(self, amount: int, scope: str = "workspace", **wanted: Any) -> BudgetRow:
        """Make a budget, in nanodollars unless told otherwise."""
        workspace = None if scope == "organization" else WORKSPACE
        return await self.budgets.put(Wanted(scope, wanted.pop("unit", "nanodollars"), amount, workspace, **wanted))

    async def sums(self) -> Sequence[rows.Sums]:
        """All accounts after everything was settled and given back."""
        await self.ledger.give_back()
        async with self.store.read() as conn:
            return await rows.sums(conn)

    async def settled(self) -> int:
        """Of the only account there is."""
        (only,) = await self.sums()
        return only.settled


@asynccontextmanager
async def opened(
    store: Store,
    folder: Path,
    *,
    upstream: Upstream | None = None,
    clock: Clock | None = None,
    pace: Pace = AT_ONCE,
    settings: LedgerSettings | None = None,
    retries: RetrySettings | None = None,
) -> AsyncIterator[Kit]:
    clock = clock or SystemClock()
    upstream = upstream or Simulator(clock, brain="echo", pace=pace)
    alerts: list[Alert] = []
    ledger = await Ledger.open(store, clock=clock, ids=new_id, folder=folder, settings=settings, hook=alerts.append)
    rates = Rates.load()
    budgets = BudgetsMiddleware(ledger, Bounds(rates), rates, clock)
    handler = build(
        upstream=upstream,
        keys=NoKeys(),
        store=store,
        rates=rates,
        clock=clock,
        retries=retries or RetrySettings(max_retries=0),
        budgets=budgets,
    )
    manage = Budgets(store, ledger, clock=clock, ids=new_id)
    try:
        yield Kit(store, ledger, manage, upstream, handler, clock, rates, alerts)
    finally:
        await ledger.close()


async def make_workspace(store: Store, workspace_id: str = WORKSPACE) -> None:
    """The workspace that budgets of tests belong to."""
    await store.write(lambda conn: ensure(conn, Workspace(workspace_id, workspace_id, 1, None)))

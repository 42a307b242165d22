"""The gateway between real sockets with the simulator's HTTP face behind it, whose faults and account tests look at."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from freehold.api.messages import MessagesRoute
from freehold.clock import Clock, SystemClock
from freehold.gateway.backoff import RetrySettings
from freehold.gateway.middleware.departures import Departures
from freehold.gateway.pipeline import Spares, build
from freehold.gateway.routes import FallbackSettings
from freehold.ledger.rates import Rates
from freehold.outbound.client import Client
from freehold.outbound.dial import Dialer, parse_url
from freehold.outbound.limits import Limits
from freehold.simulator.account import Line
from freehold.simulator.faults import order_from
from freehold.simulator.pace import AT_ONCE, Pace
from freehold.simulator.served import Served, Settings
from freehold.store.calls import CallRow
from freehold.upstreams.claude import Claude, Credential
from tests.api.parts import KEYS
from tests.gateway.house import UPSTREAM_KEY, RawClient, Rows, served, until

MODEL = "claude-haiku-5-5"
ONCE = RetrySettings(max_retries=1, hold_ms=5000)
STALL_S = 0.5
PATIENCE_S = 60.0


@dataclass
class Place:
    """One gateway and the simulators behind it, the first being asked first."""

    url: str
    simulators: list[Served]
    clients: list[Client]
    rows: list[CallRow]
    rates: Rates = field(default_factory=Rates.load)

    def fault(self, kind: str, **settings: float) -> None:
        """Order a fault of the first simulator."""
        self.simulators[0].simulator.faults.order(order_from({"kind": kind, **settings}))

    def lines(self) -> list[Line]:
        """The bill of all simulators."""
        return [line for one in self.simulators for line in one.simulator.claude.account.lines()]

    async def row(self, number: int = 0) -> CallRow:
        """The record of that call."""
        await until(lambda: len(self.rows) > number)
        return self.rows[number]

    async def ask(self, *, stream: bool, text: str = "Count to ten, please.") -> tuple[int, dict[str, str], bytes]:
        """One request by hand: status, headers, body as far as it came."""
        async with RawClient.connected(self.url) as raw:
            await raw.post(body(stream=stream, text=text))
            status, headers = await raw.head()
            return status, dict(headers), await raw.body(headers)


def body(*, stream: bool, text: str = "Count to ten, please.", model: str = MODEL) -> bytes:
    """A small request."""
    message = {"role": "user", "content": text}
    return json.dumps({"model": model, "max_tokens": 64, "messages": [message], "stream": stream}).encode()


def patience_s(fault: str) -> float:
    """How long silence is borne in a test of that fault: short only where something is silent on purpose."""
    return STALL_S if fault == "stall" else PATIENCE_S


@asynccontextmanager
async def over_simulator(
    *,
    retries: RetrySettings = ONCE,
    pace: Pace = AT_ONCE,
    fallbacks: FallbackSettings | None = None,
    clock: Clock | None = None,
    departures: Departures | None = None,
    silence_s: float = PATIENCE_S,
) -> AsyncIterator[Place]:
    """A running gateway that tries once more; with `fallbacks` it has an upstream `spare` besides the first one.
    `silence_s`: after how long it gives up on one that says nothing.
    """
    simulated = [Served(Settings(brain="echo", pace=pace)) for _ in range(2 if fallbacks else 1)]
    async with contextlib.AsyncExitStack() as stack:
        found = []
        for one, name in zip(simulated, ("claude", "spare"), strict=False):
            found.append(upstream_at(await stack.enter_async_context(served(one)), name, silence_s))
            stack.push_async_callback(found[-1][0].close)
        rows, clock = Rows(), clock or SystemClock()
        handler = build(
            upstream=found[0][0],
            spares=Spares([found[1][0]], fallbacks) if fallbacks else None,
            keys=KEYS,
            store=rows,
            rates=Rates.load(),
            clock=clock,
            retries=retries,
            chance=lambda: 0.0,
            departures=departures,
        )
        url = await stack.enter_async_context(served(MessagesRoute(handler, clock=clock)))
        yield Place(url, simulated, [client for _, client in found], rows.rows)


def upstream_at(url: str, name: str, silence_s: float) -> tuple[Claude, Client]:
    """An upstream, and the connections to it."""
    origin, prefix = parse_url(url)
    client = Client(origin, Dialer(public_only=False), limits=Limits(silence_s=silence_s, stall_s=silence_s))
    return Claude(name, client, prefix=prefix, credential=Credential.of(UPSTREAM_KEY)), client

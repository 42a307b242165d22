"""What a batch will cost, with an interval: before it is made, when it is made, and while it goes.

Inputs are counted by the upstream, all of them up to a hundred, else a hundred spread over the batch, by whose tokens
per byte the others are known to about a percent. Answers are predicted from calls of the same kind
(`batches/forecast.py`); where there are none, only bounds are known: one token each, and `max_tokens`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

import msgspec

from freehold.batches.answers import Price
from freehold.batches.forecast import Range, output_tokens
from freehold.batches.intake import Request
from freehold.batches.kinds import kind_of
from freehold.batches.requests import check
from freehold.batches.spread import quantiles
from freehold.calls import Call, Caller, Handler, NotAnswered
from freehold.clock import Clock
from freehold.errors import FreeholdError, InvalidRequest
from freehold.ids import NewId
from freehold.ledger.bounds import context_tokens
from freehold.store import batch_history
from freehold.store.batch_history import Used
from freehold.store.engine import Store
from freehold.wire.facts import Usage

COUNTED = 100
_AT_ONCE = 8
_COUNTED_FIELDS = ("model", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "output_format")
_BYTES_A_TOKEN = 4.0
"""Where nothing can be counted."""


@dataclass(frozen=True, slots=True)
class Item:
    """One request as a forecast sees it."""

    model: str
    size_bytes: int
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a batch will use. Tokens and nanodollars as low, expected, high."""

    basis: Literal["history", "bounds"]
    """From calls of its kind, with 90 % confidence; or only what it can be at all."""
    requests: int
    refused: int
    """Of these, so many that no batch takes, or whose input is longer than the model's context window."""
    counted: int
    """Of the inputs, so many counted by the upstream."""
    known_calls: int
    input_tokens: int
    output_tokens: Range
    cost_nanodollars: Range | None
    """`None`: a model has no known price."""


class Estimates:
    """Of one server. `halved` in its methods: the batch goes to an upstream that charges half for it."""

    def __init__(self, store: Store, handler: Handler, price: Price, *, clock: Clock, ids: NewId) -> None:
        self._store = store
        self._handler = handler
        self._price = price
        self._clock = clock
        self._ids = ids

    async def before(
        self, requests: Sequence[Request], caller: Caller, task_type: str | None, *, halved: bool
    ) -> Estimate:
        """Of a batch that is not made. Nothing is kept and nothing spent."""
        items = await asyncio.to_thread(_items, requests)
        history = await self._history(caller.workspace_id, kind_of(requests, task_type))
        places = [index for index, item in enumerate(items) if item is not None]
        good = [item for item in items if item is not None]
        chosen = range(0, len(places), max(1, math.ceil(len(places) / COUNTED)))
        counts = await self._count([bytes(requests[places[at]].params) for at in chosen], caller)
        counted = {at: tokens for at, tokens in zip(chosen, counts, strict=True) if tokens is not None}
        guess = _by_bytes([(good[at].size_bytes, tokens) for at, tokens in counted.items()])
        inputs = [counted[at] if at in counted else guess(item.size_bytes) for at, item in enumerate(good)]
        found = await asyncio.to_thread(self._of, good, inputs, history, halved=halved)
        refused = found.refused + len(items) - len(good)
        return replace(found, requests=len(items), refused=refused, counted=len(counted))

    async def at_making(
        self, requests: Sequence[Request], workspace_id: str, kind: str, *, halved: bool
    ) -> Estimate | None:
        """Of a batch that is being made, if calls of its kind are known: without asking anybody."""
        history = await self._history(workspace_id, kind)
        if not history:
            return None
        items = [item for item in await asyncio.to_thread(_items, requests) if item is not None]
        found = await asyncio.to_thread(self._of, items, _inputs(items, history), history, halved=halved)
        return found if found.basis == "history" else None

    async def now(self, batch_id: str) -> Range | None:
        """What a batch that is worked on will have cost at its end, by what it has cost so far; nanodollars. `None`:
        too little is done, or no price is known."""
        async with self._store.read() as connection:
            row = await batch_history.fresh(connection, batch_id)
            used = await batch_history.of_batch(connection, batch_id)
            left = await batch_history.left_of(connection, batch_id)
            model = _model(await batch_history.some_params(connection, batch_id))
        if row.unpriced or not used or not left:
            return None
        items = [Item("", size, 0) for size in left]
        pairs = [(max(1, one.input_tokens), one.output_tokens) for one in used]
        out = output_tokens([pairs], _inputs(items, [used]), math.inf)
        token = self._price(model, Usage(output_tokens=1_000), self._clock.now_us())
        if out is None or token is None:
            return None
        each = token / 1_000 * (0.5 if row.engine == "upstream" else 1.0)
        for_input = max(0.0, row.cost_nanodollars - each * row.output_tokens) / max(1, row.input_tokens)
        asked = row.cost_nanodollars + for_input * sum(_inputs(items, [used]))
        return Range(asked + each * out.low, asked + each * out.expected, asked + each * out.high)

    async def spread(self, batch_id: str) -> dict[str, list[int] | None]:
        """How the answered calls of a batch are spread; see `batches/spread.py`."""
        async with self._store.read() as connection:
            found = await batch_history.spread(connection, batch_id)
        names = ("latency_ms", "cost_nanodollars", "output_tokens")
        return {name: quantiles(one[which] for one in found) for which, name in enumerate(names)}

    async def _history(self, workspace_id: str, kind: str) -> list[list[Used]]:
        async with self._store.read() as connection:
            return await batch_history.of_kind(connection, workspace_id, kind)

    def _of(
        self, items: Sequence[Item], inputs: Sequence[int], history: Sequence[Sequence[Used]], *, halved: bool
    ) -> Estimate:
        pairs = [[(max(1, one.input_tokens), one.output_tokens) for one in batch] for batch in history]
        sent = len(items)
        fitting = [
            (item, tokens) for item, tokens in zip(items, inputs, strict=True) if tokens <= context_tokens(item.model)
        ]
        items, inputs = [item for item, _ in fitting], [tokens for _, tokens in fitting]
        most = float(sum(item.max_tokens for item in items))
        found = output_tokens(pairs, inputs, most)
        out = found or Range(float(len(items)), (len(items) + most) / 2, most)
        return Estimate(
            basis="history" if found else "bounds",
            requests=sent,
            refused=sent - len(items),
            counted=0,
            known_calls=sum(map(len, pairs)),
            input_tokens=sum(inputs),
            output_tokens=out,
            cost_nanodollars=self._cost(items, inputs, out, halved=halved),
        )

    def _cost(self, items: Sequence[Item], inputs: Sequence[int], out: Range, *, halved: bool) -> Range | None:
        """Every input at its own price (bands), every output token at the mean of its items' prices."""
        now_us, asked, each = self._clock.now_us(), 0, 0.0
        for item, tokens in zip(items, inputs, strict=True):
            of_input = self._price(item.model, Usage(input_tokens=tokens), now_us)
            both = self._price(item.model, Usage(input_tokens=tokens, output_tokens=1_000), now_us)
            if of_input is None or both is None:
                return None
            asked += of_input
            each += (both - of_input) / 1_000
        each /= max(1, len(items))
        share = 0.5 if halved else 1.0
        low, expected, high = (share * (asked + each * tokens) for tokens in (out.low, out.expected, out.high))
        return Range(low, expected, high)

    async def _count(self, params: Sequence[bytes], caller: Caller) -> list[int | None]:
        room = asyncio.Semaphore(_AT_ONCE)

        async def one(each: bytes) -> int | None:
            async with room:
                return await self._count_one(each, caller)

        return await asyncio.gather(*(one(each) for each in params))

    async def _count_one(self, params: bytes, caller: Caller) -> int | None:
        fields = {name: raw for name, raw in check(params).items() if name in _COUNTED_FIELDS}
        body = msgspec.json.encode({name: msgspec.Raw(raw) for name, raw in fields.items()})
        model = msgspec.json.decode(fields["model"], type=str)
        started = self._clock.monotonic_ns()
        call = Call(self._ids("req"), "count_tokens", body, fields, [], model, False, started, caller=caller)
        try:
            async with self._handler(call) as reply:
                if reply.status != 200 or reply.whole is None:
                    return None
                return max(1, msgspec.json.decode(reply.whole, type=_Counted).input_tokens)
        except (FreeholdError, NotAnswered, msgspec.MsgspecError):
            return None


class _Counted(msgspec.Struct):
    input_tokens: int


def _items(requests: Sequence[Request]) -> list[Item | None]:
    """Each request, or `None` for one that no batch takes."""
    return [_item(bytes(request.params)) for request in requests]


def _item(params: bytes) -> Item | None:
    try:
        fields = check(params)
        limit = msgspec.json.decode(fields.get("max_tokens", b"0"), type=int)
        return Item(msgspec.json.decode(fields["model"], type=str), len(params), max(1, limit))
    except (InvalidRequest, msgspec.MsgspecError):
        return None


def _inputs(items: Sequence[Item], history: Sequence[Sequence[Used]]) -> list[int]:
    """Input tokens of items by what is known."""
    guess = _by_bytes([(one.size_bytes, one.input_tokens) for batch in history for one in batch])
    return [guess(item.size_bytes) for item in items]


def _by_bytes(known: Sequence[tuple[int, int]]) -> Callable[[int], int]:
    """From bytes of params to tokens: the straight line through what is known, as part of the bytes is the envelope."""
    if not known:
        return lambda size_bytes: max(1, round(size_bytes / _BYTES_A_TOKEN))
    mean_x, mean_y = (sum(pair[which] for pair in known) / len(known) for which in (0, 1))
    spread = sum((x - mean_x) ** 2 for x, _ in known)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in known) / spread if spread else mean_y / mean_x
    return lambda size_bytes: max(1, round(mean_y + slope * (size_bytes - mean_x)))


def stored(estimate: Estimate) -> str:
    """As it is kept with the batch."""
    return msgspec.json.encode(asdict(estimate)).decode()


def _model(params: bytes | None) -> str:
    try:
        return msgspec.json.decode(params or b"{}", type=_Modelled).model
    except msgspec.MsgspecError:
        return ""


class _Modelled(msgspec.Struct):
    model: str = ""

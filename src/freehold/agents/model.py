"""One request to the model through the injected Handler: the reply whole, or why there is none.

It does not know the log, tools, or what answers: gateway, simulator or a test's script.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from freehold.agents.failures import Failure, of_error
from freehold.agents.session import Json
from freehold.agents.usage import Tokens
from freehold.calls import Call, Caller, Handler, NotAnswered, Reply
from freehold.clock import Clock
from freehold.errors import FreeholdError, UpstreamFailed, UpstreamTimedOut
from freehold.ids import NewId
from freehold.jobs import chaos
from freehold.wire.envelopes import error_of
from freehold.wire.facts import Facts, Usage
from freehold.wire.frames import events
from freehold.wire.grammar import Fold
from freehold.wire.headers import retry_after_s
from freehold.wire.reads import Read
from freehold.wire.tap import Tap, of_whole

SILENCE_S = 600.0
"""A model may think long before its first word, but a stream also carries pings; after this much nothing it is gone."""
Price = Callable[[str, Usage, int], int | None]
"""Nanodollars at list price from model, usage and time (microseconds since 1970); `None`: no price is known."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A complete message and what it used."""

    message: Json
    tokens: Tokens


@dataclass(frozen=True, slots=True)
class Failed:
    """No message. What was used of it is known only if something had begun."""

    failure: Failure
    tokens: Tokens


class Model:
    """Puts requests of sessions to a Handler."""

    def __init__(
        self, handler: Handler, *, clock: Clock, ids: NewId, price: Price, silence_s: float = SILENCE_S
    ) -> None:
        self.handler = handler
        self.clock = clock
        self._ids = ids
        self.price = price
        self.silence_s = silence_s

    def request(
        self, body: Mapping[str, Any], caller: Caller, session_id: str, watch: Callable[[Json], None]
    ) -> Request:
        """A request that is made when its `answer` is awaited. `watch` sees each event of the stream as it comes."""
        return Request(self, self._call(body, caller, session_id), watch)

    def _call(self, body: Mapping[str, Any], caller: Caller, session_id: str) -> Call:
        fields = {name: msgspec.json.encode(value) for name, value in body.items()}
        whole = b"{" + b",".join(msgspec.json.encode(name) + b":" + value for name, value in fields.items()) + b"}"
        return Call(
            request_id=self._ids("req"),
            route="messages",
            body=whole,
            fields=fields,
            headers=[(b"content-type", b"application/json"), (b"anthropic-version", b"2023-06-01")],
            model=str(body["model"]),
            stream=True,
            started_ns=self.clock.monotonic_ns(),
            caller=caller,
            session_id=session_id,
        )


class Request:
    """One request under way. If its `answer` is cancelled, `tokens` still tells what is known to have been used."""

    def __init__(self, model: Model, call: Call, watch: Callable[[Json], None]) -> None:
        self._model = model
        self._call = call
        self._watch = watch
        self._tap = Tap()
        self._facts: Facts | None = None

    async def answer(self) -> Answered | Failed:
        """The model's reply, or why there is none. Never raises for what went wrong."""
        try:
            async with self._model.handler(self._call) as reply:
                message = await self._message(reply)
        except NotAnswered as error:
            return Failed(of_error(error.cause, _retry_after_s(error.cause)), self.tokens)
        except FreeholdError as error:
            return Failed(of_error(error, _retry_after_s(error)), self.tokens)
        return Answered(message, self.tokens)

    @property
    def tokens(self) -> Tokens:
        """What it has used, as far as the upstream said so."""
        facts = self._facts or self._tap.facts
        used = facts.usage
        if used is None:
            return Tokens()
        return Tokens(
            input=used.input_tokens,
            output=used.output_tokens,
            cache_read=used.cache_read_tokens,
            cache_write_5m=used.cache_write_5m_tokens,
            cache_write_1h=used.cache_write_1h_tokens,
            web_searches=used.web_searches,
            web_fetches=used.web_fetches,
            cost_nanodollars=self._model.price(facts.model or self._call.model, used, self._model.clock.now_us()),
        )

    async def _message(self, reply: Reply) -> Json:
        if reply.whole is not None:
            return self._of_whole(reply, reply.whole)
        if reply.status >= 400 or reply.reads is None:
            raise UpstreamFailed(f"The upstream answered HTTP {reply.status} without a body.")
        fold = Fold()
        async for read in _in_time(reply.reads, self._model.silence_s):
            self._take(read, fold)
        return fold.finish()

    def _take(self, read: Read, fold: Fold) -> None:
        self._tap.read(read.data)
        for _, data in events(read.data, read.borders):
            event = _object(data)
            fold.add(event)
            self._watch(event)
            chaos.point("streaming")

    def _of_whole(self, reply: Reply, whole: bytes) -> Json:
        if reply.status >= 400:
            error = error_of(reply.status, whole)
            after = retry_after_s(reply.headers, self._model.clock.now_us())
            if after is not None:
                error.headers["retry-after"] = str(after)
            raise error
        self._facts = of_whole(reply.status, whole)
        message = _object(whole)
        if not isinstance(message.get("content"), list):
            raise UpstreamFailed("The upstream's answer is not a message.")
        return message


def _object(data: bytes) -> Json:
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UpstreamFailed("The upstream's answer is not JSON.") from error
    if not isinstance(value, dict):
        raise UpstreamFailed("The upstream's answer is not a JSON object.")
    return value


def _retry_after_s(error: FreeholdError) -> float | None:
    try:
        return float(error.headers["retry-after"])
    except (KeyError, ValueError):
        return None


async def _in_time(reads: AsyncIterator[Read], silence_s: float) -> AsyncIterator[Read]:
    """The same reads; `UpstreamTimedOut` when nothing came for that long."""
    iterator = aiter(reads)
    while True:
        try:
            async with asyncio.timeout(silence_s):
                read = await anext(iterator)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise UpstreamTimedOut(f"The model's stream was silent for {silence_s:g} s.") from error
        yield read

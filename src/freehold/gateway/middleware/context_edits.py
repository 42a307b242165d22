"""`context_management` done by this server, for upstreams that know nothing of it or where the operator says so.

Edits change what the model sees; a compaction is a request of its own, recorded and billed like any other. The answer
tells of both as Claude's own does, whole or streamed. A request that asks for nothing costs one look into its fields.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

import msgspec

from freehold.calls import Call, Handler, Reply
from freehold.clock import Clock
from freehold.config import setting
from freehold.context import compaction, counting, management
from freehold.context.answers import Told, paused, retold, retold_event
from freehold.errors import FreeholdError, InvalidRequest, Misconfigured
from freehold.gateway.attempts import attempts_of
from freehold.ids import NewId
from freehold.wire import frames, grammar
from freehold.wire.envelopes import parse_fields, replace_fields
from freehold.wire.headers import ANTHROPIC_BETA, every, parse_betas
from freehold.wire.reads import Read
from freehold.wire.search import contains

Json = dict[str, Any]
Where = Literal["upstream", "here"]
COMPACTION_SOURCE = "freehold.compaction"
_FIELD = "context_management"
_BLOCK = b'"compaction"'
_BETAS = ("context-management-", "compact-")
_COUNT_WITHIN = 1.6
"""An estimate this near to a trigger is replaced by the upstream's own count."""
_MOST_OFF = 4.0
_MOST_MODELS = 1_000


@dataclass(frozen=True, slots=True)
class ContextEditSettings:
    """Who edits and compacts the conversations of Messages requests."""

    context_management: Where = setting(
        "upstream", "who does what `context_management` of a request asks for: the `upstream`, or this server, `here`"
    )
    context_management_routes: dict[str, Any] = setting(
        {},
        'the same for some models: `[context_management_routes]` with `"qwen*" = "here"`; the first that fits wins',
    )
    context_edits: dict[str, Any] = setting(
        {},
        "edits for requests that name none, done here: `[context_edits]` with a pattern of models and a list such as "
        '`[{type = "clear_tool_uses_20250919"}]`',
    )


class ContextEdits:
    """See the module. Summaries are asked for through `ask`: the whole pipeline, so that they are on the bill.

    Raises:
        Misconfigured: a route has no such mode, or the edits of a pattern are none of the API's.
    """

    def __init__(self, settings: ContextEditSettings, clock: Clock, ids: NewId) -> None:
        self._routes = _routes(settings)
        self._edits = {pattern: _configured(pattern, given) for pattern, given in settings.context_edits.items()}
        self._default = settings.context_management
        self._clock = clock
        self._ids = ids
        self._measured: dict[str, float] = {}
        self.ask: Handler | None = None

    @property
    def active(self) -> bool:
        """Whether it has anything to do."""
        return self._default == "here" or "here" in self._routes.values() or bool(self._edits)

    def __call__(self, inner: Handler) -> Handler:
        """See `Middleware`."""

        def handle(call: Call) -> AbstractAsyncContextManager[Reply]:
            return self._handle(inner, call) if self._concerns(call) else inner(call)

        return handle

    def _concerns(self, call: Call) -> bool:
        if call.source == COMPACTION_SOURCE:
            return False
        named = call.fields.get(_FIELD, b"null") != b"null"
        if not named and any(fnmatchcase(call.model, pattern) for pattern in self._edits):
            return True
        return self._here(call) and (named or contains(call.body, _BLOCK))

    def _wanted(self, call: Call) -> management.Edits:
        """What is to be done here."""
        raw = call.fields.get(_FIELD, b"null")
        if raw != b"null":
            return management.read(_decoded(raw))
        fitting = (edits for pattern, edits in self._edits.items() if fnmatchcase(call.model, pattern))
        return next(fitting, management.Edits())

    def _here(self, call: Call) -> bool:
        fitting = (where for pattern, where in self._routes.items() if fnmatchcase(call.model, pattern))
        return next(fitting, self._default) == "here"

    @asynccontextmanager
    async def _handle(self, inner: Handler, call: Call) -> AsyncIterator[Reply]:
        edits = self._wanted(call)
        asked = edits != management.Edits() or _FIELD in call.fields
        managed = await self._managed(inner, call, edits)
        told = Told(managed.applied if asked else None)
        if call.route == "count_tokens":
            async with inner(_changed(call, managed.messages)) as reply:
                yield await _counted(inner, call, reply) if asked else reply
            return
        messages = managed.messages
        if edits.compact is not None and managed.tokens >= edits.compact.at:
            told = await self._summarised(_changed(call, messages), told, edits.compact)
            if edits.compact.pause:
                yield _answered(call, paused(self._ids("msg"), call.model, told))
                return
            messages = compaction.continued(messages, told.said) if told.said else messages
        told.iterates = edits.compact is not None
        changed = _changed(call, messages)
        async with inner(changed) as reply:
            yield _telling(reply, told)
        self._learn(changed, _rest(call) + counting.estimate(messages))

    async def _managed(self, inner: Handler, call: Call, edits: management.Edits) -> management.Managed:
        """The conversation after its edits, measured by estimate, and by the upstream's count where that decides."""
        messages = compaction.resumed(_messages(call))
        rest = sum(
            counting.estimate(_decoded(call.fields[name])) for name in ("system", "tools") if name in call.fields
        )
        share = 1.0
        guess = rest + counting.estimate(messages)
        if any(at / _COUNT_WITHIN < guess < at * _COUNT_WITHIN for at in _triggers(edits)):
            share *= (await _exact(inner, _changed(call, messages)) or guess) / max(1, guess)

        def measure(view: Sequence[Json]) -> int:
            return round((rest + counting.estimate(list(view))) * share)

        return management.apply(messages, edits, measure)

    def _learn(self, call: Call, estimated: int) -> None:
        """The answer's usage tells how far estimates for this model are off."""
        attempts = attempts_of(call)
        usage = attempts[-1].facts.usage if attempts else None
        if usage is None or not estimated or len(self._measured) >= _MOST_MODELS:
            return
        written = usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
        share = (usage.input_tokens + usage.cache_read_tokens + written) / estimated
        if 1 / _MOST_OFF < share < _MOST_OFF:
            self._measured[call.model] = share

    async def _summarised(self, call: Call, told: Told, compact: management.Compact) -> Told:
        """Ask the model for a summary; one that fails leaves the conversation as it is, and the answer says so."""
        assert self.ask is not None, "wired after the pipeline"
        instructions = compact.instructions or compaction.INSTRUCTIONS
        messages = compaction.asking(_messages(call), keep_last=False, instructions=instructions)
        async with self.ask(_summary_of(call, messages, self._ids("req"), self._clock.monotonic_ns())) as reply:
            if reply.status != 200 or reply.whole is None:
                raise FreeholdError("The conversation could not be summarised: the upstream refused it.")
            message = msgspec.json.decode(reply.whole)
        told.compacted = True
        told.said, told.usage = compaction.summary(message), message["usage"]
        return told


def _rest(call: Call) -> int:
    """Tokens of the prompt besides its messages, by estimate."""
    return sum(counting.estimate(_decoded(call.fields[name])) for name in ("system", "tools") if name in call.fields)


def _summary_of(call: Call, messages: Sequence[Json], request_id: str, started_ns: int) -> Call:
    changes: dict[str, bytes | None] = {
        "messages": msgspec.json.encode(messages),
        "max_tokens": b"%d" % compaction.MOST_SUMMARY_TOKENS,
        "stream": None,
        "output_config": None,
        "stop_sequences": None,
        "tool_choice": b'{"type":"none"}' if "tools" in call.fields else None,
    }
    body = replace_fields(call.body, call.fields, changes)
    return msgspec.structs.replace(
        call,
        request_id=request_id,
        body=body,
        fields=parse_fields(body),
        stream=False,
        started_ns=started_ns,
        source=COMPACTION_SOURCE,
        first_byte_ns=None,
        notes={},
    )


async def _exact(inner: Handler, call: Call) -> int | None:
    """The upstream's count of the prompt; `None`: it does not count."""
    body = replace_fields(call.body, call.fields, dict.fromkeys(("max_tokens", "stream", "stop_sequences")))
    counting_call = msgspec.structs.replace(
        call, route="count_tokens", body=body, fields=parse_fields(body), stream=False, notes={}
    )
    try:
        async with inner(counting_call) as reply:
            counted = _decoded(reply.whole or b"null") if reply.status == 200 else None
    except FreeholdError:
        return None
    found = counted.get("input_tokens") if isinstance(counted, dict) else None
    return found if isinstance(found, int) and found > 0 else None


async def _counted(inner: Handler, call: Call, reply: Reply) -> Reply:
    if reply.status != 200 or reply.whole is None:
        return reply
    original = await _exact(inner, _changed(call, compaction.resumed(_messages(call))))
    member = msgspec.json.encode({"original_input_tokens": original or 0})
    return _whole(reply, replace_fields(reply.whole, parse_fields(reply.whole), {_FIELD: member}))


def _telling(reply: Reply, told: Told) -> Reply:
    if reply.status != 200 or not told.tells:
        return reply
    if reply.reads is not None:
        return Reply(reply.status, reply.headers, reads=_retold(reply.reads, told))
    assert reply.whole is not None
    return _whole(reply, retold(reply.whole, told))


async def _retold(reads: AsyncIterator[Read], told: Told) -> AsyncIterator[Read]:
    async for read in reads:
        events = (read.data[at:end] for at, end in itertools.pairwise([0, *read.borders]))
        yield Read(b"".join(retold_event(event, told) for event in events))


def _answered(call: Call, message: Json) -> Reply:
    """A message made here, in the form that was asked for."""
    if not call.stream:
        return Reply(200, [(b"content-type", b"application/json")], whole=msgspec.json.encode(message))

    async def reads() -> AsyncIterator[Read]:
        yield Read(
            b"".join(frames.frame(event["type"], msgspec.json.encode(event)) for event in grammar.unfold(message))
        )

    return Reply(200, [(b"content-type", b"text/event-stream; charset=utf-8")], reads=reads())


def _changed(call: Call, messages: Sequence[Json]) -> Call:
    changes: dict[str, bytes | None] = {_FIELD: None, "messages": msgspec.json.encode(messages)}
    body = replace_fields(call.body, call.fields, changes)
    return msgspec.structs.replace(call, body=body, fields=parse_fields(body), headers=_without_betas(call))


def _without_betas(call: Call) -> list[tuple[bytes, bytes]]:
    """The upstream is not asked for what it need not do, so it need not know the name of it."""
    betas = parse_betas(every(call.headers, ANTHROPIC_BETA))
    kept = sorted(beta for beta in betas if not beta.startswith(_BETAS))
    if len(kept) == len(betas):
        return call.headers
    others = [pair for pair in call.headers if pair[0] != ANTHROPIC_BETA]
    return [*others, (ANTHROPIC_BETA, ",".join(kept).encode("latin-1"))] if kept else others


def _whole(reply: Reply, body: bytes) -> Reply:
    return Reply(reply.status, reply.headers, whole=body)


def _messages(call: Call) -> list[Json]:
    """The messages, as far as they must be right to be edited; the rest is for the upstream to judge.

    Raises:
        InvalidRequest: there are none, or one has no role or content.
    """
    messages = _decoded(call.fields.get("messages", b"null"))
    if not isinstance(messages, list) or not any(_role(message) == "user" for message in messages):
        raise InvalidRequest("messages: Input should be a list with at least one message of the user")
    for index, message in enumerate(messages):
        content = message.get("content") if _role(message) else None
        if not isinstance(content, str | list):
            raise InvalidRequest(
                f"messages.{index}: Input should be an object with a role, and text or blocks as content"
            )
        for at, block in enumerate(content if isinstance(content, list) else ()):
            if not isinstance(block, dict) or not all(isinstance(block.get(name), str) for name in _needed(block)):
                raise InvalidRequest(f"messages.{index}.content.{at}: Input should be a content block with its ids")
    return messages


def _role(message: object) -> str:
    role = message.get("role") if isinstance(message, dict) else None
    return role if isinstance(role, str) else ""


def _needed(block: Json) -> tuple[str, ...]:
    return {"tool_use": ("type", "id", "name"), "tool_result": ("type", "tool_use_id")}.get(
        str(block.get("type")), ("type",)
    )


def _triggers(edits: management.Edits) -> list[int]:
    """The numbers of tokens at which something happens."""
    uses = [edit for edit in edits.clearing if isinstance(edit, management.ClearToolUses)]
    found = [edit.at for edit in uses if edit.trigger == "input_tokens"]
    return found + ([edits.compact.at] if edits.compact else [])


def _decoded(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidRequest(f"The request body is not valid JSON: {str(error)[:300]}") from None


def _routes(settings: ContextEditSettings) -> Mapping[str, Where]:
    for pattern, where in settings.context_management_routes.items():
        if where not in ("upstream", "here"):
            raise Misconfigured(
                f'context_management_routes."{pattern}": must be "upstream" or "here", not {str(where)[:40]!r}'
            )
    return settings.context_management_routes


def _configured(pattern: str, given: object) -> management.Edits:
    try:
        return management.read({"edits": given})
    except InvalidRequest as error:
        wrong = error.message.removeprefix("context_management.edits")
        raise Misconfigured(f'context_edits."{pattern}"{wrong}') from None

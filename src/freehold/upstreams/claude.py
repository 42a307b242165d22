"""Claude over HTTP: api.anthropic.com, or whatever else speaks Messages at a base URL (Ollama, vLLM, llama.cpp).

Bodies go through byte for byte; only an alias changes a request, and then only the bytes of its `model`. What is in a
request the upstream judges, not we. Knows nothing of retries: it says how far a failed attempt got.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

import msgspec

from freehold.calls import Attempted, Call, Headers, NotAnswered, Reply, Route
from freehold.errors import UpstreamFailed
from freehold.outbound.client import Client, Conversation
from freehold.outbound.connection import Connection
from freehold.outbound.failures import WayOutFailed
from freehold.outbound.reading import pour, read_all
from freehold.upstreams.claude_batches import ClaudeBatches
from freehold.upstreams.failures import told as _told
from freehold.upstreams.forwarding import answer_headers, request_head
from freehold.upstreams.listing import model_info
from freehold.wire.envelopes import error_of, parse_fields, replace_fields
from freehold.wire.frames import Frames
from freehold.wire.reads import Read
from freehold.wire.sinks import Sink, onto

_PATHS: Mapping[Route, bytes] = {"messages": b"/v1/messages", "count_tokens": b"/v1/messages/count_tokens"}
_MODELS_PER_PAGE = 1000
_MODEL_PAGES = 10


@dataclass(frozen=True, slots=True)
class Credential:
    """How we make ourselves known to an upstream: one header. Never shown."""

    header: bytes = b""

    def __repr__(self) -> str:
        return "Credential(…)"

    @classmethod
    def of(cls, key: str | None) -> Credential:
        """An API key goes as `x-api-key`, an OAuth token (`sk-ant-oat…`) as `Authorization: Bearer`; `None`: none.

        Raises:
            ValueError: the key holds what no header may hold.
        """
        if not key:
            return cls()
        if not key.isascii() or not key.isprintable() or " " in key:
            raise ValueError("the upstream's key holds a character that no key has (a line break or a space?)")
        name = "authorization: Bearer" if key.startswith("sk-ant-oat") else "x-api-key:"
        return cls(f"{name} {key}\r\n".encode())


class Claude:
    """An upstream: a Handler that counts tokens, lists models and has a batch API.

    `prefix` is the path of the base URL (`""` for api.anthropic.com). `aliases` maps the model that a client asks for
    to the one that this upstream is asked for.
    """

    counts_tokens = True

    def __init__(
        self,
        name: str,
        client: Client,
        *,
        prefix: str = "",
        credential: Credential | None = None,
        aliases: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.name = name
        self.aliases = dict(aliases)
        self._client = client
        self._prefix = prefix.encode("ascii")
        self._lines = {route: self._line(route) for route in _PATHS}
        self._batches = ClaudeBatches(client, self._prefix, b"", _told)
        self.renew(credential, self.aliases)

    def renew(self, credential: Credential | None, aliases: Mapping[str, str]) -> None:
        """From now on with this key and these aliases; what is under way ends with the old ones."""
        self.aliases = dict(aliases)
        own = b"host: %b\r\naccept-encoding: identity\r\n" % self._client.origin.authority.encode("idna")
        self._own = self._batches.own = own + (credential or Credential()).header

    def __call__(self, call: Call) -> ClaudeReply:
        """Begin the call. See `Upstream`."""
        body = call.body
        model = self.aliases.get(call.model)
        if model is not None:
            body = replace_fields(body, call.fields, {"model": msgspec.json.encode(model)})
        line = self._lines[call.route] if not call.query else self._line(call.route, b"?" + call.query)
        head = request_head(line, self._own, call.headers, len(body))
        return ClaudeReply(self._client, head, body, call.stream)

    def _line(self, route: Route, query: bytes = b"") -> bytes:
        return b"POST %b%b%b HTTP/1.1\r\n" % (self._prefix, _PATHS[route], query)

    async def models(self) -> Sequence[dict[str, Any]]:
        """The upstream's models, and an entry for every alias, in the shape of `ModelInfo`.

        Raises:
            FreeholdError: it cannot be reached, or answers with an error. An upstream without a list has aliases only.
        """
        found: list[dict[str, Any]] = []
        after = ""
        for _ in range(_MODEL_PAGES):
            page = await self._models_page(after)
            found += [model_info(entry) for entry in page.get("data") or ()]
            after = page.get("last_id") or ""
            if not page.get("has_more") or not after:
                break
        by_id = {entry["id"]: entry for entry in found}
        return [*found, *(self._alias_info(alias, model, by_id) for alias, model in self.aliases.items())]

    def batch_params(self, params: bytes) -> bytes:
        """See `RunsBatches`."""
        if not self.aliases:
            return params
        fields = parse_fields(params)
        model = self.aliases.get(msgspec.json.decode(fields["model"], type=str))
        return params if model is None else replace_fields(params, fields, {"model": msgspec.json.encode(model)})

    async def create_batch(self, body: bytes, headers: Headers) -> dict[str, Any]:
        """See `RunsBatches`."""
        return await self._batches.create(body, headers)

    async def batch(self, batch_id: str) -> dict[str, Any]:
        """See `RunsBatches`."""
        return await self._batches.retrieve(batch_id)

    async def recent_batches(self) -> Sequence[dict[str, Any]]:
        """See `RunsBatches`."""
        return await self._batches.recent()

    async def cancel_batch(self, batch_id: str) -> dict[str, Any]:
        """See `RunsBatches`."""
        return await self._batches.cancel(batch_id)

    def batch_results(self, batch_id: str) -> AsyncIterator[bytes]:
        """See `RunsBatches`."""
        return self._batches.results(batch_id)

    async def close(self) -> None:
        """Let every connection go."""
        await self._client.close()

    def _alias_info(self, alias: str, model: str, known: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
        return {**known.get(model, model_info({"id": alias})), "id": alias}

    async def _models_page(self, after: str) -> dict[str, Any]:
        query = f"?limit={_MODELS_PER_PAGE}" + (f"&after_id={quote(after)}" if after else "")
        line = b"GET %b/v1/models%b HTTP/1.1\r\n" % (self._prefix, query.encode("ascii"))
        try:
            async with self._client.exchange(request_head(line, self._own, [], 0)) as answer:
                return _models_of(answer.status, await answer.read_all())
        except WayOutFailed as error:
            raise _told(error) from error


class ClaudeReply(Conversation):
    """The context of one call; see `Handler`."""

    __slots__ = ()

    async def __aenter__(self) -> Reply:
        try:
            answer = await self.begin()
            status, headers = answer.status, answer_headers(answer.headers)
            if _is_stream(status, answer.headers, self._streamed):
                return Reply(status, headers, None, Reads(answer))
            whole = answer.rest_of_body()
            return Reply(status, headers, await read_all(answer) if whole is None else whole)
        except WayOutFailed as error:
            self.end()
            raise NotAnswered(error.attempted, _told(error)) from error
        except BaseException:
            self.end()
            raise


class Reads:
    """The reads of one stream: what came, cut at event borders. Raises `UpstreamFailed` if it breaks off."""

    __slots__ = ("_answer", "_cut", "_frames")
    pauses = True
    """See `can_pause`."""

    def __init__(self, answer: Connection) -> None:
        self._answer = answer
        self._frames = Frames()
        self._cut = self._frames.cut

    def __aiter__(self) -> Reads:
        return self

    async def __anext__(self) -> Read:
        answer = self._answer
        try:
            while (data := answer.read_now()) != b"":
                if data is None:
                    await answer.until_some()
                elif whole := self._cut(data):
                    return Read(whole)
        except WayOutFailed as error:
            raise _told(error) from error
        if not (rest := self._rest()):
            raise StopAsyncIteration
        return Read(rest, [len(rest)])

    async def pour(self, sink: Sink) -> bool:
        """See `wire.reads.pour`."""
        try:
            if not await pour(self._answer, onto(sink, self._frames)):
                return False
        except WayOutFailed as error:
            raise _told(error) from error
        rest = self._rest()
        return sink(rest) if rest else True

    def _rest(self) -> bytes:
        """At a clean end: a last event without its blank line leaves as it came."""
        rest = self._frames.rest()
        self._frames = Frames()
        return rest


def _is_stream(status: int, headers: Headers, asked: bool) -> bool:
    """By its type; where a stream was asked for also a 200 of any other type but JSON, which some proxies send."""
    found = dict(headers)
    kind = found.get(b"content-type", b"").lower()
    if kind == b"application/json":
        return False
    if not kind.startswith(b"text/event-stream") and not (asked and status == 200 and b"json" not in kind):
        return False
    if found.get(b"content-encoding", b"identity").lower() != b"identity":
        cause = UpstreamFailed("The upstream compressed its stream, which was not asked for.")
        raise NotAnswered(Attempted.UNANSWERED, cause)
    return True


def _models_of(status: int, body: bytes) -> dict[str, Any]:
    if status in (404, 405, 501):
        return {}
    if status != 200:
        raise error_of(status, body)
    try:
        page: dict[str, Any] = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UpstreamFailed("The upstream's list of models is not JSON.") from error
    return page

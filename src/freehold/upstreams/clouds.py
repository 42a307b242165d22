"""Claude on Bedrock, Vertex AI and Foundry, through the official SDK's own clients: their paths, signatures, framing.

Loaded only where such an upstream is configured: the SDK costs a second and 70 MB. A request is rebuilt as the cloud
wants it (the model in the path, the version in the body), so these are the upstreams whose requests do not leave byte
for byte; answers do, but for Bedrock's framing, which becomes Claude's events.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any

import anthropic
import msgspec

from freehold.calls import Attempted, Call, Headers, NotAnswered, Reply
from freehold.errors import FreeholdError, InvalidRequest, UpstreamFailed
from freehold.outbound.failures import WayOutFailed
from freehold.outbound.sdk_http import ANSWER
from freehold.upstreams.cloud_answers import claude_error, claude_headers, event_of
from freehold.upstreams.cloud_credentials import vertex_credentials
from freehold.upstreams.failures import told
from freehold.upstreams.forwarding import answer_headers
from freehold.upstreams.settings import Entry
from freehold.wire.frames import Frames
from freehold.wire.reads import Read

_AWS_STREAM = "application/vnd.amazon.eventstream"
_PATHS = {"messages": "/v1/messages", "count_tokens": "/v1/messages/count_tokens"}
_FORWARDED = (b"anthropic-beta", b"traceparent", b"tracestate")


def cloud_client(entry: Entry, http_client: Any) -> Any:
    """The SDK's client for `[[upstreams]]` whose `url` is a cloud.

    Raises:
        ValueError: something is missing; the SDK's words name it.
    """
    cloud, key = entry.cloud, entry.keys[0] if entry.keys else None
    common: dict[str, Any] = {"http_client": http_client, "max_retries": 0, "timeout": None, "base_url": cloud.base_url}
    common["default_headers"] = {"accept-encoding": "identity"}
    try:
        if entry.url == "bedrock":
            return anthropic.AsyncAnthropicBedrock(
                aws_region=cloud.region, aws_profile=cloud.profile, api_key=key, **common
            )
        if entry.url == "foundry":
            return anthropic.AsyncAnthropicFoundry(resource=cloud.resource, api_key=key, **common)
        given = {"region": cloud.region, "project_id": cloud.project}
        known: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if key is None:
            known["credentials"] = vertex_credentials(cloud.credentials_file, http_client)
        return anthropic.AsyncAnthropicVertex(access_token=key, **known, **common)
    except anthropic.AnthropicError as error:
        raise ValueError(str(error)) from error


class CloudUpstream:
    """An upstream over one of the SDK's cloud clients. It has no batch API and lists no models."""

    counts_tokens = True

    def __init__(self, name: str, client: Any, *, aliases: Mapping[str, str], http_client: Any) -> None:
        self.name = name
        self.aliases = dict(aliases)
        self.client = client
        self._http_client = http_client

    def __call__(self, call: Call) -> CloudReply:
        """Begin the call. See `Upstream`."""
        return CloudReply(self, call)

    async def send(self, call: Call) -> Any:
        """The SDK's answer to this call, its body not yet read, whatever its status.

        Raises:
            NotAnswered: there was none.
        """
        body = msgspec.json.decode(call.body)
        body["model"] = self.aliases.get(call.model, call.model)
        path = _PATHS[call.route] + ("?beta=true" if call.query == b"beta=true" else "")
        kept = {name.decode(): value.decode("latin-1") for name, value in call.headers if name in _FORWARDED}
        try:
            return await self.client.post(
                path, cast_to=ANSWER, body=body, options={"headers": kept}, stream=True, stream_cls=object
            )
        except anthropic.APIStatusError as error:
            return error.response
        except anthropic.APIConnectionError as error:
            raise _not_answered(error) from error
        except (anthropic.AnthropicError, ValueError) as error:
            raise InvalidRequest(f"The upstream {self.name} cannot take this: {error}") from error
        except RuntimeError as error:
            raise UpstreamFailed(f"The upstream {self.name} has no credentials: {error}") from error

    async def close(self) -> None:
        """Let every connection go."""
        await self._http_client.aclose()


class CloudReply:
    """The context of one call; see `Handler`."""

    __slots__ = ("_answer", "_call", "_upstream")

    def __init__(self, upstream: CloudUpstream, call: Call) -> None:
        self._upstream = upstream
        self._call = call
        self._answer: Any = None

    async def __aenter__(self) -> Reply:
        self._answer = answer = await self._upstream.send(self._call)
        try:
            headers: Headers = claude_headers(answer_headers([(n.lower(), v) for n, v in answer.headers.raw]))
            kind = answer.headers.get("content-type", "")
            if answer.status_code < 400 and kind.startswith((_AWS_STREAM, "text/event-stream")):
                return Reply(answer.status_code, headers, reads=self._reads(kind))
            whole = await _read(answer)
        except BaseException:
            await answer.aclose()
            raise
        if answer.status_code >= 400:
            whole = claude_error(answer.status_code, whole, self._call.request_id)
        return Reply(answer.status_code, headers, whole=whole)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._answer is not None:
            await self._answer.aclose()

    async def _reads(self, kind: str) -> AsyncIterator[Read]:
        try:
            parts = self._answer.aiter_raw()
            if kind.startswith(_AWS_STREAM):
                async for event in self._upstream.client._make_sse_decoder().aiter_bytes(parts):
                    data = event_of(event.event, event.data, self._call.request_id)
                    yield Read(data, [len(data)])
                return
            frames = Frames()
            async for part in parts:
                whole, borders = frames.feed(part)
                if whole:
                    yield Read(whole, borders)
            if rest := frames.rest():
                yield Read(rest, [len(rest)])
        except WayOutFailed as error:
            raise told(error) from error


async def _read(answer: Any) -> bytes:
    try:
        body: bytes = await answer.aread()
    except WayOutFailed as error:
        raise NotAnswered(error.attempted, told(error)) from error
    return body


def _not_answered(error: BaseException) -> NotAnswered:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, WayOutFailed | FreeholdError):
        cause = cause.__cause__
    if isinstance(cause, WayOutFailed):
        return NotAnswered(cause.attempted, told(cause))
    return NotAnswered(Attempted.UNANSWERED, UpstreamFailed("The upstream gave no answer."))

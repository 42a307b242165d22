"""Bedrock, Vertex AI and Foundry through the SDK's clients: signatures, tokens, paths, framing, and what goes wrong."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from anthropic.lib.aws import _auth as sessions

from freehold.app.ground import Replacements
from freehold.app.sections import sections
from freehold.app.upstreams import make_upstreams
from freehold.calls import Attempted, Call, NotAnswered, Reply
from freehold.config import load
from freehold.errors import InvalidRequest, Misconfigured
from freehold.upstreams.base import Upstream
from freehold.wire.envelopes import parse_fields
from freehold.wire.tap import Tap
from tests.gateway.house import BODY, DELTAS, EVENTS, MESSAGE, MODEL, STREAM, stream_all, whole
from tests.scripted_upstream import Line, Request, ScriptedUpstream, scripted
from tests.upstreams.clouds_fakes import ACCESS_KEY, SECRET_KEY, Google, event_chunk, event_exception, is_signed

VERSION = "2026-10-21"
"""The version that the SDK asks clouds for."""
REGION = "eu-central-1"
COUNT = b'{"input_tokens":7}'


def _forget_sessions() -> None:
    """The SDK keeps boto3's sessions, and these their credentials."""
    kept: Any = sessions._get_session
    kept.cache_clear()


def call(*, stream: bool = False, route: Any = "messages", headers: Any = (), **more: Any) -> Call:
    body = json.dumps({**BODY, "stream": stream, **more}).encode()
    return Call("req_1", route, body, parse_fields(body), list(headers), MODEL, stream, 0)


def upstream_of(settings: Mapping[str, Any]) -> Upstream:
    configuration = load(sections(), flags={"upstreams": [settings]}, environment={})
    return make_upstreams(configuration, Replacements())[0][0]


async def answer(upstream: Upstream, asked: Call) -> tuple[Reply, bytes]:
    async with upstream(asked) as reply:
        if reply.reads is None:
            return reply, reply.whole or b""
        return reply, b"".join([read.data async for read in reply.reads])


@asynccontextmanager
async def bedrock(
    monkeypatch: pytest.MonkeyPatch, script: Any, **more: Any
) -> AsyncIterator[tuple[Upstream, ScriptedUpstream]]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    async with scripted(script) as fake:
        entry = {"name": "bedrock", "url": "bedrock", "region": REGION, "base_url": fake.url, **more}
        upstream = upstream_of(entry)
        yield upstream, fake
        await upstream.close()


async def as_bedrock(request: Request, line: Line) -> None:
    """Claude's answers as Bedrock gives them, to whom has signed."""
    if not is_signed(request, REGION):
        await line.answer(403, b'{"message":"The request signature we calculated does not match"}')
    elif request.line.split()[1].endswith("/invoke"):
        await line.answer(200, MESSAGE, "x-amzn-RequestId: amzn-1")
    else:
        head = "HTTP/1.1 200 OK\r\ncontent-type: application/vnd.amazon.eventstream\r\nx-amzn-RequestId: amzn-1\r\n"
        await line.send((head + "transfer-encoding: chunked\r\n\r\n").encode())
        framed = b"".join(map(event_chunk, EVENTS))
        for start in range(0, len(framed), 100):
            await line.chunk(framed[start : start + 100])
        await line.chunk(b"")


async def test_bedrock_gets_a_signed_request_on_its_own_path(monkeypatch: pytest.MonkeyPatch) -> None:
    aliases = {MODEL: "eu.anthropic.claude-opus-4-8-v1:0"}
    async with bedrock(monkeypatch, as_bedrock, aliases=aliases) as (upstream, fake):
        reply, body = await answer(
            upstream, call(headers=[(b"anthropic-beta", b"one-1,two-2"), (b"x-api-key", b"sk-client")])
        )
        assert (reply.status, body) == (200, MESSAGE)
        assert (b"request-id", b"amzn-1") in reply.headers
        (request,) = fake.requests
        assert request.line.startswith("POST /model/eu.anthropic.claude-opus-4-8-v1:0/invoke ")
        sent = request.json()
        assert (sent["anthropic_version"], sent["anthropic_beta"]) == (VERSION, ["one-1", "two-2"])
        assert "model" not in sent and sent["messages"] == BODY["messages"]
        assert request.header("x-api-key") is None


async def test_bedrock_streams_come_back_as_claude_s_events(monkeypatch: pytest.MonkeyPatch) -> None:
    async with bedrock(monkeypatch, as_bedrock) as (upstream, fake):
        reply, body = await answer(upstream, call(stream=True))
        assert body == STREAM
        assert dict(reply.headers)[b"content-type"].startswith(b"text/event-stream")
        assert "/invoke-with-response-stream" in fake.requests[0].line


async def test_a_wrong_secret_is_an_error_of_claude_s_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    async with bedrock(monkeypatch, as_bedrock) as (upstream, _):
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
        _forget_sessions()
        reply, body = await answer(upstream, call())
        _forget_sessions()
        assert (reply.status, json.loads(body)["error"]["type"]) == (403, "permission_error")
        assert "signature" in json.loads(body)["error"]["message"]


@pytest.mark.parametrize(
    ("kind", "type_"),
    [("throttlingException", "rate_limit_error"), ("serviceUnavailableException", "overloaded_error")],
)
async def test_an_exception_in_bedrock_s_stream_is_an_error_event(
    monkeypatch: pytest.MonkeyPatch, kind: str, type_: str
) -> None:
    async def script(_: Request, line: Line) -> None:
        await line.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/vnd.amazon.eventstream\r\n")
        await line.send(b"transfer-encoding: chunked\r\n\r\n")
        await line.chunk(event_chunk(EVENTS[0]) + event_exception(kind, "Too many requests"))
        await line.chunk(b"")

    async with bedrock(monkeypatch, script) as (upstream, _):
        _, body = await answer(upstream, call(stream=True))
        tap = Tap()
        tap.read(body)
        assert (tap.facts.error_type, tap.facts.error_message) == (type_, "Too many requests")


async def test_bedrock_takes_its_own_api_keys_and_counts_no_tokens() -> None:
    async def script(request: Request, line: Line) -> None:
        assert request.header("authorization") == "Bearer bedrock-key"
        await whole(request, line)

    async with scripted(script) as fake:
        upstream = upstream_of(
            {"name": "b", "url": "bedrock", "region": REGION, "base_url": fake.url, "keys": ["bedrock-key"]}
        )
        assert (await answer(upstream, call()))[1] == MESSAGE
        with pytest.raises(InvalidRequest, match="Token counting is not supported in Bedrock"):
            await answer(upstream, call(route="count_tokens"))
        await upstream.close()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_vertex_gets_a_token_of_its_account_on_its_own_path(tmp_path: Path, stream: bool) -> None:
    google = Google()

    async def script(request: Request, line: Line) -> None:
        if request.line.startswith("POST /token "):
            await google.token(request, line)
        elif request.header("authorization") != f"Bearer {google.given[-1]}":
            await line.answer(401, b'{"error":{"code":401,"message":"no token","status":"UNAUTHENTICATED"}}')
        elif "count-tokens" in request.line:
            await line.answer(200, COUNT)
        else:
            await (stream_all if "streamRawPredict" in request.line else whole)(request, line)

    async with scripted(script) as fake:
        account = google.account(tmp_path, f"{fake.url}/token")
        place = {"region": "europe-west1", "project": "a-project", "base_url": f"{fake.url}/v1"}
        upstream = upstream_of({"name": "v", "url": "vertex", "credentials_file": str(account), **place})
        for _ in range(2):
            _, body = await answer(upstream, call(stream=stream, headers=[(b"anthropic-beta", b"one-1")]))
            assert body == (STREAM if stream else MESSAGE)
        assert len(google.given) == 1
        specifier = "streamRawPredict" if stream else "rawPredict"
        models = "/v1/projects/a-project/locations/europe-west1/publishers/anthropic/models"
        request = fake.requests[-1]
        assert request.line == f"POST {models}/{MODEL}:{specifier} HTTP/1.1"
        assert (request.json()["anthropic_version"], request.header("anthropic-beta")) == (VERSION, "one-1")
        assert (await answer(upstream, call(route="count_tokens")))[1] == COUNT
        google.given.append("another")
        reply, body = await answer(upstream, call())
        assert (reply.status, json.loads(body)["error"]["message"]) == (401, "no token")
        await upstream.close()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_foundry_gets_its_key_on_its_own_path(stream: bool) -> None:
    async with scripted(stream_all if stream else whole) as fake:
        entry = {"name": "f", "url": "foundry", "base_url": f"{fake.url}/anthropic/", "keys": ["foundry-key"]}
        upstream = upstream_of(entry)
        assert (await answer(upstream, call(stream=stream)))[1] == (STREAM if stream else MESSAGE)
        (request,) = fake.requests
        assert request.line == "POST /anthropic/v1/messages HTTP/1.1"
        assert (request.header("api-key"), request.json()["model"]) == ("foundry-key", MODEL)
        await upstream.close()


def test_foundry_is_found_by_its_resource() -> None:
    upstream: Any = upstream_of({"name": "f", "url": "foundry", "resource": "acme", "keys": ["k"]})
    assert str(upstream.client.base_url) == "https://acme.services.ai.azure.com/anthropic/"


async def test_how_far_a_failed_attempt_got_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang_up(_: Request, line: Line) -> None:
        line.hang_up()

    async with bedrock(monkeypatch, hang_up) as (upstream, fake):
        with pytest.raises(NotAnswered) as caught:
            await answer(upstream, call())
        assert (caught.value.attempted, caught.value.cause.status) == (Attempted.UNANSWERED, 502)
        await fake.close()
        with pytest.raises(NotAnswered) as caught:
            await answer(upstream, call())
        assert caught.value.attempted is Attempted.NOT_SENT
        await fake.open()


async def test_a_client_that_leaves_lets_the_cloud_go(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[bool] = []

    async def script(_: Request, line: Line) -> None:
        await line.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/vnd.amazon.eventstream\r\n")
        await line.send(b"transfer-encoding: chunked\r\n\r\n")
        await line.chunk(event_chunk(EVENTS[0]) + event_chunk(DELTAS[0]))
        left.append(await line.closed_by_peer())

    async with bedrock(monkeypatch, script) as (upstream, fake):
        async with upstream(call(stream=True)) as reply:
            assert reply.reads is not None
            await anext(reply.reads)
        await fake.arrived(1)
    assert left == [True]


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        ({"url": "foundry"}, "credentials"),
        ({"url": "foundry", "keys": ["a", "b"]}, "one key"),
        ({"url": "foundry", "keys": ["a"]}, "resource"),
        ({"url": "vertex", "keys": ["a"]}, "region"),
        ({"url": "vertex", "region": "r", "credentials_file": "/nowhere.json"}, "nowhere.json"),
    ],
)
async def test_what_is_missing_stops_the_start_and_is_named(entry: dict[str, Any], named: str) -> None:
    with pytest.raises(Misconfigured, match=named):
        upstream_of({"name": "c", **entry})

"""The HTTP upstream by itself: models of any server, credentials, and how far a failed attempt got."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from anthropic.types import ModelInfo

from freehold.calls import Attempted, Call, Headers, NotAnswered
from freehold.errors import FreeholdError, InvalidRequest, Unauthenticated, UpstreamFailed
from freehold.gateway.reading import read_call
from freehold.outbound.client import Client
from freehold.outbound.dial import Dialer, parse_url
from freehold.upstreams.base import CountsTokens, ListsModels
from freehold.upstreams.claude import Claude, Credential
from freehold.wire.reads import pour
from tests.gateway.house import BODY, STREAM
from tests.scripted_upstream import Line, Request, Script, ScriptedUpstream, scripted

CLAUDES = [
    {
        "id": f"claude-{n}",
        "type": "model",
        "display_name": f"Claude {n}",
        "created_at": "2026-01-01T00:00:00Z",
        "future": n,
    }
    for n in range(3)
]


@asynccontextmanager
async def claude(
    script: Script, *, aliases: dict[str, str] | None = None, credential: Credential | None = None
) -> AsyncIterator[tuple[Claude, ScriptedUpstream]]:
    async with scripted(script) as upstream:
        origin, prefix = parse_url(upstream.url)
        client = Client(origin, Dialer(public_only=False))
        made = Claude("claude", client, prefix=prefix, credential=credential, aliases=aliases or {})
        yield made, upstream
        await made.close()


def listing(*pages: dict[str, Any], status: int = 200) -> Script:
    waiting = list(pages)

    async def script(_: Request, line: Line) -> None:
        await line.answer(status, json.dumps(waiting.pop(0)).encode())

    return script


def a_call(headers: Headers | None = None) -> Call:
    return read_call("messages", json.dumps(BODY).encode(), headers or [], request_id="req_1", started_ns=0)


async def test_claudes_models_come_as_they_are_over_all_pages() -> None:
    pages = (
        {"data": CLAUDES[:2], "has_more": True, "last_id": "claude-1"},
        {"data": CLAUDES[2:], "has_more": False, "last_id": "claude-2"},
    )
    async with claude(listing(*pages), credential=Credential.of("sk-1")) as (upstream, server):
        assert [entry["future"] for entry in await upstream.models()] == [0, 1, 2]
        assert [request.line.split()[1] for request in server.requests] == [
            "/v1/models?limit=1000",
            "/v1/models?limit=1000&after_id=claude-1",
        ]
        assert server.requests[0].header("x-api-key") == "sk-1"
        assert server.requests[0].header("anthropic-version") == "2023-06-01"


async def test_the_list_of_another_kind_of_server_is_made_whole() -> None:
    page = {"object": "list", "data": [{"id": "llama3.2", "object": "model", "created": 1730000000, "owned_by": "me"}]}
    async with claude(listing(page), aliases={"claude-small": "llama3.2"}) as (upstream, _):
        entries = await upstream.models()
        assert [entry["id"] for entry in entries] == ["llama3.2", "claude-small"]
        for entry in entries:
            assert ModelInfo.model_validate(entry, strict=False).lifecycle == "active"
        assert entries[0]["created_at"].startswith("2024-10-27")


async def test_a_server_without_a_list_has_its_aliases() -> None:
    async with claude(listing({"error": "no such route"}, status=404), aliases={"a": "b"}) as (upstream, _):
        assert [entry["id"] for entry in await upstream.models()] == ["a"]


async def test_an_error_instead_of_a_list_is_told() -> None:
    body = {"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}}
    async with claude(listing(body, status=401)) as (upstream, server):
        with pytest.raises(Unauthenticated, match="invalid x-api-key"):
            await upstream.models()
        await server.close()
        with pytest.raises(UpstreamFailed):
            await upstream.models()
        await server.open()


async def test_what_is_not_a_list_is_told() -> None:
    async def script(_: Request, line: Line) -> None:
        await line.answer(200, b"<html>")

    async with claude(script) as (upstream, _):
        with pytest.raises(FreeholdError, match="not JSON"):
            await upstream.models()


async def test_an_upstream_that_is_away_was_not_sent_anything() -> None:
    async with claude(listing()) as (upstream, server):
        await server.close()
        with pytest.raises(NotAnswered) as caught:
            async with upstream(a_call()):
                pass
        assert caught.value.attempted is Attempted.NOT_SENT
        await server.open()


async def test_an_upstream_that_hangs_up_may_have_worked() -> None:
    async def script(_: Request, line: Line) -> None:
        line.hang_up()

    async with claude(script) as (upstream, _):
        with pytest.raises(NotAnswered) as caught:
            async with upstream(a_call()):
                pass
        assert caught.value.attempted is Attempted.UNANSWERED


async def test_a_compressed_stream_is_refused_because_nobody_could_read_it() -> None:
    async def script(_: Request, line: Line) -> None:
        await line.begin_stream("content-encoding: gzip")
        await line.chunk(b"\x1f\x8b")
        assert await line.closed_by_peer()

    async with claude(script) as (upstream, _):
        with pytest.raises(NotAnswered, match="compressed"):
            async with upstream(a_call()):
                pass


async def test_a_compressed_answer_passes_as_it_is() -> None:
    async def script(_: Request, line: Line) -> None:
        await line.answer(200, b"\x1f\x8bxyz", "content-encoding: gzip")

    async with claude(script) as (upstream, _), upstream(a_call()) as reply:
        assert reply.whole == b"\x1f\x8bxyz"
        assert (b"content-encoding", b"gzip") in reply.headers


async def test_an_event_longer_than_any_may_be_ends_the_stream() -> None:
    async def script(_: Request, line: Line) -> None:
        await line.begin_stream()
        while True:
            await line.chunk(b"data: " + b"x" * 1_000_000)

    async with claude(script) as (upstream, _), upstream(a_call()) as reply:
        assert reply.reads is not None
        with pytest.raises(UpstreamFailed, match="longer than"):
            async for _read in reply.reads:
                pass
    async with claude(script) as (upstream, _), upstream(a_call()) as reply:
        assert reply.reads is not None
        with pytest.raises(UpstreamFailed, match="longer than"):
            await pour(reply.reads, lambda data: True)


async def test_a_stream_is_cut_only_at_event_borders() -> None:
    async def script(_: Request, line: Line) -> None:
        await line.begin_stream()
        for at in range(0, len(STREAM), 7):
            await line.chunk(STREAM[at : at + 7])
        await line.chunk(b"")

    async with claude(script) as (upstream, _), upstream(a_call()) as reply:
        assert reply.reads is not None
        came = b""
        async for read in reply.reads:
            assert read.borders and read.borders[-1] == len(read.data)
            assert read.data.endswith(b"\n\n")
            came += read.data
        assert came == STREAM
    async with claude(script) as (upstream, _), upstream(a_call()) as reply:
        assert reply.reads is not None
        poured: list[bytes] = []

        def one(data: bytes) -> bool:
            poured.append(data)
            return False

        while not await pour(reply.reads, one):
            assert poured[-1].endswith(b"\n\n")
        assert b"".join(poured) == STREAM


async def test_a_line_break_in_a_header_goes_nowhere() -> None:
    async with claude(listing()) as (upstream, server):
        with pytest.raises(InvalidRequest, match="line break"):
            async with upstream(a_call([(b"x-a", b"1\r\nx-api-key: stolen")])):
                pass
        assert not server.requests


@pytest.mark.parametrize(
    ("key", "line"),
    [(None, b""), ("", b""), ("sk-ant-api03-x", b"x-api-key: sk-ant-api03-x\r\n"),
     ("sk-ant-oat01-x", b"authorization: Bearer sk-ant-oat01-x\r\n")],
)  # fmt: skip
def test_a_credential_is_one_header(key: str | None, line: bytes) -> None:
    assert Credential.of(key).header == line
    assert "sk-" not in repr(Credential.of(key))


@pytest.mark.parametrize("key", ["sk\r\nx: y", "sk x", "sk\u00e9", "sk\n"])
def test_a_key_that_no_header_can_hold_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(ValueError, match="key") as caught:
        Credential.of(key)
    assert key not in str(caught.value)


async def test_it_says_what_it_can() -> None:
    async with claude(listing()) as (upstream, _):
        assert isinstance(upstream, CountsTokens) and isinstance(upstream, ListsModels)

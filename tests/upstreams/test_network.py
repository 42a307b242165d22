"""Upstreams behind a company's network: CONNECT proxies, private authorities, client certificates, patience."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from freehold.calls import Attempted, Call, NotAnswered
from freehold.errors import Misconfigured
from freehold.outbound.dial import parse_url
from freehold.upstreams.claude import Claude
from freehold.upstreams.network import Network, NetworkSettings
from tests.gateway.house import BODY, MESSAGE, STREAM, stream_all, whole
from tests.outbound.certificates import Authority
from tests.outbound.connect_proxy import connect_proxy
from tests.scripted_upstream import Line, Request, ScriptedUpstream, scripted

HOST = "claude.example"


def call(stream: bool = False) -> Call:
    body = json.dumps({**BODY, "stream": stream}).encode()
    return Call("req_1", "messages", body, {}, [], BODY["model"], stream, 0)


async def ask(network: Network, url: str, environment: dict[str, str] | None = None, *, stream: bool = False) -> bytes:
    origin, _ = parse_url(url)
    claude = Claude("claude", network.client(origin, environment or {}))
    try:
        async with claude(call(stream)) as reply:
            if reply.reads is None:
                return reply.whole or b""
            return b"".join([read.data async for read in reply.reads])
    finally:
        await claude.close()


async def either(request: Request, line: Line) -> None:
    await (stream_all if request.json()["stream"] else whole)(request, line)


@asynccontextmanager
async def company(*, mutual: bool = False) -> AsyncIterator[tuple[Authority, ScriptedUpstream]]:
    """An upstream whose certificate only a private authority has signed."""
    authority = Authority()
    async with scripted(either, ssl=authority.server(HOST, mutual=mutual)) as upstream:
        yield authority, upstream


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("word", [None, "me:s@cret"], ids=["open", "basic"])
async def test_a_proxy_of_the_environment_is_tunnelled_through(tmp_path: Path, word: str | None, stream: bool) -> None:
    async with company() as (authority, upstream), connect_proxy({HOST: upstream.port}, word) as proxy:
        network = Network(ca_file=authority.write(tmp_path))
        login = "me:s%40cret@" if word else ""
        environment = {"HTTPS_PROXY": f"http://{login}127.0.0.1:{proxy.port}"}
        answered = await ask(network, f"https://{HOST}", environment, stream=stream)
        assert answered == (STREAM if stream else MESSAGE)
        assert proxy.asked == [f"CONNECT {HOST}:443 HTTP/1.1"]
        assert upstream.requests[0].header("proxy-authorization") is None
        assert upstream.requests[0].header("host") == HOST


async def test_a_proxy_with_tls_of_its_own_and_one_for_plain_http(tmp_path: Path) -> None:
    authority = Authority()
    async with (
        scripted(whole) as upstream,
        connect_proxy({HOST: upstream.port}, ssl=authority.server("localhost")) as proxy,
        connect_proxy({HOST: upstream.port}) as plain,
    ):
        network = Network(ca_file=authority.write(tmp_path), proxy=f"https://localhost:{proxy.port}")
        assert await ask(network, f"http://{HOST}:8080") == MESSAGE
        assert proxy.asked == [f"CONNECT {HOST}:8080 HTTP/1.1"]
        assert await ask(Network(proxy=f"127.0.0.1:{plain.port}"), f"http://{HOST}") == MESSAGE


async def test_a_proxy_that_wants_a_password_or_knows_no_way_is_an_upstream_that_cannot_be_reached() -> None:
    async with connect_proxy({}, "me:secret") as proxy:
        for login in ("", "me:wrong@", "me:secret@"):
            network = Network(proxy=f"http://{login}127.0.0.1:{proxy.port}")
            with pytest.raises(NotAnswered) as caught:
                await ask(network, f"https://{HOST}")
            assert caught.value.attempted is Attempted.NOT_SENT
            assert caught.value.cause.status == 502
            assert "secret" not in caught.value.cause.message
        assert len(proxy.asked) == 3


async def test_no_proxy_and_none_go_straight() -> None:
    async with scripted(whole) as upstream:
        nowhere = "http://127.0.0.1:9"
        environment = {"HTTP_PROXY": nowhere, "NO_PROXY": "localhost"}
        url = f"http://localhost:{upstream.port}"
        assert await ask(Network(), url, environment) == MESSAGE
        assert await ask(Network(proxy="none"), url, {"ALL_PROXY": nowhere}) == MESSAGE


async def test_a_private_authority_and_a_client_certificate(tmp_path: Path) -> None:
    async with company(mutual=True) as (authority, upstream), connect_proxy({HOST: upstream.port}) as proxy:
        way = f"http://127.0.0.1:{proxy.port}"
        authorities, ours = authority.write(tmp_path), authority.write(tmp_path, "freehold")
        known = Network(proxy=way, ca_file=authorities, client_cert_file=ours)
        assert await ask(known, f"https://{HOST}") == MESSAGE
        assert await ask(known, f"https://{HOST}", stream=True) == STREAM
        nobody = Network(proxy=way, ca_file=authorities)
        stranger = Network(proxy=way, client_cert_file=ours)
        for network in (nobody, stranger):
            with pytest.raises(NotAnswered):
                await ask(network, f"https://{HOST}")
        assert len(upstream.requests) == 2


async def test_each_upstream_has_its_own_patience() -> None:
    async def silent(_: Request, line: Line) -> None:
        await line.closed_by_peer()

    async with scripted(silent) as upstream:
        with pytest.raises(NotAnswered) as caught:
            await ask(Network(silence_s=0.05), upstream.url)
        assert (caught.value.cause.status, caught.value.attempted) == (504, Attempted.UNANSWERED)


def test_what_cannot_be_used_stops_the_start_and_is_named(tmp_path: Path) -> None:
    origin, _ = parse_url(f"https://{HOST}")
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    for network, named in (
        (Network(ca_file=tmp_path / "missing.pem"), "missing.pem"),
        (Network(client_cert_file=empty), "empty.pem"),
        (Network(proxy="socks5://x"), "SOCKS"),
    ):
        with pytest.raises(Misconfigured, match=named):
            network.client(origin, {})
    assert Network.of(NetworkSettings()) == Network()

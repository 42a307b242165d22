"""The way to addresses that strangers name: guarded directly and through a proxy; answers of a size that was agreed."""

from __future__ import annotations

import asyncio

import pytest

from freehold.outbound.dial import Origin
from freehold.outbound.failures import AddressRefused, BrokenOff, WayOutFailed
from freehold.outbound.sdk_http import http_client
from freehold.outbound.strangers import Strangers
from tests.outbound.connect_proxy import connect_proxy


async def answering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n" + b"x" * 100_000)
    writer.close()


async def test_a_proxy_is_asked_only_for_what_is_not_known_to_be_private() -> None:
    server = await asyncio.start_server(answering, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with connect_proxy({"far.invalid": port, "10.0.0.1": port, "localhost": port}) as proxy:
        way = Strangers((), {"https_proxy": f"http://127.0.0.1:{proxy.port}", "http_proxy": f"127.0.0.1:{proxy.port}"})
        async with http_client(way.client) as client:
            assert len((await client.get("http://far.invalid/")).content) == 100_000
        async with http_client(way.client, most_bytes=99_999) as client:
            with pytest.raises(BrokenOff):
                await client.get("http://far.invalid/")
        for host in ("10.0.0.1", "169.254.169.254", "localhost", "127.0.0.1"):
            with pytest.raises(AddressRefused):
                await way.client(Origin("http", host, port)).fresh()
        assert proxy.asked == ["CONNECT far.invalid:80 HTTP/1.1"] * 2
    server.close()


async def test_a_proxy_that_is_none_is_told() -> None:
    with pytest.raises(WayOutFailed, match="proxy"):
        await Strangers((), {"https_proxy": "socks5://x"}).client(Origin("https", "far.invalid", 443)).fresh()

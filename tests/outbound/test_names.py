"""Names that strangers give: slow ones keep their places, and nobody else waits for them."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest

from freehold.outbound.dial import Dialer, Origin
from freehold.outbound.failures import AddressRefused, TimedOut
from freehold.outbound.names import Lookups


class Slow:
    """Answers when it is let; tells who has asked."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.asked: list[str] = []

    def __call__(self, host: str, port: int, **more: Any) -> list[Any]:
        self.asked.append(host)
        if host != "localhost":
            self.go_on.wait(30)
        return socket.getaddrinfo("localhost", port, **more)


async def until(asked: list[str], count: int) -> None:
    async with asyncio.timeout(10):
        while len(asked) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_a_look_up_that_nobody_waits_for_keeps_its_place_until_it_ends() -> None:
    slow = Slow()
    lookups = Lookups(2, slow)
    dialer = Dialer(public_only=True, timeout_s=0.05, lookups=lookups)
    for name in ("one.example", "two.example", "localhost"):
        with pytest.raises(TimedOut):
            await dialer.dial(Origin("http", name, 80), asyncio.Protocol)
    assert slow.asked == ["one.example", "two.example"]
    slow.go_on.set()
    patient = Dialer(public_only=True, lookups=lookups)
    with pytest.raises(AddressRefused):
        await patient.dial(Origin("http", "localhost", 80), asyncio.Protocol)
    assert slow.asked[2:] == ["localhost"]


async def test_the_operator_s_own_names_do_not_wait_for_those_of_strangers() -> None:
    slow, dialer = Slow(), Dialer(public_only=False)
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    lookups = Lookups(4, slow)
    waiting = [asyncio.create_task(lookups.addresses(f"{n}.example", 80)) for n in range(8)]
    await until(slow.asked, 4)
    await dialer.dial(Origin("http", "localhost", port), asyncio.Protocol)
    slow.go_on.set()
    assert all("127.0.0.1" in found for found in await asyncio.gather(*waiting))
    server.close()


async def test_what_is_no_name_is_told() -> None:
    with pytest.raises(OSError):
        await Lookups().addresses("no such name.invalid", 80)

"""What is written in one turn of the loop leaves in one system call."""

from __future__ import annotations

import asyncio
from typing import Any

from freehold.api.transport import GatheringTransport


class Wire(asyncio.Transport):
    """A transport that notes what it was told."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.told: list[bytes | str] = []

    def write(self, data: Any) -> None:
        self.told.append(bytes(data))

    def close(self) -> None:
        self.told.append("close")

    def pause_reading(self) -> None:
        self.told.append("pause")


async def test_writes_of_one_turn_leave_together() -> None:
    wire = Wire()
    gathering = GatheringTransport(wire)
    gathering.write(b"head ")
    gathering.write(b"body")
    assert wire.told == []
    await asyncio.sleep(0)
    assert wire.told == [b"head body"]
    gathering.write(b"next")
    await asyncio.sleep(0)
    assert wire.told == [b"head body", b"next"]


async def test_what_was_written_leaves_before_the_end() -> None:
    wire = Wire()
    gathering = GatheringTransport(wire)
    gathering.write(b"last words")
    gathering.close()
    await asyncio.sleep(0)
    assert wire.told == [b"last words", "close"]


async def test_everything_else_is_the_transports_own() -> None:
    wire = Wire()
    gathering = GatheringTransport(wire)
    gathering.pause_reading()
    assert wire.told == ["pause"]
    assert gathering.get_extra_info("peername") == ("127.0.0.1", 1)

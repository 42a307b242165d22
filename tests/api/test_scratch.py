"""Large bodies on their way to the disk: whole at the end, and stopped while they come where it is nearly full."""

from __future__ import annotations

import tempfile
from typing import IO

from starlette.responses import Response

from freehold.api.base import Request, answer, route
from freehold.api.scratch import taken_in
from freehold.errors import Unavailable
from tests.api.parts import app_of, http

MEGABYTE = b"x" * (1 << 20)


class Disk:
    """Gives scratch files until it is full."""

    def __init__(self) -> None:
        self.looks_left = 1_000
        self.given: list[IO[bytes]] = []

    def scratch(self) -> IO[bytes]:
        if self.looks_left == 0:
            raise Unavailable("The disk is nearly full.")
        self.looks_left -= 1
        self.given.append(tempfile.TemporaryFile())  # noqa: SIM115 (whoever asked closes it)
        return self.given[-1]

    async def take(self, request: Request) -> Response:
        async with taken_in(request, self.scratch, 100 << 20) as file:
            return answer({"size": len(file.read())})


async def test_a_body_is_there_from_its_beginning_and_gone_afterwards() -> None:
    disk = Disk()
    async with http(app_of([route("POST", "/large", disk.take)])) as client:
        assert (await client.post("/large", content=MEGABYTE)).json() == {"size": len(MEGABYTE)}
        assert (await client.post("/large", content=b"")).json() == {"size": 0}
    assert all(file.closed for file in disk.given)


async def test_the_disk_is_looked_at_while_a_body_comes() -> None:
    disk = Disk()
    disk.looks_left = 1  # for the file itself
    async with http(app_of([route("POST", "/large", disk.take)])) as client:
        refused = await client.post("/large", content=MEGABYTE * 65)
    assert refused.status_code == Unavailable.status and "nearly full" in refused.json()["error"]["message"]
    assert all(file.closed for file in disk.given)

"""Waiting for what a connection brings. Coroutines stand here, as `connection.py` is compiled, and those may not be."""

from __future__ import annotations

from collections.abc import Callable

from freehold.outbound.connection import Connection


async def read(connection: Connection) -> bytes:
    """The body's next bytes: all that have come since; empty at its end."""
    while (data := connection.read_now()) is None:
        await connection.until_some()
    return data


async def pour(connection: Connection, sink: Callable[[bytes], bool]) -> bool:
    """Hand the body to `sink` as it arrives, until its end (True) or until the sink returns False. What the sink
    raises comes out here. Who is cancelled here loses nothing: what comes then waits to be read.
    """
    if not connection.pour_to(sink):
        return False
    try:
        while connection.is_pouring():
            await connection.until_poured()
    except BaseException:
        connection.end_pouring()
        raise
    return connection.end_pouring()


async def read_all(connection: Connection) -> bytes:
    """The rest of the body."""
    connection.want_all()
    while not connection.done:
        await connection.until_all()
    return connection.rest_of_body() or b""

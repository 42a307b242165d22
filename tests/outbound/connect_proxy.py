"""A CONNECT proxy on a free port, for tests: it knows names of its own, may want a password, notes what is asked."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any


class ConnectProxy:
    """`names` maps a host that exists nowhere else to a port of this machine. `asked` is every request line."""

    def __init__(self, names: Mapping[str, int], word: str | None = None) -> None:
        self.names = names
        self.word = word
        self.asked: list[str] = []
        self.port = 0
        self._tasks: set[asyncio.Task[Any]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            line, *headers = head.splitlines()
            self.asked.append(line)
            status = self._judge(line, headers)
            writer.write(f"HTTP/1.1 {status} X\r\n\r\n".encode())
            if status == 200:
                await self._join(self.names[line.split()[1].partition(":")[0]], reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def close(self) -> None:
        """Let everybody go."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _judge(self, line: str, headers: list[str]) -> int:
        method, authority, _ = line.split()
        if self.word is not None:
            wanted = "proxy-authorization: Basic " + base64.b64encode(self.word.encode()).decode()
            if wanted not in headers:
                return 407
        if method != "CONNECT":
            return 405
        return 200 if authority.partition(":")[0] in self.names else 502

    async def _join(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reads, there_writes = await asyncio.open_connection("127.0.0.1", port)
        try:
            await asyncio.gather(_copy(reader, there_writes), _copy(there_reads, writer))
        finally:
            there_writes.close()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while data := await source.read(65_536):
        target.write(data)
        await target.drain()
    target.close()


@asynccontextmanager
async def connect_proxy(
    names: Mapping[str, int], word: str | None = None, **options: Any
) -> AsyncIterator[ConnectProxy]:
    """A running one; `options` such as `ssl` go to the listening socket."""
    proxy = ConnectProxy(names, word)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, **options)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()

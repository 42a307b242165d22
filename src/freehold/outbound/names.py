"""Names that strangers give are looked up in threads of their own: slow ones keep nobody waiting but other strangers.

The event loop's own look-ups are two at a time, and the operator's upstreams need them.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from freehold.threads import in_thread

_AT_ONCE = 16
Resolve = Callable[..., list[Any]]
"""What stands for `socket.getaddrinfo`."""


class Lookups:
    """So many at a time, those included for which nobody waits any more: a thread that asks cannot be stopped."""

    def __init__(self, at_once: int = _AT_ONCE, resolve: Resolve | None = None) -> None:
        self._places = asyncio.Semaphore(at_once)
        self._resolve = resolve

    async def addresses(self, host: str, port: int) -> list[str]:
        """Every address of that name, each once. Raises `OSError`, and `UnicodeError` for what can be no name."""
        await self._places.acquire()
        try:
            resolve = self._resolve or socket.getaddrinfo
            looking = in_thread(lambda: resolve(host, port, type=socket.SOCK_STREAM), "look-up")
        except BaseException:
            self._places.release()
            raise
        looking.add_done_callback(self._ended)
        return addresses_in(await asyncio.shield(looking))

    def _ended(self, looking: asyncio.Future[list[Any]]) -> None:
        self._places.release()
        looking.exception()  # whoever asked may have left


def addresses_in(found: list[Any]) -> list[str]:
    """The addresses in an answer of `getaddrinfo`, each once."""
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))

"""Dialling a socket file of this machine, which the operator has named: a daemon's, never one that a stranger names."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from freehold.outbound.dial import Origin, reason
from freehold.outbound.failures import TimedOut, Unreachable

P = TypeVar("P", bound=asyncio.Protocol)


class UnixDialer:
    """See `Dials`. Whatever the origin says, the connection goes to that file."""

    def __init__(self, path: Path, *, timeout_s: float = 10.0) -> None:
        self._path = path
        self._timeout_s = timeout_s

    async def dial(self, origin: Origin, make: Callable[[], P]) -> P:
        """A protocol of `make` on a fresh connection.

        Raises:
            Unreachable: nobody listens there, or this user may not go there.
            TimedOut: not connected in time.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                return (await asyncio.get_running_loop().create_unix_connection(make, str(self._path)))[1]
        except TimeoutError as error:
            raise TimedOut(f"no connection to {self._path} within {self._timeout_s:g} s") from error
        except OSError as error:
            raise Unreachable(f"cannot connect to {self._path}: {reason(error)}") from error

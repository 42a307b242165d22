"""The public test kit: a whole server inside your test, official clients bound to it, a clock that you turn.

    async with freehold.testing.server() as running:
        message = await running.client.messages.create(...)

`ServerProcess` is the real command in a process of its own, for tests that kill it.
"""

from freehold.clock import HandClock
from freehold.launch import NotStarted, ServerProcess
from freehold.testing.running import Running
from freehold.testing.starting import server, server_in_thread

__all__ = ["HandClock", "NotStarted", "Running", "ServerProcess", "server", "server_in_thread"]

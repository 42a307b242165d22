"""Starts the whole application inside a test: temporary folder, simulator, no socket."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeGuard

from freehold.app.build import build
from freehold.app.ground import Replacements
from freehold.app.sections import sections
from freehold.calls import Call, Handler, Reply
from freehold.clock import Clock, SystemClock
from freehold.config import load
from freehold.testing.running import Running
from freehold.testing.schema import write_empty_database
from freehold.toolboxes.base import Toolbox
from freehold.upstreams.base import Upstream

_THREAD_TIMEOUT_S = 60


class HandlerAsUpstream:
    """Any Handler, such as a script of a test, where an upstream is wanted."""

    name = "handler"
    counts_tokens = True

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    def __call__(self, call: Call) -> AbstractAsyncContextManager[Reply]:
        """See `Upstream`."""
        return self._handler(call)

    async def close(self) -> None:
        """See `Upstream`; a handler holds nothing."""


@asynccontextmanager
async def server(
    *,
    upstream: Upstream | Handler | None = None,
    clock: Clock | None = None,
    tools: Sequence[Path] = (),
    toolboxes: Mapping[str, Toolbox] | None = None,
    settings: Mapping[str, Any] | None = None,
    data: Path | None = None,
    strict: bool = False,
) -> AsyncIterator[Running]:
    """A server for the time of the block. The environment's `FREEHOLD_*` variables do not reach it.

    Args:
        upstream: who answers model calls, an upstream or any Handler; the simulator if left out.
        clock: the clock of every part; a `HandClock` makes the server's time stand still until it is advanced.
        tools: Python files of tool functions, as `freehold serve --tools`.
        toolboxes: toolboxes as objects, by name, instead of files.
        settings: further settings by name, as they stand in the TOML file.
        data: a data folder to keep; left out, a temporary one.
        strict: the clients raise when an answer differs from the SDK's own types.
    """
    clock = clock or SystemClock()
    key = "sk-fh-" + secrets.token_urlsafe(32)
    with contextlib.ExitStack() as folders:
        folder = data or Path(folders.enter_context(tempfile.TemporaryDirectory(prefix="freehold-test-")))
        flags = {"upstream": "simulator", "admin_key": key, **(settings or {}), "data": folder}
        if data is None:
            write_empty_database(folder / "freehold.db")
        if tools:
            flags["tools"] = [str(path) for path in tools]
        configuration = load(sections(), flags=flags, environment={})
        replaced = Replacements(upstream=_upstream(upstream), toolboxes=toolboxes, clock=clock)
        application = await build(configuration, replaced)
        running = Running(application, folder, key, clock, strict)
        try:
            await application.start()
            yield running
        finally:
            application.drain()
            await running.close()
            await application.stop()


@contextmanager
def server_in_thread(**options: Any) -> Iterator[Running]:
    """The same for tests without an event loop: it runs in a thread of its own, and `running.sync_client` speaks to it.

    Takes what `server` takes.
    """
    started: list[Running] = []
    failed: list[BaseException] = []
    ready, done = threading.Event(), threading.Event()

    async def run() -> None:
        async with server(**options) as running:
            started.append(running)
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=lambda: _catching(run, failed, ready), name="freehold test server", daemon=True)
    thread.start()
    try:
        if not ready.wait(_THREAD_TIMEOUT_S):
            raise TimeoutError("the server did not start")
        if started:
            yield started[0]
    finally:
        done.set()
        thread.join(_THREAD_TIMEOUT_S)
    if failed:
        raise failed[0]


def _catching(run: Callable[[], Any], failed: list[BaseException], ready: threading.Event) -> None:
    try:
        asyncio.run(run())
    except BaseException as error:  # noqa: BLE001 - it is raised again in the test's own thread
        failed.append(error)
    finally:
        ready.set()


def _upstream(given: Upstream | Handler | None) -> Upstream | None:
    if given is None:
        return None
    return given if _is_upstream(given) else HandlerAsUpstream(given)


def _is_upstream(given: Upstream | Handler) -> TypeGuard[Upstream]:
    return hasattr(given, "close") and hasattr(given, "name")

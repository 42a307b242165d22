"""Transports that own the application behind them: it is started for them and stops with them."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2

from freehold.access.first_start import KEY_FILE, AdminKeySettings
from freehold.app.application import Application
from freehold.app.build import build
from freehold.app.sections import sections
from freehold.app.settings import DataSettings
from freehold.config import Configuration, load
from freehold.errors import Misconfigured
from freehold.inprocess.transports import AsgiTransport, BlockingAsgiTransport

LISTENING = (
    "host",
    "port",
    "answers_drain_s",
    "keep_alive_s",
    "head_patience_s",
    "reader_patience_s",
    "backlog",
)
"""Settings of a listening server: they may stand in the same file, and mean nothing here."""
_ELSEWHERE = ("FREEHOLD_CONFIG", "FREEHOLD_URL", "FREEHOLD_KEY")


class Embedded(httpx2.AsyncBaseTransport):
    """For the async client: the application starts on the loop of the first request, and stops when this is closed."""

    def __init__(self, settings: Mapping[str, Any], file: Path | None, key: str | None) -> None:
        self._configuration = configuration(settings, file)
        self._key = key
        self._starting: asyncio.Lock | None = None
        self._application: Application | None = None
        self._transport: AsgiTransport | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """See `httpx2.AsyncBaseTransport`."""
        transport = self._transport or await self._start()
        request.headers["x-api-key"] = self._key or ""
        return await transport.handle_async_request(request)

    async def aclose(self) -> None:
        """Leave what is still open, and stop the application."""
        if self._transport is not None:
            await self._transport.aclose()
        if self._application is not None:
            application, self._application, self._transport = self._application, None, None
            await application.stop()

    async def _start(self) -> AsgiTransport:
        self._starting = self._starting or asyncio.Lock()
        async with self._starting:
            if self._transport is None:
                self._application = await started(self._configuration)
                self._key = self._key or admin_key(self._configuration)
                self._transport = AsgiTransport(self._application.asgi)
            return self._transport


class BlockingEmbedded(httpx2.BaseTransport):
    """For the sync client: the application runs in a thread of its own, from now on until this is closed."""

    def __init__(self, settings: Mapping[str, Any], file: Path | None, key: str | None) -> None:
        chosen = configuration(settings, file)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="freehold", daemon=True)
        self._thread.start()
        self._application: Application | None = None
        try:
            self._application = self._wait(started(chosen))
            self._key = key or admin_key(chosen)
        except BaseException:
            self.close()
            raise
        self._transport = BlockingAsgiTransport(self._application.asgi, self._loop)
        atexit.register(self.close)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """See `httpx2.BaseTransport`."""
        request.headers["x-api-key"] = self._key
        return self._transport.handle_request(request)

    def close(self) -> None:
        """Leave what is still open, and stop the application and its thread."""
        atexit.unregister(self.close)
        if self._application is not None:
            application, self._application = self._application, None
            if hasattr(self, "_transport"):
                self._transport.close()
            self._wait(application.stop())
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _wait(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


async def started(chosen: Configuration) -> Application:
    """The application of these settings, running."""
    application = await build(chosen)
    try:
        await application.start()
    except BaseException:
        await application.stop()
        raise
    return application


def configuration(settings: Mapping[str, Any], file: Path | None) -> Configuration:
    """As `freehold serve` would read it here, with `settings` in place of flags.

    Raises:
        Misconfigured: an unknown name or a wrong value.
    """
    return load(sections(), flags=settings, environment=os.environ, file=file, reserved=_ELSEWHERE, without=LISTENING)


def admin_key(chosen: Configuration) -> str:
    """The key of the default workspace.

    Raises:
        Misconfigured: it is not where the first start left it.
    """
    given = chosen.section(AdminKeySettings).admin_key
    path = chosen.section(DataSettings).data / KEY_FILE
    try:
        return given or path.read_text("utf-8").strip()
    except OSError as error:
        raise Misconfigured(f"there is no key in {path}; give client(key=…) one of this server's") from error

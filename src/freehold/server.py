"""Listens, says when it is ready, drains on SIGTERM, stops. The application behind it is `app/`'s.

It does not know what is served; it knows the socket, the signals and the ready line.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import functools
import gc
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from freehold.api.front import FrontProtocol
from freehold.api.strict_http import Watch
from freehold.app.application import Application
from freehold.app.build import build
from freehold.app.sections import sections as made_here
from freehold.app.settings import DataSettings
from freehold.config import Configuration, setting
from freehold.errors import Misconfigured
from freehold.telemetry.logs import configure as configure_logs
from freehold.telemetry.settings import TelemetrySettings

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
"""Parameters of `mallopt` (glibc's malloc.h)."""


@dataclass(frozen=True, slots=True)
class ListenSettings:
    """Listening and stopping."""

    host: str = setting("127.0.0.1", "Address to listen on; only this machine can reach the default.")
    port: int = setting(8788, "Port to listen on; 0 picks a free one, and the ready line names it.")
    answers_drain_s: int = setting(30, "After SIGTERM: how long open answers may take to finish.", unit="s")
    keep_alive_s: int = setting(75, "How long an idle client connection is kept.", unit="s")
    head_patience_s: float = setting(
        30.0, "How long a client may take to send the head of a request.", unit="s", least=0.1
    )
    reader_patience_s: float = setting(
        300.0, "How long a client may take nothing of an answer that waits for it.", unit="s", least=0.1
    )
    backlog: int = setting(2048, "Connections that may wait to be accepted.", least=1)


def sections() -> list[type[Any]]:
    """Every settings class of the server: how it listens, and all of its application's."""
    return [ListenSettings, *made_here()]


class _Server(uvicorn.Server):
    """uvicorn's server, telling us when it listens and when it was asked to stop."""

    def __init__(
        self,
        config: uvicorn.Config,
        ready: Callable[[], None],
        stopping: Callable[[], None],
        reload: Callable[[], None],
        watch: Watch,
    ) -> None:
        super().__init__(config)
        self._watch = watch
        self._ready = ready
        self._stopping = stopping
        self._reload = reload

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._watching = asyncio.create_task(self._watch.run(self.server_state.connections), name="watch connections")
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        self._watching.cancel()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGTERM and Ctrl-C drain, a second one ends at once; SIGHUP reads the configuration again.

        uvicorn's own way raises the signal again once it has drained, which would end the process before its parts
        have stopped.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked_to_stop)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                loop.remove_signal_handler(number)

    def _asked_to_stop(self) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True
        self._stopping()


def serve(read: Callable[[], Configuration]) -> int:
    """Serve until SIGTERM or Ctrl-C; the exit code. Prints one line when ready and one when it has stopped. `read`
    gives the configuration, now and at each SIGHUP.

    Raises:
        Misconfigured: the address is taken, the data folder cannot be used, or a part refuses its settings.
    """
    configuration = read()
    listen = configuration.section(ListenSettings)
    listening = _bind(listen)
    configure_logs(configuration.section(TelemetrySettings).log_format)
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(configuration, listening, read))


async def _serve(configuration: Configuration, listening: socket.socket, read: Callable[[], Configuration]) -> int:
    listen = configuration.section(ListenSettings)
    address = _address(listening)
    application = await build(configuration)
    note = _Note(configuration.section(DataSettings).data / "server.json")
    config = uvicorn.Config(
        application.asgi,
        http=FrontProtocol,
        ws="none",
        proxy_headers=False,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=listen.backlog,
        timeout_keep_alive=listen.keep_alive_s,
        timeout_graceful_shutdown=listen.answers_drain_s,
    )

    def ready() -> None:
        note.write(address)
        for line in _first_words(application, to_terminal=sys.stdout.isatty()):
            print(line, flush=True)
        print(_ready_line(application, address), flush=True)

    try:
        await application.start()
        _settle_memory()
        watch = Watch(listen.head_patience_s, listen.reader_patience_s)
        reload = functools.partial(_reload, application, read)
        await _Server(config, ready, application.drain, reload, watch).serve(sockets=[listening])
    finally:
        note.remove()
        await application.stop()
    print("Freehold has stopped; everything acknowledged is on disk.", flush=True)
    return 0


def _reload(application: Application, read: Callable[[], Configuration]) -> None:
    """SIGHUP: what has changed, or why nothing has, is one line."""
    try:
        done = application.reload(read())
    except Misconfigured as error:
        print(f"The configuration was not taken over, everything stays as it was: {error.message}", flush=True)
        return
    said = f"in force now: {', '.join(done.taken) or 'nothing new'}"
    if done.waiting:
        said += f"; after a restart: {', '.join(done.waiting)}"
    print(f"The configuration was read again ({said})", flush=True)


def _settle_memory() -> None:
    """What the start has made lives as long as the server: the garbage collector need not walk it again, and need not
    come after every 700 objects. Measured: 5 % of a small call.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    """glibc gives what a 200 KB request was read into back to the system at once, and takes it anew, page by page, for
    the next: a third of what such a call costs. From now on it keeps up to 16 MB. Other C libraries have no such call.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    for parameter, size in ((_MMAP_THRESHOLD, 4 << 20), (_TRIM_THRESHOLD, 16 << 20), (_TOP_PAD, 1 << 20)):
        mallopt(parameter, size)


def _first_words(application: Application, *, to_terminal: bool) -> list[str]:
    """Where the admin key is that the first start has made; the key itself only for a person's eyes."""
    found = application.first_start
    if found.key_file is None:
        return []
    shown = f": {found.admin_key}" if to_terminal else ""
    return [f"First start: the admin key is in {found.key_file}{shown}"]


def _ready_line(application: Application, address: str) -> str:
    return f"Freehold is ready at {address} ({', '.join(application.describe())})"


def _bind(listen: ListenSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((listen.host, listen.port))
    except (OSError, OverflowError) as error:
        listening.close()
        hint = "Another server may be running there; `--port 0` picks a free port."
        raise Misconfigured(f"cannot listen on {listen.host}:{listen.port}: {error}. {hint}") from error
    listening.set_inheritable(False)
    return listening


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    shown = "127.0.0.1" if host == "0.0.0.0" else "[::1]" if host == "::" else f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}"


class _Note:
    """`server.json` in the data folder: where this server listens, so that the command line finds it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, address: str) -> None:
        """Replace the note in one step, readable by this user only; another server's that still runs is left."""
        if self._is_anothers():
            return
        fresh = self._path.with_suffix(f".{os.getpid()}.tmp")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump({"address": address, "pid": os.getpid()}, file)
        fresh.replace(self._path)

    def _is_anothers(self) -> bool:
        """Whether a living process other than this one has written it."""
        try:
            pid = int(json.loads(self._path.read_text("utf-8"))["pid"])
            os.kill(pid, 0)
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return pid != os.getpid()

    def remove(self) -> None:
        """Take the note away if it is still ours."""
        try:
            if json.loads(self._path.read_text("utf-8")).get("pid") == os.getpid():
                self._path.unlink()
        except (OSError, ValueError):
            return

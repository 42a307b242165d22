"""Runs the real `freehold serve` as a process of its own: starts it, waits until it is ready, ends it in either way.

For tests that kill the server and for the demo. It knows the command and the line that the server prints when it is
ready, nothing of what is inside.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

from freehold.errors import FreeholdError

_READY = re.compile(r"^Freehold is ready at (\S+)")
_LINES_KEPT = 500


class NotStarted(FreeholdError):
    """The server did not come up; the message holds what it said."""


class ServerProcess:
    """One data folder and the server on it; it may be started, killed and started again.

    The first start takes a free port and later ones the same, so that clients find it again. `FREEHOLD_*` variables
    of this process are not passed on; `environment` is.
    """

    def __init__(
        self,
        data: Path,
        *,
        tools: Sequence[Path] = (),
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.data = data
        self.address = ""
        """`http://127.0.0.1:PORT` once it has been ready."""
        self._arguments = [*(f"--tools={path}" for path in tools), *arguments]
        self._environment = dict(environment or {})
        self._process: subprocess.Popen[str] | None = None
        self._lines: deque[str] = deque(maxlen=_LINES_KEPT)
        self._news = threading.Condition()
        self._ended = True

    def __enter__(self) -> ServerProcess:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def key(self) -> str:
        """The admin key, from the file that the first start made (or from `FREEHOLD_ADMIN_KEY`)."""
        given = self._environment.get("FREEHOLD_ADMIN_KEY")
        return given or (self.data / "admin-key").read_text("utf-8").strip()

    @property
    def output(self) -> str:
        """What it printed last, both streams."""
        return "\n".join(self._lines)

    @property
    def pid(self) -> int:
        """Of the running process.

        Raises:
            NotStarted: it does not run.
        """
        if self._process is None or self._process.poll() is not None:
            raise NotStarted("the server does not run")
        return self._process.pid

    def start(self, timeout_s: float = 60) -> str:
        """Start it and wait until it is ready; its address.

        Raises:
            NotStarted: it ended instead, or was not ready in time.
        """
        port = urlsplit(self.address).port or 0
        command = [sys.executable, "-m", "freehold", "serve", f"--data={self.data}", f"--port={port}"]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("FREEHOLD_")}
        self._ended = False
        self._process = subprocess.Popen(
            [*command, *self._arguments],
            env={**inherited, "PYTHONUNBUFFERED": "1", **self._environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C in the terminal is for us; we stop the server ourselves
        )
        self._lines.clear()
        threading.Thread(target=self._listen, args=(self._process,), daemon=True).start()
        with self._news:
            self._news.wait_for(lambda: self._ended or self._ready_address() is not None, timeout_s)
        address = self._ready_address()
        if address is None:
            self.kill()
            raise NotStarted(f"the server was not ready within {timeout_s:g} s. It said:\n{self.output or '(nothing)'}")
        self.address = address
        return address

    def kill(self) -> None:
        """`kill -9`: it gets no chance to do anything more."""
        self._end(signal.SIGKILL, 10)

    def stop(self, timeout_s: float = 30) -> int:
        """SIGTERM, so that it drains; killed if that takes too long. Its exit code (0: it stopped cleanly)."""
        return self._end(signal.SIGTERM, timeout_s)

    def _end(self, number: signal.Signals, timeout_s: float) -> int:
        process = self._process
        if process is None:
            return 0
        if process.poll() is None:
            process.send_signal(number)
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        with self._news:
            self._news.wait_for(lambda: self._ended, 10)
        return process.returncode

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                with self._news:
                    self._lines.append(line.rstrip("\n"))
                    self._news.notify_all()
        process.wait()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def _ready_address(self) -> str | None:
        return next((found[1] for line in self._lines if (found := _READY.match(line))), None)

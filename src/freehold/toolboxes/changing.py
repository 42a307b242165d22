"""A toolbox whose file is loaded anew when it has changed: for development, `freehold serve --tools-reload`.

A file that does not load leaves the functions of before in place, and says so in the log. Calls that run end as they
began. What else the file imports from its own folder is loaded anew with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from freehold.errors import Misconfigured
from freehold.toolboxes.base import Toolbox, ToolResult, ToolSpec
from freehold.toolboxes.current import NOBODY, Asker

log = logging.getLogger(__name__)
Stamp = Mapping[Path, tuple[int, int]]


class ChangingToolbox:
    """See `Toolbox`. Looks at its files whenever it is asked for anything."""

    def __init__(self, file: Path, load: Callable[[], Toolbox]) -> None:
        """`load` raises `Misconfigured`; the first load may, later ones are told in the log."""
        self._file = file.resolve()
        self._load = load
        self._now = load()
        self._seen = self._stamp()
        self._closing: set[asyncio.Task[None]] = set()
        self._running: dict[int, int] = {}
        self.name = self._now.name

    def tools(self) -> Sequence[ToolSpec]:
        """See `Toolbox`."""
        self._look()
        return self._now.tools()

    async def call(
        self, tool: str, arguments: Mapping[str, Any], *, key: str, session_id: str = "", asker: Asker = NOBODY
    ) -> ToolResult:
        """See `Toolbox`."""
        self._look()
        toolbox = self._now
        self._running[id(toolbox)] = self._running.get(id(toolbox), 0) + 1
        try:
            return await toolbox.call(tool, arguments, key=key, session_id=session_id, asker=asker)
        finally:
            self._running[id(toolbox)] -= 1
            if not self._running[id(toolbox)] and toolbox is not self._now:
                self._let_go(toolbox)

    async def close(self) -> None:
        """See `Toolbox`."""
        await asyncio.gather(*self._closing, self._now.close(), return_exceptions=True)

    def _look(self) -> None:
        stamp = self._stamp()
        if stamp == self._seen:
            return
        self._seen = stamp
        for name in self._neighbours():
            del sys.modules[name]
        try:
            fresh = self._load()
        except Misconfigured as error:
            log.warning("%s has changed and cannot be loaded; its tools stay as they were: %s", self._file.name, error)
            return
        old, self._now = self._now, fresh
        self._seen = self._stamp()
        log.warning("%s was loaded anew: %s", self._file.name, ", ".join(tool.name for tool in fresh.tools()))
        if not self._running.get(id(old)):
            self._let_go(old)

    def _let_go(self, old: Toolbox) -> None:
        self._running.pop(id(old), None)
        with contextlib.suppress(RuntimeError):  # without a loop there is nothing that it could hold
            task = asyncio.get_running_loop().create_task(old.close(), name=f"close {self.name}")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def _stamp(self) -> Stamp:
        files = [self._file, *(Path(str(sys.modules[name].__file__)) for name in self._neighbours())]
        found = {}
        for file in files:
            with contextlib.suppress(OSError):
                stat = file.stat()
                found[file] = (stat.st_mtime_ns, stat.st_size)
        return found

    def _neighbours(self) -> list[str]:
        """Modules that came from the file's own folder."""
        folder = self._file.parent
        return [
            name
            for name, module in list(sys.modules.items())
            if (place := getattr(module, "__file__", None))
            and Path(place).parent == folder
            and Path(place) != self._file
        ]

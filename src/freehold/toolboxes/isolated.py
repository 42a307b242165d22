"""A toolbox whose functions run in processes of their own: one call at a time in each, killed with what it started.

It knows neither how a process is started nor what its walls are: both are handed in.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from freehold.clock import Clock
from freehold.errors import Misconfigured
from freehold.toolboxes.base import Launch, ToolProcess, ToolResult, ToolSpec
from freehold.toolboxes.current import NOBODY, Asker
from freehold.toolboxes.results import Sizes, blocks, text_block
from freehold.toolboxes.settings import ToolboxSettings

log = logging.getLogger(__name__)
_START_S = 60.0
_NOTE_BYTES = 1000
"""The process cuts what it gives and says so; it is cut here only if it does not."""


class Offer(msgspec.Struct):
    """What a process says first: its tools, or why it has none."""

    tools: list[ToolSpec] = []
    refused: str | None = None


class Question(msgspec.Struct):
    """A call, as the process is given it."""

    tool: str
    arguments: Mapping[str, Any]
    key: str
    session_id: str
    asker: tuple[str, str, str, str] = ("", "", "", "")


class Answer(msgspec.Struct):
    """What a call brought."""

    content: list[dict[str, Any]]
    is_error: bool


class IsolatedToolbox:
    """See `Toolbox`. Made by `open`."""

    def __init__(self, file: Path, settings: ToolboxSettings, clock: Clock, launch: Launch) -> None:
        self.name = file.stem
        self._file = file
        self._settings = settings
        self._sizes = Sizes(settings.tool_result_bytes + _NOTE_BYTES, settings.tool_media_bytes)
        self._clock = clock
        self._launch = launch
        self._places = asyncio.Semaphore(settings.isolate_processes)
        self._idle: list[ToolProcess] = []
        self._alive: set[ToolProcess] = set()
        self._tools: Sequence[ToolSpec] = ()

    @classmethod
    async def open(cls, file: Path, settings: ToolboxSettings, clock: Clock, launch: Launch) -> IsolatedToolbox:
        """The toolbox of that file, with its first process.

        Raises:
            Misconfigured: the file is no toolbox, or cannot be isolated here.
        """
        toolbox = cls(file, settings, clock, launch)
        process, toolbox._tools = await toolbox._started()
        toolbox._idle.append(process)
        return toolbox

    def tools(self) -> Sequence[ToolSpec]:
        """See `Toolbox`; in the order of the file."""
        return self._tools

    async def call(
        self, tool: str, arguments: Mapping[str, Any], *, key: str, session_id: str = "", asker: Asker = NOBODY
    ) -> ToolResult:
        """See `Toolbox`. A call that is cancelled, or takes too long, ends with its process."""
        known = [spec.name for spec in self._tools]
        if tool not in known:
            return _error(f"There is no tool {tool!r} in {self.name}. It has: {', '.join(known)}.")
        who = (asker.workspace_id, asker.key_id, asker.role, asker.user_id)
        line = msgspec.json.encode(Question(tool, arguments, key, session_id, who))
        async with self._places:
            try:
                process = self._idle.pop() if self._idle else (await self._started())[0]
            except Misconfigured as error:
                return _error(f"{tool} was not called: its process did not start: {error}")
            return await self._put(process, tool, line)

    async def close(self) -> None:
        """See `Toolbox`; a call that is running ends here."""
        self._idle.clear()
        await asyncio.gather(*(self._end(process) for process in list(self._alive)))

    async def _put(self, process: ToolProcess, tool: str, line: bytes) -> ToolResult:
        asked = asyncio.ensure_future(process.ask(line))
        timer = asyncio.ensure_future(self._clock.sleep(self._settings.timeout_s(self.name, tool)))
        whole = False
        try:
            await asyncio.wait({asked, timer}, return_when=asyncio.FIRST_COMPLETED)
            if not asked.done():
                return _error(
                    f"{tool} did not return within {self._settings.timeout_s(self.name, tool):g} s. Its process was "
                    "ended; whether it took effect is not known."
                )
            result, whole = self._result(tool, asked)
            return result
        finally:
            timer.cancel()
            if whole and process in self._alive:
                self._idle.append(process)
            else:
                await self._end(process)
            asked.cancel()
            await asyncio.gather(asked, timer, return_exceptions=True)

    def _result(self, tool: str, asked: asyncio.Future[bytes | None]) -> tuple[ToolResult, bool]:
        """What the caller gets, and whether the process can be used again."""
        try:
            answer = msgspec.json.decode(asked.result() or b"", type=Answer)
            return ToolResult(blocks(answer.content, self._sizes), answer.is_error), True
        except msgspec.MsgspecError:
            log.warning("the process of tool %s.%s ended before it answered", self.name, tool)
            return _error(
                f"The process of {tool} ended before it answered. Whether it took effect is not known."
            ), False

    async def _started(self) -> tuple[ToolProcess, Sequence[ToolSpec]]:
        """Raises `Misconfigured`."""
        sizes = (self._settings.tool_result_bytes, self._settings.tool_media_bytes)
        process = await self._launch(self._file, [str(size) for size in sizes])
        self._alive.add(process)
        try:
            offer = await self._offered(process)
        except BaseException:
            await self._end(process)
            raise
        return process, offer.tools

    async def _offered(self, process: ToolProcess) -> Offer:
        try:
            async with asyncio.timeout(_START_S):
                offer = msgspec.json.decode(await process.ask(b"{}") or b"", type=Offer)
        except (TimeoutError, msgspec.MsgspecError) as error:
            raise Misconfigured(f"{self._file}: its process did not say what it offers; see standard error") from error
        if offer.refused is not None:
            raise Misconfigured(offer.refused)
        return offer

    async def _end(self, process: ToolProcess) -> None:
        self._alive.discard(process)
        await process.end()


def _error(text: str) -> ToolResult:
    return ToolResult([text_block(text)], is_error=True)

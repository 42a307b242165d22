"""A toolbox of loaded functions: checks, runs, times out, cuts; whatever a tool does, the caller gets a result.

It does not know the SDK, files, sessions or HTTP.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from freehold.clock import Clock
from freehold.threads import in_thread
from freehold.toolboxes.base import ToolResult, ToolSpec
from freehold.toolboxes.current import NOBODY, Asker, CurrentCall, current
from freehold.toolboxes.functions import BadArguments, Function, ToolFailed
from freehold.toolboxes.results import Block, Sizes, blocks, text_block
from freehold.toolboxes.settings import ToolboxSettings
from freehold.toolboxes.stuck import Stuck

log = logging.getLogger(__name__)
Work = asyncio.Future[list[Block]]
_ERROR_CHARACTERS = 2000
"""Of an exception's message; more would be a dump, not a message."""


class LoadedToolbox:
    """See `Toolbox`. Async functions run on this loop, sync ones each in a thread; all side by side."""

    def __init__(self, name: str, functions: Sequence[Function], settings: ToolboxSettings, clock: Clock) -> None:
        self.name = name
        self._logger = logging.getLogger(f"freehold.tools.{name}")
        self._functions = {function.spec.name: function for function in functions}
        self._settings = settings
        self._sizes = Sizes(settings.tool_result_bytes, settings.tool_media_bytes)
        self._places = asyncio.Semaphore(settings.tool_threads)
        self._stuck = Stuck(settings.max_stuck)
        self._clock = clock
        self._watches: set[asyncio.Task[bool]] = set()

    def tools(self) -> Sequence[ToolSpec]:
        """See `Toolbox`; in the order of the file."""
        return [function.spec for function in self._functions.values()]

    async def call(
        self, tool: str, arguments: Mapping[str, Any], *, key: str, session_id: str = "", asker: Asker = NOBODY
    ) -> ToolResult:
        """See `Toolbox`."""
        function = self._functions.get(tool)
        if function is None:
            return _error(f"There is no tool {tool!r} in {self.name}. It has: {', '.join(self._functions)}.")
        if refusal := self._stuck.refusal():
            return _error(f"Not called: {refusal}")
        if problems := function.inputs.problems(arguments):
            return _bad_arguments(tool, problems)
        mine = current.set(CurrentCall(tool, key, session_id, asker, self._logger, asyncio.get_running_loop()))
        try:
            return await self._run(function, arguments)
        finally:
            current.reset(mine)

    async def close(self) -> None:
        """See `Toolbox`. Threads that hang are left behind; they are daemons."""
        for watch in list(self._watches):
            watch.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)
        for function in self._functions.values():
            if function.close is not None:
                await function.close()

    async def _run(self, function: Function, arguments: Mapping[str, Any]) -> ToolResult:
        work, watch = await self._start(function, arguments)
        try:
            in_time = await asyncio.shield(watch)
        except asyncio.CancelledError:
            # The session gave up. A coroutine ends with it; a thread cannot, so its watch goes on without us.
            if function.is_async:
                work.cancel()
            raise
        if not in_time:
            return _error(
                f"{function.spec.name} did not return within {self._timeout_s(function):g} s. It was given up; whether "
                "it took effect is not known."
            )
        return self._result(function.spec.name, work)

    async def _start(self, function: Function, arguments: Mapping[str, Any]) -> tuple[Work, asyncio.Task[bool]]:
        work: Work
        if function.is_async:
            work = asyncio.ensure_future(self._awaited(function, arguments))
        else:
            await self._places.acquire()
            try:
                work = in_thread(lambda: blocks(function.run(arguments), self._sizes), function.spec.name)
            except BaseException:  # this machine has no thread left: the place is free for the next call
                self._places.release()
                raise
        watch = asyncio.ensure_future(self._watch(function, work))
        self._watches.add(watch)
        watch.add_done_callback(self._watches.discard)
        return work, watch

    async def _awaited(self, function: Function, arguments: Mapping[str, Any]) -> list[Block]:
        try:
            value = function.run(arguments)
            return blocks(await value if inspect.isawaitable(value) else value, self._sizes)
        except (SystemExit, KeyboardInterrupt) as error:  # raised out of a task these would stop the server
            raise RuntimeError(f"{type(error).__name__}: {error}") from error

    async def _watch(self, function: Function, work: Work) -> bool:
        """Whether it ended in time; if not, it is cancelled where that is possible and counted until it ends."""
        timer = asyncio.ensure_future(self._clock.sleep(self._timeout_s(function)))
        try:
            both: set[asyncio.Future[Any]] = {work, timer}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            if not function.is_async:
                self._places.release()
            if not work.done():
                self._give_up(function, work)
        return work.done()

    def _timeout_s(self, function: Function) -> float:
        return self._settings.timeout_s(self.name, function.spec.name)

    def _give_up(self, function: Function, work: Work) -> None:
        log.warning("tool %s.%s was given up and may still run", self.name, function.spec.name)
        self._stuck.add(function.spec.name, work)
        work.add_done_callback(_forget)
        if function.is_async:
            work.cancel()

    def _result(self, tool: str, work: Work) -> ToolResult:
        try:
            return ToolResult(work.result())
        except ToolFailed as failed:
            return ToolResult(blocks(failed.content, self._sizes), is_error=True)
        except BadArguments as bad:
            return _bad_arguments(tool, bad.lines)
        except asyncio.CancelledError:
            return _error(f"{tool} was cancelled from inside.")
        except Exception as error:
            log.exception("tool %s.%s raised", self.name, tool)
            return _error(_told(error))


def _forget(work: Work) -> None:
    """Nobody waits for it any more; look at the exception so that asyncio does not complain."""
    if not work.cancelled() and (error := work.exception()):
        log.warning("a tool that had been given up ended with %s", type(error).__name__)


def _told(error: Exception) -> str:
    try:
        message = str(error)
    except Exception:
        log.exception("the exception of a tool cannot be turned into text")
        message = ""
    if len(message) > _ERROR_CHARACTERS:
        message = message[:_ERROR_CHARACTERS] + "… [cut]"
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _bad_arguments(tool: str, lines: Sequence[str]) -> ToolResult:
    return _error(f"{tool} was not called, because its arguments do not fit:\n" + "\n".join(f"- {x}" for x in lines))


def _error(text: str) -> ToolResult:
    return ToolResult([text_block(text)], is_error=True)

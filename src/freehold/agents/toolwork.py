"""The tool calls of one model message, while they run: side by side, written down before they begin, posted in order.

Journal rules: a call is `started` in the log before its effect; its result and its end are one commit; a call that an
earlier owner has started is asked for, or run again if its tool allows that, or reported as unknown. Never in silence.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from freehold.agents.events import DENIED, INTERRUPTED, UNKNOWN_OUTCOME, Draft, Voice
from freehold.agents.log import Change, Log
from freehold.agents.session import Result, Session, ToolCall
from freehold.agents.tools.execution import Execution, Place, Ran
from freehold.jobs import chaos
from freehold.store.session_log import Move


class ToolWork:
    """Runs calls of one session under one lease."""

    def __init__(self, execution: Execution, place: Place, agent: Mapping[str, Any], log: Log, voice: Voice) -> None:
        self._execution = execution
        self._place = place
        self._agent = agent
        self._log = log
        self._voice = voice
        self._tasks: dict[str, asyncio.Task[Ran]] = {}
        self._started: set[str] = set()
        """Calls whose start under this lease is in the journal."""

    @property
    def running(self) -> Collection[asyncio.Task[Ran]]:
        """Those that have not ended."""
        return [task for task in self._tasks.values() if not task.done()]

    def note_started(self, call_ids: Iterable[str]) -> None:
        """The commit of the model's message has said so."""
        self._started.update(call_ids)

    async def start(self) -> None:
        """Begin every call that may run and does not yet."""
        fresh = [call for call in self._log.session.open_calls if call.runnable and call.id not in self._tasks]
        to_start = [call.id for call in fresh if self._needs_start(call)]
        if to_start:
            await self._log.write(Change(calls=[Move(call_id, "started") for call_id in to_start]))
            self._started.update(to_start)
        if fresh:
            chaos.point("after_started")
        for call in fresh:
            self._tasks[call.id] = asyncio.create_task(self._run(call), name=f"tool {call.name} of {self._log.id}")

    def ready(self) -> list[tuple[ToolCall, Ran]]:
        """Results that may be posted: every call before them that runs here has its result too."""
        found = []
        for call in self._log.session.open_calls:
            if not call.runnable:
                continue
            task = self._tasks.get(call.id)
            if task is None or not task.done():
                break
            found.append((call, _outcome(task)))
        return found

    def finished(self) -> list[tuple[ToolCall, Ran]]:
        """Results that are there, in call order, whether or not those before them are."""
        calls = [call for call in self._log.session.open_calls if call.id in self._tasks]
        return [(call, _outcome(self._tasks[call.id])) for call in calls if self._tasks[call.id].done()]

    def posting(self, results: Sequence[tuple[ToolCall, Ran]]) -> Change:
        """The commit of these results."""
        drafts = [draft for call, ran in results for draft in self._drafts(call, ran)]
        return Change(drafts, [_ended(call, ran) for call, ran in results if call.problem is None])

    def closing(self) -> Change:
        """The commit that closes every open call after an interrupt."""
        calls = self._log.session.open_calls
        return Change([self._voice.failed(call, INTERRUPTED) for call in calls], self._abandoned(calls))

    async def cancel(self) -> None:
        """Stop what still runs, and wait until it has stopped."""
        running = self.running
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        self._tasks.clear()

    def _needs_start(self, call: ToolCall) -> bool:
        if call.id in self._started or call.problem is not None or call.confirmed == "deny":
            return False
        return not self._log.started_before(call.id) or self._log.may_repeat(call.id)

    async def _run(self, call: ToolCall) -> Ran:
        if call.problem is not None:
            return _told(call.problem)
        if call.confirmed == "deny":
            return _told(f"{DENIED} {call.deny_message}" if call.deny_message else DENIED)
        if call.id not in self._started:  # inherited, and not to be repeated
            known = await self._execution.recall(self._place, call)
            return Ran(known) if known is not None else _told(UNKNOWN_OUTCOME, known=False)
        chaos.point("in_tool")
        return await self._execution.run(self._place, self._agent, call)

    def _drafts(self, call: ToolCall, ran: Ran) -> list[Draft]:
        result = self._voice.result(call, ran.result.content, ran.result.is_error)
        if ran.trouble is not None:
            trouble = ran.trouble
            return [result, self._voice.trouble(trouble.kind, trouble.message, trouble.server)]
        news = [self._voice.error("unknown_error", ran.news, "retrying")] if ran.news else []
        if ran.known:
            return [result, *news]
        text = f"The outcome of {call.name} ({call.id}) is unknown. It is not repeated; the agent was told to verify."
        return [result, *news, self._voice.error("unknown_error", text, "retrying")]

    def _abandoned(self, calls: Iterable[ToolCall]) -> list[Move]:
        """What ran has an unknown outcome; what had not begun never will."""
        return [
            Move(call.id, "unknown" if call.id in self._started or self._log.started_before(call.id) else "denied")
            for call in calls
            if call.problem is None
        ]


def after(session: Session, drafts: Iterable[Draft], now_us: int) -> Session:
    """What the session will be once these are in the log."""
    copy = session.copied()
    for draft in drafts:
        copy.add(draft.entry(copy.seq + 1, now_us))
    return copy


def _outcome(task: asyncio.Task[Ran]) -> Ran:
    """What it gave. A tool that cancelled itself must not look as if we were told to stop."""
    return _told(UNKNOWN_OUTCOME, known=False) if task.cancelled() else task.result()


def _told(text: str, *, known: bool = True) -> Ran:
    return Ran(Result(({"type": "text", "text": text},), is_error=True), known)


def _ended(call: ToolCall, ran: Ran) -> Move:
    if call.confirmed == "deny":
        return Move(call.id, "denied")
    return Move(call.id, "done" if ran.known else "unknown")

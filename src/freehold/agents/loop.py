"""The loop of one session: fold the log, take the next step, append what came of it; until the session is idle.

What is written, and when, is the whole of its durability:

* nothing before a model request; its start is written while it runs: a lost request costs tokens only;
* the model's message, its calls (planned) and, where nobody must be asked, their start, are one commit;
* the last results of a message, the messages that waited, and the start of the next request are one commit;
* the last message of a turn and its end are one commit.

It does not know HTTP, nor what answers the model's requests, nor how boxes are made.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from freehold.agents import compacting, failures, reply, request
from freehold.agents.compacting import Context, ContextSettings, unknown_window
from freehold.agents.events import Draft, Voice
from freehold.agents.judging import Judge
from freehold.agents.log import Change, Idle, Log, Tell, unheard
from freehold.agents.model import Answered, Failed, Model, Request
from freehold.agents.previews import Previews, Writing
from freehold.agents.session import Session
from freehold.agents.steps import Ask, Finish, Interrupt, Rest, Resume, RunTools, next_step
from freehold.agents.tools.catalog import Catalog, Spec, catalog, is_in_box
from freehold.agents.tools.execution import Execution, Place
from freehold.agents.toolwork import ToolWork, after
from freehold.agents.usage import Tokens, stored
from freehold.calls import Caller
from freehold.clock import Clock
from freehold.context import compaction
from freehold.ids import NewId
from freehold.jobs import chaos
from freehold.store.session_log import Move, Plan

RECHECK_S = 30.0
"""A wake may be lost between processes; after this long, up to twice that, the log is looked at anyway."""
QUICK_S = 0.005
"""A reply that is there by then is written together with the start of its request."""
Collect = Callable[[Place], Awaitable[None]]
"""Makes files of what the agent has put into its outputs. Must not raise for what is in them."""
Uploads = Callable[[str, str], Awaitable[Sequence[str]]]
"""Puts a session's files in place and gives their mount paths, by workspace and session id."""
Gives = Callable[[Place], Awaitable[request.Given]]
"""What a session has in its box besides files, as the model is to be told of it."""


Rested = Callable[[Place, int], Awaitable[None]]
"""Remembers what the files are when a turn with tools ends, by the place of the log. Must not raise."""


async def remembers_nothing(place: Place, seq: int) -> None:
    """For sessions whose files have no history."""


async def gives_nothing(place: Place) -> request.Given:
    """For sessions without skills and memory stores."""
    return request.Given()


@dataclass(frozen=True, slots=True)
class Parts:
    """What every loop of a server shares."""

    model: Model
    execution: Execution
    previews: Previews
    clock: Clock
    ids: NewId
    collect_outputs: Collect
    uploads: Uploads
    given: Gives = gives_nothing
    context: Context = field(default_factory=lambda: Context(ContextSettings(), unknown_window))
    judge: Judge | None = None
    """Of calls whose policy is `auto`; `None`: by the rules alone."""
    rested: Rested = remembers_nothing
    tell: Tell = unheard
    """Hears of every event that is written; see `feed.Feed.offer`."""
    site: str | None = None
    """Where the files of sessions are that run here; written down with the first commit of one that may have some."""


class Loop:
    """Runs one session under one lease. `run` returns when there is nothing more to do for it here."""

    def __init__(self, parts: Parts, log: Log) -> None:
        self._parts = parts
        self._log = log
        row = log.row
        self._agent = row.agent
        self._caller = Caller(row.workspace_id, row.key_id, "member")
        self._voice = Voice(parts.ids, row.thread_id, row.agent["name"])
        self._place = Place(
            log.id, row.workspace_id, log.epoch, row.environment_config, row.agent.get("skills") or (), row.key_id
        )
        self._work = ToolWork(parts.execution, self._place, row.agent, log, self._voice)
        self._self_hosted = row.environment_config["type"] == "self_hosted"
        self._catalog = self._offering(parts.execution.offered(row.agent))
        if parts.site is not None and row.files_at is None and self._catalog.has_box:
            log.also({"files_at": parts.site})
        self._met = not parts.execution.has_remote(row.agent)
        """Its MCP servers elsewhere have been asked what they offer in this turn."""
        self._begun: reply.Ids | None = None
        """Of a model request whose start is in the log already."""
        self._uploads: Sequence[str] | None = None
        """The files of the session; `None` when they must be looked at again."""
        self._given: request.Given | None = None
        self._used_box = False
        self._too_long = False
        """The model has refused the conversation for its length."""
        self._expecting: asyncio.Task[None] | None = None
        """The box is being opened ahead of its first call."""
        self._stopping = False
        self._recheck_s = RECHECK_S * (1 + zlib.crc32(log.id.encode()) / 2**32)  # not all at the same moment

    def _offering(self, servers: Mapping[str, Sequence[Spec]]) -> Catalog:
        execution = self._parts.execution
        repeats = execution.repeats(self._agent, servers)
        return catalog(self._agent, execution.built_in(), servers, repeats, self_hosted=self._self_hosted)

    @property
    def session(self) -> Session:
        """The state, as far as it is known here."""
        return self._log.session

    def stop(self) -> None:
        """Come soon to a point where another process may go on. What runs may still end. Signal the inbox after it."""
        self._stopping = True

    async def run(self) -> None:
        """Take steps until the session rests, waits for a later try, or is to be handed over.

        Raises:
            Fenced: another process has it; nothing was written since.
        """
        await self._close_span(is_error=True)  # an owner before us died while the model answered
        try:
            while not self._stopping and await self._step():
                pass
        finally:
            if self._expecting is not None:
                await _cancelled(self._expecting)
            await self._work.cancel()

    async def _step(self) -> bool:
        step = next_step(self.session)
        match step:
            case Rest():
                return False
            case Ask() if not self._met:
                await self._meet()
            case Ask() if self._too_long or self._is_long(self.session):
                await self._compact()
            case Ask():
                await self._ask()
            case RunTools():
                await self._run_tools()
            case Finish():
                await self._finish(Change(), step)
            case Interrupt():
                await self._close_span(is_error=False)
                await self._finish(self._work.closing(), Finish({"type": "end_turn"}), whole=True)
            case Resume():
                values: dict[str, str | int | None] = {"status": "running", "wake_at_us": None}
                await self._log.write(Change(self._voice.running(), values=values))
        return self.session.status == "running"

    async def _meet(self) -> None:
        """Ask the agent's MCP servers what they offer. One that fails is told in the log; the turn goes on without."""
        asking = asyncio.create_task(self._parts.execution.meet(self._place, self._agent), name=f"meet {self._log.id}")
        try:
            while not asking.done() and not self._must_leave:
                await self._until([asking])
            if not asking.done():
                return
            met = asking.result()
        finally:
            await _cancelled(asking)
        self._met = True
        self._catalog = self._offering(met.offered)
        if met.troubles:
            told = [self._voice.trouble(one.kind, one.message, one.server) for one in met.troubles]
            await self._log.write(Change(told))

    # The model.

    async def _ask(self) -> None:
        ids, opening = self._begun, None
        self._begun = None
        if ids is None:
            ids = self._new_ids()
            opening = _span_start(ids)
            if self._log.waiting:
                await self._log.write(Change(drain=True, then=[opening]))
                opening = None
        writing = Writing(self._parts.previews, self._log.id, ids.message, ids.thinking)
        asked = await self._request(writing)
        outcome, opening = await self._answer(asked, opening, writing)
        before = [] if opening is None else [opening]
        if isinstance(outcome, Answered):
            await self._answered(before, ids, outcome)
        elif isinstance(outcome, Failed):
            await self._failed(before, ids, outcome)
        elif not self._stopping:
            end = self._broken_off(ids, asked.tokens, is_error=False)
            await self._log.write(self._with_usage(Change([*before, end])))

    async def _request(self, writing: Writing, *, compact: bool | None = None) -> Request:
        """`compact`: for a summary; true: of less than everything."""
        has_box = self._catalog.has_box
        if has_box and self._uploads is None:
            self._uploads = await self._parts.uploads(self._place.workspace_id, self._log.id)
        if (has_box or self._catalog.has_worker) and self._given is None:
            self._given = await self._parts.given(self._place)
        if self._catalog.has_worker:
            system = request.prompt_elsewhere(self._agent, self._given or request.Given())
        else:
            system = request.system_prompt(self._agent, has_box, self._uploads or (), self._given)
        body = request.body(self._agent, system, self._catalog.definitions, self._parts.context.view(self.session))
        if compact is not None:
            body = compacting.body(self.session, body, smaller=compact)
        return self._parts.model.request(body, self._caller, self._log.id, writing.take)

    async def _answer(
        self, asked: Request, opening: Draft | None, writing: Writing
    ) -> tuple[Answered | Failed | None, Draft | None]:
        """What came back, `None` if it was interrupted or we stop; and its start, if that is still to be written.

        A model that answers at once saves the commit of the start: both are written together. Not when somebody watches
        the answer being written: what is shown of it comes after its start.
        """
        task = asyncio.create_task(asked.answer(), name=f"model request of {self._log.id}")
        try:
            if opening is not None:
                watched = self._parts.previews.watched(self._log.id)
                await asyncio.wait([task], timeout=0 if watched else QUICK_S)
                if watched or not task.done():
                    await self._log.write(Change([opening]))
                    opening = None
            if opening is None:
                chaos.point("after_span_start")
                writing.span_is_logged(self.session.seq)
            if not task.done():
                self._expect_tools()
            while not task.done() and not self._must_leave:
                await self._until([task])
            return (task.result() if task.done() else None), opening
        finally:
            await _cancelled(task)

    def _expect_tools(self) -> None:
        """While the model thinks, the box opens in which its tools will run. Nobody waits for that here."""
        if self._catalog.has_box and (self._expecting is None or self._expecting.done()):
            expecting = self._parts.execution.expect(self._place)
            self._expecting = asyncio.create_task(expecting, name=f"box of {self._log.id}")

    async def _answered(self, before: Sequence[Draft], ids: reply.Ids, answered: Answered) -> None:
        judgements = await self._judged(answered)
        if judgements is None:
            if not self._stopping:
                end = self._broken_off(ids, answered.tokens, is_error=False)
                await self._log.write(self._with_usage(Change([*before, end])))
            return
        made = reply.read(answered.message, answered.tokens, ids, self._catalog, self._voice, judgements)
        begun = [call.event_id for call in made.calls if call.runs_now]
        plans = [Plan(call.event_id, call.name, call.policy) for call in made.calls]
        moves = [Move(event_id, "started") for event_id in begun]
        change = Change([*before, *made.drafts], [*plans, *moves])
        chaos.point("before_reply")
        step = next_step(self._after(change))
        if isinstance(step, Finish):
            await self._finish(change, step)
        else:
            await self._log.write(self._with_usage(change))
        self._work.note_started(begun)
        chaos.point("after_reply")

    async def _judged(self, answered: Answered) -> reply.Judgements | None:
        """The judgements of the calls whose policy wants one, side by side; `None`: interrupted, or we stop."""
        wanted = reply.to_judge(answered.message, self._catalog)
        if not wanted:
            return reply.NO_JUDGEMENTS
        messages, judge = self.session.transcript(), self._parts.judge or Judge(self._parts.model)
        judging = asyncio.gather(
            *(judge.judge(tool, given, messages, self._caller, self._log.id) for _, tool, given in wanted)
        )
        try:
            while not judging.done() and not self._must_leave:
                await self._until([judging])
            if not judging.done():
                return None
            found = judging.result()
        finally:
            await _cancelled(judging)
        tokens = Tokens()
        for _, used in found:
            tokens = tokens.plus(used)
        evaluations = {one[0]: evaluation for one, (evaluation, _) in zip(wanted, found, strict=True)}
        return reply.Judgements(evaluations, tokens)

    async def _failed(self, before: Sequence[Draft], ids: reply.Ids, failed: Failed) -> None:
        ended = [*before, self._broken_off(ids, failed.tokens, is_error=True)]
        failure = failed.failure
        if failure.too_long and self.session.compactable:
            self._too_long = True
            await self._log.write(self._with_usage(Change(ended)))
            return
        wait_s = failures.wait_s(self.session.failures, failure)
        if wait_s is None:
            kind = "compaction_limit_reached_error" if failure.too_long and self.session.summarised else failure.kind
            error = self._voice.error(kind, failure.message, "exhausted")
            await self._finish(Change([*ended, error]), Finish({"type": "retries_exhausted"}, waiting="flushed"))
            return
        error = self._voice.error(failure.kind, failure.message, "retrying")
        wake_at_us = self._parts.clock.now_us() + round(wait_s * 1_000_000)
        later: dict[str, str | int | None] = {"status": "rescheduling", "wake_at_us": wake_at_us}
        await self._log.write(Change([*ended, error, *self._voice.rescheduled()], values=later, release=True))

    def _is_long(self, session: Session) -> bool:
        return self._parts.context.is_due(session, self._agent["model"]["id"])

    async def _compact(self) -> None:
        """Have the conversation summarised; the log keeps the summary, and the next request begins with it."""
        self._too_long = False
        before, ids, outcome, tokens = await self._summary(smaller=False)
        if isinstance(outcome, Failed) and outcome.failure.too_long:
            ended = self._broken_off(ids, tokens, is_error=True)
            await self._log.write(self._with_usage(Change([*before, ended])))
            before, ids, outcome, tokens = await self._summary(smaller=True)
        if isinstance(outcome, Failed) and not outcome.failure.too_long:
            await self._failed(before, ids, outcome)
        elif outcome is not None or not self._stopping:
            await self._compacted(before, ids, outcome, tokens)

    async def _summary(self, *, smaller: bool) -> tuple[list[Draft], reply.Ids, Answered | Failed | None, Tokens]:
        """Ask for one: its start if that is still to be written, its ids, what came back (see `_answer`), its cost."""
        ids = self._new_ids()
        unseen = Writing(Previews(), self._log.id, ids.message, ids.thinking)
        asked = await self._request(unseen, compact=smaller)
        outcome, opening = await self._answer(asked, _span_start(ids), unseen)
        return ([] if opening is None else [opening]), ids, outcome, asked.tokens

    async def _compacted(
        self, before: Sequence[Draft], ids: reply.Ids, outcome: Answered | Failed | None, tokens: Tokens
    ) -> None:
        summary = compaction.summary(outcome.message) if isinstance(outcome, Answered) else None
        ended = [*before, self._broken_off(ids, tokens, is_error=isinstance(outcome, Failed))]
        if summary is not None:
            event = self._voice.event("agent.thread_context_compacted", hidden={"summary": summary})
            chaos.point("before_compaction")
            await self._log.write(self._with_usage(Change([*ended, event])))
            chaos.point("after_compaction")
        elif outcome is None:  # interrupted
            await self._log.write(self._with_usage(Change(ended)))
        else:
            text = "The conversation is too long for the model, and no summary of it could be had."
            error = self._voice.error("compaction_limit_reached_error", text, "exhausted")
            await self._finish(Change([*ended, error]), Finish({"type": "retries_exhausted"}, waiting="flushed"))

    async def _close_span(self, *, is_error: bool) -> None:
        """End a model request that nobody waits for any more."""
        self._begun = None
        if self.session.open_span is not None:
            ids = reply.Ids(self.session.open_span, "", "")
            await self._log.write(Change([self._broken_off(ids, Tokens(), is_error=is_error)]))

    def _broken_off(self, ids: reply.Ids, tokens: Tokens, *, is_error: bool) -> Draft:
        return reply.broken_off(ids, tokens, self._voice, is_error=is_error)

    # The tools.

    async def _run_tools(self) -> None:
        """Answer every call that can be answered here, side by side; those that wait for the client are left out."""
        self._used_box = self._used_box or any(is_in_box(call.kind, call.name) for call in self.session.open_calls)
        while True:
            if not self._stopping:
                await self._work.start()
            if self.session.interrupted:
                await self._halt()
                return
            ready = self._work.ready()
            if ready:
                chaos.point("before_result")
                await self._log.write(self._with_next_ask(self._work.posting(ready)))
                chaos.point("after_result")
            elif self._work.running:
                await self._until(self._work.running)
            else:
                return

    async def _halt(self) -> None:
        """An interrupt: stop what runs, but keep what has come to its end."""
        finished = self._work.finished()
        await self._work.cancel()
        if finished:
            await self._log.write(self._work.posting(finished))

    def _with_next_ask(self, change: Change) -> Change:
        """If these results let the model be asked, its request begins in the same commit, with what waited."""
        after = self._after(change)
        if self._stopping or not isinstance(next_step(after), Ask) or self._is_long(after):
            return change
        self._begun = self._new_ids()
        return replace(change, drain=self._log.waiting, then=[_span_start(self._begun)])

    # The end of a turn.

    async def _finish(self, change: Change, step: Finish, *, whole: bool = False) -> None:
        """End the turn. If something came in meanwhile, only `change` is written, or nothing if it must be `whole`."""
        if self._used_box:
            await self._parts.collect_outputs(self._place)
            await self._parts.rested(self._place, self.session.seq)
            self._used_box = False
        session = self._after(change)
        now_us = self._parts.clock.now_us()
        active_us = session.active_until(now_us)
        usage = stored(session.tokens, active_us)
        idle = Idle(
            drafts=self._voice.idle(step.stop_reason, step.stop_details, session, now_us),
            waiting=step.waiting,
            begin=self._voice.running(),
            values={"usage": usage, "wake_at_us": None},
        )
        self._met = not self._parts.execution.has_remote(self._agent)
        chaos.point("before_idle")
        await self._log.write_idle(change, idle, whole=whole)
        chaos.point("after_idle")

    def _with_usage(self, change: Change) -> Change:
        session = self._after(change)
        active_us = session.active_until(self._parts.clock.now_us())
        return replace(change, values={**change.values, "usage": stored(session.tokens, active_us)})

    def _after(self, change: Change) -> Session:
        return after(self.session, change.drafts, self._parts.clock.now_us())

    # Waiting.

    @property
    def _must_leave(self) -> bool:
        return self._stopping or self.session.interrupted

    async def _until(self, tasks: Iterable[asyncio.Future[Any]]) -> None:
        """Until one of the tasks has ended, or a client has written something, which is folded then."""
        change = asyncio.ensure_future(self._log.changed(self._recheck_s))
        try:
            done, _ = await asyncio.wait([*tasks, change], return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _cancelled(change)
        if change in done:
            self._uploads = None
            await self._log.catch_up()

    def _new_ids(self) -> reply.Ids:
        new = self._parts.ids
        return reply.Ids(new("sevt"), new("sevt"), new("sevt"))


def _span_start(ids: reply.Ids) -> Draft:
    return Draft(ids.span_start, "span.model_request_start", {})


async def _cancelled(task: asyncio.Future[Any]) -> None:
    """Stop it, and wait until it has stopped; what it raised is of no interest any more."""
    if not task.done():
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

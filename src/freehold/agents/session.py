"""A session as the fold of its log: transcript, open tool calls, status, usage. Pure: no I/O, no clock, no ids made.

The log alone decides what a session is. `Session.add` takes its rows one by one; folding a prefix and then the rest
gives what folding all gives, so a folded session may be kept in memory and brought up to date from where it stood.

Kept true, and tested for every legal log (Claude API docs, Messages, tool use): each `tool_use` of an assistant message
is answered in the very next user message, results first and in call order; text of the user comes after them; roles
alternate; assistant blocks are those that the model gave, thinking signatures included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from freehold.agents.usage import Tokens
from freehold.context import compaction

Json = dict[str, Any]
Status = Literal["idle", "running", "rescheduling", "terminated"]
Kind = Literal["built_in", "toolbox", "custom", "worker"]
"""Who runs a tool: the server (in a box, or by itself), a toolbox, the client, or a worker of the environment."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the log: `body` as the API shows it, `hidden` what only this server needs of it."""

    seq: int
    id: str
    type: str
    body: Mapping[str, Any]
    hidden: Mapping[str, Any] | None
    at_us: int


@dataclass(frozen=True, slots=True)
class Result:
    """The answer to a tool call, as content blocks."""

    content: tuple[Mapping[str, Any], ...]
    is_error: bool


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of the model's last message. `id` is that of its event, `model_id` the model's own (`toolu_…`)."""

    id: str
    model_id: str
    kind: Kind
    name: str
    server: str | None
    input: Mapping[str, Any]
    permission: Literal["allow", "ask", "deny"]
    problem: str | None = None
    """Why it cannot be run at all: an unknown tool, an input that is no object, a reply cut off inside it."""
    confirmed: Literal["allow", "deny"] | None = None
    deny_message: str | None = None
    result: Result | None = None

    @property
    def open(self) -> bool:
        """Nobody has answered it yet."""
        return self.result is None

    @property
    def waits_for_client(self) -> bool:
        """Only the client can move it on: a custom tool, or one that asks and was not confirmed; or a worker can."""
        if not self.open or self.problem is not None:
            return False
        if self.kind == "worker":
            return self.confirmed != "deny"
        return self.kind == "custom" or (self.permission == "ask" and self.confirmed is None)

    @property
    def runnable(self) -> bool:
        """This server is to answer it now: by running it, or by saying why it does not."""
        return self.open and not self.waits_for_client


class Session:
    """The fold. Read its attributes; only `add` changes them."""

    __slots__ = (
        "_new_calls",
        "_running_since_us",
        "_system",
        "_user",
        "active_us",
        "begun",
        "calls",
        "cap_cents",
        "context_tokens",
        "failures",
        "interrupted",
        "last_stop",
        "last_stop_details",
        "messages",
        "open_span",
        "pauses",
        "seq",
        "status",
        "stop_reason",
        "stored_bytes",
        "summarised",
        "tokens",
    )

    def __init__(self) -> None:
        self.seq = 0
        self.status: Status = "idle"
        self.stop_reason: Mapping[str, Any] | None = None
        """Of the last idle; `None` before the first and while running."""
        self.messages: list[Json] = []
        """Up to the model's last message; `transcript` adds what came since."""
        self.calls: dict[str, ToolCall] = {}
        """Of the model's last message, by event id, in call order."""
        self.tokens = Tokens()
        self.active_us = 0
        self.interrupted = False
        """An interrupt came that has not yet led to idle."""
        self.failures = 0
        """Model requests in a row that failed and are to be tried again."""
        self.pauses = 0
        """Replies in a row that stopped with `pause_turn`."""
        self.last_stop: str | None = None
        """Why the model's last reply stopped; `None` when the user said something since."""
        self.last_stop_details: Mapping[str, Any] | None = None
        self.open_span: str | None = None
        """A `span.model_request_start` that has no end yet."""
        self.begun = False
        """It has run before."""
        self.cap_cents: int | None = None
        """The most that it may cost. Set from the session's row when it is loaded, then kept by the fold."""
        self.context_tokens = 0
        """Prompt and answer of the last request that was answered; 0 when a summary has replaced them."""
        self.summarised = False
        """It was compacted, and the model has not answered since."""
        self.stored_bytes = 0
        """Of the rows that it was folded from, as far as whoever read them has counted."""
        self._user: list[Json] = []
        self._system: list[Json] = []
        """What operators said along with it; one message behind the user's, which is where the API takes it."""
        self._new_calls: list[ToolCall] = []
        self._running_since_us: int | None = None

    @property
    def open_calls(self) -> list[ToolCall]:
        """Calls without a result, in call order."""
        return [call for call in self.calls.values() if call.open]

    @property
    def owes_reply(self) -> bool:
        """The model has something to answer, and no call of its is open."""
        return not self.open_calls and (bool(self._user) or bool(self.calls) or self.last_stop == "pause_turn")

    @property
    def keeps_last(self) -> bool:
        """The model's last message must stay as it is: its calls are being answered, or it will go on with it."""
        paused = self.last_stop == "pause_turn" and bool(self.messages) and self.messages[-1]["role"] == "assistant"
        return bool(self.calls) or paused

    @property
    def compactable(self) -> bool:
        """There is a conversation that a summary could replace."""
        return not self.summarised and len(self.messages) - self.keeps_last >= 2

    def pending(self) -> list[Json]:
        """The blocks that came since the model's last message. Only for a session without open calls."""
        return [*(_tool_result(call) for call in self.calls.values()), *self._user, *self._system]

    def transcript(self) -> list[Json]:
        """The `messages` of the next model request. Only for a session without open calls."""
        messages = list(self.messages)
        self._add_turn(messages)
        return messages

    def active_until(self, now_us: int) -> int:
        """Microseconds spent running, the present stretch included."""
        since = self._running_since_us
        return self.active_us + (max(0, now_us - since) if since is not None else 0)

    def copied(self) -> Session:
        """One of its own that may be folded further without changing this one."""
        other = Session()
        for name in Session.__slots__:
            value = getattr(self, name)
            setattr(other, name, value.copy() if isinstance(value, list | dict) else value)
        return other

    def add(self, entry: Entry) -> None:
        """Take the next row of the log."""
        if entry.seq <= self.seq:
            raise ValueError(f"row {entry.seq} comes after row {self.seq}")
        self.seq = entry.seq
        step = _STEPS.get(entry.type)
        if step is not None:
            step(self, entry)

    def _add_turn(self, messages: list[Json]) -> None:
        """Append what came since the model's last message."""
        self._add_user(messages)
        if self._system:
            _join(messages, "system", self._system)

    def _add_user(self, messages: list[Json]) -> None:
        turn = [_tool_result(call) for call in self.calls.values()] + self._user
        if turn:
            _join(messages, "user", turn)

    # One method for each type of event that changes something.

    def _user_message(self, entry: Entry) -> None:
        self._user.extend(dict(block) for block in entry.body["content"])
        self.last_stop = None

    def _system_message(self, entry: Entry) -> None:
        self._system.extend(dict(block) for block in entry.body["content"])

    def _interrupt(self, entry: Entry) -> None:
        self.interrupted = self.status in ("running", "rescheduling") or bool(self.open_calls)

    def _confirmation(self, entry: Entry) -> None:
        call = self.calls.get(entry.body["tool_use_id"])
        if call is not None and call.open:
            verdict: Literal["allow", "deny"] = "allow" if entry.body["result"] == "allow" else "deny"
            message = entry.body.get("deny_message")
            self.calls[call.id] = replace(call, confirmed=verdict, deny_message=message)

    def _tool_use(self, entry: Entry) -> None:
        hidden = entry.hidden or {}
        self._new_calls.append(
            ToolCall(
                id=entry.id,
                model_id=hidden["model_id"],
                kind=hidden.get("kind", _KINDS[entry.type]),
                name=entry.body["name"],
                server=entry.body.get("mcp_server_name"),
                input=entry.body["input"],
                permission=entry.body.get("evaluated_permission", "allow"),
                problem=hidden.get("problem"),
            )
        )

    def _tool_answer(self, entry: Entry) -> None:
        call = self.calls.get(entry.body[_ANSWERS[entry.type]])
        if call is not None and call.open:
            result = Result(tuple(entry.body.get("content") or ()), bool(entry.body.get("is_error")))
            self.calls[call.id] = replace(call, result=result)
            if call.kind == "built_in" and call.name in _COUNTED and not result.is_error:
                self.tokens = self.tokens.plus(_COUNTED[call.name])

    def _request_start(self, entry: Entry) -> None:
        self.open_span = entry.id

    def _request_end(self, entry: Entry) -> None:
        self.open_span = None
        hidden = entry.hidden or {}
        if "tokens" in hidden:
            self.tokens = self.tokens.plus(Tokens.from_json(dict(hidden["tokens"])))
        if "stop_reason" in hidden:
            self._reply(hidden)

    def _reply(self, hidden: Mapping[str, Any]) -> None:
        self.failures, self.summarised = 0, False
        self.context_tokens = hidden.get("window", 0)
        self.last_stop = hidden["stop_reason"]
        self.last_stop_details = hidden.get("stop_details")
        self.pauses = self.pauses + 1 if self.last_stop == "pause_turn" else 0
        content = [dict(block) for block in hidden["content"]]
        if content:
            self._add_turn(self.messages)
            _join(self.messages, "assistant", content)
            self._system = []
        else:  # the system's words stay behind the user's, to which more will be added
            self._add_user(self.messages)
        self._user = []
        self.calls = {call.id: call for call in self._new_calls}
        self._new_calls = []

    def _compacted(self, entry: Entry) -> None:
        kept = self.keeps_last
        if not kept:
            self._system = [*compaction.system_blocks(self.messages), *self._system]
        self.messages = compaction.compacted(self.messages, (entry.hidden or {})["summary"], keep_last=kept)
        self.context_tokens, self.summarised = 0, True

    def _error(self, entry: Entry) -> None:
        error = entry.body["error"]
        if error["type"].startswith("model_") and error["retry_status"]["type"] == "retrying":
            self.failures += 1

    def _updated(self, entry: Entry) -> None:
        if "budget" in entry.body:
            budget = entry.body["budget"]
            self.cap_cents = None if budget is None else int(budget["max_list_cost"]["amount"])

    def _running(self, entry: Entry) -> None:
        self.status, self.stop_reason, self.begun = "running", None, True
        if self._running_since_us is None:
            self._running_since_us = entry.at_us

    def _rescheduled(self, entry: Entry) -> None:
        self.status = "rescheduling"
        self._stop_timer(entry)

    def _idle(self, entry: Entry) -> None:
        self.status = "idle"
        self.stop_reason = entry.body["stop_reason"]
        self.interrupted = False
        self.failures = 0
        self._stop_timer(entry)

    def _terminated(self, entry: Entry) -> None:
        self.status = "terminated"
        self._stop_timer(entry)

    def _stop_timer(self, entry: Entry) -> None:
        self.active_us = self.active_until(entry.at_us)
        self._running_since_us = None


def folded(entries: Iterable[Entry], session: Session | None = None) -> Session:
    """The session that these rows make, beginning with one that was folded before, or with an empty one."""
    session = session or Session()
    for entry in entries:
        session.add(entry)
    return session


def _tool_result(call: ToolCall) -> Json:
    if call.result is None:
        raise ValueError(f"the call {call.id} is open, so there is nothing to tell the model")
    block: Json = {
        "type": "tool_result",
        "tool_use_id": call.model_id,
        "content": [dict(piece) for piece in call.result.content if not _blank(piece)],
    }
    if call.result.is_error:
        block["is_error"] = True
    return block


def _blank(piece: Mapping[str, Any]) -> bool:
    """A text block that the Messages API would refuse; a tool that prints nothing is no reason to end a session."""
    return bool(piece.get("type") == "text" and not piece["text"].strip())


def _join(messages: list[Json], role: str, content: list[Json]) -> None:
    """Append a message, or to the last one of the same role: roles must alternate."""
    if messages and messages[-1]["role"] == role:
        messages[-1] = {"role": role, "content": [*messages[-1]["content"], *content]}
    else:
        messages.append({"role": role, "content": content})


_KINDS: Mapping[str, Kind] = {
    "agent.tool_use": "built_in",
    "agent.mcp_tool_use": "toolbox",
    "agent.custom_tool_use": "custom",
}
_COUNTED = {"web_search": Tokens(web_searches=1), "web_fetch": Tokens(web_fetches=1)}
_ANSWERS = {
    "agent.tool_result": "tool_use_id",
    "agent.mcp_tool_result": "mcp_tool_use_id",
    "user.custom_tool_result": "custom_tool_use_id",
    "user.tool_result": "tool_use_id",
}
_STEPS: Mapping[str, Callable[[Session, Entry], None]] = {
    "user.message": Session._user_message,
    "system.message": Session._system_message,
    "user.interrupt": Session._interrupt,
    "user.tool_confirmation": Session._confirmation,
    "user.custom_tool_result": Session._tool_answer,
    "user.tool_result": Session._tool_answer,
    "agent.tool_use": Session._tool_use,
    "agent.mcp_tool_use": Session._tool_use,
    "agent.custom_tool_use": Session._tool_use,
    "agent.tool_result": Session._tool_answer,
    "agent.mcp_tool_result": Session._tool_answer,
    "agent.thread_context_compacted": Session._compacted,
    "span.model_request_start": Session._request_start,
    "span.model_request_end": Session._request_end,
    "session.error": Session._error,
    "session.updated": Session._updated,
    "session.status_running": Session._running,
    "session.status_rescheduled": Session._rescheduled,
    "session.status_idle": Session._idle,
    "session.status_terminated": Session._terminated,
}

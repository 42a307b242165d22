"""Random but legal histories of a session: plays client, model and loop without any I/O, and keeps the log it makes."""

from __future__ import annotations

import random
from collections.abc import Mapping
from itertools import count
from typing import Any

from freehold.agents import reply as replies
from freehold.agents.events import INTERRUPTED, Draft, Voice
from freehold.agents.session import Entry, Session, ToolCall
from freehold.agents.steps import Ask, Finish, Interrupt, Resume, RunTools, next_step
from freehold.agents.tools.catalog import Catalog, catalog
from freehold.agents.usage import Tokens

POLICY = {"type": "always_allow"}
AGENT: Mapping[str, Any] = {
    "tools": [
        {
            "type": "agent_toolset_20260401",
            "default_config": {"enabled": True, "permission_policy": POLICY},
            "configs": [{"name": "write", "enabled": True, "permission_policy": {"type": "always_ask"}}],
        },
        {
            "type": "mcp_toolset",
            "mcp_server_name": "company",
            "default_config": {"enabled": True, "permission_policy": POLICY},
            "configs": [],
        },
        {"type": "custom", "name": "weather", "description": "w", "input_schema": {"type": "object"}},
    ]
}


class _Spec:
    def __init__(self, name: str) -> None:
        self.name = name
        self.description = f"does {name}"
        self.input_schema: Mapping[str, Any] = {"type": "object"}


def example_catalog() -> Catalog:
    return catalog(AGENT, [_Spec("bash"), _Spec("write"), _Spec("read")], {"company": [_Spec("lookup")]}, {})


class Walk:
    """One session's history, a row at a time."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.numbers = count(1)
        self.log: list[Entry] = []
        self.session = Session()
        self.queue: list[Draft] = []
        self.catalog = example_catalog()
        self.voice = Voice(lambda prefix: f"{prefix}_{next(self.numbers):06}", "sthr_1", "tester")

    def write(self, *drafts: Draft) -> None:
        for draft in drafts:
            entry = draft.entry(len(self.log) + 1, 1_000_000 * len(self.log))
            self.log.append(entry)
            self.session.add(entry)

    def play(self, moves: int) -> list[Entry]:
        for _ in range(moves):
            self._client()
            self._server()
        return self.log

    def _client(self) -> None:
        waiting = [call for call in self.session.open_calls if call.waits_for_client]
        if waiting and self.random.random() < 0.6:
            self._answer(self.random.choice(waiting))
        elif self.random.random() < 0.12:
            self._interrupt()
        elif self.random.random() < 0.5:
            self._say()

    def _say(self) -> None:
        text = f"message {next(self.numbers)}"
        drafts = [self.voice.event("user.message", {"content": [{"type": "text", "text": text}]})]
        if self.random.random() < 0.3:
            drafts.append(self.voice.event("system.message", {"content": [{"type": "text", "text": f"for {text}"}]}))
        if self.session.status == "idle" and not self.session.open_calls:
            self.write(*drafts, *self.voice.running())
        else:
            self.queue.extend(drafts)

    def _answer(self, call: ToolCall) -> None:
        if call.kind == "custom":
            fields: dict[str, Any] = {"custom_tool_use_id": call.id, "content": [{"type": "text", "text": call.id}]}
            draft = self.voice.event("user.custom_tool_result", fields)
        else:
            verdict = self.random.choice(["allow", "deny"])
            draft = self.voice.event("user.tool_confirmation", {"tool_use_id": call.id, "result": verdict})
        idle = self.session.status == "idle"
        self.write(draft)
        if idle:
            self.write(*self.voice.running())

    def _interrupt(self) -> None:
        idle = self.session.status == "idle" and bool(self.session.open_calls)
        self.write(self.voice.event("user.interrupt"))
        if idle:
            self.write(*self.voice.running())

    def _server(self) -> None:
        step = next_step(self.session)
        match step:
            case Ask():
                self._ask()
            case RunTools(calls=calls):
                self._run(calls)
            case Interrupt():
                calls = tuple(self.session.open_calls)
                self.write(*(self.voice.failed(call, INTERRUPTED) for call in calls))
                self._idle({"type": "end_turn"}, None)
            case Resume():
                self.write(*self.voice.running())
            case Finish(waiting="this_turn") if self.queue:
                self._drain()
            case Finish(stop_reason=reason, stop_details=details, waiting=waiting):
                if waiting == "flushed":
                    self._drain()
                self._idle(reason, details)

    def _drain(self) -> None:
        self.write(*self.queue)
        self.queue.clear()

    def _idle(self, reason: Mapping[str, Any], details: Mapping[str, Any] | None) -> None:
        self.write(*self.voice.idle(reason, details, self.session, 0))
        if self.queue and reason["type"] != "requires_action":
            self._drain()
            self.write(*self.voice.running())

    def _run(self, calls: tuple[ToolCall, ...]) -> None:
        for call in calls[: self.random.randint(1, len(calls))]:
            self.write(self.voice.result(call, [{"type": "text", "text": call.id}], self.random.random() < 0.3))

    def _ask(self) -> None:
        if self.session.compactable and self.random.random() < 0.2:
            summary = f"summary {next(self.numbers)}"
            self.write(self.voice.event("agent.thread_context_compacted", hidden={"summary": summary}))
            return
        self._drain()
        ids = replies.Ids(*(self.voice.new_id("sevt") for _ in range(3)))
        self.write(Draft(ids.span_start, "span.model_request_start", {}))
        chance = self.random.random()
        if chance < 0.15:
            self.write(replies.broken_off(ids, Tokens(input=3), self.voice, is_error=True))
            self.write(self.voice.error("model_overloaded_error", "busy", "retrying"), *self.voice.rescheduled())
        else:
            reply = replies.read(self._message(), Tokens(input=5, output=7), ids, self.catalog, self.voice)
            self.write(*reply.drafts)

    def _message(self) -> dict[str, Any]:
        stop = self.random.choice(
            ["end_turn", "tool_use", "tool_use", "tool_use", "max_tokens", "refusal", "pause_turn"]
        )
        content: list[dict[str, Any]] = []
        if self.random.random() < 0.4:
            content.append({"type": "thinking", "thinking": "hm", "signature": f"sig{next(self.numbers)}"})
        if self.random.random() < 0.6 or stop != "tool_use":
            content.append({"type": "text", "text": self.random.choice(["some text", "", "  "])})
        if stop in ("tool_use", "max_tokens"):
            content.extend(self._tool_use() for _ in range(self.random.randint(1, 4)))
        return {"id": "msg_1", "content": content, "stop_reason": stop, "usage": {}}

    def _tool_use(self) -> dict[str, Any]:
        name = self.random.choice(["bash", "write", "read", "mcp__company__lookup", "weather", "nonsense"])
        given: Any = self.random.choice([{"a": 1}, {"a": 1}, {"a": 1}, [1], "text"])
        return {"type": "tool_use", "id": f"toolu_{next(self.numbers)}", "name": name, "input": given}

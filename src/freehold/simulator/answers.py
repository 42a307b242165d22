"""From a brain's steps to a Message: ids, thinking, tool_choice, stop sequences, the token limit, usage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from freehold.simulator.brains.base import Fail, Refuse, Say, Step, Think, Use, Wait
from freehold.simulator.model import signatures, tokens
from freehold.simulator.model.cache import Plan
from freehold.simulator.model.ids import Source
from freehold.simulator.model.request import Request

_CALL_PIECES = 12
"""What a tool call costs besides its name and input."""


@dataclass(slots=True)
class Answer:
    """A finished reply: the Message, how its output splits up, and the waits the brain asked for."""

    message: dict[str, Any]
    output_tokens: int
    thinking_tokens: int
    waits: tuple[tuple[int, float], ...] = ()
    """Before which content block (by index) to wait, and for how many seconds."""


class Composer:
    """Builds the content of one reply, step by step, until the steps or the tokens end."""

    def __init__(self, request: Request, ids: Source, seed: int, most_tokens: int) -> None:
        self._request = request
        self._ids = ids
        self._seed = seed
        self._percent = request.model.token_percent
        self._left = most_tokens
        self._cut_reason = "max_tokens" if most_tokens == request.max_tokens else "model_context_window_exceeded"
        self.content: list[dict[str, Any]] = []
        self.waits: list[tuple[int, float]] = []
        self.output = 0
        self.thinking = 0
        self.stop: dict[str, Any] = {}

    def compose(self, steps: Sequence[Step]) -> None:
        """Take the steps in order; ends early where the reply must stop."""
        if not self._request.max_tokens:
            self._end("max_tokens")
            return
        for step in steps:
            self._take(step)
            if self.stop:
                return
        used = any(block["type"] == "tool_use" for block in self.content)
        self._end("tool_use" if used else "end_turn")

    def _take(self, step: Step) -> None:
        match step:
            case Think(text):
                self._think(text)
            case Say(text):
                self._say(text)
            case Use():
                self._use(step)
            case Wait(seconds):
                self.waits.append((len(self.content), seconds))
            case Refuse(category, explanation):
                details = {"type": "refusal", "category": category, "explanation": explanation}
                self._end("refusal", stop_details=details)
            case Fail():
                raise AssertionError("a Fail is answered before anything is composed")

    def _end(self, reason: str, **more: Any) -> None:
        self.stop = {"stop_reason": reason, "stop_sequence": None, "stop_details": None, **more}

    def _spend(self, cost: int) -> None:
        self.output += cost
        self._left -= cost
        if self._left <= 0 and not self.stop:
            self._end(self._cut_reason)

    def _think(self, text: str) -> None:
        budget = self._request.thinking.budget_tokens or self._left
        text = tokens.cut(text, min(self._left, budget), self._percent)
        cost = tokens.count(text, self._percent)
        if not text:
            return
        shown = text if self._request.thinking.shown else ""
        signature = signatures.sign(self._seed, self._request.model.id, shown, cost)
        self.content.append({"type": "thinking", "thinking": shown, "signature": signature})
        self.thinking += cost
        self._spend(cost)

    def _say(self, text: str) -> None:
        text, match = self._stopped(text)
        cost = tokens.count(text, self._percent)
        if cost > self._left:
            text, match = tokens.cut(text, self._left, self._percent), None
            cost = self._left
        if text:
            self.content.append({"type": "text", "text": text, "citations": None})
        if match is not None:
            self._end("stop_sequence", stop_sequence=match)
        elif cost and cost == self._left:
            self._end(self._cut_reason)
        self._spend(cost)

    def _stopped(self, text: str) -> tuple[str, str | None]:
        hits = [(text.find(sequence), sequence) for sequence in self._request.stop_sequences]
        at, sequence = min((hit for hit in hits if hit[0] >= 0), default=(-1, None))
        return (text, None) if sequence is None else (text[:at], sequence)

    def _use(self, step: Use) -> None:
        written = step.name + msgspec.json.encode(step.input).decode()
        cost = tokens.scale(_CALL_PIECES, self._percent) + tokens.count(written, self._percent)
        if cost > self._left:
            # A call that is cut off is no call: the client could not run it.
            self.output += self._left
            self._end(self._cut_reason)
            return
        block = {"type": "tool_use", "id": self._ids.new("toolu"), "name": step.name, "input": dict(step.input)}
        self.content.append(block | {"caller": {"type": "direct"}})
        self.output += cost
        self._left -= cost


def compose(
    request: Request, steps: Sequence[Step], ids: Source, seed: int, plan: Plan, most_tokens: int, batch: bool = False
) -> Answer:
    """The reply to a request: the brain's steps made to obey the request, with usage as the cache has it."""
    composer = Composer(request, ids, seed, most_tokens)
    message_id = ids.new("msg")
    composer.compose(list(_allowed(request, steps)))
    usage = {
        "input_tokens": plan.uncached,
        "output_tokens": composer.output,
        "cache_creation_input_tokens": plan.write_5m + plan.write_1h,
        "cache_read_input_tokens": plan.read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": plan.write_5m,
            "ephemeral_1h_input_tokens": plan.write_1h,
        },
        "output_tokens_details": {"thinking_tokens": composer.thinking},
        "server_tool_use": None,
        "service_tier": "batch" if batch else "standard",
        "speed": request.speed,
        "inference_geo": request.geo or "global",
    }
    message = {
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "model": request.model.id,
        "content": composer.content,
        **composer.stop,
        "usage": usage,
        "container": None,
    }
    return Answer(message, composer.output, composer.thinking, tuple(composer.waits))


def _allowed(request: Request, steps: Sequence[Step]) -> Iterator[Step]:
    """The steps without what the request forbids: thinking that is off, tools under `none`, calls in parallel."""
    called = False
    names = {tool["name"] for tool in request.tools}
    for step in steps:
        if isinstance(step, Think) and not _may_think(request):
            continue
        if isinstance(step, Use):
            if request.choice.type == "none" or step.name not in names or (called and not request.choice.parallel):
                continue
            called = True
        yield step


def _may_think(request: Request) -> bool:
    if request.thinking.type == "between_tools":
        return any(request.last.of_type("tool_result"))
    return request.thinking.on


def first_failure(steps: Sequence[Step]) -> tuple[Fail | None, float]:
    """The error that stands in place of a reply, if any, and how long to wait before it."""
    waited = 0.0
    for step in steps:
        if isinstance(step, Fail):
            return step, waited
        if not isinstance(step, Wait):
            break
        waited += step.seconds
    return None, 0.0


def with_schema(content: Mapping[str, Any]) -> str:
    """Structured output as Claude writes it: compact JSON in one text block."""
    return msgspec.json.encode(content).decode()

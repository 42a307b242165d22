"""From one message of the model to the events that it makes. Pure.

The events of a reply stand in the order of the API: a thinking mark, the whole text, the tool calls, the end of the
span. The message itself, block for block, is kept hidden in the span's end: the next request gives it back unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from freehold.agents.events import Draft, Voice
from freehold.agents.permissions import REFUSED, Evaluation, evaluate
from freehold.agents.session import Json
from freehold.agents.tools.catalog import Catalog, Repeat, Tool
from freehold.agents.usage import Tokens, model_usage

_CUT_OFF = {
    "max_tokens": "the reply reached its limit of output tokens",
    "model_context_window_exceeded": "the model's context window is full",
}
_SHOWN_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Planned:
    """A tool call that is written down before anything happens: a row of the journal."""

    event_id: str
    name: str
    policy: Repeat | Literal["client"]
    runs_now: bool
    """Nobody must be asked, so it may be started in the same commit."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The events of one reply, and the calls in it that somebody can run: others are answered without the journal."""

    drafts: list[Draft]
    calls: list[Planned]


@dataclass(frozen=True, slots=True)
class Judgements:
    """What a judge said of calls of one message, by the model's ids, and what that cost."""

    of: Mapping[str, Evaluation] = field(default_factory=dict)
    tokens: Tokens = field(default_factory=Tokens)


@dataclass(frozen=True, slots=True)
class Ids:
    """Ids that exist before the reply is complete, because previews have already named them."""

    span_start: str
    message: str
    thinking: str


NO_JUDGEMENTS = Judgements()


def to_judge(message: Mapping[str, Any], catalog: Catalog) -> list[tuple[str, Tool, Json]]:
    """The calls in a message whose policy is `auto`: the model's id, the tool, the input."""
    found = []
    for block in message["content"] if message["stop_reason"] != "refusal" else ():
        tool = catalog.find(block["name"]) if block["type"] == "tool_use" else None
        if tool is not None and tool.policy.get("type") == "auto" and isinstance(block["input"], dict):
            found.append((block["id"], tool, block["input"]))
    return found


def read(
    message: Mapping[str, Any],
    tokens: Tokens,
    ids: Ids,
    catalog: Catalog,
    voice: Voice,
    judgements: Judgements = NO_JUDGEMENTS,
) -> Reply:
    """The events of a complete model message. A refused one is not kept, and nothing in it is run."""
    stop_reason = message["stop_reason"]
    refused = stop_reason == "refusal"
    blocks = [] if refused else [_sound(block) for block in message["content"] if not _empty(block)]
    drafts = _said(blocks, ids)
    calls: list[Planned] = []
    for block in blocks:
        if block["type"] == "tool_use":
            cut = _CUT_OFF.get(stop_reason) if block is blocks[-1] else None
            judgement = judgements.of.get(block["id"])
            draft, planned = _call(block, _given(message, block["id"]), cut, catalog, voice, judgement)
            drafts.append(draft)
            calls += [planned] if planned else []
    hidden = {
        "content": blocks,
        "stop_reason": stop_reason,
        "stop_details": _details(message) if refused else None,
        "tokens": tokens.plus(judgements.tokens).as_json(),
        "window": tokens.context,
        "message_id": message.get("id"),
        "model": message.get("model"),
    }
    drafts.append(_end(ids, voice, tokens, message, hidden))
    drafts.extend(_complaints(stop_reason, message, voice))
    return Reply(drafts, calls)


def broken_off(ids: Ids, tokens: Tokens, voice: Voice, *, is_error: bool) -> Draft:
    """The end of a request that gave no message: it failed, or somebody interrupted it."""
    fields = {"model_request_start_id": ids.span_start, "model_usage": model_usage(tokens), "is_error": is_error}
    return voice.event("span.model_request_end", fields, {"tokens": tokens.as_json()})


def _said(blocks: list[Json], ids: Ids) -> list[Draft]:
    drafts = []
    if any(block["type"] in ("thinking", "redacted_thinking") for block in blocks):
        drafts.append(Draft(ids.thinking, "agent.thinking", {}))
    text = [{"type": "text", "text": block["text"]} for block in blocks if block["type"] == "text"]
    if text:
        drafts.append(Draft(ids.message, "agent.message", {"content": text}))
    return drafts


def _call(
    block: Json, given: Any, cut: str | None, catalog: Catalog, voice: Voice, judgement: Evaluation | None
) -> tuple[Draft, Planned | None]:
    tool = catalog.find(block["name"])
    problem = _problem(block["name"], given, tool, cut, catalog)
    evaluation = evaluate(tool.policy, judgement) if tool is not None else REFUSED
    problem = problem or evaluation.problem(block["name"])
    fields: Json = {"name": tool.name if tool else block["name"], "input": block["input"]}
    kind = "agent.tool_use"
    if tool is not None and tool.kind == "custom" and problem is None:
        kind = "agent.custom_tool_use"
    elif tool is not None and tool.kind == "toolbox":
        kind = "agent.mcp_tool_use"
        fields["mcp_server_name"] = tool.server
    if kind != "agent.custom_tool_use":
        fields.update(evaluation.fields())
    hidden = {"model_id": block["id"]} | ({"problem": problem} if problem else {})
    if tool is not None and tool.kind == "worker":
        hidden["kind"] = "worker"
        if problem is not None:  # a worker runs what it is not denied, and this cannot be run
            fields["evaluated_permission"] = "deny"
    draft = voice.event(kind, fields, hidden)
    if problem is not None or tool is None:
        return draft, None
    if tool.kind in ("custom", "worker"):
        return draft, Planned(draft.id, block["name"], "client", False)
    return draft, Planned(draft.id, block["name"], tool.repeat, evaluation.verdict == "allow")


def _problem(name: str, given: Any, tool: Tool | None, cut: str | None, catalog: Catalog) -> str | None:
    if tool is None:
        known = ", ".join(catalog.names) or "none"
        return f"There is no tool {name!r}. The tools you have: {known}."
    if cut is not None:
        return f"{name} was not run: {cut} inside this call, so its input may be cut. Try again with a smaller input."
    if not isinstance(given, dict):
        return f"{name} was not run: its input must be a JSON object, not {str(given)[:_SHOWN_CHARACTERS]!r}."
    return None


def _empty(block: Json) -> bool:
    """The API takes no text block without visible text, though models sometimes write one."""
    return bool(block["type"] == "text" and not block["text"].strip())


def _sound(block: Json) -> Json:
    """The block as it may be given back: an input that is no object would make every later request invalid."""
    if block["type"] == "tool_use" and not isinstance(block["input"], dict):
        return {**block, "input": {}}
    return dict(block)


def _given(message: Mapping[str, Any], model_id: str) -> Any:
    return next(block["input"] for block in message["content"] if block.get("id") == model_id)


def _details(message: Mapping[str, Any]) -> Json:
    details = message.get("stop_details") or {}
    return {"type": "refusal", "category": details.get("category"), "explanation": details.get("explanation")}


def _end(ids: Ids, voice: Voice, tokens: Tokens, message: Mapping[str, Any], hidden: Json) -> Draft:
    speed = (message.get("usage") or {}).get("speed")
    fields = {
        "model_request_start_id": ids.span_start,
        "model_usage": model_usage(tokens, speed),
        "is_error": False,
    }
    return voice.event("span.model_request_end", fields, hidden)


def _complaints(stop_reason: str | None, message: Mapping[str, Any], voice: Voice) -> list[Draft]:
    """A reply that ended too early says so in the log: idle alone would look like a finished turn."""
    if stop_reason == "max_tokens" and not any(block["type"] == "tool_use" for block in message["content"]):
        text = "The model's reply was cut off at its limit of output tokens. Ask it to go on."
        return [voice.error("model_request_failed_error", text, "exhausted")]
    if stop_reason == "model_context_window_exceeded":
        text = "The conversation has filled the model's context window. Go on in a new session."
        return [voice.error("model_request_failed_error", text, "exhausted")]
    return []

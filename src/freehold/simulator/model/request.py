"""A Messages request as the model sees it: turns merged, defaults filled in.

It takes a body whose shape has been checked (`wire.contract`) and reads it; what is legal stands in `rules/`. The
values are msgspec structs because making them is on the hot path (a frozen dataclass of 20 fields takes ten times as
long).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

from freehold.simulator.model.catalog import Model

Block = Mapping[str, Any]
Role = Literal["user", "assistant", "system"]


class Placed(msgspec.Struct, frozen=True):
    """A content block and where it stands in the request, for messages such as `messages.2.content.0: …`."""

    path: str
    block: Block

    @property
    def type(self) -> str:
        """The block's type; `text` for a plain string."""
        kind: str = self.block["type"]
        return kind


class Turn(msgspec.Struct, frozen=True):
    """Consecutive messages of one role, merged. `path` is that of the first."""

    role: Role
    path: str
    placed: tuple[Placed, ...]

    @property
    def blocks(self) -> Iterator[Block]:
        """Its content blocks."""
        return (one.block for one in self.placed)

    def of_type(self, *types: str) -> Iterator[Placed]:
        """Its blocks of those types."""
        return (one for one in self.placed if one.type in types)


class Choice(msgspec.Struct, frozen=True):
    """`tool_choice` with its default filled in."""

    type: Literal["auto", "any", "tool", "none"] = "auto"
    name: str = ""
    parallel: bool = True


class Thinking(msgspec.Struct, frozen=True):
    """What thinking comes to for this request and model."""

    type: Literal["enabled", "adaptive", "disabled", "between_tools"]
    budget_tokens: int | None = None
    shown: bool = False

    @property
    def on(self) -> bool:
        """Whether a reply may think at all."""
        return self.type != "disabled"


class Request(msgspec.Struct, frozen=True):
    """One request, read. `body` is the JSON object it came from."""

    model: Model
    asked_model: str
    body: Mapping[str, Any]
    max_tokens: int
    turns: tuple[Turn, ...]
    system: tuple[Placed, ...]
    tools: tuple[Mapping[str, Any], ...]
    choice: Choice
    thinking: Thinking
    effort: str
    schema: Mapping[str, Any] | None = None
    stop_sequences: tuple[str, ...] = ()
    stream: bool = False
    speed: str = "standard"
    geo: str | None = None
    cache_control: Mapping[str, Any] | None = None
    diagnose: bool = False
    previous_message_id: str | None = None
    dropped: frozenset[str] = frozenset()
    """Paths of thinking blocks that this model cannot read and does not see."""

    @property
    def last(self) -> Turn:
        """The last turn that is not a system message."""
        return next(turn for turn in reversed(self.turns) if turn.role != "system")


def read(body: Mapping[str, Any], model: Model) -> Request:
    """The request that a checked body makes."""
    config = body.get("output_config") or {}
    tools = tuple(body.get("tools") or ())
    diagnostics = body.get("diagnostics")
    return Request(
        model=model,
        asked_model=body["model"],
        body=body,
        max_tokens=body.get("max_tokens", model.max_output),
        turns=merge(body["messages"]),
        system=_system(body.get("system")),
        tools=tools,
        choice=_choice(body.get("tool_choice"), bool(tools)),
        thinking=_thinking(body.get("thinking"), model),
        effort=config.get("effort") or model.default_effort,
        schema=(config.get("format") or {}).get("schema"),
        stop_sequences=tuple(body.get("stop_sequences") or ()),
        stream=bool(body.get("stream")),
        speed=body.get("speed") or "standard",
        geo=body.get("inference_geo"),
        cache_control=body.get("cache_control"),
        diagnose=diagnostics is not None,
        previous_message_id=(diagnostics or {}).get("previous_message_id"),
    )


def blocks_of(content: str | Sequence[Block]) -> Sequence[Block]:
    """Content as a list of blocks; a string is one text block."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def text_of(content: str | Sequence[Block] | None) -> str:
    """The plain text in content: of a message, a tool result or a system prompt."""
    if content is None or isinstance(content, str):
        return content or ""
    return "\n".join(block["text"] for block in content if block.get("type") == "text")


def merge(messages: Sequence[Mapping[str, Any]]) -> tuple[Turn, ...]:
    """Messages as turns: neighbours of the same role are one turn, as the API combines them."""
    turns: list[Turn] = []
    for index, message in enumerate(messages):
        path = f"messages.{index}"
        content = message.get("content") or ()
        if isinstance(content, str):
            text = {"type": "text", "text": content}
            placed: tuple[Placed, ...] = (Placed(f"{path}.content", text),) if content else ()
        else:
            placed = tuple(Placed(f"{path}.content.{at}", block) for at, block in enumerate(content))
        if turns and turns[-1].role == message["role"]:
            turns[-1] = Turn(turns[-1].role, turns[-1].path, turns[-1].placed + placed)
        else:
            turns.append(Turn(message["role"], path, placed))
    return tuple(turns)


def _system(system: str | Sequence[Block] | None) -> tuple[Placed, ...]:
    if not system:
        return ()
    if isinstance(system, str):
        return (Placed("system", {"type": "text", "text": system}),)
    return tuple(Placed(f"system.{index}", block) for index, block in enumerate(system))


def _choice(choice: Mapping[str, Any] | None, has_tools: bool) -> Choice:
    if choice is None:
        return Choice("auto" if has_tools else "none")
    return Choice(choice["type"], choice.get("name", ""), not choice.get("disable_parallel_tool_use"))


def _thinking(thinking: Mapping[str, Any] | None, model: Model) -> Thinking:
    if thinking is None:
        return Thinking("adaptive" if model.thinks_unasked else "disabled", shown=model.shows_thinking)
    display = thinking.get("display")
    shown = model.shows_thinking if display is None else display != "omitted"
    return Thinking(thinking["type"], thinking.get("budget_tokens"), shown)

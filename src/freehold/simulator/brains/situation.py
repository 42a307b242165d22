"""Where a conversation stands: what the user last asked, which tools were called for it, and what came back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from freehold.simulator.model.request import Request, Turn, text_of
from freehold.simulator.reading import blocks
from freehold.simulator.reading.values import Values, named_values
from freehold.simulator.reading.words import chinese

_MOST = 16_000
"""Characters."""


@dataclass(frozen=True, slots=True)
class Done:
    """A tool call of this task and its result."""

    name: str
    input: Mapping[str, Any]
    text: str
    is_error: bool


@dataclass(frozen=True, slots=True)
class Situation:
    """What a planner needs to know of a request."""

    task: str
    """The last thing a person wrote."""
    around: str
    """The same without fenced blocks; of a very long one the beginning, so that reading it costs little."""
    done: tuple[Done, ...]
    """Calls made for it so far, in order."""
    earlier: tuple[tuple[str, str], ...]
    """What was said before the task: (role, text)."""
    chinese: bool
    system: str
    turn: int = 1
    """How many times a person has spoken, this time included."""
    latest: tuple[Done, ...] = ()
    """The results that have just come back, if the request ends with any."""

    @property
    def values(self) -> Values:
        """Values of the task's text and, named, of the results."""
        known = [pair for done in self.done if not done.is_error for pair in named_values(done.text)]
        return Values(self.around, known=known)


def read(request: Request) -> Situation:
    """The situation that a request tells of."""
    turns = [turn for turn in request.turns if turn.role != "system"]
    at = max((index for index, turn in enumerate(turns) if _person(turn)), default=0)
    task = _said(turns[at]) if turns else ""
    around = blocks.without_fences(task)[:_MOST]
    earlier = tuple((turn.role, _said(turn)) for turn in turns[:at] if _said(turn))
    return Situation(
        task=task,
        around=around,
        done=tuple(_done(turns[at:])),
        earlier=earlier,
        chinese=chinese(around or task[:_MOST]),
        system=text_of([placed.block for placed in request.system]),
        turn=sum(map(_person, turns)),
        latest=tuple(_done(turns[-2:])) if len(turns) > at + 1 else (),
    )


def _person(turn: Turn) -> bool:
    return turn.role == "user" and any(placed.type not in ("tool_result",) for placed in turn.placed)


def _said(turn: Turn) -> str:
    return "\n".join(str(placed.block["text"]) for placed in turn.of_type("text"))


def _done(turns: list[Turn]) -> list[Done]:
    calls: dict[str, Mapping[str, Any]] = {}
    done = []
    for turn in turns:
        for placed in turn.placed:
            block = placed.block
            if placed.type == "tool_use":
                calls[block["id"]] = block
            elif placed.type == "tool_result" and block["tool_use_id"] in calls:
                call = calls[block["tool_use_id"]]
                text = _words_of(block.get("content"))
                done.append(Done(call["name"], call["input"], text, bool(block.get("is_error"))))
    return done


def _words_of(content: Any) -> str:
    """The words of a result, those of search results among them, each under its title."""
    if content is None or isinstance(content, str):
        return content or ""
    found = [
        f"{block['title']}: {text_of(block['content'])}" if block["type"] == "search_result" else block.get("text", "")
        for block in content
    ]
    return "\n".join(words for words in found if words)

"""Which of the user's own tools fit a request, judged by words: of the tool's name, description and parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from freehold.simulator.brains.base import Use
from freehold.simulator.brains.hands import plain_name
from freehold.simulator.reading.values import Values
from freehold.simulator.reading.words import GENERIC, words
from freehold.simulator.structured import fill

_ENOUGH = 3
_NAMED = 100
"""The score of a tool that the text calls by its name."""
_MOST_PARTS = 60
_PARTS = re.compile(
    r"[,，、;；。.!?！？\n]+(?=\s|[\u4e00-\u9fff]|$)|\b(?:and|also|then|plus|as well as)\b|"
    r"以及|同时|然后|并且|还有|和|并"
)
_RETRIEVAL = frozenset({"search", "retrieve", "retrieval", "knowledge", "lookup", "query", "ask", "recall"})
_QUESTION = re.compile(
    r"[?？]|\b(?:what|who|how|why|where|when|which|explain|tell me|find out)\b|什么|怎么|如何|为什么|谁|哪|吗|请问",
    re.I,
)
_CHANGES = frozenset({"delete", "remove", "cancel", "refund", "send", "update", "create", "pay", "book", "set", "drop"})


@dataclass(frozen=True, slots=True)
class Pick:
    """A tool that fits, how well, and whether everything it needs is known."""

    tool: Mapping[str, Any]
    score: int
    fillable: bool

    @property
    def name(self) -> str:
        """The tool's name as the request has it."""
        name: str = self.tool["name"]
        return name


def picks(text: str, tools: Sequence[Mapping[str, Any]], values: Values) -> list[Pick]:
    """The tools that fit the text, in the order in which they were given.

    Each part of a sentence picks the tools that fit it best: “look up user u_1, their orders and their activity” is
    three errands, “the activity of user u_1” is one.
    """
    best: dict[str, int] = {}
    parts = [part for part in _PARTS.split(text) if part.strip()]
    for part in parts if len(parts) <= _MOST_PARTS else [text]:
        for name, score in _best(part, tools):
            best[name] = max(score, best.get(name, 0))
    if not best:
        best = dict(_best(text, tools))
    return [Pick(tool, best[tool["name"]], fillable(tool, values)) for tool in tools if tool["name"] in best]


def _best(text: str, tools: Sequence[Mapping[str, Any]]) -> list[tuple[str, int]]:
    said = words(text)
    scores = [(tool["name"], _score(tool, said, text)) for tool in tools]
    highest = max((score for _, score in scores), default=0)
    return [(name, score) for name, score in scores if score == highest >= _ENOUGH]


def _score(tool: Mapping[str, Any], said: frozenset[str], text: str) -> int:
    name = plain_name(tool["name"])
    if re.search(rf"(?<![\w]){re.escape(name)}(?![\w])", text):
        return _NAMED
    in_name = words(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name))
    verbs, things = in_name & GENERIC, in_name - GENERIC
    if in_name & _CHANGES and not said & in_name & _CHANGES:
        return 0  # nothing is changed that nobody asked to change
    described = words(str(tool.get("description") or "")[:2000]) - GENERIC
    parameters = words(" ".join((tool.get("input_schema") or {}).get("properties") or ())) - GENERIC
    hits = things & said
    if things and not hits and len(described & said) < 2:
        return 0
    covered = 2 if things and things <= said else -len(things - said)
    more = min(4, len(described & said - hits)) + min(1, len(parameters & said - hits))
    return 4 * len(hits) + covered + 2 * len(verbs & said & _CHANGES) + len(verbs & said) + more


def retrieval(text: str, tools: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """A search or knowledge tool for a question that no other tool fits."""
    if not _QUESTION.search(text):
        return None
    for tool in tools:
        about = words(plain_name(tool["name"])) | set(re.split(r"[_\W]+", tool["name"].lower()))
        properties = (tool.get("input_schema") or {}).get("properties") or {}
        if about & _RETRIEVAL and any(
            name in properties for name in ("query", "q", "question", "text", "search", "keywords")
        ):
            return tool
    return None


def fillable(tool: Mapping[str, Any], values: Values) -> bool:
    """Whether every required parameter has a value of its own in the texts."""
    schema = tool.get("input_schema") or {}
    properties = schema.get("properties") or {}
    fresh = values.fresh()
    for name in schema.get("required") or ():
        part = properties.get(name)
        part = part if isinstance(part, Mapping) else {}
        kind = part.get("type") if isinstance(part.get("type"), str) else "string"
        if not fresh.can_fill(str(name), str(kind), part):
            return False
    return True


def calls(tool: Mapping[str, Any], values: Values) -> list[Use]:
    """The calls of a tool, its input filled from the texts by its schema: one for each of several ids or places."""
    schema = tool.get("input_schema") or {}
    required = [name for name in schema.get("required") or () if isinstance(name, str)]
    first = Use(tool["name"], fill(schema, values.fresh()))
    part = (schema.get("properties") or {}).get(required[0]) if len(required) == 1 else None
    if not isinstance(part, Mapping) or part.get("type") != "string" or part.get("enum"):
        return [first]
    several = values.several(required[0], part)[:_MOST_PARTS]
    if first.input.get(required[0]) not in several:
        return [first]
    return [Use(first.name, {**first.input, required[0]: value}) for value in several]

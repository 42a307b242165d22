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
    """The tools that fit the text, in the order in which they were given."""
    said = words(text)
    found = []
    for tool in tools:
        score = _score(tool, said, text)
        if score >= _ENOUGH:
            found.append(Pick(tool, score, fillable(tool, values)))
    best = max((pick.score for pick in found), default=0)
    return [pick for pick in found if pick.score * 3 >= best]


def _score(tool: Mapping[str, Any], said: frozenset[str], text: str) -> int:
    name = plain_name(tool["name"])
    if re.search(rf"(?<![\w]){re.escape(name)}(?![\w])", text):
        return 20  # named outright
    in_name = words(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name))
    verbs, things = in_name & GENERIC, in_name - GENERIC
    if in_name & _CHANGES and not said & in_name & _CHANGES:
        return 0  # nothing is changed that nobody asked to change
    described = words(str(tool.get("description") or "")[:2000]) - GENERIC
    parameters = words(" ".join((tool.get("input_schema") or {}).get("properties") or ())) - GENERIC
    hits = things & said
    if things and not hits and not len(described & said) > 1:
        return 0
    return (
        4 * len(hits) + len(verbs & said) + min(4, len(described & said - hits)) + min(2, len(parameters & said - hits))
    )


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


def call(tool: Mapping[str, Any], values: Values) -> Use:
    """The call of a tool, its input filled from the texts by its schema."""
    return Use(tool["name"], fill(tool.get("input_schema") or {}, values.fresh()))

"""What to try once more after a tool failed: a suggested value, the same call again, a look around."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jsonschema

from freehold.simulator.brains.base import Use
from freehold.simulator.brains.hands import Hands
from freehold.simulator.brains.situation import Done

_PASSING = re.compile(
    r"time[d -]*out|temporar|try again|unavailable|overload|rate limit|超时|稍后|繁忙|connection", re.I
)
_SUGGESTED = re.compile(
    r"(?:\b(?:did you mean|perhaps|maybe|use|known(?: \w+)?(?: are)?|valid(?: \w+)?(?: are)?|one of|available)\b|"
    r"是不是|可用|应为)[^\w'\"“`]{0,6}['\"“`]?([\w@./+-]{1,80})",
    re.I,
)
_NO_FILE = re.compile(r"(?:no such file|not exist|not found|cannot find|不存在|找不到)", re.I)
_MOST = 4_000
"""Characters of an error that are read."""
_NO_PYTHON = re.compile(r"python3?: (?:command )?not found")


def repair(done: Sequence[Done], hands: Hands, tools: Sequence[Mapping[str, Any]]) -> list[Use]:
    """Follow-up calls for the failures among the results; none for what was followed up already."""
    follow: list[Use] = []
    for at, one in enumerate(done):
        others = [other for index, other in enumerate(done) if index != at]
        if not one.is_error or any(other.name == one.name for other in others if other.is_error or other in done[at:]):
            continue
        use = _again(one, hands, tools)
        if use and not any(use.name == other.name and dict(use.input) == dict(other.input) for other in others):
            follow.append(use)
    return follow


def _again(one: Done, hands: Hands, tools: Sequence[Mapping[str, Any]]) -> Use | None:
    if _PASSING.search(one.text[:_MOST]):
        return Use(one.name, one.input)
    if _NO_PYTHON.search(one.text[:_MOST]) and "command" in one.input:
        return Use(one.name, {**one.input, "command": str(one.input["command"]).replace("python3", "python", 1)})
    if one.name in hands.names:
        return hands.run("pwd; ls -la") if _NO_FILE.search(one.text[:_MOST]) else None
    return _corrected(one, tools)


def _corrected(one: Done, tools: Sequence[Mapping[str, Any]]) -> Use | None:
    """The same call with the value that the error suggests, put where the refused value stood."""
    suggested = _SUGGESTED.search(one.text[:_MOST])
    if not suggested:
        return None
    value = suggested.group(1).rstrip(".")
    texts = {key: given for key, given in one.input.items() if isinstance(given, str)}
    named = [key for key, given in texts.items() if given and given in one.text] or [
        key for key in texts if key in one.text
    ]
    key = named[0] if named else next(iter(texts), None)
    if key is None or texts[key] == value:
        return None
    corrected = {**one.input, key: value}
    return Use(one.name, corrected) if _fits(one.name, corrected, tools) else None


def _fits(name: str, given: Mapping[str, Any], tools: Sequence[Mapping[str, Any]]) -> bool:
    schema = next((tool.get("input_schema") for tool in tools if tool["name"] == name), None) or {}
    try:
        return jsonschema.Draft202012Validator(schema).is_valid(given)
    except (jsonschema.SchemaError, RecursionError, LookupError, TypeError):
        return False  # a schema that leads nowhere: no reason to guess

"""Requests that the SDK's types allow, drawn from the shapes which the contract takes from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

import freehold.wire.contract
from freehold.simulator.model.catalog import MODELS

_SHAPES = json.loads((Path(freehold.wire.contract.__file__).parent / "shapes" / "requests.json").read_text("utf-8"))
_OBJECTS: dict[str, Any] = _SHAPES["objects"]
CREATE: dict[str, Any] = _SHAPES["operations"]["messages.create"]
NAMES = [name for model in MODELS for name in (model.id, *model.aliases)]
TEXTS = st.one_of(
    st.sampled_from(
        ["", " ", "hello", "look up user u_1001", "北京的天气怎么样？", "```python\nprint(1)\n```", "a" * 300]
    ),
    st.text(max_size=30),
)
_ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.floats(-1e6, 1e6, allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=6), inner, max_size=2),
    max_leaves=4,
)
_IDS = st.sampled_from(["toolu_1", "toolu_2", "srvtoolu_1", "u_1"])
_SCHEMAS: st.SearchStrategy[Any] = st.deferred(
    lambda: st.one_of(
        st.fixed_dictionaries({"type": st.sampled_from(["string", "integer", "number", "boolean", "null"])}),
        st.fixed_dictionaries({"enum": st.lists(st.text(max_size=5) | st.integers(0, 9), min_size=1, max_size=3)}),
        st.fixed_dictionaries({"type": st.just("array"), "items": _SCHEMAS}),
        st.fixed_dictionaries({"anyOf": st.lists(_SCHEMAS, min_size=1, max_size=2)}),
        OBJECT_SCHEMAS,
    )
)
_PROPERTIES = st.dictionaries(st.sampled_from(["user_id", "city", "days", "query", "date", "x"]), _SCHEMAS, max_size=3)
OBJECT_SCHEMAS: st.SearchStrategy[Any] = _PROPERTIES.map(
    lambda found: {"type": "object", "properties": found, "required": sorted(found)[:2], "additionalProperties": False}
)
_BY_NAME: dict[str, st.SearchStrategy[Any]] = {
    "tool_use_id": _IDS,
    "id": _IDS,
    "name": st.sampled_from(["get_user", "bash", "search", "x" * 65, "bad name"]),
    "max_tokens": st.sampled_from([0, 1, 2, 50, 4096, 10**7, -1]),
    "input_schema": OBJECT_SCHEMAS | _ANY.filter(lambda value: isinstance(value, dict)),
    "schema": OBJECT_SCHEMAS | st.dictionaries(st.text(max_size=6), _ANY, max_size=2),
    "budget_tokens": st.sampled_from([1024, 2000, 10, -5]),
}


def bodies() -> st.SearchStrategy[dict[str, Any]]:
    """Bodies of `messages.create`: any that the types allow, most of them with a plain conversation."""
    return st.composite(_body)()


def _body(draw: st.DrawFn) -> dict[str, Any]:
    request: dict[str, Any] = _members(draw, CREATE, 0)
    request["model"] = draw(st.sampled_from(NAMES))
    if draw(st.booleans()):
        request["messages"] = draw(
            st.lists(st.fixed_dictionaries({"role": st.just("user"), "content": TEXTS}), min_size=1)
        )
    if draw(st.booleans()):
        request["max_tokens"] = draw(st.sampled_from([1, 20, 4096]))
    for name in _RARE:
        if draw(st.integers(0, 9)):
            request.pop(name, None)
    return request


def conversations() -> st.SearchStrategy[dict[str, Any]]:
    """Bodies that are meant to be answered: custom tools of any schema, any text, thinking and formats by model."""
    return st.composite(_conversation)()


def _conversation(draw: st.DrawFn) -> dict[str, Any]:
    model = draw(st.sampled_from(MODELS))
    names = draw(
        st.lists(st.sampled_from(["get_user", "bash", "search_docs", "list_orders", "x"]), max_size=3, unique=True)
    )
    request: dict[str, Any] = {
        "model": model.id,
        "max_tokens": draw(st.sampled_from([1, 30, 5000])),
        "messages": [{"role": "user", "content": draw(_SPOKEN)}],
        "tools": [{"name": name, "description": draw(_SPOKEN), "input_schema": draw(OBJECT_SCHEMAS)} for name in names],
    }
    if names and model.forced_choice and draw(st.booleans()):
        request["tool_choice"] = draw(
            st.sampled_from(
                [
                    {"type": "any"},
                    {"type": "tool", "name": names[0]},
                    {"type": "any", "disable_parallel_tool_use": True},
                ]
            )
        )
    elif "enabled" in model.thinking and draw(st.booleans()):
        request |= {"max_tokens": 5000, "thinking": {"type": "enabled", "budget_tokens": 1024}}
    if draw(st.booleans()):
        request["output_config"] = {"format": {"type": "json_schema", "schema": draw(_FORMATS)}}
    if draw(st.booleans()):
        request["cache_control"] = {"type": "ephemeral"}
    if draw(st.booleans()):
        request["stop_sequences"] = [draw(st.sampled_from(["e", "the", "。"]))]
    return request


_FORMATS = OBJECT_SCHEMAS.filter(lambda schema: json.dumps(schema).count("anyOf") <= 16)
"""A schema of an answer may hold so many unions."""
_SPOKEN = TEXTS.filter(lambda text: bool(text.strip()))
_RARE = (
    "billing_policy",
    "compaction",
    "container",
    "context_management",
    "fallback_credit_token",
    "fallbacks",
    "mcp_servers",
    "stop_sequences",
    "temperature",
    "thread",
    "tool_choice",
    "top_k",
    "top_p",
)


def _members(draw: st.DrawFn, shape: dict[str, Any], depth: int) -> dict[str, Any]:
    found = {}
    for name, part in shape["fields"].items():
        if name in shape["required"] or draw(st.integers(0, 3 + 2 * depth)) == 0:
            found[name] = draw(_BY_NAME[name]) if name in _BY_NAME else _value(draw, part, depth + 1)
    return found


def _value(draw: st.DrawFn, shape: Any, depth: int) -> Any:
    if isinstance(shape, str):
        if shape.startswith("#"):
            return _members(draw, _OBJECTS[shape[1:]], depth)
        return draw(_SCALARS[shape])
    if "literal" in shape:
        return draw(st.sampled_from(shape["literal"]))
    if "list" in shape:
        return [_value(draw, shape["list"], depth + 1) for _ in range(draw(st.integers(0, 2 if depth < 5 else 1)))]
    if "map" in shape:
        return {name: _value(draw, shape["map"], depth + 1) for name in draw(st.lists(st.text(max_size=5), max_size=2))}
    if "tag" in shape:
        tag = draw(st.sampled_from(sorted(shape["of"])))
        return {**_members(draw, _OBJECTS[shape["of"][tag].removeprefix("#")], depth), shape["tag"]: tag}
    return _value(draw, draw(st.sampled_from(shape["any_of"])), depth)


_SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "any": _ANY,
    "null": st.none(),
    "boolean": st.booleans(),
    "integer": st.integers(-5, 5000),
    "number": st.floats(-10, 10, allow_nan=False),
    "string": TEXTS,
    "datetime": st.just("2026-11-23T06:12:58Z"),
}

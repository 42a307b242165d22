"""JSON that fits a schema, filled from the words of a conversation: for structured outputs and forced tools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from freehold.simulator.model.rules.formats import resolve
from freehold.simulator.reading.values import Values

_DEEPEST = 12


def fill(schema: Mapping[str, Any], values: Values) -> dict[str, Any]:
    """An object for an object schema; required properties come first, as Claude writes them.

    Optional properties are filled only where the text gives something for them.
    """
    filled = _value("", schema, schema, values, 0, required=True)
    return filled if isinstance(filled, dict) else {}


def any_value(schema: Mapping[str, Any], values: Values) -> Any:
    """A value for a schema of any type."""
    return _value("", schema, schema, values, 0, required=True)


def _value(name: str, schema: Any, root: Mapping[str, Any], values: Values, depth: int, *, required: bool) -> Any:
    if not isinstance(schema, Mapping):
        return values.text_for(name, {}) or ""
    schema = _simple(schema, root, depth)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return values.one_of(schema["enum"], name)
    kind = _kind(schema)
    if kind == "object":
        return _object(schema, root, values, depth)
    if kind == "array":
        return _array(name, schema, root, values, depth)
    found = values.take(name, kind, schema)
    if found is not None:
        return found
    if "default" in schema:
        return schema["default"]
    return values.fallback(name, kind, schema) if required else None


def _simple(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Mapping[str, Any]:
    for _ in range(_DEEPEST):
        if "$ref" in schema:
            schema = resolve(root, str(schema["$ref"])) or {}
        elif schema.get("allOf"):
            merged: dict[str, Any] = {key: value for key, value in schema.items() if key != "allOf"}
            for part in schema["allOf"]:
                part = resolve(root, str(part["$ref"])) or {} if "$ref" in part else part
                merged |= part
                merged["properties"] = {**(schema.get("properties") or {}), **(merged.get("properties") or {})}
            schema = merged
        elif schema.get("anyOf") or schema.get("oneOf"):
            schema = _option(schema.get("anyOf") or schema["oneOf"], root, depth)
        else:
            break
    return schema


def _option(options: Any, root: Mapping[str, Any], depth: int) -> Mapping[str, Any]:
    """The first option; deep down one without children, so that a recursive schema ends."""
    candidates = [option for option in options if isinstance(option, Mapping)] or [{}]
    simple = [option for option in candidates if _kind(option) not in ("object", "array") and "$ref" not in option]
    if depth >= _DEEPEST - 4 and simple:
        return simple[-1]
    return next((option for option in candidates if _kind(option) != "null"), candidates[0])


def _kind(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    if kind is None:
        return "object" if "properties" in schema else "array" if "items" in schema else "string"
    return str(kind)


def _object(schema: Mapping[str, Any], root: Mapping[str, Any], values: Values, depth: int) -> dict[str, Any]:
    properties: Mapping[str, Any] = schema.get("properties") or {}
    required = [name for name in schema.get("required") or () if isinstance(name, str)]
    filled = {}
    for name in required:
        filled[name] = _value(name, properties.get(name, {}), root, values, depth + 1, required=True)
    if depth >= _DEEPEST:
        return filled
    for name, part in properties.items():
        if name not in filled and isinstance(part, Mapping) and values.mentions(name, part):
            found = _value(name, part, root, values, depth + 1, required=False)
            if found is not None:
                filled[name] = found
    return filled


def _array(name: str, schema: Mapping[str, Any], root: Mapping[str, Any], values: Values, depth: int) -> list[Any]:
    items = schema.get("items")
    fewest = min(int(schema.get("minItems") or 0), 20)
    if isinstance(items, Mapping) and depth < _DEEPEST:
        part = _simple(items, root, depth + 1)
        found = values.all_for(name, _kind(part), part)
        if found:
            return found[: schema.get("maxItems") or 20]
        if fewest or _kind(part) == "object":
            return [_value(name, items, root, values, depth + 1, required=True) for _ in range(max(1, fewest))]
    return [values.fallback(name, "string", {})] * fewest

"""The operations of an OpenAPI document: the name, the input schema and the request of each. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, urlencode

from freehold.toolboxes.base import ToolSpec
from freehold.toolboxes.functions import Function, ToolFailed
from freehold.toolboxes.inputs import Inputs

METHODS = ("get", "head", "post", "put", "patch", "delete")
_MOST_DEPTH = 12
"""Of references in schemas; deeper ones, and those that lead back, become free objects."""
_MOST_DESCRIPTION_CHARS = 2000
_BODY = "body"
_OURS = frozenset(
    {"host", "connection", "content-length", "content-type", "transfer-encoding", "accept", "authorization"}
)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an operation, and where it goes."""

    name: str
    place: str
    required: bool
    schema: Mapping[str, Any]
    exploded: bool


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation."""

    name: str
    description: str
    method: str
    path: str
    parameters: Sequence[Parameter]
    body: Mapping[str, Any] | None
    body_required: bool

    def request(self, arguments: Mapping[str, Any]) -> tuple[str, dict[str, str], bytes | None]:
        """Path with query, headers and body. Raises `ToolFailed` for a value that cannot stand in its place."""
        path, query, headers = self.path, list[tuple[str, str]](), {}
        for parameter in self.parameters:
            if parameter.name not in arguments:
                continue
            value = arguments[parameter.name]
            if parameter.place == "path":
                path = path.replace("{" + parameter.name + "}", _in_path(parameter.name, value))
            elif parameter.place == "query":
                query += _in_query(parameter, value)
            else:
                headers[parameter.name.lower()] = _in_header(parameter.name, value)
        body = json.dumps(arguments[_BODY]).encode() if _BODY in arguments and self.body is not None else None
        return path + (f"?{urlencode(query)}" if query else ""), headers, body

    def with_schema(self, made: Function) -> Function:
        """The function with this operation's input schema."""
        properties = {one.name: one.schema for one in self.parameters}
        required = [one.name for one in self.parameters if one.required]
        if self.body is not None:
            properties[_BODY] = self.body
            required += [_BODY] if self.body_required else []
        schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
        return replace(made, spec=ToolSpec(self.name, self.description, schema), inputs=Inputs(schema))


def operations(document: Mapping[str, Any]) -> list[Operation]:
    """Every operation that can be asked, in the order of the document; names are unique."""
    found: dict[str, Operation] = {}
    for path, item in (document.get("paths") or {}).items():
        for operation in _of_path(document, str(path), _resolved(document, item)):
            found.setdefault(operation.name, operation)
    return list(found.values())


def _of_path(document: Mapping[str, Any], path: str, item: Any) -> Iterator[Operation]:
    for method in METHODS:
        given = item.get(method) if isinstance(item, Mapping) else None
        if not isinstance(given, Mapping) or not re.fullmatch(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/{}-]*", path):
            continue
        listed = [
            _resolved(document, one) for one in [*(item.get("parameters") or ()), *(given.get("parameters") or ())]
        ]
        parameters = {(one["name"], one["in"]): _parameter(document, one) for one in listed if _can_be_given(one)}
        needed = any(one.get("required") and not _can_be_given(one) for one in listed)
        body, body_required, readable = _body(document, given)
        if needed or not readable:
            continue
        words = " ".join(str(given.get(key) or "") for key in ("summary", "description")).strip() or f"{method} {path}"
        yield Operation(
            _name(given, method, path),
            words[:_MOST_DESCRIPTION_CHARS],
            method,
            path,
            list({one.name: one for one in parameters.values()}.values()),
            body,
            body_required,
        )


def _name(given: Mapping[str, Any], method: str, path: str) -> str:
    wanted = str(given.get("operationId") or f"{method}_{path}")
    return re.sub(r"[^A-Za-z0-9-]+", "_", wanted).strip("_")[:64]


def _can_be_given(one: Any) -> bool:
    if not isinstance(one, Mapping) or one.get("in") not in ("path", "query", "header") or "name" not in one:
        return False
    return one["in"] != "header" or str(one["name"]).lower() not in _OURS


def _parameter(document: Mapping[str, Any], one: Mapping[str, Any]) -> Parameter:
    schema = _schema(document, one.get("schema") or {"type": "string"})
    if one.get("description") and "description" not in schema:
        schema = {**schema, "description": str(one["description"])[:_MOST_DESCRIPTION_CHARS]}
    required = bool(one.get("required")) or one["in"] == "path"
    return Parameter(str(one["name"]), one["in"], required, schema, bool(one.get("explode", True)))


def _body(document: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[Mapping[str, Any] | None, bool, bool]:
    """Its schema, whether it must be there, and whether we can write it: only JSON."""
    request = _resolved(document, given.get("requestBody") or {})
    content = request.get("content") or {}
    media = next((value for kind, value in content.items() if str(kind).split(";")[0] == "application/json"), None)
    required = bool(request.get("required"))
    if media is None:
        return None, False, not (content and required)
    return _schema(document, media.get("schema") or {}), required, True


def _schema(document: Mapping[str, Any], schema: Any, depth: int = 0) -> dict[str, Any]:
    """A schema that stands for itself: references resolved, `nullable` as JSON Schema says it."""
    if depth > _MOST_DEPTH or not isinstance(schema, Mapping):
        return {}
    whole = _resolved(document, schema)
    made: dict[str, Any] = {}
    for key, value in whole.items():
        if key in ("properties", "patternProperties") and isinstance(value, Mapping):
            made[key] = {name: _schema(document, one, depth + 1) for name, one in value.items()}
        elif key in ("items", "additionalProperties", "not") and isinstance(value, Mapping):
            made[key] = _schema(document, value, depth + 1)
        elif key in ("allOf", "anyOf", "oneOf") and isinstance(value, list):
            made[key] = [_schema(document, one, depth + 1) for one in value]
        elif key in _KEPT:
            made[key] = value
    if whole.get("nullable") and isinstance(made.get("type"), str):
        made["type"] = [made["type"], "null"]
    return made


_KEPT = frozenset(
    (
        *("type", "description", "enum", "const", "default", "format", "required", "additionalProperties", "pattern"),
        *("minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "uniqueItems", "title", "examples"),
    )
)


def _resolved(document: Mapping[str, Any], value: Any) -> Any:
    """What a `$ref` inside the document leads to; a reference to anywhere else is nothing."""
    for _ in range(_MOST_DEPTH):
        if not isinstance(value, Mapping) or "$ref" not in value:
            return value
        place: Any = document
        parts = str(value["$ref"]).removeprefix("#/").split("/")
        for part in parts if str(value["$ref"]).startswith("#/") else [""]:
            key = part.replace("~1", "/").replace("~0", "~")
            place = place.get(key, {}) if isinstance(place, Mapping) else {}
        value = place
    return {}


def _in_path(name: str, value: Any) -> str:
    text = ",".join(map(_word, value)) if isinstance(value, list) else _word(value)
    if text in ("", ".", ".."):
        raise ToolFailed(f"{name}: {text!r} cannot be part of an address.")
    return quote(text, safe="")


def _in_query(parameter: Parameter, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, list):
        words = [_word(one) for one in value]
        return [(parameter.name, word) for word in words] if parameter.exploded else [(parameter.name, ",".join(words))]
    if isinstance(value, dict):
        return [(f"{parameter.name}[{key}]", _word(one)) for key, one in value.items()]
    return [(parameter.name, _word(value))]


def _in_header(name: str, value: Any) -> str:
    text = _word(value)
    if not text.isascii() or not text.isprintable():
        raise ToolFailed(f"{name}: a header takes one line of ASCII.")
    return text


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else json.dumps(value)

"""Rules of `output_config.format`: the part of JSON Schema that structured outputs take.

Claude API docs, page "Structured outputs", read 2026-11-23.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema

from freehold.errors import InvalidRequest
from freehold.simulator.model.request import Request
from freehold.simulator.model.rules.media import placed_of

_REFUSED = (
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "patternProperties",
    "if",
    "not",
    "oneOf",
)
_MOST_OPTIONAL = 24
_MOST_UNIONS = 16
_MOST_STRICT_TOOLS = 20
_DEEPEST = 60


def check(request: Request) -> None:
    """See the module."""
    strict = [tool for tool in request.tools if tool.get("strict") and "input_schema" in tool]
    if len(strict) > _MOST_STRICT_TOOLS:
        raise InvalidRequest(f"tools: at most {_MOST_STRICT_TOOLS} tools may be strict. Found {len(strict)}.")
    for tool in strict:
        check_schema(tool["input_schema"], f"tools.{request.tools.index(tool)}.custom.input_schema")
    if request.schema is None:
        return
    if request.turns[-1].role == "assistant":
        raise InvalidRequest("output_config.format: cannot be combined with assistant message prefill")
    for placed in placed_of(request, "document"):
        if (placed.block.get("citations") or {}).get("enabled"):
            raise InvalidRequest(f"output_config.format: cannot be combined with citations ({placed.path})")
    check_schema(request.schema, "output_config.format.schema")


def check_schema(schema: Mapping[str, Any], where: str) -> None:
    """Raise `InvalidRequest` if the schema goes beyond what structured outputs take."""
    optional = unions = 0
    _valid(schema, where)
    for path, part in _parts(schema, where, 0):
        for word in _REFUSED:
            if word in part:
                raise InvalidRequest(f"{path}.{word}: is not supported in structured outputs. Remove it.")
        _part(path, part, schema)
        properties = part.get("properties") or {}
        optional += len(set(properties) - set(part.get("required") or ()))
        unions += "anyOf" in part or isinstance(part.get("type"), list)
    if optional > _MOST_OPTIONAL:
        raise InvalidRequest(f"{where}: at most {_MOST_OPTIONAL} optional properties are supported. Found {optional}.")
    if unions > _MOST_UNIONS:
        raise InvalidRequest(f"{where}: at most {_MOST_UNIONS} union types are supported. Found {unions}.")


def _valid(schema: Mapping[str, Any], where: str) -> None:
    try:
        jsonschema.Draft202012Validator.check_schema(dict(schema))
    except jsonschema.SchemaError as error:
        raise InvalidRequest(f"{where}: JSON schema is invalid: {error.message[:300]}") from None
    except RecursionError:
        raise InvalidRequest(f"{where}: is nested too deeply") from None


def _part(path: str, part: Mapping[str, Any], root: Mapping[str, Any]) -> None:
    if (part.get("type") == "object" or "properties" in part) and part.get("additionalProperties") is not False:
        raise InvalidRequest(f"{path}.additionalProperties: must be false for objects in structured outputs")
    if part.get("minItems", 0) not in (0, 1):
        raise InvalidRequest(f"{path}.minItems: only 0 and 1 are supported in structured outputs")
    reference = part.get("$ref")
    if reference is None:
        return
    if not str(reference).startswith("#/") and reference != "#":
        raise InvalidRequest(f"{path}.$ref: only references within the schema are supported")
    target = resolve(root, reference)
    if target is None:
        raise InvalidRequest(f"{path}.$ref: {str(reference)[:100]!r} leads nowhere")
    if _leads_back(root, target, reference):
        raise InvalidRequest(f"{path}.$ref: recursive schemas are not supported in structured outputs")


def _leads_back(root: Mapping[str, Any], target: Mapping[str, Any], reference: str) -> bool:
    """Whether what a reference leads to holds, directly or by other references, the same reference."""
    seen, waiting = set(), [target]
    while waiting:
        for _, part in _parts(waiting.pop(), "", 0):
            inner = part.get("$ref")
            if inner == reference:
                return True
            if isinstance(inner, str) and inner not in seen:
                seen.add(inner)
                if (found := resolve(root, inner)) is not None:
                    waiting.append(found)
    return False


def resolve(root: Mapping[str, Any], reference: str) -> Mapping[str, Any] | None:
    """The part of the schema that `#/$defs/…` names, or `None`."""
    if reference == "#":
        return root
    part: Any = root
    for step in reference.removeprefix("#/").split("/"):
        step = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(part, Mapping) or step not in part:
            return None
        part = part[step]
    return part if isinstance(part, Mapping) else None


def _parts(schema: Any, path: str, depth: int) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if depth > _DEEPEST:
        raise InvalidRequest(f"{path[:200]}: the schema is nested too deeply")
    if not isinstance(schema, Mapping):
        return
    yield path, schema
    for word in ("properties", "$defs", "definitions"):
        for name, part in (schema.get(word) or {}).items():
            yield from _parts(part, f"{path}.{word}.{name}", depth + 1)
    for word in ("anyOf", "allOf", "prefixItems"):
        for at, part in enumerate(schema.get(word) or ()):
            yield from _parts(part, f"{path}.{word}.{at}", depth + 1)
    for word in ("items", "additionalProperties"):
        yield from _parts(schema.get(word), f"{path}.{word}", depth + 1)

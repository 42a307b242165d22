"""Checks a tool's arguments against its schema, and says what is wrong so that a model can mend its call."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import ValidationError

_MOST = 5
"""Problems told at once; a model that got five things wrong needs the schema again, not a longer list."""


class Inputs:
    """The schema of one tool; `ours`: it is this project's own, and needs no check. What reads schemas takes three
    megabytes and is loaded with the first one that is checked or used.

    Raises:
        ValueError: the schema is not a JSON schema, or does not describe an object.
    """

    def __init__(self, schema: Mapping[str, Any], *, ours: bool = False) -> None:
        self._schema = schema
        if not ours:
            _check(schema)

    @cached_property
    def _validator(self) -> Draft202012Validator:
        from jsonschema import Draft202012Validator

        return Draft202012Validator(self._schema)

    def problems(self, arguments: Mapping[str, Any]) -> list[str]:
        """What is wrong, one line each, at most five; empty when the arguments fit."""
        found = sorted(self._validator.iter_errors(arguments), key=lambda error: list(map(str, error.absolute_path)))
        lines = [_line(error) for error in found[:_MOST]]
        if len(found) > _MOST:
            lines.append(f"and {len(found) - _MOST} more")
        return lines


def _check(schema: Mapping[str, Any]) -> None:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise ValueError(f"its input_schema is not a JSON schema: {error.message}") from error
    if schema.get("type") != "object":
        raise ValueError('its input_schema must have "type": "object"')


def _line(error: ValidationError) -> str:
    place = ".".join(str(part) for part in error.absolute_path)
    return f"{place}: {_reason(error)}" if place else _reason(error)


def _reason(error: ValidationError) -> str:
    rule, instance = _untyped(error.validator_value), _untyped(error.instance)
    if error.validator == "additionalProperties" and isinstance(error.schema, Mapping):
        known = error.schema.get("properties", {})
        unknown = ", ".join(name for name in instance if name not in known)
        return f"unknown argument {unknown}; known are: {', '.join(known) or 'none'}"
    if error.validator == "required":
        return f"missing argument {', '.join(name for name in rule if name not in instance)}"
    if error.validator == "type":
        return f"must be {_kinds(rule)}, not {_short(instance)}"
    if error.validator == "anyOf":
        kinds = [str(branch.get("type", branch.get("const", "…"))) for branch in rule]
        return f"must be {' or '.join(kinds)}, not {_short(instance)}"
    return _cut(error.message)


def _untyped(value: Any) -> Any:
    """JSON again: to the type checker the parts of an error might also be unset."""
    return value


def _kinds(value: str | list[str]) -> str:
    return value if isinstance(value, str) else " or ".join(value)


def _short(value: object) -> str:
    return _cut(json.dumps(value, ensure_ascii=False, default=str), 80)


def _cut(text: str, most: int = 200) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"

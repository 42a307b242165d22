"""The half of strictness that the SDK's strict mode leaves out: members of an answer that its type does not declare."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel


def undeclared(answer: object, path: str = "") -> list[str]:
    """Paths of all such members, at any depth: `["content.0.colour"]`. A sound answer has none."""
    return list(_undeclared(answer, path))


def _undeclared(value: object, path: str) -> Iterator[str]:
    if isinstance(value, BaseModel):
        yield from (f"{path}{name}" for name in value.model_extra or ())
        for name in value.model_fields_set:
            yield from _undeclared(getattr(value, name), f"{path}{name}.")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _undeclared(inner, f"{path}{index}.")
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _undeclared(inner, f"{path}{name}.")

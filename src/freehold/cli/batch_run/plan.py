"""What is asked of each row, and what its answer must be: template, model, schema, length. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jsonschema

from freehold.cli.batch_run.inputs import BadInput, Row

_FIELD = re.compile(r"\{([A-Za-z_]\w*)\}")


CACHED_CHARS = 4_000
"""What all rows have in common is marked for the cache of prompts from so many characters on: below about a thousand
tokens no model keeps it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One run's way from a row to a request, and from an answer to a verdict."""

    model: str
    prompt: str = "{text}"
    system: str = ""
    max_tokens: int = 1024
    schema: Mapping[str, Any] | None = None
    max_chars: int = 0
    """Longer answers are asked for once more; 0: any length."""

    def params(self, row: Row) -> dict[str, Any]:
        """The body of the row's call. Raises `BadInput` where the template names a field that the row lacks."""
        if row.params is not None:
            return row.params
        made: dict[str, Any] = {"model": self.model, "max_tokens": self.max_tokens}
        if self.system:
            made["system"] = [_kept(self.system)] if len(self.system) >= CACHED_CHARS else self.system
        if self.schema is not None:
            made["output_config"] = {"format": {"type": "json_schema", "schema": dict(self.schema)}}
        made["messages"] = [{"role": "user", "content": self._content(row)}]
        return made

    def _content(self, row: Row) -> str | list[dict[str, Any]]:
        """The filled prompt; what stands before its first field, if it is long, as a block that the cache keeps."""
        filled, field = self.filled(row), _FIELD.search(self.prompt)
        same = field.start() if field is not None else 0
        if same < CACHED_CHARS or same >= len(filled):
            return filled
        return [_kept(filled[:same]), {"type": "text", "text": filled[same:]}]

    def shorter(self, params: Mapping[str, Any], answer: str) -> dict[str, Any]:
        """The same call, going on from an answer that was too long."""
        told = f"That has {len(answer)} characters; at most {self.max_chars} are allowed. Answer again, shorter."
        more = [{"role": "assistant", "content": answer.rstrip()}, {"role": "user", "content": told}]
        return {**params, "messages": [*params["messages"], *more]}

    def wrong(self, text: str) -> str | None:
        """Why an answer is not what was asked for, or `None`."""
        if self.schema is not None:
            try:
                jsonschema.validate(json.loads(text), self.schema)
            except ValueError as error:
                return f"is not JSON: {error}"
            except jsonschema.ValidationError as error:
                return f"does not fit the schema: {error.message} at {error.json_path}"
        if self.is_too_long(text):
            return f"has {len(text)} characters, more than {self.max_chars}"
        return None

    def is_too_long(self, text: str) -> bool:
        """It has more characters (of any script, each counts one) than allowed."""
        return 0 < self.max_chars < len(text)

    def filled(self, row: Row) -> str:
        """The prompt for a row."""

        def value(found: re.Match[str]) -> str:
            if found[1] not in row.fields:
                known = ", ".join(row.fields) or "none"
                raise BadInput(f"row {row.name}: the prompt names {{{found[1]}}}; the row has: {known}")
            field = row.fields[found[1]]
            return field if isinstance(field, str) else json.dumps(field, ensure_ascii=False)

        return _FIELD.sub(value, self.prompt)


def _kept(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}


def custom_id(index: int) -> str:
    """Of the row at that place: names of files would not fit its rules."""
    return f"row-{index}"


def index_of(identity: str) -> int:
    """The other way."""
    return int(identity.removeprefix("row-"))


def requests(plan: Plan, rows: Iterable[Row]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(custom_id, params) of every row."""
    for index, row in enumerate(rows):
        yield custom_id(index), plan.params(row)


def text_of(message: Mapping[str, Any]) -> str:
    """The words of an answer."""
    return "".join(block.get("text", "") for block in message["content"] if block["type"] == "text")

"""One declaration of a ready toolbox: its fields, checked as they are asked for; and the functions that it becomes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from freehold.errors import Misconfigured
from freehold.toolboxes.base import ToolSpec
from freehold.toolboxes.functions import Function
from freehold.toolboxes.inputs import Inputs


@dataclass(frozen=True, slots=True)
class Entry:
    """One declaration; its methods give checked values and raise `Misconfigured`, naming toolbox and field."""

    name: str
    fields: Mapping[str, Any]

    def text(self, field: str) -> str:
        """A text that must be there: in the file, or in the variable that `FIELD_env` names."""
        value = self.fields.get(field)
        if variable := self.fields.get(f"{field}_env"):
            if field in self.fields:
                raise self.wrong(field, f"stands beside {field}_env; only one of the two can hold")
            value = os.environ.get(str(variable))
            if not value:
                raise self.wrong(f"{field}_env", f"the environment has no {variable}")
        if not isinstance(value, str) or not value:
            raise self.wrong(field, "is required, as text")
        return value

    def number(self, field: str, default: float, most: float) -> float:
        """A number above zero."""
        value = self.fields.get(field, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
            raise self.wrong(field, f"must be a number above 0 and at most {most:g}")
        return value

    def texts(self, field: str) -> Sequence[str] | None:
        """A list of texts, or `None`."""
        value = self.fields.get(field)
        if value is None:
            return None
        if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
            raise self.wrong(field, "must be a list of texts, and not an empty one")
        return value

    def table(self, field: str) -> Mapping[str, str]:
        """A table of texts; empty if it is not there."""
        value = self.fields.get(field, {})
        if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
            raise self.wrong(field, "must be a table of texts")
        return value

    def path(self, field: str) -> Path:
        """A path that must be there."""
        path = Path(self.text(field)).expanduser()
        if not path.exists():
            raise self.wrong(field, f"there is no {path}")
        return path.resolve()

    def known(self, *fields: str) -> None:
        """Refuse every other field."""
        for field in self.fields:
            if field not in ("kind", *fields):
                raise self.wrong(field, f"is not known here; known are: kind, {', '.join(fields)}")

    def wrong(self, field: str, why: str) -> Misconfigured:
        """To be raised."""
        return Misconfigured(f"toolboxes.{self.name}.{field}: {why}")


Run = Callable[[Mapping[str, Any]], object]


def tool(name: str, description: str, schema: Mapping[str, Any], run: Run, *, is_async: bool) -> Function:
    """A function of a ready toolbox. `schema`: its properties, each required unless it has a default."""
    required = [key for key, value in schema.items() if "default" not in value]
    whole = {"type": "object", "properties": dict(schema), "required": required, "additionalProperties": False}
    return Function(ToolSpec(name, description, whole), Inputs(whole), run, is_async)

"""What a query of any database comes to: how much it may bring, its rows as text, and how a refusal is told."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from freehold.toolboxes.functions import ToolFailed


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much one query may bring and take."""

    rows: int
    row_bytes: int
    result_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Found:
    """Rows of a query, each as JSON; `more`: there were others."""

    rows: Sequence[str]
    more: bool = False


def row_text(row: Mapping[str, Any], most: int) -> str:
    """A row as JSON, cut with a note where it is too long."""
    return cut(json.dumps(row, ensure_ascii=False, default=_plain), most)


def cut(text: str, most: int) -> str:
    """At most so many characters, with a note."""
    return text if len(text) <= most else f"{text[:most]}… [cut: this row is longer than {most} characters]"


def refused(error: BaseException) -> ToolFailed:
    """What the model is told when the database says no: the database's own first line."""
    cause = getattr(error, "orig", None) or error
    return ToolFailed(f"The database refused it: {str(cause).splitlines()[0][:1000] if str(cause) else type(cause)}")


def _plain(value: object) -> str:
    return f"{len(value)} bytes" if isinstance(value, bytes | memoryview) else str(value)

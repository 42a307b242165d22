"""Tool results that are too long to be read whole: the beginning stays, and a pointer to where the rest is. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MOST_CHARACTERS = 100_000
"""Of the texts of one result (Claude API docs, Managed Agents, cloud sandboxes, read 2026-11-23)."""
SHOWN_CHARACTERS = 20_000
"""Of a result that is longer."""


def spilled_text(content: Sequence[Mapping[str, Any]]) -> str | None:
    """All text of a result, if it is too long; else `None`."""
    texts = [block["text"] for block in content if block.get("type") == "text"]
    return "\n".join(texts) if sum(map(len, texts)) > MOST_CHARACTERS else None


def shortened(content: Sequence[Mapping[str, Any]], text: str, path: str | None) -> list[Mapping[str, Any]]:
    """The result as the model is given it; `path`: where its tools can read the whole text, `None` where nowhere."""
    where = f"The whole text is in {path}." if path else "The rest is not kept; ask for less."
    note = f"[This result has {len(text):,} characters; these are the first {SHOWN_CHARACTERS:,}. {where}]"
    others = [block for block in content if block.get("type") != "text"]
    return [{"type": "text", "text": f"{note}\n{text[:SHOWN_CHARACTERS]}"}, *others]

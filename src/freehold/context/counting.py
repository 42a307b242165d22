"""How many tokens a part of a conversation is, about: for deciding and for sums that nobody is billed by. Pure."""

from __future__ import annotations

from typing import Any

CHARACTERS_A_TOKEN = 3.5
"""Of English prose a little more, of JSON and code a little less."""
MEDIA_TOKENS = 1_600
"""An image of the usual size; a page of a PDF is about as much."""
_BLOCK_TOKENS = 4


def estimate(value: Any) -> int:
    """Tokens of messages, blocks, or any part of them, about."""
    return round(_characters(value) / CHARACTERS_A_TOKEN)


def _characters(value: Any) -> float:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        if value.get("type") in ("image", "document") and "source" in value:
            return MEDIA_TOKENS * CHARACTERS_A_TOKEN
        return _BLOCK_TOKENS + sum(_characters(one) + len(name) for name, one in value.items())
    if isinstance(value, list | tuple):
        return sum(_characters(one) for one in value)
    return 4

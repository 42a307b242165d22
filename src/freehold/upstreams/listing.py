"""An entry of any server's list of models in the shape of `ModelInfo`; Claude's own entries stay as they came."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from freehold.clock import rfc3339

_EMPTY: Mapping[str, Any] = {
    "capabilities": None,
    "deprecated_at": None,
    "lifecycle": "active",
    "line": None,
    "max_input_tokens": None,
    "max_tokens": None,
    "retires_at": None,
}


def model_info(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What the API requires and `entry` lacks is filled in; a release date that is not known is 1970, as in the API.

    `{"id": "llama3.2", "object": "model", "created": 1730000000}` (Ollama, vLLM) becomes a whole entry.
    """
    if entry.get("type") == "model" and "created_at" in entry and "display_name" in entry:
        return {"lifecycle": "active", **entry}
    created = entry.get("created")
    created_us = int(created) * 1_000_000 if isinstance(created, int | float) and 0 <= created < 1 << 33 else 0
    name = str(entry.get("id", ""))
    return {"id": name, "type": "model", "display_name": name, "created_at": rfc3339(created_us), **_EMPTY}

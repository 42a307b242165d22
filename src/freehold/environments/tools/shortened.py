"""Results of tools that are too long to be read whole: their ends are shown, the whole goes to a file."""

from __future__ import annotations

import os

from freehold.environments.tools.places import Places
from freehold.environments.tools.results import ToolFailed, answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_KEPT_CHARACTERS = 20_000
_SPILL_FOLDER = ".tool-results"


def shortened(outcome: dict[str, Any], order: dict[str, Any], places: Places) -> dict[str, Any]:
    """The outcome with its first and last part only; the whole text goes to a file that `read` can look into."""
    text = outcome["content"][0]["text"]
    left_out = len(text) - 2 * _KEPT_CHARACTERS
    note = f"[... {left_out} characters are left out here; {_where(text, order, places)} ...]"
    short = f"{text[:_KEPT_CHARACTERS]}\n{note}\n{text[-_KEPT_CHARACTERS:]}"
    return answer(short, is_error=outcome["is_error"])


def _where(text: str, order: dict[str, Any], places: Places) -> str:
    if order["name"] == "read":
        return "read them with view_range"
    try:
        return f"the whole result is in {_spill(text, order['key'], places)}, to be read with view_range"
    except (OSError, ToolFailed):
        return "the whole result could not be written to the workspace"


def _spill(text: str, key: str, places: Places) -> str:
    folder = places.find(_SPILL_FOLDER, to_write=True)
    os.makedirs(folder, exist_ok=True)
    name = "".join(c if c.isalnum() or c in "_-" else "_" for c in key)[:80] or "result"
    path = os.path.join(folder, f"{name}.txt")
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    with open(fd, "wb") as file:
        file.write(text.encode("utf-8", "replace"))
    return places.shown(path)

"""The `edit` tool: one text for another, where it stands exactly once or everywhere."""

from __future__ import annotations

import os

from freehold.environments.tools.places import Places
from freehold.environments.tools.read import TEXT_BYTES, open_regular, text_of
from freehold.environments.tools.results import ToolFailed
from freehold.environments.tools.write import put

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def run(arguments: dict[str, Any], places: Places) -> str:
    """Replace and write back."""
    name, old, new = arguments["file_path"], arguments["old_string"], arguments["new_string"]
    path = places.find(name, to_write=True)
    text = _text(path, name)
    count = _count(text, old, name, everywhere=bool(arguments.get("replace_all")))
    put(path, text.replace(old, new).encode("utf-8", "replace"), name)
    return f"edited {name} ({count} replacement{'s' if count > 1 else ''})"


def _text(path: str, name: str) -> str:
    with open_regular(path, name) as file:
        size = os.fstat(file.fileno()).st_size
        if size > TEXT_BYTES:
            raise ToolFailed(f"{name} has {size} bytes; files of more than {TEXT_BYTES} are for `bash` (sed, Python)")
        return text_of(file.read(), name)


def _count(text: str, old: str, name: str, *, everywhere: bool) -> int:
    if not old:
        raise ToolFailed("old_string is empty; to make a new file use `write`")
    count = text.count(old)
    if count == 0:
        raise ToolFailed(f"old_string not found in {name}; it must match exactly, with spaces and line ends")
    if count > 1 and not everywhere:
        raise ToolFailed(
            f"old_string appears {count} times in {name} and must be unique; give more of its surroundings, "
            "or set replace_all"
        )
    return count

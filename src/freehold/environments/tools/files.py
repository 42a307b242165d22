"""The file tools by name, and where they may go. Opening a box does not wait for them: they are loaded after it."""

from __future__ import annotations

from freehold.environments.tools.places import Places
from freehold.environments.tools.results import ToolFailed, answer, error, reason
from freehold.environments.tools.shortened import shortened

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CUT_AT_CHARACTERS = 105_000
_prepared: list[Places] = []
"""Of this box, once it had time to look."""


def prepare(places: list[list[Any]]) -> None:
    """Look at the folders of this box now; those who run later in a fork find it done."""
    _prepared[:] = [Places(places)]


def run(order: dict[str, Any], given: list[list[Any]]) -> dict[str, Any]:
    """Run one file tool to its outcome. It never raises: whatever the tool meets is an answer to the model."""
    name, arguments = order["name"], order["arguments"]
    places = _places(given)
    try:
        result = _run(name, arguments, places)
    except ToolFailed as failure:
        return error(f"{name}: {failure}")
    except OSError as failure:
        return error(f"{name}: {arguments.get('file_path') or arguments.get('path') or ''}: {reason(failure)}")
    except MemoryError:
        return error(f"{name}: the box has not enough memory for this")
    if isinstance(result, dict):
        return {"content": [result], "is_error": False}
    outcome = answer(result)
    return shortened(outcome, order, places) if len(result) > _CUT_AT_CHARACTERS else outcome


def cut(outcome: dict[str, Any], order: dict[str, Any], given: list[list[Any]]) -> dict[str, Any]:
    """See `shortened`."""
    return shortened(outcome, order, _places(given))


def _places(given: list[list[Any]]) -> Places:
    return _prepared[0] if _prepared else Places(given)


def _run(name: str, arguments: dict[str, Any], places: Places) -> str | dict[str, Any]:
    if name == "read":
        from freehold.environments.tools import read

        return read.run(arguments, places)
    if name == "write":
        from freehold.environments.tools import write

        return write.run(arguments, places)
    if name == "edit":
        from freehold.environments.tools import edit

        return edit.run(arguments, places)
    if name == "glob":
        from freehold.environments.tools import glob

        return glob.run(arguments, places)
    if name == "grep":
        from freehold.environments.tools import grep

        return grep.run(arguments, places)
    raise ToolFailed("there is no such tool in this box")

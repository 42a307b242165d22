"""The file tools by name. Each is loaded in the fork that runs it: opening a box does not pay for them."""

from __future__ import annotations

from freehold.environments.tools.results import Places, ToolFailed, answer, error, reason, shortened

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CUT_AT_CHARACTERS = 105_000


def run(order: dict[str, Any], places: Places) -> dict[str, Any]:
    """Run one file tool to its outcome. It never raises: whatever the tool meets is an answer to the model."""
    name, arguments = order["name"], order["arguments"]
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

"""What the model is told of the six tools, and the check of what it sends. The server's half of `tools/`.

Names and fields of the inputs: agent_toolset_20260401 (SDK types, `BetaManagedAgentsAgentToolset20260401*Input`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from freehold.environments.base import BoxToolSpec

MOST_TIMEOUT_MS = 3_600_000
"""One hour: a command that takes longer belongs into the background."""
MOST_TEXT = 10_000_000
"""Characters of one text argument; the API takes no request that could hold much more."""


def _object(required: list[str], properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _text(description: str) -> dict[str, Any]:
    return {"type": "string", "description": description}


_BASH = BoxToolSpec(
    name="bash",
    description=(
        "Run a command in a persistent bash shell. Working directory (at first /workspace), variables and background "
        "jobs are kept from one command to the next. Standard input is empty. Of long output the first and the last "
        "part are returned. A command that takes too long is ended together with everything else that runs. Put "
        "files that the user shall receive into /mnt/session/outputs; files that the user sent are in "
        "/mnt/session/uploads."
    ),
    input_schema=_object(
        [],
        {
            "command": _text("The command to run. Leave it out only with restart."),
            "restart": {
                "type": "boolean",
                "description": "True: end everything that runs in the shell and begin with a new one.",
            },
            "timeout_ms": {
                "type": "integer",
                "minimum": 0,
                "maximum": MOST_TIMEOUT_MS,
                "description": "How long the command may take, in milliseconds; 120000 when it is left out or 0.",
            },
        },
    ),
)
_READ = BoxToolSpec(
    name="read",
    description=(
        "Read a file. Text comes with line numbers, at most 256 KiB at once; for more, ask for a range of lines. "
        "Images (png, jpg, gif, webp) and PDF files are shown as such."
    ),
    input_schema=_object(
        ["file_path"],
        {
            "file_path": _text("The file, absolute or relative to /workspace."),
            "view_range": {
                "type": "array",
                "items": {"type": "integer"},
                "minItems": 2,
                "maxItems": 2,
                "description": "First and last line, counted from 1; a last line of 0 or -1 means to the end.",
            },
        },
    ),
)
_WRITE = BoxToolSpec(
    name="write",
    description="Write a file, replacing what was there. Missing folders are made.",
    input_schema=_object(
        ["file_path", "content"],
        {
            "file_path": _text("The file, absolute or relative to /workspace."),
            "content": _text("The whole new content."),
        },
    ),
)
_EDIT = BoxToolSpec(
    name="edit",
    description="Replace a text in a file. It must occur exactly once, unless replace_all is true.",
    input_schema=_object(
        ["file_path", "old_string", "new_string"],
        {
            "file_path": _text("The file, absolute or relative to /workspace."),
            "old_string": _text("The text to replace, exactly as it stands in the file, without line numbers."),
            "new_string": _text("The text to put in its place."),
            "replace_all": {"type": "boolean", "description": "True: replace it wherever it occurs."},
        },
    ),
)
_GLOB = BoxToolSpec(
    name="glob",
    description="List files whose path matches a pattern such as `**/*.py`, newest first, at most 200.",
    input_schema=_object(
        ["pattern"],
        {
            "pattern": _text("The pattern, relative to the folder; ** stands for any number of folders."),
            "path": _text("The folder to look in; /workspace when it is left out."),
        },
    ),
)
_GREP = BoxToolSpec(
    name="grep",
    description="Search the content of files for a regular expression. Gives lines as file:line:text, at most 100 KiB.",
    input_schema=_object(
        ["pattern"],
        {
            "pattern": _text("The regular expression."),
            "path": _text("The file or folder to search; /workspace when it is left out."),
        },
    ),
)

_WITHOUT_NUL = ("command", "file_path", "path", "pattern")
_SPECS: dict[str, BoxToolSpec] = {spec.name: spec for spec in (_BASH, _READ, _WRITE, _EDIT, _GLOB, _GREP)}


def specs() -> tuple[BoxToolSpec, ...]:
    """The six, in the order of the API's toolset."""
    return tuple(_SPECS.values())


def problem(name: str, arguments: Mapping[str, Any]) -> str | None:
    """What is wrong with a call's input, in words the model can act on; `None` when it may run."""
    spec = _SPECS.get(name)
    if spec is None:
        return f"there is no tool {name!r} in a box; there are {', '.join(_SPECS)}"
    properties: Mapping[str, Any] = spec.input_schema["properties"]
    for field in spec.input_schema["required"]:
        if arguments.get(field) is None:
            return f"{name}: {field} is required"
    for field, value in arguments.items():
        if field not in properties:
            return f"{name}: there is no field {field!r}; there are {', '.join(properties)}"
        wrong = _wrong(properties[field], value) if value is not None else None
        if field in _WITHOUT_NUL and isinstance(value, str) and "\0" in value:
            wrong = "text without NUL characters"
        if wrong:
            return f"{name}: {field} must be {wrong}"
    if name == "bash" and not arguments.get("restart") and not arguments.get("command"):
        return "bash: command is required (or restart: true)"
    return None


def _wrong(schema: Mapping[str, Any], value: Any) -> str | None:
    kind = schema["type"]
    if kind == "string":
        return _wrong_text(value)
    if kind == "boolean":
        return None if isinstance(value, bool) else "true or false"
    if kind == "array":
        good = isinstance(value, list) and len(value) == schema["minItems"]
        whole = good and all(_is_integer(item) for item in value)
        return None if whole else "two whole numbers, for example [1, 100]"
    if _is_integer(value) and schema["minimum"] <= value <= schema["maximum"]:
        return None
    return f"a whole number from {schema['minimum']} to {schema['maximum']}"


def _wrong_text(value: Any) -> str | None:
    if not isinstance(value, str):
        return "text"
    if len(value) > MOST_TEXT:
        return f"text of at most {MOST_TEXT} characters"
    return None


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)

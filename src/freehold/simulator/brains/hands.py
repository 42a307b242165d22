"""The tools a planner knows how to use by heart: shell, files, search, memory. Found by name, type and parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from freehold.simulator.brains.base import Use

_PATH = ("file_path", "path", "filename", "file", "filepath")
_CONTENT = ("content", "file_text", "text", "contents")
_OLD = ("old_string", "old_str", "old_text", "old")
_NEW = ("new_string", "new_str", "new_text", "new")
_COMMAND = ("command", "cmd", "code", "script")
_NAMES = {
    "bash": ("bash", "shell", "run_command", "execute_command", "run_bash", "terminal"),
    "read": ("read", "read_file", "view_file", "open_file"),
    "write": ("write", "write_file", "create_file", "save_file"),
    "edit": ("edit", "edit_file", "replace_in_file"),
    "glob": ("glob", "find_files"),
    "grep": ("grep", "search_files"),
}
_EDITORS = ("str_replace_based_edit_tool", "str_replace_editor")


def plain_name(name: str) -> str:
    """`get_user` of `mcp__company__get_user`."""
    return name.rsplit("__", 1)[-1] if name.startswith("mcp__") else name


@dataclass(frozen=True, slots=True)
class Hand:
    """One well-known tool and what its parameters are called here."""

    tool: str
    parameters: Mapping[str, str]

    def use(self, **values: Any) -> Use:
        """A call; parameters that this tool does not have are left out."""
        return Use(self.tool, {self.parameters[key]: value for key, value in values.items() if key in self.parameters})


class Hands:
    """Which of the well-known tools a request offers."""

    def __init__(self, tools: Sequence[Mapping[str, Any]]) -> None:
        self._found: dict[str, Hand] = {}
        self.editor: str | None = None
        self.memory: str | None = None
        for tool in tools:
            if not tool.get("defer_loading"):
                self._note(tool)

    def _note(self, tool: Mapping[str, Any]) -> None:
        kind, name = str(tool.get("type") or "custom"), tool["name"]
        if kind.startswith("bash_"):
            self._found.setdefault("bash", Hand(name, {"command": "command"}))
        elif kind.startswith("text_editor_") or (kind == "custom" and name in _EDITORS):
            self.editor = name
        elif kind.startswith("memory_"):
            self.memory = name
        for role, names in _NAMES.items():
            if kind == "custom" and plain_name(name).lower() in names:
                parameters = _parameters(tool.get("input_schema") or {}, role)
                if parameters is not None:
                    self._found.setdefault(role, Hand(name, parameters))

    @property
    def names(self) -> frozenset[str]:
        """All tools that are known by heart."""
        special = {name for name in (self.editor, self.memory) if name}
        return frozenset({hand.tool for hand in self._found.values()} | special)

    def get(self, role: str) -> Hand | None:
        """The tool for `bash`, `read`, `write`, `edit`, `glob` or `grep`, if there is one."""
        return self._found.get(role)

    def run(self, command: str) -> Use | None:
        """Run a shell command."""
        bash = self.get("bash")
        return bash.use(command=command) if bash else None

    def read(self, path: str) -> Use | None:
        """Look at a file, with the best tool for it."""
        if hand := self.get("read"):
            return hand.use(path=path)
        if self.editor:
            return Use(self.editor, {"command": "view", "path": path})
        return self.run(f"cat {_quoted(path)}")

    def write(self, path: str, content: str) -> Use | None:
        """Make a file."""
        if hand := self.get("write"):
            return hand.use(path=path, content=content)
        if self.editor:
            return Use(self.editor, {"command": "create", "path": path, "file_text": content})
        mark = "END_OF_FILE"
        return self.run(f"cat > {_quoted(path)} <<'{mark}'\n{content.rstrip()}\n{mark}")

    def edit(self, path: str, old: str, new: str) -> Use | None:
        """Replace a text in a file."""
        if hand := self.get("edit"):
            return hand.use(path=path, old=old, new=new)
        if self.editor:
            return Use(self.editor, {"command": "str_replace", "path": path, "old_str": old, "new_str": new})
        return None


def _quoted(path: str) -> str:
    return "'" + path.replace("'", "'\\''") + "'"


def _parameters(schema: Mapping[str, Any], role: str) -> Mapping[str, str] | None:
    """What the tool calls the parameters of that role, or `None` if it lacks one it would need."""
    properties = schema.get("properties") or {}
    roles: dict[str, dict[str, tuple[str, ...]]] = {
        "bash": {"command": _COMMAND},
        "read": {"path": _PATH},
        "write": {"path": _PATH, "content": _CONTENT},
        "edit": {"path": _PATH, "old": _OLD, "new": _NEW},
        "glob": {"pattern": ("pattern", "glob")},
        "grep": {"pattern": ("pattern", "query", "regex")},
    }
    found = {}
    for key, names in roles[role].items():
        name = next((one for one in names if one in properties), None)
        if name is None:
            return None
        found[key] = name
    for name in ("path", "dir", "directory"):
        if "path" not in found and name in properties:
            found["path"] = name
    return found

"""The memory tool of the Messages API kept in a memory store: for the SDK's own tool runner, on the client's side.

    client = AsyncAnthropic(base_url="http://127.0.0.1:8787", api_key=KEY)
    memory = MemoryStoreTool(client, store_id="memstore_…")
    runner = client.beta.messages.tool_runner(model=…, max_tokens=…, tools=[memory], messages=[…])

What Claude sees as `/memories/notes.md` is the memory `/notes.md`; sessions that mount the store see the same. Edits
carry a precondition and are made again when somebody else was faster, so no write is lost. The texts it answers with
are those of the tool's reference (Claude API docs, Memory tool, read 2026-11-23). Imports the SDK; the server does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from anthropic import APIStatusError, ConflictError
from anthropic.lib.tools import BetaAsyncAbstractMemoryTool, ToolError

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic
    from anthropic.types.beta import (
        BetaMemoryTool20250818CreateCommand,
        BetaMemoryTool20250818DeleteCommand,
        BetaMemoryTool20250818InsertCommand,
        BetaMemoryTool20250818RenameCommand,
        BetaMemoryTool20250818StrReplaceCommand,
        BetaMemoryTool20250818ViewCommand,
    )
    from anthropic.types.beta.memory_stores import BetaManagedAgentsMemory

ROOT = "/memories"
_TRIES = 5
"""Of an edit that others get in the way of."""
_WIDTH = 6
"""Of a line number."""
_SHOWN_DEPTH = 2
_SNIPPET_LINES = 2
"""Shown before and after a change."""


class MemoryStoreTool(BetaAsyncAbstractMemoryTool):
    """Claude's memory tool over one memory store. Create it once per conversation; it holds no state."""

    def __init__(self, client: AsyncAnthropic, store_id: str) -> None:
        super().__init__()
        self._memories = client.beta.memory_stores.memories
        self._store_id = store_id

    async def view(self, command: BetaMemoryTool20250818ViewCommand) -> str:
        """A listing of a folder two levels deep, or the numbered lines of a file."""
        path = _inside(command.path)
        found = await self._find(path)
        if found is not None:
            return _numbered(command.path, found.content or "", command.view_range)
        below = await self._below(path)
        if not below and path != "/":
            raise _missing(command.path)
        return _listing(command.path.rstrip("/"), path, below)

    async def create(self, command: BetaMemoryTool20250818CreateCommand) -> str:
        """A new file; one that is there is not overwritten."""
        try:
            await self._memories.create(self._store_id, path=_inside(command.path), content=command.file_text)
        except ConflictError as error:
            raise ToolError(f"File {command.path} already exists") from error
        except APIStatusError as error:
            raise _told(error) from error
        return f"File created successfully at: {command.path}"

    async def str_replace(self, command: BetaMemoryTool20250818StrReplaceCommand) -> str:
        """Replace a text that stands in the file exactly once."""

        def edit(content: str) -> str:
            lines = _lines_of(content, command.old_str)
            if not lines:
                raise ToolError(
                    f"No replacement was performed, old_str `{command.old_str}` did not appear verbatim in "
                    f"{command.path}."
                )
            if len(lines) > 1:
                raise ToolError(
                    f"No replacement was performed. Multiple occurrences of old_str `{command.old_str}` in lines: "
                    f"{', '.join(map(str, lines))}. Please ensure it is unique"
                )
            return content.replace(command.old_str, command.new_str or "", 1)

        before, after = await self._edit(command.path, edit)
        changed = before[: before.index(command.old_str)].count("\n")
        return f"The memory file has been edited. The change with its line numbers:\n{_snippet(after, changed)}"

    async def insert(self, command: BetaMemoryTool20250818InsertCommand) -> str:
        """Put lines behind the given line; 0 is the beginning."""

        def edit(content: str) -> str:
            lines = content.removesuffix("\n").split("\n") if content else []
            if not 0 <= command.insert_line <= len(lines):
                raise ToolError(
                    f"Invalid `insert_line` parameter: {command.insert_line}. It should be within the range "
                    f"[0, {len(lines)}]."
                )
            lines[command.insert_line : command.insert_line] = command.insert_text.removesuffix("\n").split("\n")
            return "\n".join(lines) + "\n"

        await self._edit(command.path, edit)
        return f"The file {command.path} has been edited."

    async def delete(self, command: BetaMemoryTool20250818DeleteCommand) -> str:
        """Delete a file, or a folder with all that is in it."""
        path = _inside(command.path)
        if path == "/":
            raise ToolError(f"Cannot delete the {ROOT} directory itself")
        for memory in await self._affected(command.path, path):
            await self._memories.delete(memory.id, memory_store_id=self._store_id)
        return f"Successfully deleted {command.path}"

    async def rename(self, command: BetaMemoryTool20250818RenameCommand) -> str:
        """Move a file or a folder to where nothing is yet."""
        old, new = _inside(command.old_path), _inside(command.new_path)
        if old == "/":
            raise ToolError(f"Cannot rename the {ROOT} directory itself")
        if await self._find(new) is not None or await self._below(new):
            raise ToolError(f"The destination {command.new_path} already exists")
        for memory in await self._affected(command.old_path, old):
            try:
                await self._memories.update(
                    memory.id, memory_store_id=self._store_id, path=new + memory.path[len(old) :]
                )
            except APIStatusError as error:
                raise _told(error) from error
        return f"Successfully renamed {command.old_path} to {command.new_path}"

    async def _edit(self, shown: str, edit: Callable[[str], str]) -> tuple[str, str]:
        """Apply `edit` to what the file holds at that moment; gives the content before and after."""
        for _ in range(_TRIES):
            found = await self._find(_inside(shown))
            if found is None:
                raise _missing(shown)
            before = found.content or ""
            after = edit(before)
            try:
                await self._memories.update(
                    found.id,
                    memory_store_id=self._store_id,
                    content=after,
                    precondition={"type": "content_sha256", "content_sha256": found.content_sha256},
                )
            except ConflictError:
                continue
            except APIStatusError as error:
                raise _told(error) from error
            return before, after
        raise ToolError(f"{shown} keeps being changed by others. View it and try again.")

    async def _find(self, path: str) -> BetaManagedAgentsMemory | None:
        """The memory at that path, with its content."""
        if path == "/":
            return None
        folder = path.rpartition("/")[0] + "/"
        async for item in self._memories.list(self._store_id, path_prefix=folder, depth=1, limit=100):
            if item.type == "memory" and item.path == path:
                return await self._memories.retrieve(item.id, memory_store_id=self._store_id)
        return None

    async def _below(self, path: str) -> list[BetaManagedAgentsMemory]:
        prefix = path.rstrip("/") + "/"
        items = self._memories.list(self._store_id, path_prefix=prefix, limit=100)
        return [item async for item in items if item.type == "memory"]

    async def _affected(self, shown: str, path: str) -> Sequence[BetaManagedAgentsMemory]:
        found = await self._find(path)
        affected = [found] if found is not None else await self._below(path)
        if not affected:
            raise ToolError(f"The path {shown} does not exist")
        return affected


def _inside(shown: str) -> str:
    """From what Claude says to the store's path. The server refuses `..` and the like itself."""
    path = shown.rstrip("/")
    if path != ROOT and not path.startswith(f"{ROOT}/"):
        raise ToolError(f"Path must start with {ROOT}, got: {shown}")
    return path.removeprefix(ROOT) or "/"


def _numbered(shown: str, content: str, view_range: Sequence[int] | None) -> str:
    lines = content.split("\n")
    first, last = 1, len(lines)
    if view_range and len(view_range) == 2:
        first = max(1, view_range[0])
        last = len(lines) if view_range[1] == -1 else min(len(lines), view_range[1])
    numbered = "\n".join(_line(number, lines[number - 1]) for number in range(first, last + 1))
    return f"Here's the content of {shown} with line numbers:\n{numbered}"


def _listing(shown: str, path: str, below: Sequence[BetaManagedAgentsMemory]) -> str:
    sizes: dict[str, int] = {}
    for memory in below:
        parts = memory.path[len(path.rstrip("/")) + 1 :].split("/")
        if any(part.startswith(".") for part in parts):
            continue
        for depth in range(1, min(len(parts), _SHOWN_DEPTH) + 1):
            name = "/".join(parts[:depth]) + ("/" if depth < len(parts) else "")
            sizes[name] = sizes.get(name, 0) + memory.content_size_bytes
    lines = [f"{_size(sum(memory.content_size_bytes for memory in below))}\t{shown}"]
    lines += [f"{_size(size)}\t{shown}/{name}" for name, size in sorted(sizes.items())]
    head = f"Here're the files and directories up to {_SHOWN_DEPTH} levels deep in {shown}, excluding hidden items:"
    return "\n".join([head, *lines])


def _snippet(content: str, changed: int) -> str:
    lines = content.split("\n")
    first, last = max(0, changed - _SNIPPET_LINES), min(len(lines), changed + _SNIPPET_LINES + 1)
    return "\n".join(_line(number + 1, lines[number]) for number in range(first, last))


def _line(number: int, text: str) -> str:
    return f"{number:>{_WIDTH}}\t{text}"


def _lines_of(content: str, text: str) -> list[int]:
    """The line in which each occurrence of `text` begins."""
    found, at = [], content.find(text)
    while at != -1:
        found.append(content[:at].count("\n") + 1)
        at = content.find(text, at + max(1, len(text)))
    return found


def _size(count: int) -> str:
    size, unit = float(count), "B"
    for larger in ("K", "M"):
        if size >= 1024:
            size, unit = size / 1024, larger
    return f"{size:.0f}{unit}" if size == int(size) else f"{size:.1f}{unit}"


def _missing(shown: str) -> ToolError:
    return ToolError(f"The path {shown} does not exist. Please provide a valid path.")


def _told(error: APIStatusError) -> ToolError:
    body = error.body
    inner = body.get("error") if isinstance(body, dict) else None
    return ToolError(str(inner.get("message")) if isinstance(inner, dict) else error.message)

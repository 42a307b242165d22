"""The `grep` tool: `file:line:text` for every line that matches; by ripgrep where the box has it, else by ourselves."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

from freehold.environments.tools.places import Places
from freehold.environments.tools.results import ToolFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

OUTPUT_BYTES = 100 << 10
_LINE_CHARACTERS = 2000
_FILES = 50_000
_NO_MATCHES = "no matches"


def run(arguments: dict[str, Any], places: Places) -> str:
    """The lines, at most 100 KiB of them."""
    root = places.find(arguments.get("path") or ".")
    if not os.path.exists(root):
        raise ToolFailed(f"{arguments.get('path')}: no such file or directory")
    ripgrep = shutil.which("rg")
    text = by_ripgrep(ripgrep, arguments["pattern"], root) if ripgrep else by_hand(arguments["pattern"], root)
    return places.retold(text)


def by_ripgrep(program: str, pattern: str, root: str) -> str:
    """What ripgrep finds.

    Raises:
        ToolFailed: with ripgrep's own words.
    """
    options = ["--no-config", "-n", "-H", "--no-heading", "--color=never", "--sort=path", "--no-messages"]
    options += [f"--max-columns={_LINE_CHARACTERS}", "--max-columns-preview"]
    with subprocess.Popen(
        [program, *options, "-e", pattern, "--", root],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        data = process.stdout.read(OUTPUT_BYTES + 1)
        if len(data) > OUTPUT_BYTES:
            process.kill()
            return _cut(data)
        complaint = process.stderr.read(2000).decode("utf-8", "replace").strip()
        process.wait()
    if not data and process.returncode not in (0, 1):
        raise ToolFailed(complaint)
    return data.decode("utf-8", "replace").rstrip("\n") or _NO_MATCHES


def by_hand(pattern: str, root: str) -> str:
    """The same search in Python: hidden, binary and linked files are left out, `.gitignore` is not read.

    Raises:
        ToolFailed: the pattern is not a regular expression.
    """
    try:
        expression = re.compile(pattern)
    except re.error as failure:
        raise ToolFailed(f"{pattern!r} is not a regular expression: {failure}") from None
    lines: list[bytes] = []
    size = 0
    for line in _hits(expression, root):
        lines.append(line.encode("utf-8", "surrogateescape"))
        size += len(lines[-1]) + 1
        if size > OUTPUT_BYTES:
            return _cut(b"\n".join(lines))
    return b"\n".join(lines).decode("utf-8", "replace") or _NO_MATCHES


def _cut(data: bytes) -> str:
    whole = data[:OUTPUT_BYTES].rpartition(b"\n")[0] or data[:OUTPUT_BYTES]
    return f"{whole.decode('utf-8', 'replace')}\n[cut at {OUTPUT_BYTES} bytes; narrow the pattern or the path]"


def _hits(expression: re.Pattern[str], root: str) -> Iterator[str]:
    for path in _files(root):
        try:
            with open(path, "rb") as file:
                if b"\0" in file.read(1024):
                    continue
                file.seek(0)
                for number, raw in enumerate(file, 1):
                    line = raw.decode("utf-8", "replace").rstrip("\r\n")
                    if expression.search(line):
                        yield f"{path}:{number}:{line[:_LINE_CHARACTERS]}"
        except OSError:
            continue  # it went away, or may not be read


def _files(root: str) -> Iterator[str]:
    if os.path.isfile(root):
        yield root
        return
    seen = 0
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = os.path.join(folder, name)
            if not name.startswith(".") and os.path.isfile(path) and not os.path.islink(path):
                seen += 1
                if seen > _FILES:
                    return
                yield path

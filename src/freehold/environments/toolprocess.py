"""Processes of isolated toolboxes: bubblewrap around the server's Python; one file and its neighbours in sight.

Unlike a box of a session it has the host's network: it is the user's own code, which talks to the user's own systems.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Iterator, Sequence
from pathlib import Path

from freehold.environments.command import SYSTEM_PATH
from freehold.environments.launcher import find_program
from freehold.errors import Misconfigured

_MOST_LINE_BYTES = 64 << 20
_ETC = (
    "alternatives",
    "group",
    "hosts",
    "ld.so.cache",
    "localtime",
    "nsswitch.conf",
    "passwd",
    "pki/ca-trust/extracted",
    "pki/tls/certs",
    "resolv.conf",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
)
"""What names, times and certificates need; no keys and no settings of services."""


class OneProcess:
    """A process that runs the functions of one file, one call at a time."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def ask(self, line: bytes) -> bytes | None:
        """Give it a line, get its next line, both without the line's end; `None` if it ended or said too much."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(line + b"\n")
            await self._process.stdin.drain()
            said = await self._process.stdout.readline()
        except (OSError, ValueError):  # it is gone, or the line is longer than `_MOST_LINE_BYTES`
            return None
        return said[:-1] if said.endswith(b"\n") else None

    async def end(self) -> None:
        """Kill it: with its first process the whole pid namespace ends."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()


class ToolProcesses:
    """Starts them. `variables` of the server's environment and `paths` of the host are shown to all of them."""

    def __init__(self, *, variables: Sequence[str], paths: Sequence[str]) -> None:
        self._variables = variables
        self._paths = [Path(path).expanduser().resolve() for path in paths]

    async def start(self, file: Path, arguments: Sequence[str]) -> OneProcess:
        """The process of a toolbox's file. Must be called in a thread that lives as long as the process.

        Raises:
            Misconfigured: there is no bubblewrap, or a variable or path that is to be shown does not exist.
        """
        bwrap = find_program("bwrap")
        if bwrap is None:
            raise Misconfigured("isolate: bubblewrap is not installed (no `bwrap` on PATH): apt install bubblewrap")
        command = self._command(bwrap, file, arguments)
        started = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, env=self._environment(), limit=_MOST_LINE_BYTES, start_new_session=True
        )
        return OneProcess(started)

    def _command(self, bwrap: str, file: Path, arguments: Sequence[str]) -> list[str]:
        file = file.resolve()
        walls = python_walls([*_neighbours(file), *self._shown_paths()])
        inside = [sys.executable, "-m", "freehold.toolboxes.child", str(file), *arguments]
        return [bwrap, *walls, "--remount-ro", "/", "--chdir", "/tmp", "--", *inside]

    def _shown_paths(self) -> list[Path]:
        for path in self._paths:
            if not path.exists():
                raise Misconfigured(f"isolate_paths: {path} does not exist")
        return self._paths

    def _environment(self) -> dict[str, str]:
        """By the environment and not by options: a command line can be read by every user of the host."""
        for name in self._variables:
            if name not in os.environ:
                raise Misconfigured(f"isolate_variables: {name} is not set in the server's environment")
        own = {"PATH": SYSTEM_PATH, "HOME": "/tmp", "TMPDIR": "/tmp", "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
        return {**own, **{name: os.environ[name] for name in self._variables}}


def python_walls(paths: Sequence[Path] = ()) -> list[str]:
    """Options of bubblewrap for the server's Python with its packages, and these paths of the host; all read-only."""
    return [*_namespaces(), *_system(), *_shown([*_python(), *paths])]


def _namespaces() -> Iterator[str]:
    yield from ("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try")
    yield from ("--die-with-parent", "--cap-drop", "ALL")


def _system() -> Iterator[str]:
    yield from ("--ro-bind", "/usr", "/usr", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp")
    for name in ("bin", "sbin", "lib", "lib64", "lib32"):
        path = Path("/", name)
        if path.is_symlink():
            yield from ("--symlink", os.readlink(path), str(path))
        elif path.exists():
            yield from ("--ro-bind", str(path), str(path))
    for name in _ETC:
        yield from ("--ro-bind-try", os.path.realpath(f"/etc/{name}"), f"/etc/{name}")


def _python() -> list[Path]:
    """The interpreter with its packages, and this program's own code wherever it lies."""
    package = importlib.util.find_spec("freehold")
    assert package is not None and package.origin is not None
    real = Path(sys.executable).resolve().parent.parent
    return [real, Path(sys.base_prefix), Path(sys.prefix), Path(package.origin).parent]


def _neighbours(file: Path) -> list[Path]:
    """The file, and what it can import beside it; settings, secrets and data that lie there stay out of sight."""
    beside = sorted(file.parent.iterdir()) if file.parent.is_dir() else []
    return [path for path in beside if path.suffix == ".py" or (path / "__init__.py").is_file()]


def _shown(paths: Sequence[Path]) -> Iterator[str]:
    for path in dict.fromkeys(paths):
        if not path.is_relative_to("/usr"):
            yield from ("--ro-bind", str(path), str(path))

"""Python programs as processes of their own, which begin with the official SDK imported.

Importing it takes a second, which is more than most programs of the tests do. So one process does it once, and every
program is a fork of that one; from there on it is `python FILE`, `python -m MODULE` or `python -c TEXT` with arguments,
environment, folder and streams of its own. Nothing of Freehold is imported before: how it starts is tested.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import types
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

_ROOT = Path(__file__).resolve().parents[1]
_IMPORTED = ("anthropic", "anthropic.resources.messages", "anthropic.resources.beta")
_MOST_BYTES = 1 << 20


def run(
    *command: str | Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str = "",
    timeout_s: float = 60,
) -> subprocess.CompletedProcess[str]:
    """`python COMMAND` to its end: its exit code, and all that it has said.

    Raises:
        subprocess.TimeoutExpired: it took longer, and was killed.
    """
    words = [str(word) for word in command]
    asked = {"command": words, "cwd": str(cwd or Path.cwd()), "env": dict(os.environ if env is None else env)}
    with contextlib.ExitStack() as files:
        given, out, err = (files.enter_context(tempfile.TemporaryFile()) for _ in range(3))
        given.write(stdin.encode())
        given.seek(0)
        reading, writing = os.pipe()
        told = files.enter_context(open(reading, "rb", buffering=0))
        try:
            socket.send_fds(
                _mother(), [json.dumps(asked).encode()], [given.fileno(), out.fileno(), err.fileno(), writing]
            )
        finally:
            os.close(writing)
        pid = int(told.read(8))
        if not select.select([told], [], [], timeout_s)[0]:
            os.kill(pid, signal.SIGKILL)
            told.read(8)
            raise subprocess.TimeoutExpired(words, timeout_s, _read(out), _read(err))
        return subprocess.CompletedProcess(words, int(told.read(8)), _read(out), _read(err))


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


@functools.cache
def _mother() -> socket.socket:
    """Where programs are asked for. Its process ends with this one, at the latest."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with there:
        command = [sys.executable, "-m", "tests.programs", str(there.fileno())]
        process = subprocess.Popen(command, cwd=_ROOT, pass_fds=[there.fileno()], stdin=subprocess.DEVNULL)

    def end() -> None:
        here.close()
        process.wait()

    atexit.register(end)
    return here


def _next_program(asks: socket.socket) -> dict[str, Any] | None:
    """In the process of a program: what it is to be. In the one that all are forked from: nothing, at the end."""
    for name in _IMPORTED:
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while data := (found := socket.recv_fds(asks, _MOST_BYTES, 4))[0]:
        *streams, told = found[1]
        if os.fork() == 0:
            asks.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            if pid := os.fork():
                _tell(told, pid)
            os.close(told)
            for number, descriptor in enumerate(streams):
                os.dup2(descriptor, number)
                os.close(descriptor)
            asked: dict[str, Any] = json.loads(data)
            return asked
        for descriptor in found[1]:
            os.close(descriptor)
    return None


def _tell(told: int, pid: int) -> None:
    """Say which process the program is, and how it ended."""
    os.write(told, b"%8d" % pid)
    status = os.waitpid(pid, 0)[1]
    os.write(told, b"%8d" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def _be(asked: dict[str, Any]) -> int:
    """Be the program; its exit code."""
    os.environ.clear()
    os.environ.update(asked["env"])
    time.tzset()
    os.chdir(asked["cwd"])
    sys.stdin = open(0, encoding="utf-8")  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1)  # noqa: SIM115
    try:
        _play(*asked["command"], folder=asked["cwd"])
    except SystemExit as left:
        if left.code is None or isinstance(left.code, int):
            return left.code or 0
        print(left.code, file=sys.stderr)
        return 1
    except BaseException:  # noqa: BLE001 - it is told as an interpreter tells it
        traceback.print_exc()
        return 1
    return 0


def _play(kind: str, *more: str, folder: str) -> None:
    if kind == "-m":
        sys.argv, sys.path[0] = list(more), folder
        runpy.run_module(more[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.argv, sys.path[0] = ["-c", *more[1:]], ""
        module = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(more[0], "<string>", "exec"), module.__dict__)
    else:
        sys.argv, sys.path[0] = [kind, *more], str(Path(kind).parent)
        runpy.run_path(kind, run_name="__main__")


def _leave(code: int) -> None:
    """End as an interpreter does, but for taking the SDK's modules apart: that takes half as long as importing them."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    wanted = _next_program(socket.socket(fileno=int(sys.argv[1])))
    if wanted is not None:
        _leave(_be(wanted))

"""Programs of ours that read what a stranger made: bubblewrap around the server's Python, no network, nothing to write.

One process for each thing that is read, killed when it takes too long or says too much. It does not know what is read.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence

from freehold.environments.command import SYSTEM_PATH
from freehold.environments.launcher import find_program
from freehold.environments.toolprocess import python_walls

_ENVIRONMENT = {"PATH": SYSTEM_PATH, "HOME": "/tmp", "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
_WORDS_BYTES = 500
_KILLED = 128
"""A status above it is 128 and the number of a signal."""


class ReaderFailed(Exception):
    """It gave no answer; the message says why."""


class Readers:
    """Runs such programs, a few side by side."""

    def __init__(self, *, timeout_s: float, most_at_once: int = 2) -> None:
        self._timeout_s = timeout_s
        self._places = asyncio.Semaphore(most_at_once)

    async def run(self, module: str, arguments: Sequence[str], data: bytes, most_bytes: int) -> bytes:
        """What `python -m module arguments` says when it is given `data`.

        Raises:
            ReaderFailed: there are no walls here, it failed, took too long, or said more than `most_bytes`.
        """
        bwrap = find_program("bwrap")
        if bwrap is None:
            raise ReaderFailed("bubblewrap is not installed on the server")
        inside = [sys.executable, "-s", "-m", module, *arguments]
        command = [bwrap, *python_walls(), "--unshare-net", "--remount-ro", "/", "--chdir", "/", "--", *inside]
        async with self._places:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=_ENVIRONMENT, start_new_session=True
            )
            try:
                async with asyncio.timeout(self._timeout_s):
                    return await _answer(process, data, most_bytes)
            except TimeoutError:
                raise ReaderFailed(f"it took longer than {self._timeout_s:g} s") from None
            finally:
                await asyncio.shield(_ended(process))


async def _answer(process: Process, data: bytes, most_bytes: int) -> bytes:
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    feeding = asyncio.ensure_future(_feed(process, data))
    listening = asyncio.ensure_future(_last_words(process.stderr))
    try:
        said = bytearray()
        while piece := await process.stdout.read(1 << 18):
            said += piece
            if len(said) > most_bytes:
                raise ReaderFailed("it gave more than is taken")
        status = await process.wait()
        if status > _KILLED:
            raise ReaderFailed("its reader was killed: it took too much time or memory")
        if status != 0:
            words = (await listening).strip().rpartition("\n")[2]
            raise ReaderFailed(f"its reader ended with status {status}{f': {words}' if words else ''}")
        return bytes(said)
    finally:
        feeding.cancel()
        listening.cancel()
        await asyncio.wait([feeding, listening])


async def _feed(process: Process, data: bytes) -> None:
    assert process.stdin is not None
    with contextlib.suppress(ConnectionError):  # it did not want all of it
        process.stdin.write(data)
        await process.stdin.drain()
        process.stdin.close()


async def _last_words(stream: asyncio.StreamReader) -> str:
    words = b""
    while piece := await stream.read(1 << 16):
        words = (words + piece)[-_WORDS_BYTES:]
    return words.decode("utf-8", "replace")


async def _ended(process: Process) -> None:
    """Kill it: with its first process the whole pid namespace ends."""
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    if process.stdin is not None:
        process.stdin.close()
    await process.wait()

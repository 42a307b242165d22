"""Beginnings of boxes: processes that already stand under their limits and wait to be told which box to become.

Some are kept ready (`warm_boxes`), so that a box is not waited for longer than the making of its walls takes. A
beginning is a shell that reads one line and then turns into bubblewrap: it holds nothing of any session, and ends by
itself when the server does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from freehold.environments import bundle
from freehold.environments.base import BoxFailed, Limits
from freehold.environments.command import begin
from freehold.environments.kit import Kit
from freehold.environments.launcher import Launcher, sealed_file, whole
from freehold.environments.limits import Group, Limiter


@dataclass(slots=True)
class Beginning:
    """One of them. `ours`: the server's end of the line to its supervisor."""

    outer: subprocess.Popen[bytes]
    group: Group
    limits: Limits
    ours: socket.socket
    options: int
    """What bubblewrap will read its options from; still empty."""
    info: int
    """Where bubblewrap will tell the box's pid."""
    runs: tuple[str, ...] = ()
    """How it starts its Python; bases that differ in that cannot have it."""

    def go(self, user: int | None, options: bytes, overlays: Sequence[str] = ()) -> None:
        """Become the box with those options, as that user of the host. `overlays`: see `command.begin`.

        Raises:
            BoxFailed: it has ended meanwhile.
        """
        os.write(self.options, options)
        os.lseek(self.options, 0, os.SEEK_SET)  # both ends share the place
        assert self.outer.stdin is not None
        try:
            with self.outer.stdin as gate:
                gate.write("".join(f"{line}\n" for line in ("" if user is None else user, *overlays)).encode())
        except BrokenPipeError:
            raise BoxFailed("the process that was to become the box has ended") from None

    def end(self) -> None:
        """It will not be a box: end it, and take its group away."""
        self.outer.kill()
        self.outer.wait()
        for pipe in (self.outer.stdin, self.outer.stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        self.group.remove()
        self.ours.close()
        self.close_fds()

    def close_fds(self) -> None:
        """What is of no use once there is a box."""
        os.close(self.options)
        os.close(self.info)


class Beginnings:
    """Hands them out, and keeps `ready` of those with the usual limits."""

    def __init__(self, launcher: Launcher, ready: int) -> None:
        self._launcher = launcher
        self._wanted = ready
        self._ready: list[Beginning] = []
        self._filling: asyncio.Task[None] | None = None
        self._closed = False

    async def take(self, kit: Kit, limiter: Limiter, limits: Limits) -> Beginning:
        """One with those limits, for that base; made now where none is ready.

        Raises:
            BoxFailed: it cannot be made.
        """
        while self._ready and limits == Limits() and self._ready[-1].runs == kit.base.runs:
            found = self._ready.pop()
            if found.outer.poll() is None:
                return found
            await asyncio.to_thread(found.end)
        return await self._make(kit, limiter, limits)

    def refill(self, kit: Kit, limiter: Limiter) -> None:
        """Make in the background what is missing."""
        if not self._closed and (self._filling is None or self._filling.done()):
            self._filling = asyncio.create_task(self._fill(kit, limiter), name="beginnings of boxes")

    async def close(self) -> None:
        """End all that have not become boxes."""
        self._closed = True
        if self._filling is not None:
            await asyncio.wait([self._filling])
        for beginning in self._ready:
            await asyncio.to_thread(beginning.end)
        self._ready.clear()

    async def _fill(self, kit: Kit, limiter: Limiter) -> None:
        while len(self._ready) < self._wanted and not self._closed:
            try:
                self._ready.append(await self._make(kit, limiter, Limits()))
            except BoxFailed:
                return  # the next box that is opened meets the same, and says it

    async def _make(self, kit: Kit, limiter: Limiter, limits: Limits) -> Beginning:
        def start() -> tuple[Beginning, bool]:
            self._launcher.reach()
            ours, theirs = socket.socketpair()
            with contextlib.ExitStack() as on_error, theirs:
                on_error.callback(ours.close)
                group = limiter.group(f"{os.getpid()}-{os.urandom(6).hex()}", limits)
                on_error.callback(group.remove)
                with group.entered() as inside:
                    made = _start(self._launcher, kit, theirs.fileno())
                on_error.pop_all()
            return Beginning(made[0], group, limits, ours, *made[1:], kit.base.runs), inside

        try:
            beginning, inside = await whole(self._launcher.run(start), lambda made: made[0].end())
        except OSError as error:
            raise BoxFailed(f"the limits could not be set: {error}") from error
        try:
            if not inside:
                await asyncio.to_thread(beginning.group.add, beginning.outer.pid)
        except OSError as error:
            await asyncio.to_thread(beginning.end)
            raise BoxFailed(f"the limits could not be set: {error}") from error
        return beginning


def _start(launcher: Launcher, kit: Kit, control: int) -> tuple[subprocess.Popen[bytes], int, int]:
    """In the launcher's thread."""
    info, telling = os.pipe2(os.O_CLOEXEC)
    fds = {
        "options": os.memfd_create("options", os.MFD_CLOEXEC),
        "seccomp": sealed_file("seccomp", kit.filter),
        "code": sealed_file("code", kit.code),
        "info": telling,
    }
    inside = [*(kit.base.runs or (kit.base.python,)), "-I", "-S", "-c", bundle.START, "{control}", "{code}"]
    try:
        argv = begin(kit.bwrap, kit.setpriv, inside)
        outer = launcher.start(argv, {**fds, "control": control}, stdin=subprocess.PIPE)
        return outer, fds.pop("options"), info
    except BaseException:
        os.close(info)
        raise
    finally:
        for fd in fds.values():
            os.close(fd)

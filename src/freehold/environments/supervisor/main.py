"""The supervisor: reads calls from the server, runs them, writes each result to the journal and then back.

Pid 1 of the box. It is not dumpable, so nothing in the box can reach its descriptors or its memory. It never touches
a file of the agent itself: file tools run in forks of it, bash in a child; what hangs, eats memory or breaks is they.

Lines in:  {"do":"call","id":1,"key":"sevt_1","epoch":3,"name":"bash","arguments":{…}}, {"do":"cancel","id":1},
           {"do":"stop","why":"…"}
Lines out: {"ready":{…}} once, {"id":1,"content":[…],"is_error":false}, {"id":1,"fenced":4}
"""

from __future__ import annotations

import posix
import sys

from freehold.environments.supervisor import jsonlines, kernel
from freehold.environments.supervisor.loop import Loop
from freehold.environments.supervisor.spawning import Spawner
from freehold.environments.supervisor.work import Bench

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_READ_BYTES = 1 << 18
_JOURNAL_ENTRY_BYTES = 1 << 20
_REMEMBERED = 64
_MOST_FDS = 4


class Supervisor:
    """One box's calls. `control` is a stream socket to the server, `journal` a file opened to append."""

    def __init__(self, control: int, journal: int, start: dict[str, Any]) -> None:
        self._control = control
        self._journal = journal
        self._epoch: int = start["epoch"]
        self._unread = b""
        self._loop = Loop()
        self._remembered: dict[str, bytes] = {}
        self._running: set[str] = set()
        self._bench = Bench(self._loop, Spawner(start["limits"], start["environment"], start["shell"]), start)

    def serve(self) -> None:
        """Until the server closes its end."""
        self._loop.watch(self._control, self._hear)
        self._say({"ready": {"python": sys.version.split()[0], "pid": posix.getpid()}})
        self._bench.warm()
        while self._control >= 0:
            self._loop.turn()

    def _hear(self) -> None:
        piece = posix.read(self._control, _READ_BYTES)
        if not piece:
            self._control = -1
            return
        *lines, self._unread = (self._unread + piece).split(b"\n")
        for line in lines:
            self._take(jsonlines.decode(line))

    def _take(self, order: dict[str, Any]) -> None:
        if order["do"] == "cancel":
            self._bench.cancel(order["id"])
        elif order["do"] == "stop":
            self._bench.stop(order["why"])
        elif order["epoch"] < self._epoch:
            self._say({"id": order["id"], "fenced": self._epoch})
        else:
            self._epoch = order["epoch"]
            self._call(order)

    def _call(self, order: dict[str, Any]) -> None:
        key, number = order["key"], order["id"]
        if key in self._remembered:
            self._send(b'{"id":%d,' % number + self._remembered[key])
        elif key in self._running:
            self._say({"id": number, **_error(f"the call {key} is already running in this box")})
        else:
            self._running.add(key)
            try:
                self._bench.begin(order, lambda outcome: self._finish(key, number, outcome))
            except Exception as failure:  # noqa: BLE001 (a call that nobody foresaw must not take the box along)
                self._finish(key, number, _error(f"the call could not be begun ({type(failure).__name__})"))

    def _finish(self, key: str, number: int, outcome: dict[str, Any]) -> None:
        self._running.discard(key)
        rest = jsonlines.encode(outcome)[1:]
        self._write_down(key, rest)
        self._send(b'{"id":%d,' % number + rest)

    def _write_down(self, key: str, rest: bytes) -> None:
        """The result is in the journal before the server hears of it: a server that dies in between can ask for it."""
        if len(rest) > _JOURNAL_ENTRY_BYTES:
            note = f"[this call ended; its result of {len(rest)} bytes was too large to be kept]"
            rest = jsonlines.encode({"content": [{"type": "text", "text": note}], "is_error": False})[1:]
        else:
            self._remember(key, rest)
        try:
            posix.write(self._journal, jsonlines.encode({"key": key, "epoch": self._epoch})[:-2] + b"," + rest)
        except OSError as error:
            _complain(f"journal: {error.strerror}")

    def _remember(self, key: str, rest: bytes) -> None:
        self._remembered[key] = rest
        if len(self._remembered) > _REMEMBERED:
            del self._remembered[next(iter(self._remembered))]

    def _say(self, message: dict[str, Any]) -> None:
        self._send(jsonlines.encode(message))

    def _send(self, line: bytes) -> None:
        view = memoryview(line)
        while view:
            view = view[posix.write(self._control, view) :]


def _error(text: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}], "is_error": True}


def _complain(text: str) -> None:
    """To whoever reads the box's last words; never waits."""
    try:
        posix.write(2, text.encode() + b"\n")
    except OSError:
        return  # the pipe is full


def _given(control: int) -> list[int]:
    """The descriptors that the server sends ahead of the first line, with one byte."""
    import _socket

    carrier = _socket.socket(fileno=control)
    _, ancillary, _, _ = carrier.recvmsg(1, _socket.CMSG_SPACE(4 * _MOST_FDS), _socket.MSG_CMSG_CLOEXEC)
    carrier.detach()
    if not ancillary:
        posix._exit(0)
    numbers = ancillary[0][2]
    return [int.from_bytes(numbers[at : at + 4], sys.byteorder) for at in range(0, len(numbers), 4)]


def _keep_only(fds: set[int]) -> None:
    """No other descriptor, and none of these for a program that is started here (those received are so already)."""
    kernel.close_others(fds)
    for fd in fds - {0, 1, 2}:
        posix.set_inheritable(fd, False)


def _first_line(control: int) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        piece = posix.read(control, 1 << 16)
        if not piece:
            posix._exit(0)
        line += piece
    return line


def main(control: int) -> None:
    """Wait to be told what this box is, then serve. The server has set its limits before it says it.

    Sent along are, in this order: the journal, the lock that lives as long as this process, and, where the box has a
    way out, the channel for that.
    """
    kernel.set_dumpable(False)
    posix.set_blocking(2, False)
    posix.umask(0o022)
    journal, lock, *channel = _given(control)
    _keep_only({0, 1, 2, control, journal, lock, *channel})
    start = jsonlines.decode(_first_line(control))
    if posix.getpid() != 1:
        kernel.adopt_orphans()
    if start["egress"]:
        from freehold.environments.supervisor import doorway

        doorway.hand_out(channel[0], start["egress"]["port"])
    try:
        Supervisor(control, journal, start).serve()
    finally:
        kernel.end_all(set())

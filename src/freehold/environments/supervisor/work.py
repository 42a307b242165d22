"""Running one call of a tool: bash in the shell, one after the other; file tools side by side, each in a fork."""

from __future__ import annotations

import posix

from freehold.environments.supervisor import jsonlines
from freehold.environments.supervisor.shell import Ended, Shell
from freehold.environments.tools import bash
from freehold.environments.tools.results import error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from freehold.environments.supervisor.loop import Loop
    from freehold.environments.supervisor.spawning import Spawner

    Done = Callable[[dict[str, Any]], None]

_OUTCOME_BYTES = 40 << 20
"""More than the largest PDF in base64."""
_READ_BYTES = 1 << 18
_CUT_AT_CHARACTERS = 105_000
_AT_LEISURE = ("os", "resource", "places", "shortened", "read", "write", "edit", "files")
"""What the forks of file tools need: loaded here when the box has nothing to do, so that they find it."""
_LEISURE_S = 0.02


class Fork:
    """A file tool at work."""

    def __init__(self, pid: int, fd: int, done: Done) -> None:
        self.pid = pid
        self.fd = fd
        self.done = done
        self.answer = bytearray()
        self.deadline: object = None


class Bench:
    """Where the calls of a box are worked on. `begin` never waits; the outcome goes to `done`, once."""

    def __init__(self, loop: Loop, spawner: Spawner, start: dict[str, Any]) -> None:
        self._loop = loop
        self._spawner = spawner
        self._places: list[list[Any]] = start["places"]
        self._directory: str = self._places[0][1]
        self._file_tool_s: float = start["limits"]["file_tool_s"]
        self._command_s: float = start["limits"]["command_s"]
        self._forks: dict[int, Fork] = {}
        self._shell = Shell(loop, spawner, self._directory, start["limits"]["output_bytes"], start["directory"])
        self._shell.on_timeout = lambda: self._shell.stop(self._at_work(), "timeout")  # type: ignore[method-assign]
        self._was_lost = False
        self._why = ""
        self._queue: list[tuple[dict[str, Any], Done]] = []

    def warm(self) -> None:
        """Make ready what the first command needs, and soon what the others do; what fails, the command will tell."""
        self._loop.after(_LEISURE_S, lambda: self._load(list(_AT_LEISURE)))
        try:
            self._shell.warm()
        except OSError:
            return

    def _load(self, names: list[str]) -> None:
        """One of these modules now, the others a little later: a call that comes meanwhile waits for one at most."""
        name = names.pop(0)
        __import__(name if name in ("os", "resource") else f"freehold.environments.tools.{name}")
        if names:
            self._loop.after(0, lambda: self._load(names))
        else:
            _files().prepare(self._places)

    def begin(self, order: dict[str, Any], done: Done) -> None:
        """Start the call, or line it up behind the bash call that runs."""
        if order["name"] != "bash":
            self._fork(order["id"], lambda: _files().run(order, self._places), done)
            return
        self._queue.append(({**order, "arguments": bash.bounded(order["arguments"], self._command_s)}, done))
        if len(self._queue) == 1:
            self._next_command()

    def cancel(self, number: int) -> None:
        """End that call, if it has not ended yet. Its outcome says that it was cancelled."""
        fork = self._forks.get(number)
        if fork is not None:
            self._end_fork(number, error("the call was cancelled"))
        for place, (order, done) in enumerate(self._queue):
            if order["id"] == number and place == 0:
                self._shell.stop(self._at_work())
                return
            if order["id"] == number:
                del self._queue[place]
                done(error("the call was cancelled before it began"))
                return

    def stop(self, why: str) -> None:
        """End everything that runs, calls and background jobs alike; the calls' outcomes say why."""
        for number in list(self._forks):
            self._end_fork(number, error(why))
        self._why = why
        self._shell.stop(set(), "stopped")

    # bash

    def _next_command(self) -> None:
        while self._queue:
            order, _ = self._queue[0]
            arguments = order["arguments"]
            if not arguments.get("restart"):
                self._shell.run(arguments["command"], bash.timeout_s(arguments), self._command_ended)
                return
            self._shell.stop(self._at_work())
            self._was_lost = False
            self._pop(bash.restarted())

    def _command_ended(self, ended: Ended) -> None:
        lost, self._was_lost = self._was_lost, ended.how != "status"
        order, _ = self._queue[0]
        outcome = bash.outcome(ended.how, ended.status, ended.output.text(), order["arguments"], lost)
        if ended.how == "stopped":
            outcome = error(f"{outcome['content'][0]['text']}\n[{self._why}]")
        self._pop(outcome)
        self._next_command()

    def _pop(self, outcome: dict[str, Any]) -> None:
        order, done = self._queue.pop(0)
        if len(outcome["content"][0]["text"]) > _CUT_AT_CHARACTERS:
            self._fork(order["id"], lambda: _files().cut(outcome, order, self._places), done)
        else:
            done(outcome)

    # forks

    def _at_work(self) -> set[int]:
        return {fork.pid for fork in self._forks.values()}

    def _fork(self, number: int, work: Callable[[], dict[str, Any]], done: Done) -> None:
        try:
            pid, fd = self._spawner.function(lambda out: _write(out, work()), self._directory)
        except OSError as failure:
            done(error(f"the box cannot start a process: {failure.strerror}; `restart` of bash ends what runs in it"))
            return
        fork = self._forks[number] = Fork(pid, fd, done)
        self._loop.watch(fd, lambda: self._read(number))
        fork.deadline = self._loop.after(self._file_tool_s, lambda: self._too_long(number))

    def _read(self, number: int) -> None:
        fork = self._forks[number]
        try:
            piece = posix.read(fork.fd, _READ_BYTES)
        except BlockingIOError:
            return
        fork.answer += piece
        if len(fork.answer) > _OUTCOME_BYTES:
            self._end_fork(number, error("the result is too large"))
        elif not piece or piece.endswith(b"\n"):  # the one line of an answer; its writer is about to end
            self._end_fork(number, _answer(fork.answer), kill=False)

    def _too_long(self, number: int) -> None:
        self._end_fork(number, error(f"timed out after {self._file_tool_s:g} s; narrow the pattern or the path"))

    def _end_fork(self, number: int, outcome: dict[str, Any], *, kill: bool = True) -> None:
        fork = self._forks.pop(number)
        self._loop.forget(fork.fd)
        self._loop.stop(fork.deadline)
        posix.close(fork.fd)
        if kill:
            _kill_group(fork.pid)
        fork.done(outcome)


def _files() -> Any:
    """The file tools, which a box loads only when it is open."""
    from freehold.environments.tools import files

    return files


def _kill_group(pid: int) -> None:
    """The fork, and the ripgrep that it may have started."""
    try:
        posix.killpg(pid, 9)
    except (ProcessLookupError, PermissionError):
        return  # it has ended already


def _answer(line: bytearray) -> dict[str, Any]:
    if not line.endswith(b"\n"):
        return error("the tool was killed before it ended (out of memory?); nothing is known of its effect")
    outcome: dict[str, Any] = jsonlines.decode(bytes(line))
    return outcome


def _write(fd: int, outcome: dict[str, Any]) -> None:
    view = memoryview(jsonlines.encode(outcome))
    while view:
        view = view[posix.write(fd, view) :]

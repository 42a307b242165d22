"""The persistent shell of a box: one bash that keeps its directory, variables and jobs from command to command.

A command is handed over quoted, through `eval`, so that an open quote in it is a syntax error and not a shell that
waits for ever. Its exit status comes back on a descriptor of its own that the command itself does not have: whatever
it prints, it cannot pretend to have ended.
"""

from __future__ import annotations

import posix

from freehold.environments.supervisor import kernel
from freehold.environments.supervisor.loop import WRITE, Loop
from freehold.environments.supervisor.output import Output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from freehold.environments.supervisor.spawning import Spawner

_STATUS_FD = 250
_STATUS_BYTES = 16
_NO_STATUS = 255
_READ_BYTES = 1 << 16


class Ended:
    """How a command ended: `how` is `status`, `exit` (the shell went with it), `timeout` or `cancelled`."""

    def __init__(self, how: str, status: int, output: Output) -> None:
        self.how = how
        self.status = status
        self.output = output


class Shell:
    """At most one command at a time; `run` starts the bash when there is none."""

    def __init__(self, loop: Loop, spawner: Spawner, directory: str, output_bytes: int, own: str = "") -> None:
        """It begins in the folder `own`, made where it is missing, or else in `directory`."""
        self._loop = loop
        self._spawner = spawner
        self._directory = directory
        self._own = own
        self._output_bytes = output_bytes
        self._pid = 0
        self._fds: list[int] = []
        self._unsent = b""
        self._status = b""
        self._output = Output(output_bytes)
        self._done: Callable[[Ended], None] | None = None
        self._deadline: object = None

    @property
    def alive(self) -> bool:
        """Whether there is a bash that the next command will run in."""
        return self._pid != 0

    @property
    def pid(self) -> int:
        """Of the bash; 0 when there is none."""
        return self._pid

    def warm(self) -> None:
        """Start the bash that the first command will run in, before there is one: it takes 2 ms. Raises `OSError`."""
        if not self.alive:
            self._start()

    def run(self, command: str, timeout_s: float, done: Callable[[Ended], None]) -> None:
        """Run one command; `done` is called once with how it ended."""
        try:
            self.warm()
        except OSError as failure:
            self._output.add(f"/bin/bash: {failure.strerror}\n".encode())
            self._done = done
            self._finish("exit", 127)
            return
        quoted = _quoted(command)
        self._done = done
        self._deadline = self._loop.after(timeout_s, self._time_out)
        line = f"eval {quoted} </dev/null {_STATUS_FD}>&-\nbuiltin printf '%d\\n' $? >&{_STATUS_FD}\n"
        self._say(line)

    def stop(self, keep: set[int], how: str = "cancelled") -> None:
        """Kill bash and everything else in the box but `keep`; a command that runs ends as `how`."""
        kernel.end_all(keep)
        if self.alive:
            self._drain()
        self._gone(how, -9)

    def _start(self) -> None:
        in_out, in_in = posix.pipe2(posix.O_CLOEXEC)
        out_out, out_in = posix.pipe2(posix.O_CLOEXEC)
        status_out, status_in = posix.pipe2(posix.O_CLOEXEC)
        fds = {0: in_out, 1: out_in, 2: out_in, _STATUS_FD: status_in}
        try:
            self._pid = self._spawner.shell(fds)
        except OSError:
            for fd in (in_in, out_out, status_out):
                posix.close(fd)
            raise
        finally:
            for fd in (in_out, out_in, status_in):
                posix.close(fd)
        self._fds = [in_in, out_out, status_out]
        for fd in self._fds:
            posix.set_blocking(fd, False)
        self._loop.watch(out_out, self._drain)
        self._loop.watch(status_out, self._hear)
        self._loop.on_end(self._pid, self._when_exits(self._pid))
        there = f"cd -- {_quoted(self._directory)} 2>/dev/null || cd /"
        if self._own:
            own = _quoted(self._own)
            there = f"mkdir -p -- {own} 2>/dev/null; cd -- {own} 2>/dev/null || {there}"
        self._say(f"{self._spawner.shell_limits()}; {there}; unset OLDPWD\n")

    def _say(self, line: str) -> None:
        self._unsent += _bytes(line)
        self._loop.watch(self._fds[0], self._send, WRITE)

    def _send(self) -> None:
        try:
            self._unsent = self._unsent[posix.write(self._fds[0], self._unsent) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._unsent = b""  # it is gone; its end is on the way
        if not self._unsent:
            self._loop.forget(self._fds[0])

    def _drain(self) -> None:
        """Take what was printed so far. Background jobs may print at any time; the next result shows it."""
        for _ in range(64):
            piece = _read(self._fds[1])
            if piece is None:
                return
            if not piece:
                self._loop.forget(self._fds[1])
                return
            self._output.add(piece)

    def _hear(self) -> None:
        piece = _read(self._fds[2])
        if piece is None:
            return
        if not piece:
            self._loop.forget(self._fds[2])
        self._status = (self._status + piece)[-_STATUS_BYTES:]
        if self._status.endswith(b"\n") and self._done:
            self._drain()
            word = self._status.split()[-1:]  # the agent's own shell may have written anything
            status = int(word[0]) if word and word[0].isdigit() else _NO_STATUS
            self._status = b""
            self._finish("status", status)

    def _time_out(self) -> None:
        self._deadline = None
        self.on_timeout()

    def on_timeout(self) -> None:
        """What a deadline does; the supervisor replaces it by one that spares the file tools at work."""
        self.stop(set(), "timeout")

    def _when_exits(self, pid: int) -> Callable[[int], None]:
        def exited(status: int) -> None:
            if self._pid == pid:  # else it was stopped, and there may be a new one
                self._drain()
                self._gone("exit", posix.waitstatus_to_exitcode(status))

        return exited

    def _gone(self, how: str, status: int) -> None:
        for fd in self._fds:
            self._loop.forget(fd)
            posix.close(fd)
        self._pid, self._fds, self._unsent, self._status = 0, [], b"", b""
        self._finish(how, status)

    def _finish(self, how: str, status: int) -> None:
        self._loop.stop(self._deadline)
        output, self._output = self._output, Output(self._output_bytes)
        done, self._done = self._done, None
        if done:
            done(Ended(how, status, output))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _bytes(line: str) -> bytes:
    """As the model wrote it; halves of characters, which have no bytes, as question marks."""
    try:
        return line.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return line.encode("utf-8", "replace")


def _read(fd: int) -> bytes | None:
    try:
        return posix.read(fd, _READ_BYTES)
    except BlockingIOError:
        return None

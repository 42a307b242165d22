"""Waiting for descriptors, deadlines and children in one thread: `poll`, a list of times, and SIGCHLD."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` imports `enum`, which takes longer than all of this
import posix
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

READ = select.POLLIN | select.POLLHUP | select.POLLERR
WRITE = select.POLLOUT | select.POLLHUP | select.POLLERR


class Loop:
    """Calls back when a descriptor is ready, a time has come, or a child has ended."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._ready: dict[int, Callable[[], None]] = {}
        self._times: dict[object, tuple[float, Callable[[], None]]] = {}
        self._ended: dict[int, Callable[[int], None]] = {}
        self._woken, waker = posix.pipe2(posix.O_NONBLOCK | posix.O_CLOEXEC)
        _signal.signal(_signal.SIGCHLD, lambda *_: None)
        _signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        self.watch(self._woken, self._reap)

    def watch(self, fd: int, ready: Callable[[], None], mask: int = READ) -> None:
        """Call `ready` whenever `fd` is, until `forget`."""
        self._ready[fd] = ready
        self._poll.register(fd, mask)

    def forget(self, fd: int) -> None:
        """No longer wait for `fd`; nothing happens if nobody did."""
        if self._ready.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def after(self, seconds: float, due: Callable[[], None]) -> object:
        """Call `due` once, that much later. Returns a token for `stop`."""
        token = object()
        self._times[token] = (time.monotonic() + seconds, due)
        return token

    def stop(self, token: object) -> None:
        """The call that belongs to `token` is no longer wanted."""
        self._times.pop(token, None)

    def on_end(self, pid: int, ended: Callable[[int], None]) -> None:
        """Call `ended` with the wait status of that child."""
        self._ended[pid] = ended

    def turn(self) -> None:
        """Wait for something and call back for everything that came."""
        for fd, _ in self._poll.poll(self._patience_ms()):
            if fd in self._ready:
                self._ready[fd]()
        now = time.monotonic()
        for token, (when, due) in list(self._times.items()):
            if when <= now and token in self._times:
                del self._times[token]
                due()

    def _patience_ms(self) -> int | None:
        if not self._times:
            return None
        soonest = min(when for when, _ in self._times.values())
        return max(0, int((soonest - time.monotonic()) * 1000) + 1)

    def _reap(self) -> None:
        posix.read(self._woken, 4096)
        while True:
            try:
                pid, status = posix.waitpid(-1, posix.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            ended = self._ended.pop(pid, None)
            if ended is not None:
                ended(status)

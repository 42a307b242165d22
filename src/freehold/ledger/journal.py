"""The journal of one process's open reservations: a mapped file, so that it outlives the process for no system call.

A page that was written to belongs to the kernel: kill -9 loses none of it. A power cut may, and so what a journal says
is believed only under the same boot of the machine. One line a call: written before the call is sent, finished when it
is over, freed when its settlement is committed. The file is locked while its process lives.

This module does not know budgets; an account is a position, which the database explains. All accounts of a call that
count in the same unit have the same amounts: a line has them once, (nanodollars, tokens), and which account counts in
what.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

SLOT_BYTES = 512
MOST_ACCOUNTS = 64
"""Budgets that may apply to one call."""
_GROW_SLOTS = 512
_HEADER_BYTES = SLOT_BYTES
"""The first slot: the boot it was written under, and the form of the lines."""
_KNOCKS_AT, _KNOCKS_BYTES = _HEADER_BYTES - 8, 8
"""At the end of it others say that they want what this process holds idle: bytes that differ from those before."""
_FORM = b" 2"
"""What stands behind the boot. Lines of another form are as good as lost: all that the process held stays reserved."""
_FREE, _OPEN, _FINISHED = 0, 1, 2
_LINE = "<BBxxxxxxqq64s64sqqqqqq"
"""State, number of accounts, batch, time, request id, model; reserved, cost, kept by lost attempts, each in nanodollars
and in tokens; behind it a mark for each account.
"""
_HEAD = struct.Struct(_LINE)
_WHOLE = [struct.Struct(f"{_LINE}{4 * count}s") for count in range(MOST_ACCOUNTS + 1)]
_MARKS = [struct.Struct(f"<{count}I") for count in range(MOST_ACCOUNTS + 1)]
_AMOUNTS = struct.Struct("<qq")
_PAID = struct.Struct("<qqqq")
_BATCH_AT, _RESERVED_AT, _PAID_AT = 8, 152, 168
_BATCH = struct.Struct("<q")


@dataclass(frozen=True, slots=True)
class Line:
    """A reservation that the process has left behind."""

    request_id: str
    model: str
    at_us: int
    finished: bool
    batch: int
    """The commit that was to settle it; 0: none yet."""
    accounts: tuple[tuple[int, int, int, int], ...]
    """Position, reserved, cost, kept: the last two mean something only when it is finished, the second and the last
    only where the budget is hard.
    """


def marks(accounts: Iterable[tuple[int, bool]]) -> bytes:
    """What a line says of its accounts, from (position, counts in tokens) of each: made once for many lines."""
    told = [2 * position + in_tokens for position, in_tokens in accounts]
    return _MARKS[len(told)].pack(*told)


class Journal:
    """The journal of this process. `path` must not exist."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = path
        making = path.with_suffix(".making")  # under its name it is locked from the first moment on
        self._file = os.open(making, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(self._file, _HEADER_BYTES + _GROW_SLOTS * SLOT_BYTES)
        self._map = mmap.mmap(self._file, 0)
        header = boot_id().encode() + _FORM
        self._map[: len(header)] = header
        making.rename(path)
        self._free = list(range(_HEADER_BYTES, len(self._map), SLOT_BYTES))

    def write(self, request_id: str, model: str, at_us: int, marked: bytes, nanodollars: int, tokens: int) -> int:
        """Note an open reservation at the accounts of these `marks`; gives its slot."""
        if not self._free:
            self._grow()
        slot = self._free.pop()
        mapped, count = self._map, len(marked) // 4
        request, named = request_id.encode(), model.encode()
        _WHOLE[count].pack_into(
            mapped, slot, _FREE, count, 0, at_us, request, named, nanodollars, tokens, 0, 0, 0, 0, marked
        )
        mapped[slot] = _OPEN  # one byte, last: before it there is nothing, after it there is all
        return slot

    def rewrite(self, slot: int, nanodollars: int, tokens: int) -> None:
        """More was reserved for another attempt: so much in all."""
        _AMOUNTS.pack_into(self._map, slot + _RESERVED_AT, nanodollars, tokens)

    def finish(self, slot: int, cost: tuple[int, int], kept: tuple[int, int]) -> None:
        """The call is over."""
        _PAID.pack_into(self._map, slot + _PAID_AT, cost[0], cost[1], kept[0], kept[1])
        self._map[slot] = _FINISHED

    def batch(self, slots: Sequence[int], number: int) -> None:
        """These are settled by that commit, which is about to be made."""
        for slot in slots:
            _BATCH.pack_into(self._map, slot + _BATCH_AT, number)

    def free(self, slots: Sequence[int]) -> None:
        """That commit is durable."""
        for slot in slots:
            self._map[slot] = _FREE
        self._free += slots

    @property
    def knocks(self) -> bytes:
        """Differs from what it was if another process of this folder has knocked since. Costs no system call."""
        return self._map[_KNOCKS_AT:_HEADER_BYTES]

    def knock(self) -> None:
        """Tell the other processes of this folder that somebody wants what they hold idle, so that they look."""
        for path in self.path.parent.glob("*.journal"):
            if path == self.path:
                continue
            try:
                file = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
            except OSError:  # it has just ended
                continue
            try:
                os.pwrite(file, os.urandom(_KNOCKS_BYTES), _KNOCKS_AT)
            finally:
                os.close(file)

    @property
    def open_lines(self) -> int:
        """How many are not free."""
        return (len(self._map) - _HEADER_BYTES) // SLOT_BYTES - len(self._free)

    def close(self, *, remove: bool) -> None:
        """Let the lock go; `remove` when nothing of it is needed any more."""
        self._map.close()
        if remove:
            self.path.unlink(missing_ok=True)
        os.close(self._file)

    def _grow(self) -> None:
        before = len(self._map)
        after = before + max(_GROW_SLOTS * SLOT_BYTES, before - _HEADER_BYTES)
        os.ftruncate(self._file, after)
        self._map.resize(after)
        self._free = list(range(before, after, SLOT_BYTES))


class Remains:
    """The journal of a process that is gone, locked by us. `trusted` is false after another boot of the machine."""

    def __init__(self, path: Path, file: int) -> None:
        self.path = path
        self._file = file
        data = path.read_bytes()
        boot = boot_id().encode()
        self.trusted = bool(boot) and data.startswith(boot + _FORM)
        self.lines = list(_lines(data)) if self.trusted else []

    @property
    def holder_id(self) -> str:
        """Whose it was."""
        return self.path.stem

    def close(self, *, remove: bool) -> None:
        """Done with it, or (`remove` false) somebody must try again."""
        if remove:
            self.path.unlink(missing_ok=True)
        os.close(self._file)


def left_behind(folder: Path) -> Iterator[Remains]:
    """The journals in a folder whose processes are gone, each locked until it is closed: only one of us has it."""
    for path in sorted(folder.glob("*.journal")):
        try:
            file = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            continue
        if not path.exists():  # another one was quicker
            os.close(file)
            continue
        yield Remains(path, file)


def boot_id() -> str:
    """Which boot of the machine this is; empty where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


def _lines(data: bytes) -> Iterator[Line]:
    for slot in range(_HEADER_BYTES, len(data) - SLOT_BYTES + 1, SLOT_BYTES):
        state, count, batch, at_us, request_id, model, *amounts = _HEAD.unpack_from(data, slot)
        if state not in (_OPEN, _FINISHED) or count > MOST_ACCOUNTS:
            continue
        told = _MARKS[count].unpack_from(data, slot + _HEAD.size)
        accounts = tuple((mark // 2, *amounts[mark % 2 :: 2]) for mark in told)
        yield Line(_text(request_id), _text(model), at_us, state == _FINISHED, batch, accounts)


def _text(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode("utf-8", "replace")

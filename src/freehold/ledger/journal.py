"""The journal of one process's open reservations: a mapped file, so that it outlives the process for no system call.

A page that was written to belongs to the kernel: kill -9 loses none of it. A power cut may, and so what a journal says
is believed only under the same boot of the machine. One line a call: written before the call is sent, finished when it
is over, freed when its settlement is committed. The file is locked while its process lives.

This module does not know budgets; an account is a position, which the database explains.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

SLOT_BYTES = 2048
MOST_ACCOUNTS = 64
"""Budgets that may apply to one call."""
_GROW_SLOTS = 512
_HEADER_BYTES = SLOT_BYTES
"""The first slot: the boot it was written under."""
_FREE, _OPEN, _FINISHED = 0, 1, 2
_HEAD = struct.Struct("<BBxxxxxxqq64s64s")
"""State, number of accounts, batch, time, request id, model."""
_STATE_AT, _BATCH_AT = 0, 8
_ACCOUNT = struct.Struct("<qqqq")
"""Position, reserved, cost, kept by lost attempts."""
_ACCOUNTS_AT = 160
_WHOLE = [struct.Struct("<BBxxxxxxqq64s64s8x" + "qqqq" * count) for count in range(MOST_ACCOUNTS + 1)]
"""A line from its beginning to its last account."""
_LINES = [struct.Struct("<" + "qqqq" * count) for count in range(MOST_ACCOUNTS + 1)]
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
    """Position, reserved, cost, kept: the last two mean something only when it is finished."""


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
        boot = boot_id().encode()
        self._map[: len(boot)] = boot
        making.rename(path)
        self._free = list(range(_HEADER_BYTES, len(self._map), SLOT_BYTES))

    def write(self, request_id: str, model: str, at_us: int, positions: Sequence[int], amounts: Sequence[int]) -> int:
        """Note an open reservation; gives its slot."""
        if not self._free:
            self._grow()
        slot = self._free.pop()
        count = len(positions)
        flat: list[int] = []
        for position, amount in zip(positions, amounts, strict=True):
            flat += (position, amount, 0, 0)
        mapped = self._map
        _WHOLE[count].pack_into(mapped, slot, _FREE, count, 0, at_us, request_id.encode(), model.encode(), *flat)
        mapped[slot] = _OPEN  # one byte, last: before it there is nothing, after it there is all
        return slot

    def rewrite(self, slot: int, positions: Sequence[int], amounts: Sequence[int]) -> None:
        """More was reserved for another attempt."""
        for place, (position, amount) in enumerate(zip(positions, amounts, strict=True)):
            _ACCOUNT.pack_into(self._map, slot + _ACCOUNTS_AT + place * _ACCOUNT.size, position, amount, 0, 0)

    def finish(
        self, slot: int, positions: Sequence[int], amounts: Sequence[int], told: Sequence[tuple[int, int]]
    ) -> None:
        """The call is over, with (cost, kept) at each account."""
        flat: list[int] = []
        for position, amount, (cost, kept) in zip(positions, amounts, told, strict=True):
            flat += (position, amount, cost, kept)
        _LINES[len(positions)].pack_into(self._map, slot + _ACCOUNTS_AT, *flat)
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
        self.trusted = data[:36] == boot_id().encode()
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
        state, count, batch, at_us, request_id, model = _HEAD.unpack_from(data, slot)
        if state not in (_OPEN, _FINISHED) or count > MOST_ACCOUNTS:
            continue
        flat = _LINES[count].unpack_from(data, slot + _ACCOUNTS_AT)
        accounts = tuple((flat[at], flat[at + 1], flat[at + 2], flat[at + 3]) for at in range(0, len(flat), 4))
        yield Line(_text(request_id), _text(model), at_us, state == _FINISHED, batch, accounts)


def _text(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode("utf-8", "replace")

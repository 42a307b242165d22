"""Writes recordings to the database behind the calls: packed in a thread, one after the other, bounded in memory."""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections import deque

from freehold.clock import Clock
from freehold.gateway.recording import Recording, RecordSettings
from freehold.store.recordings import RecordingRow, RecordingRows

log = logging.getLogger(__name__)

WAITING_BYTES = 67_108_864
"""What may wait to be written; recordings beyond it are dropped and counted, calls never wait."""
_DAY_US = 86_400_000_000


class Recorder:
    """The one writer of recordings. `tidy` keeps them within their bounds."""

    def __init__(self, rows: RecordingRows, settings: RecordSettings, clock: Clock) -> None:
        self.settings = settings
        self.dropped = 0
        self._rows = rows
        self._clock = clock
        self._waiting: deque[Recording] = deque()
        self._waiting_bytes = 0
        self._task: asyncio.Task[None] | None = None

    def offer(self, recording: Recording) -> None:
        """Take it, or drop it where too much waits already."""
        size = recording.held_bytes
        if self._waiting and self._waiting_bytes + size > WAITING_BYTES:
            self.dropped += 1
            if self.dropped & (self.dropped - 1) == 0:
                log.warning("%d recordings were dropped: the database takes them too slowly", self.dropped)
            return
        self._waiting.append(recording)
        self._waiting_bytes += size
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="recordings")

    async def flush(self) -> None:
        """Return when everything offered so far is written."""
        while self._task is not None and not self._task.done():
            await asyncio.wait({self._task})

    async def tidy(self) -> None:
        """Delete what is too old, then the oldest of what is too much, a slice at a time."""
        await self._rows.delete_before(self._clock.now_us() - self.settings.record_days * _DAY_US)
        await self._rows.shrink_to(self.settings.record_bytes)

    async def _run(self) -> None:
        while self._waiting:
            recording = self._waiting.popleft()
            try:
                content = await asyncio.to_thread(_packed, recording, self.settings.record_call_bytes)
                await self._rows.add(_row(recording, content))
            except Exception:  # the outer edge of a job
                log.exception("a call was not recorded")
            finally:
                self._waiting_bytes -= recording.held_bytes


def unpacked(content: bytes) -> bytes:
    """The JSON of a recording (see `Recording.content`)."""
    return zlib.decompress(content)


def _packed(recording: Recording, most_bytes: int) -> bytes:
    return zlib.compress(recording.content(most_bytes), 3)


def _row(recording: Recording, content: bytes) -> RecordingRow:
    call = recording.call
    assert call.caller is not None  # no call without a key is recorded
    user_id = call.user_id[:256].replace("\0", "") if call.user_id else None
    return RecordingRow(
        call.request_id,
        call.caller.workspace_id,
        call.caller.key_id,
        user_id,
        len(content),
        content,
        recording.created_us,
    )

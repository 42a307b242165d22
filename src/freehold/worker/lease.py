"""The lease of one item of work: kept by heartbeats, lost to whoever was quicker, given back at the end.

Each beat names the one before it, so a worker that was thought dead and comes back is told (412) and writes nothing
more. See the SDK's `environments.work.heartbeat` for the wire.
"""

from __future__ import annotations

import asyncio
import logging
import time

from anthropic import APIConnectionError, APIStatusError, AsyncAnthropic
from anthropic.types.beta.environments import BetaSelfHostedWork

log = logging.getLogger(__name__)

_FIRST_BEAT = "NO_HEARTBEAT"
_TTL_S = 90.0
"""Assumed until the server has told its own."""
_LONGEST_BEAT_S = 30.0
_PASSING = frozenset({408, 409, 429})


class WorkLease:
    """One item of work while it is ours. `ended` is set when its session is not to be served any more."""

    def __init__(self, client: AsyncAnthropic, item: BetaSelfHostedWork) -> None:
        self._work = client.beta.environments.work
        self._item = item
        self.ended = asyncio.Event()
        self.lost = False
        """It belongs to the queue or to another worker."""
        self.left = False
        """It is not given back but runs out, so that the queue hands the item to another worker."""
        self.ttl_s = _TTL_S

    async def keep(self) -> None:
        """Beat until the lease has ended."""
        last, beaten = _FIRST_BEAT, time.monotonic()
        while not self.ended.is_set():
            try:
                async with asyncio.timeout(self._pause_s):
                    beat = await self._work.heartbeat(
                        self._item.id, environment_id=self._item.environment_id, expected_last_heartbeat=last
                    )
            except (APIConnectionError, APIStatusError, TimeoutError) as error:
                if self._is_over(error, time.monotonic() - beaten):
                    self.ended.set()
                    return
            else:
                last, beaten = beat.last_heartbeat, time.monotonic()
                self.ttl_s = float(beat.ttl_seconds) or self.ttl_s
                if beat.state in ("stopping", "stopped") or not beat.lease_extended:
                    log.info("%s is to be stopped (%s)", self._item.id, beat.state)
                    self.ended.set()
                    return
            await _either(self.ended, self._pause_s)

    async def give_back(self) -> None:
        """Stop the item, unless it is somebody else's by now."""
        self.ended.set()
        if self.lost or self.left:
            return
        try:
            await self._work.stop(self._item.id, environment_id=self._item.environment_id, force=True)
        except (APIConnectionError, APIStatusError) as error:
            if not isinstance(error, APIStatusError) or error.status_code != 409:
                log.warning("%s could not be stopped, so another worker will look at it: %s", self._item.id, error)

    @property
    def _pause_s(self) -> float:
        """Between two beats, and the longest that one may take."""
        return max(1.0, min(self.ttl_s / 2, _LONGEST_BEAT_S))

    def _is_over(self, error: Exception, silent_s: float) -> bool:
        status = error.status_code if isinstance(error, APIStatusError) else None
        if status == 412:
            log.warning("%s was taken by another worker; this one drops it", self._item.id)
            self.lost = True
        elif status is not None and status < 500 and status not in _PASSING:
            log.warning("%s: a heartbeat was refused: %s", self._item.id, error)
        elif silent_s > self.ttl_s:
            log.warning("%s: no heartbeat came through for %.0f s; another worker may have it", self._item.id, silent_s)
            self.lost = True
        else:
            return False
        return True


async def _either(event: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        pass

"""Named points in the real code at which a test can kill the process. Free when unarmed.

`CHAOS_POINT=after_started:2` in the environment of the server kills it, as `kill -9` does, the second time that it
comes by `chaos.point("after_started")`. `stop` instead of a kill (`CHAOS_POINT=after_started:1:stop`) freezes it as
SIGSTOP does, for tests of what a process does that wakes up after its lease is gone.

The environment is read once, at import; nothing in the code changes behaviour by it but these points.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass

VARIABLE = "CHAOS_POINT"


@dataclass(slots=True)
class _Armed:
    name: str
    hits_left: int
    signal: signal.Signals


def _armed(text: str) -> _Armed | None:
    if not text:
        return None
    name, _, rest = text.partition(":")
    count, _, manner = rest.partition(":")
    return _Armed(name, int(count or 1), signal.SIGSTOP if manner == "stop" else signal.SIGKILL)


_ARM = _armed(os.environ.get(VARIABLE, ""))


def point(name: str) -> None:
    """Die here if a test armed this point and it was come by often enough."""
    if _ARM is not None and _ARM.name == name:
        _ARM.hits_left -= 1
        if _ARM.hits_left == 0:
            os.kill(os.getpid(), _ARM.signal)

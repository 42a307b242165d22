"""Server-sent events of the API, taken apart into their JSON."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any


async def events_of(parts: AsyncIterator[bytes]) -> AsyncIterator[dict[str, Any]]:
    """The `data:` of each frame that is a JSON object, in any split of the bytes."""
    waiting = b""
    async for part in parts:
        *frames, waiting = (waiting + part).split(b"\n\n")
        for frame in frames:
            data = b"\n".join(line[5:].strip() for line in frame.split(b"\n") if line.startswith(b"data:"))
            if data:
                value = json.loads(data)
                if isinstance(value, dict):
                    yield value

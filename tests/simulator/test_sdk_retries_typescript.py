"""What the official TypeScript SDK makes of each fault, observed on the simulator's bill as for the Python one."""

from __future__ import annotations

import asyncio
import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from freehold.simulator.http import key_name
from freehold.simulator.served import Served, Settings
from tests.simulator.kit import listening
from tests.typescript import sdk_folder

_SCRIPT = Path(__file__).with_name("sdk_retries.mjs")
_CASES: tuple[tuple[str, bool, int, str | None], ...] = (
    # fault, streamed, tries, the class of what is thrown at last
    ("rate_limit", False, 3, "RateLimitError"),
    ("rate_limit; retry_after_ms=60", False, 3, "RateLimitError"),
    ("api_error", False, 3, "InternalServerError"),
    ("bad_gateway", True, 3, "InternalServerError"),
    ("overloaded", False, 3, "OverloadedError"),
    ("overloaded", True, 3, "OverloadedError"),
    ("overloaded; times=2; retry_after_ms=20", False, 3, None),
    ("reset", False, 3, "APIConnectionError"),
    ("stall; seconds=30", False, 3, "APIConnectionTimeoutError"),
    ("overloaded_in_stream", True, 1, "APIError"),
    ("overloaded_in_stream; after=30", True, 1, "APIError"),
    ("reset; after=30", True, 1, "AnthropicError"),
    ("malformed; after=30", True, 1, "AnthropicError"),
    ("truncated; after=30", True, 1, "AnthropicError"),
    ("slow; seconds=0.05; per_second=5000", True, 1, None),
)


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """A folder with the SDK."""
    return sdk_folder()


async def _observe(cache: Path, url: str) -> list[dict[str, Any]]:
    script = cache / _SCRIPT.name
    script.write_text(_SCRIPT.read_text("utf-8"), "utf-8")
    cases = [
        {"fault": fault, "stream": stream, "timeout_ms": 400 if "stall" in fault else 20_000}
        for fault, stream, *_ in _CASES
    ]
    process = await asyncio.create_subprocess_exec("node", str(script), stdin=-1, stdout=-1, stderr=-1)
    async with asyncio.timeout(60):
        out, err = await process.communicate(json.dumps({"url": url, "cases": cases}).encode())
    assert process.returncode == 0, err.decode()[-2000:]
    found: list[dict[str, Any]] = json.loads(out)
    return found


async def test_each_fault_is_tried_and_thrown_as_the_python_sdk_does(node_modules: Path) -> None:
    served = Served(Settings(brain="echo"))
    async with listening(served) as url:
        found = await _observe(node_modules, url)
    account = served.simulator.claude.account
    for index, (case, seen) in enumerate(zip(_CASES, found, strict=True)):
        fault, _, tries, raises = case
        times = [line.at_us for line in account.lines(key=key_name(f"key-{index}"))]
        assert (len(times), seen["raised"]) == (tries, raises), (case, seen)
        waits = [(b - a) / 1e6 for a, b in itertools.pairwise(times)]
        if raises and tries == 3 and "retry_after" not in fault and "stall" not in fault:
            assert 0.36 <= waits[0] <= 2.5 and 0.73 <= waits[1] <= 3, (case, waits)

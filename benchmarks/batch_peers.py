"""What others pay for the same calls: a plain asyncio script over the SDK, and LiteLLM's `batch_completion`.

Each runs as a process of its own against the fake Claude of `gateway/upstream.c`, with as many calls open at once as a
batch has, and tells its CPU. LiteLLM is not a dependency: `LITELLM_PYTHON` names a Python that has it.

    python -m benchmarks.batch_peers sdk|litellm URL ITEMS      # one of them, prints its JSON
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
MODEL = "claude-haiku-4-5"
OPEN_AT_ONCE = 64
_START_S = 10.0


@contextlib.contextmanager
def fake_claude() -> Iterator[str]:
    """The address of a fake Claude that answers at once."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        subprocess.run(["cc", "-O2", "-o", f"{folder}/upstream", HERE / "gateway" / "upstream.c"], check=True)
        process = subprocess.Popen([f"{folder}/upstream", str(port)], stdout=subprocess.DEVNULL)
        try:
            _wait_for(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()


def _wait_for(port: int) -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise SystemExit("the fake Claude does not answer")


def peers(url: str, items: int) -> dict[str, Any]:
    """Each peer's figures by its name; one that is not there is left out."""
    found = {"asyncio_over_the_sdk": _run(sys.executable, "sdk", url, items)}
    if python := os.environ.get("LITELLM_PYTHON"):
        found["litellm_batch_completion"] = _run(python, "litellm", url, items)
    return found


def _run(python: str, which: str, url: str, items: int) -> Any:
    command = [python, str(Path(__file__)), which, url, str(items)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])


async def over_the_sdk(url: str, items: int) -> int:
    """The script that everybody writes; how many answers came."""
    from anthropic import AsyncAnthropic

    room = asyncio.Semaphore(OPEN_AT_ONCE)
    results: list[Any] = []
    async with AsyncAnthropic(base_url=url, api_key="k") as client:

        async def one(number: int) -> None:
            async with room:
                asked: Any = [{"role": "user", "content": f"hello number {number}"}]
                results.append(await client.messages.create(model=MODEL, max_tokens=64, messages=asked))

        await asyncio.gather(*(one(number) for number in range(items)))
    return len(results)


def over_litellm(url: str, items: int) -> int:
    """LiteLLM's call for many prompts at once; how many answers came."""
    from litellm import batch_completion  # type: ignore[import-not-found,unused-ignore]

    asked = [[{"role": "user", "content": f"hello number {number}"}] for number in range(items)]
    found = batch_completion(
        model=f"anthropic/{MODEL}", messages=asked, max_tokens=64, api_base=url, api_key="k", max_workers=OPEN_AT_ONCE
    )
    return sum(not isinstance(one, Exception) for one in found)


def main(which: str, url: str, items: int) -> dict[str, Any]:
    """Run one; imports and start are counted out by a first call."""
    work = over_litellm if which == "litellm" else lambda where, count: asyncio.run(over_the_sdk(where, count))
    work(url, 1)
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began, wall = time.process_time(), time.monotonic()
    answers = work(url, items)
    return {
        "items": items,
        "answers": answers,
        "cpu_us_an_item": round((time.process_time() - began) / items * 1e6, 1),
        "items_per_s": round(items / (time.monotonic() - wall)),
        "memory_growth_mb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb) // 1024,
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], int(sys.argv[3]))))

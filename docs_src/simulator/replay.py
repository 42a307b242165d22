import asyncio
import sys
from pathlib import Path

import freehold.testing
from freehold.clock import SystemClock
from freehold.simulator.upstream import Simulator
from freehold.upstreams.replay import Replay


async def main(folder: Path) -> None:
    clock = SystemClock()
    # In place of the simulator: any upstream, such as the real Claude.
    recorder = Replay(folder, clock, mode="record", upstream=Simulator(clock))
    async with freehold.testing.server(upstream=recorder) as running:
        recorded = await ask(running.client)
    async with freehold.testing.server(upstream=Replay(folder, clock)) as running:
        assert await ask(running.client) == recorded
    print(recorded)


async def ask(client) -> str:
    messages = [{"role": "user", "content": "What is 6 * 7?"}]
    message = await client.messages.create(model="claude-haiku-5-5", max_tokens=100, messages=messages)
    return message.content[-1].text


asyncio.run(main(Path(sys.argv[1] if len(sys.argv) > 1 else "recordings")))

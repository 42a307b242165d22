"""A server in a process of its own that appends to one session and says which events are acknowledged.

`python appender.py URL NAME SESSION COUNT [own]`: COUNT writes by ten tasks at once; a line `NAME_n` after each. With
`own` it acquires the session as NAME first and writes under its epoch, with leases that have run out when they are
given, so that anybody may take over; it says `fenced` and ends when it is fenced.
"""

from __future__ import annotations

import asyncio
import sys
from functools import partial

from freehold.clock import SystemClock
from freehold.store import session_log as log
from freehold.store.engine import Store
from freehold.store.session_log import Fenced, NewEvent

TASKS = 10


async def main(url: str, name: str, session_id: str, count: int, own: bool) -> None:
    clock = SystemClock()
    store = await Store.open(url, clock=clock)
    epoch = None
    if own:
        epoch = await acquired(store, clock, name, session_id)

    async def append(task: int) -> None:
        for n in range(task, count, TASKS):
            event = NewEvent(f"{name}_{n}", "user.message", "{}" + " " * 1000)
            await store.write(
                partial(
                    log.append, session_id=session_id, events=[event], now_us=clock.now_us(), epoch=epoch, lease_s=0
                )
            )
            print(event.id, flush=True)

    try:
        await asyncio.gather(*(append(task) for task in range(TASKS)))
    except Fenced:
        print("fenced", flush=True)
    await store.close()


async def acquired(store: Store, clock: SystemClock, name: str, session_id: str) -> int:
    while True:
        taking = partial(log.acquire, owner=name, now_us=clock.now_us(), session_id=session_id)
        if (lease := await store.write(taking)) is not None:
            return lease.epoch


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), "own" in sys.argv[5:]))

"""One server process's worth of calls under budgets, to be killed: `python -m tests.ledger.worker …`.

It prints `ready`, makes calls from many tasks at once until its standard input ends, and leaves in good order then.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from pathlib import Path

from freehold.calls import Caller, NotAnswered
from freehold.clock import SystemClock
from freehold.errors import BillingRefused, FreeholdError
from freehold.outbound.client import Client
from freehold.outbound.dial import Dialer, parse_url
from freehold.store.engine import Store
from freehold.upstreams.claude import Claude, Credential
from freehold.wire.envelopes import replace_fields
from tests.ledger.kit import WORKSPACE, Kit, opened

MODELS = ["claude-haiku-4-5", "claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-5-5"]
KEYS = 3
USERS = 5


async def main(database: str, folder: str, url: str, seed: int, tasks: int) -> None:
    store = await Store.open(database, clock=SystemClock())
    origin, prefix = parse_url(url)
    client = Client(origin, Dialer(public_only=False))
    upstream = Claude("http", client, prefix=prefix, credential=Credential.of(f"sk-{seed}"))
    async with opened(store, Path(folder), upstream=upstream) as kit:
        stop = asyncio.Event()
        asyncio.get_running_loop().run_in_executor(None, sys.stdin.read).add_done_callback(lambda _: stop.set())
        running = [asyncio.create_task(calls(kit, random.Random(f"{seed} {task}"), stop)) for task in range(tasks)]
        print("ready", flush=True)
        counts = await asyncio.gather(*running)
        await kit.ledger.give_back()
        overruns = kit.ledger.bank.till.overruns
        print(f"{sum(made for made, _ in counts)} {sum(refused for _, refused in counts)} {overruns}")
    await upstream.close()
    await store.close()


async def calls(kit: Kit, chance: random.Random, stop: asyncio.Event) -> tuple[int, int]:
    """Calls one after the other; how many were answered, and how many refused."""
    made = refused = 0
    while not stop.is_set():
        key, user = f"apikey_{chance.randrange(KEYS)}", f"user_{chance.randrange(USERS)}"
        fields: dict[str, object] = {
            "model": chance.choice(MODELS),
            "max_tokens": chance.randint(5, 400),
            "stream": chance.random() < 0.5,
        }
        call = kit.call(
            "word " * chance.randint(1, 200), caller=Caller(WORKSPACE, key, "member"), user_id=user, **fields
        )
        # The simulator sees in the body which call it is: its account is held against the ledger by that.
        named = {"user_id": f"{call.request_id}/{key}/{user}"}
        call.body = replace_fields(call.body, call.fields, {"metadata": json.dumps(named).encode()})
        try:
            async with kit.handler(call) as reply:
                if reply.reads is not None:
                    async for _ in reply.reads:
                        pass
            made += 1
        except BillingRefused:
            refused += 1
            await asyncio.sleep(0.01)
        except (FreeholdError, NotAnswered) as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            await asyncio.sleep(0.05)
    return made, refused


if __name__ == "__main__":
    database, folder, url, seed, tasks = sys.argv[1:]
    asyncio.run(main(database, folder, url, int(seed), int(tasks)))

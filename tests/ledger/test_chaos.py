"""Three processes, many tasks, kill -9 at any moment: no account is ever overdrawn, and at the end the ledger says to
the nanodollar what the simulator's own account says, call by call. Lost attempts stand apart, each below its bound.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import select

from freehold.clock import SystemClock
from freehold.money import nanodollars
from freehold.simulator.claude import Claude
from freehold.simulator.http import key_name
from freehold.simulator.pace import Pace, Spread
from freehold.simulator.served import Served, Settings
from freehold.store import ledger as rows
from freehold.store.engine import Store
from freehold.store.tables import lost_calls
from tests.ledger.kit import Kit, make_workspace, opened
from tests.simulator.kit import listening

PROCESSES = 3
LIMITS = {"organization": "3", "workspace": "2.5", "key": "1.2", "user": "0.8"}
"""Dollars: so that some calls are refused towards the end, at one scope or another."""


class Worker:
    """One process that is made to be killed."""

    def __init__(self, process: asyncio.subprocess.Process, seed: int) -> None:
        self.process = process
        self.name = key_name(f"sk-{seed}")
        """Of its key, to the simulator."""

    @classmethod
    async def start(cls, database: str, folder: Path, url: str, seed: int, tasks: int) -> Worker:
        arguments = ["-m", "tests.ledger.worker", database, str(folder), url, str(seed), str(tasks)]
        process = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        worker = cls(process, seed)
        assert worker.process.stdout is not None
        async with asyncio.timeout(60):
            assert await worker.process.stdout.readline() == b"ready\n"
        return worker

    async def calls(self, served: Served) -> None:
        """Wait until the simulator works on a call of it."""
        claude = served.simulator.claude
        async with asyncio.timeout(60):
            while not self._is_open(claude):  # noqa: ASYNC110 (it has no event for that)
                await asyncio.sleep(0.005)

    def _is_open(self, claude: Claude) -> bool:
        asked = sum(asked.key == self.name for asked in claude.heard)
        return asked > claude.account.of_key(self.name).requests

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()

    async def leave(self) -> tuple[int, int, int]:
        """End in good order: answered, refused, overruns."""
        async with asyncio.timeout(60):
            told, _ = await self.process.communicate(b"")
        assert self.process.returncode == 0
        answered, refused, overruns = map(int, told.split())
        return answered, refused, overruns


class Sampler:
    """Looks at the accounts all the time, as anybody with SQL could."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.samples = 0
        self.wrong: list[rows.Sums] = []

    async def run(self) -> None:
        while True:
            async with self.store.read() as conn:
                sums = await rows.sums(conn)
            self.samples += 1
            self.wrong += [one for one in sums if (one.hard and one.slack < 0) or one.escrowed != one.held + one.lost]
            await asyncio.sleep(0.003)

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.run())
        try:
            yield
        finally:
            task.cancel()
            [error] = await asyncio.gather(task, return_exceptions=True)
            assert isinstance(error, asyncio.CancelledError), error


async def chaos(database_url: str, folder: Path, seed: int, *, kills: int, tasks: int, budget: int = 1) -> Counter[str]:
    """The whole run, with so many times the limits; gives figures of it."""
    chance = random.Random(seed)
    served = Served(Settings(brain="echo", pace=Pace(Spread(0.01, 3.0)), history=1_000_000, keep_bodies=True))
    store = await Store.open(database_url, clock=SystemClock())
    await make_workspace(store)
    sampler = Sampler(store)
    found: Counter[str] = Counter(seed=seed, kills=kills)
    try:
        async with listening(served) as url, opened(store, folder) as kit:
            for scope, limit in LIMITS.items():
                await kit.put(budget * nanodollars(limit), scope)
            await kit.put(nanodollars(1), enforcement="soft")
            await kit.put(1_000_000, "user", unit="tokens", period="day")
            async with sampler.watching():
                workers = [
                    await Worker.start(database_url, folder, url, seed * 100 + number, tasks)
                    for number in range(PROCESSES)
                ]
                for number in range(kills):
                    await asyncio.sleep(chance.uniform(0.2, 0.6))  # the load runs meanwhile
                    victim = chance.randrange(PROCESSES)
                    if number == 0:
                        await workers[victim].calls(served)  # later there may be no money left for any
                    await workers[victim].kill()
                    workers[victim] = await Worker.start(database_url, folder, url, seed * 100 + 10 + number, tasks)
                for worker in workers:
                    answered, refused, overruns = await worker.leave()
                    found += Counter(answered=answered, refused=refused, overruns=overruns)
                await kit.ledger.reconcile()
                await _quiet(served)
            await _compare(kit, served, found)
    finally:
        await store.close()
    assert sampler.wrong == []
    assert found["overruns"] == 0
    found["samples"] = sampler.samples
    return found


async def _quiet(served: Served) -> None:
    """Wait until the simulator has billed all that it was asked."""
    claude = served.simulator.claude
    async with asyncio.timeout(60):
        while claude.account.total.requests < len(claude.heard):  # noqa: ASYNC110 (it has no event for that)
            await asyncio.sleep(0.02)


async def _compare(kit: Kit, served: Served, found: Counter[str]) -> None:
    claude = served.simulator.claude
    who = {asked.request_id: json.loads(asked.body)["metadata"]["user_id"] for asked in claude.heard}
    billed = {who[line.request_id]: line for line in claude.account.lines()}
    assert len(billed) == len(claude.heard) == claude.account.total.requests
    async with kit.store.read() as conn:
        sums = {one.account_id: one for one in await rows.sums(conn)}
        lost = [(row.request_id, row.account_id, row.amount) for row in await conn.execute(select(lost_calls))]
    for account, one in sums.items():
        budget = kit.ledger.definitions.by_id[account.partition("/")[0]]
        if budget.unit == "tokens":
            continue
        assert one.held == 0 and one.escrowed == one.lost, "somebody holds something still"
        scope_id = account.rpartition("/")[2]
        mine = {
            name.partition("/")[0]: line.nanodollars
            for name, line in billed.items()
            if budget.scope in ("organization", "workspace") or scope_id in name.split("/")[1:]
        }
        kept = {request: amount for request, of, amount in lost if of == account}
        if budget.enforcement == "soft":
            continue  # a soft budget keeps nothing for what was lost
        assert sum(kept.values()) == one.lost
        known = sum(cost for request, cost in mine.items() if request not in kept)
        assert one.settled == known, (account, one.settled - known)
        assert all(mine.get(request, 0) <= amount for request, amount in kept.items())
        if budget.scope == "organization":
            found += Counter(lost=len(kept), billed=one.settled, lost_billed=sum(mine.get(r, 0) for r in kept))


async def test_no_account_is_overdrawn_and_the_ledger_equals_the_simulator_s_account(
    database_url: str, tmp_path: Path
) -> None:
    found = await chaos(database_url, tmp_path / "ledger", seed=1, kills=3, tasks=20, budget=2)
    assert found["lost"] > 0, "no call was open when a process was killed: the run shows nothing"
    assert found["answered"] > 50 and found["samples"] > 20


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2, 8))
async def test_the_same_with_two_hundred_tasks_and_many_kills(database_url: str, tmp_path: Path, seed: int) -> None:
    found = await chaos(database_url, tmp_path / "ledger", seed, kills=12, tasks=67, budget=6)
    print(dict(found))
    assert found["lost"] > 0

"""kill -9 of servers that share a batch, at named points of the real code: every custom_id has exactly one result."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from pathlib import Path

import pytest
from anthropic import APIConnectionError, AsyncAnthropic

from freehold.launch import NotStarted, ServerProcess
from tests.batches.house import message, requests
from tests.databases import slice_on
from tests.scripted_upstream import Line, Request, ScriptedUpstream, scripted

POINTS = ("batch_claimed", "batch_answered", "batch_in_commit", "batch_completed")
CONCURRENCY = 4


class Fleet:
    """Two servers on one data folder and database, killed and started again as the test says."""

    def __init__(self, folder: Path, database_url: str, upstream: ScriptedUpstream) -> None:
        self._folder = folder
        self._arguments = [f"--database={database_url}", f"--upstream={upstream.url}"]
        self._addresses = ["", ""]
        self.servers = [self._make(0, ""), self._make(1, "")]

    def _make(self, number: int, chaos: str) -> ServerProcess:
        environment = {"FREEHOLD_BATCH_CONCURRENCY": str(CONCURRENCY)}
        if chaos:
            environment["CHAOS_POINT"] = chaos
        server = ServerProcess(self._folder / "data", arguments=self._arguments, environment=environment)
        server.address = self._addresses[number]
        return server

    async def start(self, number: int, chaos: str = "") -> None:
        self.servers[number] = self._make(number, chaos)
        self._addresses[number] = await asyncio.to_thread(self.servers[number].start)

    def runs(self, number: int) -> bool:
        try:
            return self.servers[number].pid > 0
        except NotStarted:
            return False

    async def close(self) -> None:
        for server in self.servers:
            await asyncio.to_thread(server.kill)

    def client(self, number: int) -> AsyncAnthropic:
        server = self.servers[number]
        return AsyncAnthropic(base_url=server.address, api_key=server.key, max_retries=0)


async def lines_after_kills(
    folder: Path, database_url: str, *, items: int, kills: int, delay_s: float, seed: int
) -> tuple[list[str], Counter[str], int]:
    """Custom_ids of the results in order, how often each item was asked for, and how many kills there really were."""
    asked: Counter[str] = Counter()
    chance = random.Random(seed)
    both_run = asyncio.Event()  # held while one starts, or a slow start would let the other finish the batch alone
    both_run.set()

    async def answer(request: Request, line: Line) -> None:
        asked[request.json()["messages"][0]["content"]] += 1
        await both_run.wait()
        await asyncio.sleep(delay_s)  # how long a model takes
        await line.answer(200, message())

    async with scripted(answer) as upstream:
        fleet = Fleet(folder, database_url, upstream)
        try:
            await fleet.start(0)
            await fleet.start(1)
            async with fleet.client(0) as client:
                batch = await client.messages.batches.create(requests=requests(items))
            killed = 0
            for round_ in range(kills):
                victim = round_ % 2
                both_run.clear()
                await asyncio.to_thread(fleet.servers[victim].kill)
                try:
                    await fleet.start(victim, f"{chance.choice(POINTS)}:{chance.randint(1, 3)}")
                except NotStarted:  # it came to its point before it was ready
                    killed += 1
                else:
                    both_run.set()
                    killed += await _dies(fleet, victim, batch.id)
                both_run.set()
                if not fleet.runs(victim):
                    await fleet.start(victim)
            async with fleet.client(0) as client:
                await _ended(client, batch.id)
                reply = await client.get(f"/v1/messages/batches/{batch.id}/results", cast_to=str)
        finally:
            both_run.set()  # or what is being answered would wait for ever
            await fleet.close()
    return [json.loads(line)["custom_id"] for line in reply.splitlines()], asked, killed


async def _dies(fleet: Fleet, victim: int, batch_id: str) -> bool:
    """Wait until the armed server has died; false if the batch has ended before (bounded)."""
    async with asyncio.timeout(120), fleet.client(1 - victim) as client:
        while fleet.runs(victim):
            if (await client.messages.batches.retrieve(batch_id)).processing_status == "ended":
                return False
            await asyncio.sleep(0.05)  # polling from outside: there is nothing else to wait on
    return True


async def _ended(client: AsyncAnthropic, batch_id: str) -> None:
    async with asyncio.timeout(600):
        while True:
            if (await client.messages.batches.retrieve(batch_id)).processing_status == "ended":
                return
            await asyncio.sleep(0.1)  # polling from outside


def names(count: int) -> list[str]:
    return [f"item-{number}" for number in range(count)]


@slice_on("postgresql")
async def test_two_servers_share_a_batch_and_two_kills_cost_only_the_calls_in_flight(
    database_url: str, tmp_path: Path
) -> None:
    found, asked, killed = await lines_after_kills(tmp_path, database_url, items=400, kills=2, delay_s=0.05, seed=1)
    assert killed >= 1
    assert found == names(400)
    assert set(asked) == {f"number {number}" for number in range(400)}
    assert sum(asked.values()) - 400 <= (2 * killed + 2) * 3 * CONCURRENCY, "only calls in flight are made again"


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_twenty_kills_during_ten_thousand_items_lose_and_double_nothing(
    database_url: str, tmp_path: Path
) -> None:
    found, _asked, killed = await lines_after_kills(
        tmp_path, database_url, items=10_000, kills=20, delay_s=0.08, seed=20
    )
    assert killed == 20
    assert found == names(10_000)


@slice_on("sqlite")
async def test_a_server_that_dies_while_a_batch_comes_in_leaves_nothing_to_see(
    database_url: str, tmp_path: Path
) -> None:
    async def never(_request: Request, _line: Line) -> None:
        raise AssertionError("an item of a batch that was never taken was asked for")

    async with scripted(never) as upstream:
        fleet = Fleet(tmp_path, database_url, upstream)
        try:
            await fleet.start(0, "batch_inserting:2")
            with pytest.raises(APIConnectionError):
                async with fleet.client(0) as client:
                    await client.messages.batches.create(requests=requests(6_000))
            await fleet.start(0)
            async with fleet.client(0) as client:
                assert (await client.messages.batches.list()).data == []
        finally:
            await fleet.close()

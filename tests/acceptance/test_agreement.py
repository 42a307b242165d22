"""One truth, told in seven places: after a mixed load the console, the command line, `/metrics`, the reports, the bill,
the budgets and the rows themselves say the same numbers, to the token and the nanodollar.

`make soak` runs ten thousand calls and writes `benchmarks/results/agreement-soak.json`.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.gateway.run import RESULTS, about
from freehold.launch import ServerProcess
from freehold.money import nanodollars
from freehold.telemetry.calls import TOKENS
from tests.cli.commands import freehold

MODELS = ["claude-haiku-4-5", "claude-haiku-5-5", "claude-sonnet-5-5", "no-such-model"]
TASKS = [None, "summarise", "translate"]
LONG: Any = [{"type": "text", "text": "The rules of the house. " * 900, "cache_control": {"type": "ephemeral"}}]
AT_ONCE = 12
COLUMNS = {
    "input": "input_tokens",
    "output": "output_tokens",
    "cache_write_5m": "cache_write_5m_tokens",
    "cache_write_1h": "cache_write_1h_tokens",
    "cache_read": "cache_read_tokens",
}
Sums = Mapping[str, int]


class Load:
    """Calls of several keys, users and models: streamed, cached, refused, overloaded, cut off and left among them."""

    def __init__(self, server: ServerProcess, keys: list[str], seed: int) -> None:
        self._server = server
        self._keys = keys
        self._chance = random.Random(seed)
        self.outcomes: Counter[str] = Counter()

    async def run(self, count: int) -> None:
        waiting = iter(range(count))
        async with httpx2.AsyncClient(base_url=self._server.address, trust_env=False, timeout=60) as web:

            async def one_after_the_other() -> None:
                for _ in waiting:
                    await self._one(web)

            await asyncio.gather(*(one_after_the_other() for _ in range(AT_ONCE)))

    async def _one(self, web: httpx2.AsyncClient) -> None:
        chance = self._chance
        body: dict[str, Any] = {
            "model": chance.choice(MODELS),
            "max_tokens": chance.randint(1, 60),
            "messages": [{"role": "user", "content": "word " * chance.randint(1, 40)}],
            "metadata": {"user_id": f"user_{chance.randrange(7)}"},
        }
        headers = {"x-api-key": chance.choice(self._keys)}
        if task := chance.choice(TASKS):
            headers["x-freehold-task-type"] = task
        kind = chance.random()
        if kind < 0.05:
            headers["x-freehold-fault"] = chance.choice(["overloaded", "cut", "api_error"])
        elif kind < 0.08:
            headers["x-api-key"] = "sk-fh-nobody"
        elif kind < 0.10:
            body["max_tokens"] = -1
        elif kind < 0.20:
            body["system"] = LONG
        path = "/v1/messages"
        if kind > 0.95:
            path += "/count_tokens"
            body = {"model": body["model"], "messages": body["messages"]}
        elif chance.random() < 0.35:
            body["stream"] = True
        await self._ask(web, path, headers, body, leaves=body.get("stream", False) and chance.random() < 0.05)

    async def _ask(
        self, web: httpx2.AsyncClient, path: str, headers: Mapping[str, str], body: Mapping[str, Any], *, leaves: bool
    ) -> None:
        try:
            async with web.stream("POST", path, headers=headers, json=body) as answer:
                self.outcomes[str(answer.status_code)] += 1
                if not leaves:
                    await answer.aread()
        except httpx2.TransportError:
            self.outcomes["cut"] += 1


def works(server: ServerProcess, client: Any) -> None:
    """What calls models by itself: a batch, and a session."""
    params = {"model": "claude-haiku-5-5", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]}
    batch = client.messages.batches.create(requests=[{"custom_id": f"n{n}", "params": params} for n in range(20)])
    agent = client.beta.agents.create(name="clerk", model="claude-haiku-5-5")
    environment = client.beta.environments.create(name="plain")
    session = client.beta.sessions.create(agent=agent.id, environment_id=environment.id)
    with client.beta.sessions.events.stream(session.id) as stream:
        said = [{"type": "user.message", "content": [{"type": "text", "text": "Hello there."}]}]
        client.beta.sessions.events.send(session.id, events=said)
        for event in stream:
            if event.type == "session.status_idle":
                break
    ends = time.monotonic() + 60
    while client.messages.batches.retrieve(batch.id).processing_status != "ended":
        assert time.monotonic() < ends
        threading.Event().wait(0.1)


def a_key(client: Any, name: str) -> str:
    made: dict[str, str] = client.post("/freehold/v1/keys", body={"name": name}, cast_to=object)
    return made["secret"]


def budgets(client: Any) -> list[str]:
    """A soft budget that all calls count against, a hard one that two of the users run into; both in nanodollars."""
    wanted = [
        {"scope": "organization", "limit": nanodollars(1_000), "enforcement": "soft", "period": "lifetime"},
        {"scope": "user", "scope_id": "user_1", "limit": 3_000_000, "enforcement": "hard", "period": "lifetime"},
    ]
    return [client.post("/freehold/v1/budgets", body=one, cast_to=object)["id"] for one in wanted]


def rows_of(data: Path) -> list[dict[str, Any]]:
    with sqlite3.connect(f"file:{next(data.glob('*.db'))}?mode=ro", uri=True) as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute("SELECT * FROM calls")]


def summed(rows: list[dict[str, Any]]) -> Sums:
    names = (*COLUMNS.values(), "web_searches", "cost_nanodollars", "settled_nanodollars")
    sums = {name: sum(row[name] or 0 for row in rows) for name in names}
    return {**sums, "calls": len(rows), "failed_calls": sum(row["status"] >= 400 for row in rows)}


def metrics_of(text: str) -> dict[str, dict[tuple[str, ...], int]]:
    """Every counter: its value by the values of its labels, in the order of their names."""
    found: dict[str, dict[tuple[str, ...], int]] = {}
    for family in text_string_to_metric_families(text):
        for one in family.samples:
            if one.name.endswith("_total"):
                labels = tuple(one.labels[name] for name in sorted(one.labels))
                found.setdefault(one.name, {})[labels] = int(one.value)
    return found


def cells(page: str) -> list[list[str]]:
    """The table of a page, as text."""
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", page, re.S)
    return [[re.sub(r"<[^>]+>", "", cell).strip() for cell in re.findall(r"<td[^>]*>(.*?)</td>", row)] for row in rows]


def number(text: str) -> int:
    """A number as pages show it; money in nanodollars."""
    plain = text.replace(",", "")
    return int(Decimal(plain[1:]) * 1_000_000_000) if plain.startswith("$") else int(plain)


class Places:
    """Where numbers are told, each asked as its own readers ask it."""

    def __init__(self, server: ServerProcess, client: Any, rows: list[dict[str, Any]]) -> None:
        self._server = server
        self._client = client
        self._rows = rows
        self._known = [row for row in rows if row["workspace_id"]]
        """Calls of a valid key: all others are in no report, they belong to nobody."""
        self.wanted = summed(self._known)

    def metrics(self) -> None:
        text = httpx2.get(f"{self._server.address}/metrics", headers={"x-api-key": self._server.key}, trust_env=False)
        found, all_rows = metrics_of(text.text), summed(self._rows)
        tokens = found["freehold_call_tokens_total"]
        by_kind = {kind: sum(n for (one, _), n in tokens.items() if one == kind) for kind in TOKENS}
        assert by_kind == {kind: all_rows[COLUMNS[kind]] for kind in TOKENS}
        assert sum(found["freehold_call_cost_nanodollars_total"].values()) == all_rows["cost_nanodollars"]
        calls = Counter((row["model_answered"] or "", row["route"], str(row["status"]), row["upstream"] or "")
                        for row in self._rows)  # fmt: skip
        assert found["freehold_calls_total"] == calls

    def command_line(self) -> None:
        command = ["usage", "--by", "day,key,model,user,task_type", "--json", "--url", self._server.address]
        done = freehold(*command, "--key-file", self._server.data / "admin-key")
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        for name, value in self.wanted.items():
            assert told["total"][name] == sum(row[name] for row in told["data"]) == value, name

    def reports(self) -> None:
        yesterday = time.strftime("%Y-%m-%dT00:00:00Z", time.gmtime(time.time() - 86_400))
        since = f"starting_at={yesterday}"
        usage = self._pages(f"/v1/organizations/usage_report/messages?{since}&group_by[]=model")
        found = {
            "input_tokens": sum(one["uncached_input_tokens"] for one in usage),
            "output_tokens": sum(one["output_tokens"] for one in usage),
            "cache_read_tokens": sum(one["cache_read_input_tokens"] for one in usage),
            "cache_write_5m_tokens": sum(one["cache_creation"]["ephemeral_5m_input_tokens"] for one in usage),
            "cache_write_1h_tokens": sum(one["cache_creation"]["ephemeral_1h_input_tokens"] for one in usage),
        }
        assert found == {name: self.wanted[name] for name in found}
        cost = self._pages(f"/v1/organizations/cost_report?{since}&group_by[]=workspace_id")
        assert sum(Decimal(one["amount"]) for one in cost) * 10_000_000 == self.wanted["cost_nanodollars"]

    def _pages(self, path: str) -> list[dict[str, Any]]:
        data = self._client.get(path, cast_to=object)["data"]
        return [result for bucket in data for result in bucket["results"]]

    def bill(self) -> None:
        own = self._client.get("/freehold/v1/bill", cast_to=object)["total"]
        for name in ("calls", "failed_calls", "input_tokens", "output_tokens", "cost_nanodollars"):
            assert own[name] == self.wanted[name], name

    def budgets(self, soft: str, hard: str) -> None:
        """What was settled on the budgets is what the rows say that was settled."""
        settled = {one: self._settled(one) for one in (soft, hard)}
        assert settled[soft] == self.wanted["settled_nanodollars"] >= self.wanted["cost_nanodollars"]
        of_user = [row for row in self._known if row["user_id"] == "user_1"]
        assert settled[hard] == sum(row["settled_nanodollars"] or 0 for row in of_user)

    def _settled(self, budget_id: str) -> int:
        budget: Any = self._client.get(f"/freehold/v1/budgets/{budget_id}", cast_to=object)
        return sum(account["settled"] for account in budget["accounts"])

    def console(self) -> None:
        with httpx2.Client(base_url=self._server.address, trust_env=False, timeout=60) as web:
            web.post("/console/login", data={"key": self._server.key}, headers={"origin": self._server.address})
            names = ("calls", "failed_calls", "input_tokens", "cache_read_tokens", "output_tokens", "cost_nanodollars")
            for by in ("model", "key", "user", "task_type", "day", "upstream"):
                *lines, last = [row for row in cells(web.get(f"/console/usage?by={by}").text) if len(row) == 7]
                total = [number(cell) for cell in last[1:]]
                assert total == [self.wanted[name] for name in names], by
                assert total == [sum(number(line[place]) for line in lines) for place in range(1, 7)], by
            page = web.get("/console?span=day").text
            shown = re.findall(r"<dd[^>]*>([^<]*)</dd>", page)
            assert number(shown[0]) == self.wanted["calls"]
            assert number(shown[2]) == self.wanted["cost_nanodollars"]
            models = [row for row in cells(page) if len(row) == 5]
            assert sum(number(row[3]) for row in models) == self.wanted["cost_nanodollars"]


def agrees(folder: Path, count: int) -> dict[str, Any]:
    began = time.monotonic()
    with (
        ServerProcess(folder / "data", arguments=["--upstream", "simulator"]) as server,
        anthropic.Anthropic(base_url=server.address, api_key=server.key, max_retries=0) as client,
    ):
        soft, hard = budgets(client)
        load = Load(server, [a_key(client, f"key {n}") for n in range(3)], seed=11)
        asyncio.run(load.run(count))
        works(server, client)
        client.get("/freehold/v1/usage", cast_to=object)  # waits for the rows that are on their way
        rows = rows_of(server.data)
        assert len(rows) >= count
        assert {"200", "401", "404", "529"} <= set(load.outcomes), load.outcomes
        places = Places(server, client, rows)
        assert all(places.wanted[name] for name in ("cache_read_tokens", "cache_write_5m_tokens", "failed_calls"))
        places.metrics()
        places.command_line()
        places.reports()
        places.bill()
        places.budgets(soft, hard)
        places.console()
        kinds = Counter(f"{row['status']} {row['error_type'] or row['route']}" for row in rows)
        seen = {"calls": len(rows), "wall_s": round(time.monotonic() - began, 1), "differences": 0}
        return {**seen, "outcomes": dict(sorted(kinds.items())), "sums": places.wanted}


def test_all_numbers_agree_after_a_mixed_load(tmp_path: Path) -> None:
    agrees(tmp_path, 200)


@pytest.mark.soak
def test_all_numbers_agree_after_ten_thousand_mixed_calls(tmp_path: Path) -> None:
    seen = agrees(tmp_path, 10_000)
    told = {**about(), "run": "pytest -m soak tests/acceptance/test_agreement.py", **seen}
    (RESULTS / "agreement-soak.json").write_text(json.dumps(told, indent=1) + "\n", "utf-8")

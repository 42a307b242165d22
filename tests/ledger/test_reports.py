"""Reports add up: after a mixed load every way to group gives the same sums as the rows, to the nanodollar."""

from __future__ import annotations

import csv
import io
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from anthropic.types.beta.organization import BetaAnalyticsUsageBucketedResult
from sqlalchemy import select

from freehold.access.keys import Keys
from freehold.access.workspaces import Workspaces
from freehold.api import usage_reports
from freehold.api.base import application
from freehold.calls import Caller
from freehold.clock import HandClock
from freehold.errors import BillingRefused, FreeholdError
from freehold.inprocess import AsgiTransport
from freehold.money import nanodollars
from freehold.store.call_sums import SUMMED
from freehold.store.engine import Store
from freehold.store.tables import calls
from freehold.store.usage_reports import DIMENSIONS, Span, report
from tests.ledger.kit import WORKSPACE, Kit, make_workspace, opened

MODELS = ["claude-haiku-4-5", "claude-haiku-5-5", "claude-sonnet-5-5", "no-such-model"]
TASKS = [None, "summarise", "=cmd()|evil"]


async def load(kit: Kit, clock: HandClock, count: int, seed: int) -> Counter[str]:
    """Mixed calls: of several keys, users, sessions and days; streamed, failed, refused ones among them."""
    chance = random.Random(seed)
    outcomes: Counter[str] = Counter()
    for _ in range(count):
        fields: dict[str, Any] = {"model": chance.choice(MODELS), "max_tokens": chance.randint(1, 60)}
        fields |= {"stream": chance.random() < 0.3, "user_id": f"user_{chance.randrange(7)}"}
        fields |= {"session_id": chance.choice([None, "sesn_1", "sesn_2"]), "task_type": chance.choice(TASKS)}
        key = f"apikey_{chance.randrange(4)}"
        if chance.random() < 0.05:
            fields["headers"] = [(b"x-freehold-fault", b"overloaded")]
        try:
            reply = await kit.ask("word " * chance.randint(1, 40), caller=Caller(WORKSPACE, key, "member"), **fields)
            outcomes[str(reply.status)] += 1
        except BillingRefused:
            outcomes["refused"] += 1
        except FreeholdError as error:
            outcomes[error.type] += 1
        if chance.random() < 0.002:
            await clock.advance(chance.uniform(0, 90_000))
    return outcomes


async def adds_up(store: Store, folder: Path, count: int) -> None:
    await make_workspace(store)
    clock = HandClock()
    async with opened(store, folder, clock=clock) as kit:
        await kit.put(nanodollars(1_000), enforcement="soft")
        await kit.put(3_000_000, "user", period="day")
        outcomes = await load(kit, clock, count, seed=4)
        assert outcomes["refused"] > 0 and outcomes["529"] > 0, outcomes
        await store.flush()
        async with store.read() as conn:
            rows = (await conn.execute(select(calls))).mappings().all()
            groups = {name: await report(conn, Span(), [name]) for name in DIMENSIONS}
            groups["day"] = await report(conn, Span(width_us=86_400_000_000), [])
            groups["all"] = await report(conn, Span(width_us=60_000_000), ["workspace", "key", "model", "session"])
        assert len(rows) == count
        assert len(groups["day"]) > 2 and len(groups["user"]) == 7
        wanted = {name: sum(row[name] or 0 for row in rows) for name in SUMMED} | {"calls": count}
        for name, found in groups.items():
            assert {column: sum(row[column] for row in found) for column in wanted} == wanted, name
        # Every way to pay for it says the same: rows, soft budget, the budgets of the users, the simulator.
        sums = await kit.sums()
        soft = sum(one.settled for one in sums if not one.hard)
        assert soft == sum(one.settled for one in sums if one.hard) == wanted["settled_nanodollars"]
        assert soft == wanted["cost_nanodollars"] == kit.upstream.claude.account.total.nanodollars  # type: ignore[attr-defined]


@pytest.mark.parametrize("database_kind", ["sqlite"])
async def test_reports_add_up_after_a_mixed_load(store: Store, tmp_path: Path) -> None:
    await adds_up(store, tmp_path / "ledger", 1_500)


@pytest.mark.soak
async def test_reports_add_up_after_ten_thousand_mixed_calls(store: Store, tmp_path: Path) -> None:
    await adds_up(store, tmp_path / "ledger", 10_000)


@asynccontextmanager
async def reporting(store: Store, folder: Path) -> AsyncIterator[tuple[httpx2.AsyncClient, httpx2.AsyncClient, Kit]]:
    """The routes over a store with a few calls of two workspaces: for an admin of one, and a member of the other."""
    clock = HandClock()
    keys = await Keys.open(store, clock=clock)
    spaces = Workspaces(store, clock=clock)
    one, other = await spaces.create("one"), await spaces.create("other")
    admin = (await keys.create(one.id, "admin", "admin")).secret
    member = (await keys.create(other.id, "member")).secret
    app = application(usage_reports.routes(store, clock=clock), keys=keys, clock=clock)
    async with opened(store, folder, clock=clock) as kit:
        for number in range(6):
            caller = Caller((one if number % 2 else other).id, f"apikey_{number % 3}", "member")
            await kit.ask(caller=caller, user_id="ann", task_type="=cmd()", stream=number > 3)
            await clock.advance(20_000)
        transport = AsgiTransport(app)
        async with (
            httpx2.AsyncClient(transport=transport, base_url="http://x", headers={"x-api-key": admin}) as by_admin,
            httpx2.AsyncClient(transport=transport, base_url="http://x", headers={"x-api-key": member}) as by_member,
        ):
            yield by_admin, by_member, kit
    await keys.close()


async def test_the_usage_report_has_claude_s_shape_and_a_bucket_for_every_day(store: Store, tmp_path: Path) -> None:
    async with reporting(store, tmp_path / "ledger") as (admin, member, _):
        path = "/v1/organizations/usage_report/messages?starting_at=2025-12-31T12:00:00Z&group_by[]=api_key_id"
        page = (await admin.get(path)).json()
        assert [bucket["starting_at"][:10] for bucket in page["data"]] == ["2025-12-31", "2026-01-01", "2026-01-02"]
        assert page["data"][0]["results"] == [] and page["has_more"] is False and page["next_page"] is None
        for result in (result for bucket in page["data"] for result in bucket["results"]):
            assert result["api_key_id"].startswith("apikey_") and result["model"] is None
            shared = {"uncached_input_tokens", "cache_creation", "cache_read_input_tokens", "output_tokens"}
            assert shared <= set(BetaAnalyticsUsageBucketedResult.model_fields) & set(result)
        first = (await admin.get(path + "&limit=1")).json()
        assert first["has_more"] is True
        rest = (await admin.get(f"{path}&limit=2&page={first['next_page']}")).json()
        assert [*first["data"], *rest["data"]] == page["data"]
        assert (await member.get(path)).status_code == 403


async def test_the_cost_report_tells_exact_cents_that_add_up(store: Store, tmp_path: Path) -> None:
    async with reporting(store, tmp_path / "ledger") as (admin, _, kit):
        path = "/v1/organizations/cost_report?starting_at=2026-01-01T00:00:00Z&group_by[]=workspace_id"
        data = (await admin.get(path)).json()["data"]
        results = [result for bucket in data for result in bucket["results"]]
        assert {result["currency"] for result in results} == {"USD"}
        total = sum(round(float(result["amount"]) * 10_000_000) for result in results)
        assert total == kit.upstream.claude.account.total.nanodollars  # type: ignore[attr-defined]
        assert usage_reports.cents(123_456_789) == "12.3456789" and usage_reports.cents(20_000_000) == "2"


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "starting_at: is required"),
        ("starting_at=yesterday", "starting_at: must be an RFC 3339 time"),
        ("starting_at=2026-01-01T00:00:00Z&group_by[]=speed", "does not keep speed"),
        ("starting_at=2026-01-01T00:00:00Z&group_by[]=colour", "must be of"),
        ("starting_at=2026-01-01T00:00:00Z&bucket_width=1w", "bucket_width"),
        ("starting_at=2026-01-01T00:00:00Z&limit=32", "limit"),
    ],
)
@pytest.mark.parametrize("database_kind", ["sqlite"])
async def test_a_report_that_cannot_be_made_is_a_400_that_names_what_is_wrong(
    store: Store, tmp_path: Path, query: str, said: str
) -> None:
    async with reporting(store, tmp_path / "ledger") as (admin, _, _kit):
        reply = await admin.get(f"/v1/organizations/usage_report/messages?{query}")
        assert reply.status_code == 400 and said in reply.json()["error"]["message"]


async def test_a_member_sees_only_its_workspace_and_csv_holds_no_formula(store: Store, tmp_path: Path) -> None:
    async with reporting(store, tmp_path / "ledger") as (admin, member, _):
        query = "/freehold/v1/usage?by[]=day&by[]=workspace&by[]=user&by[]=task_type"
        everything, own = (await admin.get(query)).json(), (await member.get(query)).json()
        assert everything["total"]["calls"] == 6 and own["total"]["calls"] == 3
        assert len({row["workspace"] for row in own["data"]}) == 1
        stranger = next(
            row["workspace"] for row in everything["data"] if row["workspace"] != own["data"][0]["workspace"]
        )
        assert (await member.get(f"{query}&workspace_id={stranger}")).status_code == 403
        reply = await admin.get(query + "&format=csv")
        assert reply.headers["content-type"] == "text/csv; charset=utf-8"
        rows = list(csv.DictReader(io.StringIO(reply.text)))
        assert {row["task_type"] for row in rows} == {"'=cmd()"}
        assert sum(int(row["cost_nanodollars"]) for row in rows) == everything["total"]["cost_nanodollars"]
        assert rows[0]["day"] == datetime(2026, 1, 1, tzinfo=UTC).date().isoformat()

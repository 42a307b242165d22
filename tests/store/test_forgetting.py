"""Whatever is forgotten in time goes a slice at a time, on both databases, and others write in between."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.access.audit import AuditLog, AuditSettings
from freehold.batches.keeper import Keeper
from freehold.clock import HandClock
from freehold.ids import new_id
from freehold.jobs.alerts import Alerts, AlertSettings
from freehold.jobs.owners import Owners
from freehold.store import batch_work, oauth, tables
from freehold.store.batches import BatchRow, BatchRows, NewItem
from freehold.store.call_summing import CallSumming
from freehold.store.call_sums import HOUR_US
from freehold.store.deferred import DeferredRows
from freehold.store.engine import Store
from freehold.store.files import FileRows
from freehold.store.forgetting import SLICE
from freehold.store.knowledge_chunks import REMOVED_AT_ONCE, KnowledgeChunks
from freehold.store.memory_stores import MemoryStoreRows
from freehold.store.memory_versions import MemoryVersionRows
from freehold.store.recordings import RecordingRows
from freehold.store.webhooks import WebhookRows
from freehold.testing import server

CLOCK = HandClock()
NOW_US = CLOCK.now_us()
LONG_AGO_US = NOW_US - 400 * 86_400_000_000
MANY = 2 * SLICE + 3
WORKSPACE = "wrkspc_1"
Values = dict[str, Any]


def audited(number: int, at_us: int) -> Values:
    told = {"key_id": "apikey_1", "role": "admin", "method": "POST", "path": "/v1/agents", "status": 200}
    return {"id": f"req_{number}", "at_us": at_us, "workspace_id": WORKSPACE, **told}


def alert(number: int, at_us: int) -> Values:
    over = {"opened_us": at_us, "closed_us": at_us}
    return {"id": f"alrt_{number}", "workspace_id": WORKSPACE, "kind": "alert.errors", "figures": "{}", **over}


def deferred(number: int, at_us: int) -> Values:
    times = {"created_us": at_us, "deadline_us": at_us, "ended_us": at_us, "lease_until_us": 0}
    asked = {"key_id": "apikey_1", "headers": "{}", "prefix": "", "params": b"", "state": "done", "promoted": False}
    return {"id": f"dfr_{number}", "workspace_id": WORKSPACE, **asked, **times}


def delivery(number: int, at_us: int) -> Values:
    state = {"state": "delivered", "attempts": 1, "next_us": 0, "lease_until_us": 0}
    told = {"webhook_id": "whk_1", "type": "batch.ended", "body": "{}"}
    return {"id": f"whe_{number}", **told, **state, "created_us": at_us, "ended_us": at_us}


def file(number: int, at_us: int) -> Values:
    named = {"filename": "a.txt", "mime_type": "text/plain", "size_bytes": 1, "sha256": f"{number:064}"}
    mine = {"workspace_id": WORKSPACE, "downloadable": True, "scope_id": "sesn_1"}
    return {"id": f"file_{number}", **named, **mine, "created_us": at_us, "expires_us": at_us}


def version(number: int, at_us: int) -> Values:
    """Of one memory, whose present one is the very first."""
    what = {"store_id": "memstore_1", "memory_id": "mem_1", "operation": "modified", "path": "/a", "content": b"a"}
    who = {"content_sha256": "", "actor_type": "api_actor", "actor_id": "apikey_1"}
    return {"id": f"memver_{number}", **what, **who, "created_us": at_us}


def recording(number: int, at_us: int) -> Values:
    whose = {"workspace_id": WORKSPACE, "key_id": "apikey_1", "user_id": "ann"}
    return {"call_id": f"req_{number}", **whose, "size_bytes": 10, "content": b"0123456789", "created_us": at_us}


def document(number: int, at_us: int) -> Values:
    told = {"name": f"{number}.md", "title": "", "media_type": "text/markdown", "sha256": "", "size_bytes": 1}
    state = {"chunks": 0, "state": "ready", "created_us": at_us}
    return {"id": f"kdoc_{number}", "collection_id": "kcol_1", **told, **state}


def hour_sum(number: int, at_us: int) -> Values:
    sums = {column.name: 1 for column in tables.call_sums.columns if column.name not in tables.call_sums.primary_key}
    keys = {"dimension": "user", "width_us": HOUR_US, "from_us": at_us // HOUR_US * HOUR_US}
    return {**sums, **keys, "workspace_id": WORKSPACE, "value": f"user {number}"}


Job = Callable[[Store], Awaitable[object]]
JOBS: dict[str, tuple[Table, Callable[[int, int], Values], Job]] = {
    "the log of changes": (
        tables.audit_log,
        audited,
        lambda store: AuditLog(store, CLOCK, AuditSettings(audit_kept_days=365)).tidy(),
    ),
    "alerts": (
        tables.alerts,
        alert,
        lambda store: Alerts(store, AlertSettings(), clock=CLOCK, ids=new_id).tidy(),
    ),
    "deferred calls": (tables.deferred_calls, deferred, lambda store: DeferredRows(store).forget(NOW_US - 1)),
    "deliveries": (tables.webhook_deliveries, delivery, lambda store: WebhookRows(store).forget(NOW_US - 1)),
    "expired files": (tables.files, file, lambda store: FileRows(store).delete_expired(NOW_US - 1)),
    "versions of memories": (
        tables.memory_versions,
        version,
        lambda store: MemoryVersionRows(store).delete_before(NOW_US - 1),
    ),
    "recordings that are too old": (
        tables.recordings,
        recording,
        lambda store: RecordingRows(store).delete_before(NOW_US - 1),
    ),
    "recordings that are too many": (
        tables.recordings,
        recording,
        lambda store: RecordingRows(store).shrink_to(3 * 10),
    ),
    "sums of hours": (tables.call_sums, hour_sum, lambda store: CallSumming(store, CLOCK).tidy()),
}


async def put(store: Store, table: Table, rows: list[Values]) -> None:
    async def op(connection: AsyncConnection) -> None:
        for at in range(0, len(rows), SLICE):
            await connection.execute(insert(table), rows[at : at + SLICE])

    await store.write(op)


async def count(store: Store, table: Table) -> int:
    async with store.read() as connection:
        return int((await connection.execute(select(func.count()).select_from(table))).scalar_one())


@pytest.fixture(autouse=True)
async def what_rows_belong_to(store: Store) -> None:
    await put(store, tables.workspaces, [{"id": WORKSPACE, "name": "one", "created_us": 0}])
    webhook = {"url": "https://example.com", "events": "[]", "sealed": b"", "created_us": 0}
    await put(store, tables.webhooks, [{"id": "whk_1", "workspace_id": WORKSPACE, **webhook}])
    named = {"name": "one", "description": "", "created_us": 0, "updated_us": 0}
    await put(store, tables.memory_stores, [{"id": "memstore_1", "workspace_id": WORKSPACE, "metadata": "{}", **named}])
    memory = {"path": "/a", "content": b"a", "content_sha256": "", "created_us": 0, "updated_us": 0}
    await put(
        store, tables.memories, [{"id": "mem_1", "store_id": "memstore_1", "version_id": "memver_present", **memory}]
    )
    await put(store, tables.memory_versions, [{**version(0, LONG_AGO_US), "id": "memver_present"}])


async def in_slices(store: Store, work: Job, least: int = 3) -> None:
    """Do the work, which must take as many commits, and let others in between."""
    before = store.commits
    await work(store)
    assert store.commits - before >= least


@pytest.mark.parametrize("name", JOBS)
async def test_what_is_over_goes_in_slices_and_the_rest_stays(store: Store, name: str) -> None:
    table, row, job = JOBS[name]
    there = await count(store, table)
    fresh = [row(number, NOW_US) for number in range(3)]
    await put(store, table, [*fresh, *(row(number, LONG_AGO_US) for number in range(3, 3 + MANY))])
    if name == "sums of hours":  # they are tidied where there are calls
        await put(store, tables.calls, [call(0)])
    await in_slices(store, job)
    assert await count(store, table) == there + len(fresh)
    before = store.commits
    if name != "sums of hours":
        await job(store)
        assert store.commits == before, "where nothing is over, nothing is written"


def call(number: int) -> Values:
    told = {"route": "messages", "streamed": False, "status": 200, "attempts": 1, "usage_known": "exact"}
    whose = {"workspace_id": WORKSPACE, "key_id": "apikey_1", "user_id": "ann"}
    return {"id": f"req_{number}", **whose, **told, "latency_us": 1, "started_us": NOW_US - number}


async def test_another_write_does_not_wait_for_all_of_them(store: Store) -> None:
    await put(store, tables.audit_log, [audited(number, LONG_AGO_US) for number in range(MANY)])
    seen: list[int] = []

    async def looking(connection: AsyncConnection) -> None:
        query = select(func.count()).select_from(tables.audit_log)
        seen.append(int((await connection.execute(query)).scalar_one()))

    forgetting = asyncio.create_task(AuditLog(store, CLOCK, AuditSettings(audit_kept_days=365)).tidy())
    while not forgetting.done():
        await store.write(looking)
    assert any(0 < left < MANY for left in seen)


async def test_a_user_with_many_calls_is_forgotten_in_slices(store: Store) -> None:
    await put(store, tables.calls, [call(number) for number in range(MANY)])
    await put(store, tables.recordings, [recording(number, NOW_US) for number in range(MANY)])
    missed = {"workspace_id": WORKSPACE, "key_id": "apikey_1", "model": "claude", "culprit": "system_changed"}
    words = {"path": "system", "before": "Dear Ann", "after": "Dear Bob", "warmed_by": "req_0", "at_us": NOW_US}
    sums = {"lost_tokens": 1, "cost_nanodollars": 1}
    await put(store, tables.cache_misses, [{"call_id": "req_7", **missed, **words, **sums}])
    before = store.commits
    assert await RecordingRows(store).forget_user(WORKSPACE, "ann") == (MANY, MANY)
    assert store.commits - before >= 6
    async with store.read() as connection:
        named = select(func.count()).where(tables.calls.c.user_id.is_not(None))
        assert (await connection.execute(named)).scalar_one() == 0
        quoted = select(tables.cache_misses.c.before, tables.cache_misses.c.after, tables.cache_misses.c.lost_tokens)
        assert tuple((await connection.execute(quoted)).one()) == ("", "", 1)


async def test_what_a_client_deletes_goes_in_slices_too(store: Store) -> None:
    await put(store, tables.webhook_deliveries, [delivery(number, NOW_US) for number in range(MANY)])
    await in_slices(store, lambda store: WebhookRows(store).delete(WORKSPACE, "whk_1"))
    await put(store, tables.memory_versions, [version(number, NOW_US) for number in range(MANY)])
    await in_slices(store, lambda store: MemoryStoreRows(store).delete(WORKSPACE, "memstore_1"))
    await put(store, tables.files, [file(number, NOW_US) for number in range(MANY)])
    await in_slices(store, lambda store: FileRows(store).delete_scope(WORKSPACE, "sesn_1"))
    for table in (
        tables.webhooks,
        tables.webhook_deliveries,
        tables.memory_stores,
        tables.memories,
        tables.memory_versions,
        tables.files,
    ):
        assert await count(store, table) == 0, table.name


async def test_a_session_with_a_long_log_goes_in_slices(database_url: str) -> None:
    async with server(settings={"database": database_url}) as running:
        beta, store = running.client.beta, running.application.store
        agent = await beta.agents.create(name="one", model="claude-haiku-5-5")
        environment = await beta.environments.create(name="one")
        session = await beta.sessions.create(agent=agent.id, environment_id=environment.id)
        event = {"session_id": session.id, "type": "user.message", "body": "{}", "epoch": 0, "processed_us": NOW_US}
        log = [{**event, "seq": number, "id": f"sevt_{number}"} for number in range(1000, 1000 + MANY)]
        await put(store, tables.events, log)
        await in_slices(store, lambda _: beta.sessions.delete(session.id), least=5)
        assert (await count(store, tables.events), await count(store, tables.sessions)) == (0, 0)


async def test_a_collection_of_many_documents_goes_in_slices(store: Store) -> None:
    sizes = {"next_number": 1, "documents": 0, "indexed_chunks": 0, "indexed_words": 0, "version": 0}
    made = {"name": "docs", "description": "", "embedding": "", "gone": True, "created_us": 0, "updated_us": 0}
    await put(store, tables.knowledge_collections, [{"id": "kcol_1", "workspace_id": WORKSPACE, **sizes, **made}])
    await put(store, tables.knowledge_documents, [document(number, 0) for number in range(2 * REMOVED_AT_ONCE + 3)])
    slices = 1
    while await KnowledgeChunks(store).remove_collection("kcol_1"):
        slices += 1
    assert slices == 4
    assert await count(store, tables.knowledge_documents) == 0
    assert await count(store, tables.knowledge_collections) == 0


async def test_grants_that_are_over_go_a_few_with_each_new_one(store: Store) -> None:
    def grant(number: int, until_us: int) -> oauth.GrantRow:
        asked = {"toolbox": "docs", "redirect_uri": "https://example.com", "challenge": "", "code_hash": ""}
        whose = {"workspace_id": WORKSPACE, "key_id": "apikey_1", "client_id": "mcpclient_1"}
        times = {"code_until_us": 0, "created_us": number, "until_us": until_us}
        return oauth.GrantRow(f"mcpgrant_{number}", **whose, **asked, **times)  # type: ignore[arg-type]

    for number in range(3):
        await store.write(lambda conn, n=number: oauth.add_grant(conn, grant(n, NOW_US - 1), 0))  # type: ignore[misc]
    await store.write(lambda conn: oauth.add_grant(conn, grant(9, NOW_US + 1), NOW_US))
    assert await count(store, tables.oauth_grants) == 1


async def make_batch(store: Store, name: str) -> str:
    total = 2 * batch_work.AT_ONCE + 3
    row = BatchRow(name, WORKSPACE, "apikey_1", "local", "{}", total, total, NOW_US, NOW_US + 10**9)
    rows = BatchRows(store)
    await rows.begin(row)
    await rows.add(name, [NewItem(place, f"item-{place}", b"{}", place) for place in range(total)])
    await rows.start(name)
    return name


async def test_batches_are_closed_and_tidied_in_slices(store: Store, tmp_path: Path) -> None:
    clock, owners, rows = HandClock(), Owners(tmp_path / "owners", new_id), BatchRows(store)
    keeper = Keeper(store, owners, clock=clock, ids=new_id)
    cancelled, expired = [await make_batch(store, name) for name in ("msgbatch_1", "msgbatch_2")]
    await rows.cancel(WORKSPACE, cancelled, NOW_US)
    await in_slices(store, lambda _: keeper.look(), least=6)  # each one closed, and tidied
    row = await rows.get(WORKSPACE, cancelled)
    assert (row.status, row.canceled, row.holds) == ("ended", row.total, "results")
    assert await count(store, tables.batch_requests) == row.total
    await clock.advance(1001)
    await in_slices(store, lambda _: keeper.look(), least=6)
    row = await rows.get(WORKSPACE, expired)
    assert (row.status, row.expired) == ("ended", row.total)
    assert await count(store, tables.batch_requests) == 0
    await rows.delete(WORKSPACE, expired)
    await in_slices(store, lambda _: keeper.look())
    assert await count(store, tables.batch_items) == row.total
    large = BatchRow("msgbatch_3", WORKSPACE, "k", "local", "{}", 6, 6 << 22, NOW_US, NOW_US, status="deleted")
    await rows.begin(large)
    await rows.add(large.id, [NewItem(place, f"item-{place}", b" " * (1 << 22), place) for place in range(6)])
    await in_slices(store, lambda _: keeper.look())  # a few large ones are many bytes
    assert await count(store, tables.batch_requests) == 0
    owners.close()

"""Keys: made once, checked in memory, refused soon after they are revoked, in every process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import select

from freehold.access.first_start import AdminKeySettings, first_start
from freehold.access.keys import Keys
from freehold.access.workspaces import Workspaces
from freehold.calls import Caller, Headers
from freehold.clock import HandClock, SystemClock
from freehold.errors import Conflict, InvalidRequest, NotFound, Unauthenticated
from freehold.store.engine import Store
from freehold.store.tables import api_keys, workspaces

ADMIN_KEY = "sk-fh-" + "a" * 43


@pytest.fixture
async def keys(store: Store, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Keys]:
    """Keys of a server whose admin key is `ADMIN_KEY`."""
    await first_start(store, AdminKeySettings(ADMIN_KEY), tmp_path_factory.mktemp("data"), clock=SystemClock())
    opened = await Keys.open(store, clock=SystemClock())
    yield opened
    await opened.close()


def bearer(key: str) -> Headers:
    return [(b"host", b"here"), (b"authorization", b"Bearer " + key.encode())]


def x_api_key(key: str) -> Headers:
    return [(b"x-api-key", key.encode()), (b"content-type", b"application/json")]


async def until_refused(keys: Keys, key: str) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                keys.check(bearer(key))
            except Unauthenticated:
                return
            await asyncio.sleep(0.01)


async def default_workspace(keys: Keys) -> str:
    return keys.check(bearer(ADMIN_KEY)).workspace_id


async def test_a_key_opens_its_workspace_in_either_header(keys: Keys) -> None:
    made = await keys.create(await default_workspace(keys), "for tests")
    expected = Caller(made.key.workspace_id, made.key.id, "member")
    assert keys.check(bearer(made.secret)) == keys.check(x_api_key(made.secret)) == expected
    assert keys.check([(b"authorization", b"bearer  " + made.secret.encode())]) == expected
    assert keys.check(x_api_key(made.secret) + bearer("sk-fh-other")) == expected
    assert made.secret.startswith("sk-fh-")
    assert len(made.secret) == 6 + 43
    assert made.key.hint == made.secret[-4:]


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"x-api-key", b"")],
        [(b"authorization", b"Bearer ")],
        [(b"authorization", ADMIN_KEY.encode())],
        [(b"authorization", b"Basic " + ADMIN_KEY.encode())],
        bearer(ADMIN_KEY[:-1]),
        bearer(ADMIN_KEY + "a"),
        bearer("sk-fh-" + "b" * 43),
        bearer("x" * 1_000_000),
        [(b"x-api-key", b"\xff\x00")],
        x_api_key("wrong") + bearer(ADMIN_KEY),
    ],
)
@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_whatever_is_not_a_valid_key_is_refused_counted_and_not_repeated(keys: Keys, headers: Headers) -> None:
    with pytest.raises(Unauthenticated) as refused:
        keys.check(headers)
    assert ADMIN_KEY[:20] not in str(refused.value)
    assert keys.failures == 1


async def test_the_key_itself_is_nowhere_in_the_database(keys: Keys, store: Store) -> None:
    made = await keys.create(await default_workspace(keys), "for tests")
    async with store.read() as conn:
        row = (await conn.execute(select(api_keys).where(api_keys.c.id == made.key.id))).one()
    assert not [value for value in row if made.secret[6:20] in str(value)]


async def test_a_revoked_key_is_refused_at_once_here_and_soon_elsewhere(
    keys: Keys, store: Store, database_url: str
) -> None:
    elsewhere = await Store.open(database_url, clock=SystemClock())
    there = await Keys.open(elsewhere, clock=SystemClock())
    made = await keys.create(await default_workspace(keys), "for tests", "admin")
    async with asyncio.timeout(60):
        while True:
            try:
                assert there.check(bearer(made.secret)).role == "admin"
                break
            except Unauthenticated:
                await asyncio.sleep(0.01)
    revoked = await keys.revoke(made.key.id)
    assert revoked.revoked_us is not None
    with pytest.raises(Unauthenticated):
        keys.check(bearer(made.secret))
    await until_refused(there, made.secret)
    assert await keys.revoke(made.key.id) == revoked
    assert keys.check(bearer(ADMIN_KEY)) == there.check(bearer(ADMIN_KEY))
    await there.close()
    await elsewhere.close()


async def test_keys_are_listed_newest_first_by_pages_and_by_workspace(keys: Keys, store: Store) -> None:
    clock = HandClock()
    workspace = await Workspaces(store, clock=clock).create("second")
    later = Keys(store, clock=clock)
    made = []
    for n in range(5):
        await clock.advance(1)
        made.append((await later.create(workspace.id, f"key {n}")).key)
    first = await keys.list(limit=2, workspace_id=workspace.id)
    assert [key.name for key in first] == ["key 4", "key 3", "key 2"]  # one more than asked: there is a next page
    last = (first[1].created_us, first[1].id)
    assert [key.name for key in await keys.list(limit=9, after=last, workspace_id=workspace.id)] == [
        "key 2",
        "key 1",
        "key 0",
    ]
    assert len(await keys.list()) == 6
    assert await keys.get(made[0].id) == made[0]


async def test_a_key_needs_a_name_a_role_and_a_workspace(keys: Keys) -> None:
    workspace = await default_workspace(keys)
    for name in ("", "x" * 256, "a\0b"):
        with pytest.raises(InvalidRequest, match="name"):
            await keys.create(workspace, name)
    with pytest.raises(InvalidRequest, match="role"):
        await keys.create(workspace, "fine", "owner")  # type: ignore[arg-type]
    with pytest.raises(NotFound, match="no workspace"):
        await keys.create("wrkspc_none", "fine")
    for ask in (keys.get, keys.revoke):
        with pytest.raises(NotFound, match="no key"):
            await ask("apikey_none")


async def test_workspaces_have_names_of_their_own(store: Store) -> None:
    clock = HandClock()
    tenants = Workspaces(store, clock=clock)
    made = await tenants.create("research")
    assert made.id.startswith("wrkspc_")
    assert await tenants.get(made.id) == made
    outcomes = await asyncio.gather(*(tenants.create("same") for _ in range(3)), return_exceptions=True)
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 2
    with pytest.raises(InvalidRequest, match="name"):
        await tenants.create("")
    with pytest.raises(NotFound):
        await tenants.get("wrkspc_none")
    assert {tenant.name for tenant in await tenants.list()} == {"research", "same"}
    async with store.read() as conn:
        assert len((await conn.execute(select(workspaces.c.id))).all()) == 2

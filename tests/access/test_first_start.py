"""What the first start leaves behind, and what later ones leave alone."""

from __future__ import annotations

import asyncio
import os
import stat
from functools import partial
from pathlib import Path

import pytest

from freehold.access.first_start import AdminKeySettings, first_start
from freehold.access.keys import Keys
from freehold.clock import SystemClock
from freehold.errors import Misconfigured, Unauthenticated
from freehold.store.engine import Store

START = partial(first_start, clock=SystemClock())
NONE = AdminKeySettings()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """An empty data folder."""
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


async def role_of(store: Store, key: str) -> str:
    keys = Keys(store, clock=SystemClock())
    await keys.refresh()
    try:
        return keys.check([(b"x-api-key", key.encode())]).role
    except Unauthenticated:
        return "nobody"


def mode(path: Path) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


async def test_the_first_start_makes_a_workspace_and_an_admin_key_for_its_owners_eyes(store: Store, data: Path) -> None:
    started = await START(store, NONE, data)
    assert started.workspace.name == "default"
    assert started.workspace.id.startswith("wrkspc_")
    assert started.key_file == data / "admin-key"
    assert started.key_file.read_text().strip() == started.admin_key
    assert mode(started.key_file) == 0o600
    assert os.listdir(data) == ["admin-key"]
    assert started.admin_key is not None
    assert await role_of(store, started.admin_key) == "admin"


async def test_a_later_start_makes_nothing_and_shows_nothing(store: Store, data: Path) -> None:
    first = await START(store, NONE, data)
    second = await START(store, NONE, data)
    assert (second.workspace, second.key_file, second.admin_key) == (first.workspace, None, None)


async def test_servers_that_start_at_once_agree_on_one_key(store: Store, data: Path, database_url: str) -> None:
    others = [await Store.open(database_url, clock=SystemClock()) for _ in range(2)]
    started = await asyncio.gather(*(START(place, NONE, data) for place in (store, *others)))
    assert len({start.workspace.id for start in started}) == 1
    key = (data / "admin-key").read_text().strip()
    assert {start.admin_key for start in started} <= {key, None}
    assert await role_of(store, key) == "admin"
    await asyncio.gather(*(place.close() for place in others))


async def test_a_server_that_comes_second_with_a_folder_of_its_own_leaves_no_dead_key_there(
    store: Store, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    started = await asyncio.gather(START(store, NONE, data), START(store, NONE, tmp_path / "other"))
    kept = [start.admin_key for start in started if start.admin_key]
    assert len(kept) == 1
    assert await role_of(store, kept[0]) == "admin"
    folders = (data, tmp_path / "other")
    assert sum(len(os.listdir(folder)) for folder in folders) == 1
    left = next(folder / "admin-key" for folder in folders if os.listdir(folder))
    assert left.read_text().strip() == kept[0]


async def test_a_crash_before_the_key_was_valid_is_got_over_with_the_same_key(store: Store, data: Path) -> None:
    descriptor = os.open(data / "admin-key", os.O_CREAT | os.O_WRONLY, 0o600)
    os.write(descriptor, b"sk-fh-from-a-start-that-crashed-0123456789\n")
    os.close(descriptor)
    started = await START(store, NONE, data)
    assert started.admin_key == "sk-fh-from-a-start-that-crashed-0123456789"
    assert await role_of(store, started.admin_key) == "admin"


async def test_a_revoked_first_key_does_not_come_back(store: Store, data: Path) -> None:
    first = await START(store, NONE, data)
    assert first.admin_key is not None
    keys = Keys(store, clock=SystemClock())
    await keys.refresh()
    await keys.revoke(keys.check([(b"x-api-key", first.admin_key.encode())]).key_id)
    second = await START(store, NONE, data)
    assert second.admin_key not in (None, first.admin_key)
    assert await role_of(store, first.admin_key) == "nobody"
    assert await role_of(store, second.admin_key or "") == "admin"


async def test_a_key_file_that_others_can_read_stops_the_start(store: Store, data: Path) -> None:
    (data / "admin-key").write_text("sk-fh-open-to-everybody")
    (data / "admin-key").chmod(0o640)
    with pytest.raises(Misconfigured, match="chmod 600"):
        await START(store, NONE, data)
    assert await role_of(store, "sk-fh-open-to-everybody") == "nobody"


async def test_an_operators_key_is_valid_without_a_file_and_the_one_before_is_not(store: Store, data: Path) -> None:
    first, second = "first-" + "1" * 40, "second-" + "2" * 40
    for _ in range(2):
        started = await START(store, AdminKeySettings(first), data)
        assert (started.key_file, started.admin_key) == (None, None)
        assert await role_of(store, first) == "admin"
    await START(store, AdminKeySettings(second), data)
    assert await role_of(store, first) == "nobody"
    assert await role_of(store, second) == "admin"
    assert os.listdir(data) == []
    with pytest.raises(Misconfigured, match="revoked"):
        await START(store, AdminKeySettings(first), data)


@pytest.mark.parametrize("key", ["short", "x" * 31, "with space " * 5, "ümläut" * 10, "line\n" * 10])
@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_an_operators_key_that_is_easily_guessed_stops_the_start(store: Store, data: Path, key: str) -> None:
    with pytest.raises(Misconfigured, match="at least 32") as refused:
        await START(store, AdminKeySettings(key), data)
    assert key not in str(refused.value)

"""Schemas: made at once or by the migrations, the same tables on both databases, by any number of processes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, text
from sqlalchemy.schema import CreateIndex, CreateTable

from freehold.clock import SystemClock
from freehold.errors import Misconfigured
from freehold.store.base import Connection as StoreConnection
from freehold.store.engine import Store, _database
from freehold.store.migrations.schema import FOLDER, head, make, upgrade
from freehold.store.tables import metadata
from tests.databases import Postgres

OPEN = """
import asyncio, sys
from freehold.clock import SystemClock
from freehold.store.engine import Store, _database

async def main():
    store = await Store.open(sys.argv[1], clock=SystemClock())
    await store.close()
    print("alembic" in sys.modules)

asyncio.run(main())
"""


@pytest.fixture
def empty_url(database_kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """A database without tables."""
    if database_kind == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    server: Postgres = request.getfixturevalue("postgres")
    url = asyncio.run(server.make_empty())
    yield url
    asyncio.run(server.drop(url))


def differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
    return list(compare_metadata(context, metadata))


def run_open(url: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", OPEN, url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def described(connection: Connection) -> set[tuple[str, ...]]:
    """Every table and index, as the database tells them; the constraints of a table come in any order."""
    found = MetaData()
    found.reflect(connection)
    tables = [str(CreateTable(table).compile(connection)) for table in found.tables.values()]
    indexes = [
        str(CreateIndex(index).compile(connection)) for table in found.tables.values() for index in table.indexes
    ]
    return {tuple(sorted(line.strip(" \t,") for line in words.splitlines())) for words in tables + indexes}


async def test_the_migrations_make_exactly_the_tables(empty_url: str) -> None:
    database = _database(empty_url)
    async with database.migrating() as conn:
        await conn.run_sync(upgrade)
        assert await conn.run_sync(differences) == []
        migrated = await conn.run_sync(described)
        await conn.run_sync(emptied)
        await conn.run_sync(make)
        assert await conn.run_sync(described) == migrated
        assert len(migrated) > 20
    await database.close()


def emptied(connection: Connection) -> None:
    found = MetaData()
    found.reflect(connection)
    found.drop_all(connection)


def test_several_processes_may_make_the_schema_at_once(empty_url: str) -> None:
    processes = [run_open(empty_url) for _ in range(3)]
    ended = [(process.communicate(timeout=60), process.returncode) for process in processes]
    assert [code for _, code in ended] == [0, 0, 0], ended


def test_alembic_is_not_imported_where_the_schema_is_made_or_the_newest(empty_url: str) -> None:
    for _ in range(2):
        out, err = run_open(empty_url).communicate(timeout=60)
        assert out == "False\n", err


def test_the_head_by_file_names_is_the_head_of_alembic() -> None:
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    assert ScriptDirectory.from_config(config).get_heads() == [head()]


async def test_a_database_of_a_newer_version_stops_the_start(database_url: str) -> None:
    store = await Store.open(database_url, clock=SystemClock())

    async def from_the_future(conn: StoreConnection) -> None:
        await conn.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    await store.write(from_the_future)
    await store.close()
    with pytest.raises(Misconfigured, match="newer Freehold"):
        await Store.open(database_url, clock=SystemClock())


async def test_a_database_of_somebody_else_is_left_alone(database_url: str) -> None:
    store = await Store.open(database_url, clock=SystemClock())

    async def estrange(conn: StoreConnection) -> None:
        await conn.execute(text("DROP TABLE alembic_version"))

    await store.write(estrange)
    await store.close()
    with pytest.raises(Misconfigured, match="not Freehold's"):
        await Store.open(database_url, clock=SystemClock())

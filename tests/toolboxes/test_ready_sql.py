"""SQL toolboxes: they answer, stay within their bounds, and nothing that a model writes changes or reaches anything."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator
from os.path import exists
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from freehold.clock import SystemClock
from freehold.errors import Misconfigured
from freehold.toolboxes.base import Toolbox
from freehold.toolboxes.ready.bound import bound
from freehold.toolboxes.ready.declared import ready_toolboxes
from freehold.toolboxes.settings import ToolboxSettings

SETUP = """
CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT, pieces INTEGER, day DATE);
INSERT INTO products VALUES (1, 'ink', 12, '2026-01-02'), (2, 'tea''s', 3, '2026-03-04');
CREATE TABLE secrets (word TEXT);
INSERT INTO secrets VALUES ('hidden');
"""


def toolbox(**fields: Any) -> Toolbox:
    made = ready_toolboxes(ToolboxSettings(toolboxes={"shop": {"kind": "sql", **fields}}), SystemClock())
    return made["shop"]


async def asked(box: Toolbox, statement: str, **parameters: Any) -> str:
    result = await box.call("query", {"statement": statement, "parameters": parameters}, key="k")
    text = str(result.content[0]["text"])
    return f"error: {text}" if result.is_error else text


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(SETUP)
    connection.close()
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
async def box(request: pytest.FixtureRequest, file: Path) -> AsyncIterator[Toolbox]:
    if request.param == "sqlite":
        made = toolbox(url=f"sqlite:///{file}", rows=100, query_s=1)
        yield made
        await made.close()
        return
    server = request.getfixturevalue("postgres")
    url = await server.make_empty()
    connection = await asyncpg.connect(url)
    await connection.execute(SETUP)
    await connection.execute(
        "DO $$ BEGIN CREATE ROLE reader LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;"
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO reader; GRANT CREATE ON SCHEMA public TO reader"
    )
    reading = make_url(url).set(username="reader").render_as_string(hide_password=False)
    made = toolbox(url=reading, rows=100, query_s=1)
    yield made
    await made.close()
    assert await connection.fetchval("SELECT count(*) FROM products") == 2
    assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 2
    await connection.execute("DROP OWNED BY reader")
    await connection.close()
    await server.drop(url)


async def test_tables_are_listed_and_queried_with_bound_parameters(box: Toolbox) -> None:
    listed = await box.call("list_tables", {}, key="k")
    assert "products: id INTEGER, name TEXT, pieces INTEGER, day DATE" in str(listed.content[0]["text"])
    few = await asked(box, "SELECT name, pieces FROM products WHERE pieces > :least;", least=5)
    assert json.loads(few) == {"name": "ink", "pieces": 12}
    injected = "x' OR '1'='1"
    assert await asked(box, "SELECT name FROM products WHERE name = :name", name=injected) == "There are no such rows."
    assert "tea's" in await asked(box, "SELECT name FROM products WHERE name = :name -- the :rest", name="tea's")
    assert "12:30" in await asked(box, "SELECT '12:30' AS t, ':name' AS u")


OUTSIDE = ("/tmp/freehold-other.db", "/tmp/freehold-stolen.db", "/tmp/freehold-ran", "/tmp/freehold-copy")
WRITES = [
    "DELETE FROM products",
    "UPDATE products SET pieces = 0",
    "INSERT INTO products VALUES (9, 'x', 1, NULL)",
    "DROP TABLE products",
    "CREATE TABLE mine (x INTEGER)",
    "SELECT 1; DELETE FROM products",
    "SELECT 1) AS x; DELETE FROM products; --",
    "WITH gone AS (DELETE FROM products RETURNING id) SELECT * FROM gone",
    "COMMIT",
    "/* only */ DELETE /* reading */ FROM products",
    "VACUUM",
    "",
]
OF_SQLITE = [
    "ATTACH DATABASE '/tmp/freehold-other.db' AS other",
    "VACUUM INTO '/tmp/freehold-stolen.db'",
    "PRAGMA query_only = OFF",
    "PRAGMA journal_mode = DELETE",
    "SELECT load_extension('/tmp/x.so')",
    "SELECT randomblob(1000000000)",
    "REPLACE INTO products SELECT * FROM products",
    "EXPLAIN DELETE FROM products",
]
OF_POSTGRES = [
    "SELECT set_config('transaction_read_only', 'off', true)",
    "SET TRANSACTION READ WRITE",
    "COPY products TO PROGRAM 'touch /tmp/freehold-ran'",
    "COPY products TO '/tmp/freehold-copy'",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT lo_create(0)",
    "SELECT * INTO mine FROM products",
    "SELECT 1 FROM products FOR UPDATE",
    "DO $$ BEGIN DELETE FROM products; END $$",
    "CALL nothing()",
    "LISTEN x",
    "EXPLAIN ANALYZE DELETE FROM products",
]


async def test_nothing_that_changes_or_reaches_further_is_done(box: Toolbox, request: pytest.FixtureRequest) -> None:
    own = OF_SQLITE if "sqlite" in request.node.name else OF_POSTGRES
    for statement in [*WRITES, *own]:
        assert (await asked(box, statement)).startswith("error: "), statement
    assert "2" in await asked(box, "SELECT count(*) FROM products")
    assert not any(map(exists, OUTSIDE))


async def test_rows_sizes_and_time_are_bounded(box: Toolbox) -> None:
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) SELECT i FROM n"
    lines = (await asked(box, numbers)).splitlines()
    assert len(lines) == 101 and "the first 100 rows" in lines[-1]
    long = await asked(box, "SELECT replace(CAST(:a AS text), 'a', CAST(:b AS text)) AS c", a="a" * 500, b="b" * 500)
    assert len(long) < 21_000 and "cut: this row" in long
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    told = await asked(box, endless)
    assert told.startswith("error: ") and ("was stopped" in told or "statement timeout" in told)
    assert "2" in await asked(box, "SELECT count(*) FROM products")


async def test_only_the_tables_that_were_named_are_seen_in_sqlite(file: Path) -> None:
    box = toolbox(url=f"sqlite:///{file}", tables=["products"])
    assert "secrets" not in str((await box.call("list_tables", {}, key="k")).content)
    assert "ink" in await asked(box, "SELECT name FROM products")
    for statement in (
        "SELECT word FROM secrets",
        "SELECT count(*) FROM secrets",
        "WITH products AS (SELECT word FROM secrets) SELECT * FROM products",
        "SELECT sql FROM sqlite_master",
        "SELECT * FROM pragma_table_info('secrets')",
    ):
        assert "hidden" not in await asked(box, statement)
        assert (await asked(box, statement)).startswith("error: "), statement
    await box.close()


async def test_a_superuser_is_refused(postgres: Any) -> None:
    url = await postgres.make_empty()
    box = toolbox(url=url)
    assert "superuser" in await asked(box, "SELECT 1")
    await box.close()
    await postgres.drop(url)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, "shop.url: is required"),
        ({"url_env": "FREEHOLD_NO_SUCH_VARIABLE"}, "url_env: the environment has no"),
        ({"url": "sqlite:////x", "url_env": "PATH"}, "shop.url: stands beside url_env"),
        ({"url": "nonsense"}, "shop.url: is no address"),
        ({"url": "mysql://x/y"}, "must begin with sqlite or postgresql"),
        ({"url": "sqlite:////x", "rows": 0}, "shop.rows: must be a number above 0"),
        ({"url": "sqlite:////x", "write": True}, "shop.write: is not known here"),
        ({"url": "postgresql://x/y", "tables": ["a"]}, "shop.tables: is for SQLite"),
    ],
)
def test_what_is_declared_wrongly_stops_the_start(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(Misconfigured, match=told):
        toolbox(**fields)


def test_only_names_that_have_a_value_are_parameters() -> None:
    assert bound("a = :a AND b = ':b' AND c::text", {"a"}) == "a = :a AND b = '\\:b' AND c::text"

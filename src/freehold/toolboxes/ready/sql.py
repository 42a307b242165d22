"""A SQL database as tools: which tables there are, and queries with bound parameters, held to reading by the database.

SQLite: opened read-only, and an authorizer that knows only reading. PostgreSQL: a read-only transaction, one statement
by the extended protocol, and that inside a select. The words of a statement are never judged here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from freehold.toolboxes.functions import Function
from freehold.toolboxes.ready.entry import Entry, tool
from freehold.toolboxes.ready.queries import Bounds, Found

_VALUE = {"type": ["string", "number", "boolean", "null"]}
_PARAMETERS = {
    "type": "object",
    "additionalProperties": _VALUE,
    "default": {},
    "description": "Values for the :names in the statement",
}


class Database(Protocol):
    """A database that can only be read. Both raise `ToolFailed` with what the database says."""

    async def tables(self) -> Mapping[str, Sequence[str]]:
        """Each table and view, and its columns with their types."""
        ...

    async def query(self, statement: str, values: Mapping[str, Any], bounds: Bounds) -> Found:
        """The rows of one statement."""
        ...

    async def close(self) -> None:
        """Let its connections go."""
        ...


def functions(entry: Entry) -> list[Function]:
    """The tools of a declared database. Raises `Misconfigured`."""
    entry.known("url", "url_env", "tables", "rows", "row_bytes", "result_bytes", "query_s")
    bounds = Bounds(
        int(entry.number("rows", 200, 100_000)),
        int(entry.number("row_bytes", 20_000, 10 << 20)),
        int(entry.number("result_bytes", 200_000, 64 << 20)),
        entry.number("query_s", 20, 3600),
    )
    database = _database(entry, entry.texts("tables"))

    async def list_tables(arguments: Mapping[str, Any]) -> str:
        found = await database.tables()
        return "\n".join(f"{table}: {', '.join(columns)}" for table, columns in found.items()) or "There are none."

    async def query(arguments: Mapping[str, Any]) -> str:
        statement = str(arguments["statement"]).strip().rstrip(";").rstrip()
        return _told(await database.query(statement, dict(arguments.get("parameters") or {}), bounds), bounds)

    statement = {"type": "string", "minLength": 1, "maxLength": 20_000, "description": "One SELECT"}
    words = (
        f"Query the database by one SELECT; at most {bounds.rows} rows come back. It can only be read. Put values into "
        "parameters, not into the statement; write CAST(:day AS date) where a type other than text or number is needed."
    )
    schema = {"statement": statement, "parameters": _PARAMETERS}
    made = [
        tool("list_tables", "List the tables and their columns.", {}, list_tables, is_async=True),
        tool("query", words, schema, query, is_async=True),
    ]
    return [Function(one.spec, one.inputs, one.run, True, database.close) for one in made[:1]] + made[1:]


def _database(entry: Entry, tables: Sequence[str] | None) -> Database:
    try:
        url = make_url(entry.text("url"))
    except ArgumentError as error:
        raise entry.wrong("url", "is no address of a database, such as sqlite:////srv/shop.db") from error
    backend = url.get_backend_name()
    if backend == "sqlite":
        from freehold.toolboxes.ready.sqlite import Sqlite

        if not url.database or url.query:
            raise entry.wrong("url", "must name a file: sqlite:////srv/shop.db")
        return Sqlite(url.database, tables)
    if backend == "postgresql":
        from freehold.toolboxes.ready.postgres import Postgres

        if tables is not None:
            raise entry.wrong("tables", "is for SQLite; of PostgreSQL a role sees the tables that it has rights on")
        return Postgres(url)
    raise entry.wrong("url", "must begin with sqlite or postgresql: others cannot be held to reading yet")


def _told(found: Found, bounds: Bounds) -> str:
    lines, left, more = [], bounds.result_bytes, found.more
    for row in found.rows:
        left -= len(row.encode())
        if left < 0:
            more = True
            break
        lines.append(row)
    note = [f"[these are the first {len(lines)} rows; ask for fewer or narrower ones]"] if more else []
    return "\n".join([*lines, *note]) or "There are no such rows."

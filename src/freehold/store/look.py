"""What a database is, seen without changing it: for `freehold doctor`, which must neither migrate nor make anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError

from freehold.errors import Unavailable
from freehold.store import leases
from freehold.store.base import sentence
from freehold.store.engine import _database
from freehold.store.migrations.schema import _check_known, _revision, head


@dataclass(frozen=True, slots=True)
class Seen:
    """A database that answers. `schema`: the revision it has, `None` when it is empty; `newest`: the one we know."""

    dialect: str
    schema: str | None
    newest: str
    places: Mapping[str, int]
    """How many sessions have their files at each place; empty also where the schema is not the newest."""


async def look(url: str) -> Seen:
    """Connect and read the revision.

    Raises:
        Misconfigured: not an address of a database, or the database is of a newer version or not ours.
        Unavailable: it cannot be reached.
    """
    database = _database(url)
    try:
        async with database.readers.connect() as connection:
            schema = await connection.run_sync(_revision)
            places = await leases.places(connection) if schema == head() else {}
    except (SQLAlchemyError, OSError) as error:
        raise Unavailable(f"{sentence(database.spoken(error))}.") from error
    finally:
        await database.close()
    _check_known(schema)
    return Seen(database.name, schema, head(), places)

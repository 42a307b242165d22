"""Rows of knowledge collections and of their documents. Chunks stand in `knowledge_chunks.py`; no HTTP here."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Row, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.errors import Conflict, NotFound
from freehold.store.engine import Store
from freehold.store.keyset import page as page_of
from freehold.store.knowledge_index import index_for
from freehold.store.knowledge_words import WordIndex
from freehold.store.tables import knowledge_collections as collections
from freehold.store.tables import knowledge_documents as documents


@dataclass(frozen=True, slots=True)
class CollectionRow:
    """One collection."""

    id: str
    workspace_id: str
    name: str
    description: str
    embedding: str
    next_number: int
    documents: int
    indexed_chunks: int
    indexed_words: int
    version: int
    gone: bool
    created_us: int
    updated_us: int


@dataclass(frozen=True, slots=True)
class DocumentRow:
    """One version of one document."""

    id: str
    collection_id: str
    name: str
    title: str
    media_type: str
    sha256: str
    size_bytes: int
    chunks: int
    state: str
    created_us: int


class KnowledgeRows:
    """Collections of all workspaces; every call names the one that it may see."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._index: WordIndex = index_for(store.dialect)

    async def create(self, row: CollectionRow, admit: Callable[[int], None]) -> CollectionRow:
        """A new, empty collection. `admit` gets how many the workspace has, and may refuse. Raises `Conflict`."""

        async def op(connection: AsyncConnection) -> CollectionRow:
            mine = select(func.count()).where(
                collections.c.workspace_id == row.workspace_id, collections.c.gone.is_(False)
            )
            admit((await connection.execute(mine)).scalar_one())
            try:
                async with connection.begin_nested():
                    await connection.execute(insert(collections).values(**asdict(row)))
            except IntegrityError as error:
                raise Conflict(f"name: there is a collection {row.name!r} already.") from error
            await self._index.make(connection, row.id)
            return row

        return await self._store.write(op)

    async def get(self, workspace_id: str, key: str) -> CollectionRow:
        """By its id or its name. Raises `NotFound`."""
        async with self._store.read() as connection:
            return await read_collection(connection, workspace_id, key)

    async def page(self, workspace_id: str, *, after: Sequence[Any] | None, limit: int) -> list[CollectionRow]:
        """Those made last first; one row more than `limit` if there is a next page."""
        query = select(collections).where(collections.c.workspace_id == workspace_id, collections.c.gone.is_(False))
        keys = (collections.c.created_us, collections.c.id)
        async with self._store.read() as connection:
            found = await connection.execute(page_of(query, keys, after=after, limit=limit))
            return [CollectionRow(**row._mapping) for row in found]

    async def named(self, workspace_id: str, names: Collection[str] | None, limit: int) -> list[CollectionRow]:
        """Those with these names; all of the workspace for `None`, up to `limit`."""
        query = select(collections).where(collections.c.workspace_id == workspace_id, collections.c.gone.is_(False))
        if names is not None:
            query = query.where(collections.c.name.in_(names))

        async def op(connection: AsyncConnection) -> list[CollectionRow]:
            found = await connection.execute(query.order_by(collections.c.name).limit(limit))
            return [CollectionRow(**row._mapping) for row in found]

        return await self._store.look(op)

    async def mark_gone(self, workspace_id: str, key: str) -> CollectionRow:
        """From now on nobody finds it, and its name is free. Raises `NotFound`."""

        async def op(connection: AsyncConnection) -> CollectionRow:
            row = await read_collection(connection, workspace_id, key, lock=True)
            await connection.execute(
                update(collections).where(collections.c.id == row.id).values(gone=True, name=row.id)
            )
            return row

        return await self._store.write(op)

    async def totals(self, collection_ids: Collection[str]) -> dict[str, tuple[int, int, int]]:
        """Of each: documents, chunks, and bytes that they were read from."""
        query = (
            select(
                documents.c.collection_id,
                func.count(),
                func.coalesce(func.sum(documents.c.chunks), 0),
                func.coalesce(func.sum(documents.c.size_bytes), 0),
            )
            .where(documents.c.collection_id.in_(collection_ids), documents.c.state == "ready")
            .group_by(documents.c.collection_id)
        )
        async with self._store.read() as connection:
            return {str(row[0]): (row[1], int(row[2]), int(row[3])) for row in await connection.execute(query)}

    # Documents.

    async def document(self, workspace_id: str, key: str, document_id: str) -> DocumentRow:
        """One that is ready. Raises `NotFound`."""
        async with self._store.read() as connection:
            collection = await read_collection(connection, workspace_id, key)
            return await _read_document(connection, collection.id, document_id)

    async def documents(
        self, collection_id: str, *, name: str | None, after: Sequence[Any] | None, limit: int
    ) -> list[DocumentRow]:
        """Those that are ready, made last first; one row more than `limit` if there is a next page."""
        query = select(documents).where(documents.c.collection_id == collection_id, documents.c.state == "ready")
        if name is not None:
            query = query.where(documents.c.name == name)
        keys = (documents.c.created_us, documents.c.id)
        async with self._store.read() as connection:
            found = await connection.execute(page_of(query, keys, after=after, limit=limit))
            return [DocumentRow(**row._mapping) for row in found]

    async def ready_by_name(self, collection_id: str, name: str) -> DocumentRow | None:
        """The version of a document that is searched now."""
        query = select(documents).where(
            documents.c.collection_id == collection_id, documents.c.state == "ready", documents.c.name == name
        )

        async def op(connection: AsyncConnection) -> DocumentRow | None:
            found = (await connection.execute(query)).first()
            return None if found is None else DocumentRow(**found._mapping)

        return await self._store.look(op)

    async def delete_document(self, workspace_id: str, key: str, document_id: str) -> DocumentRow:
        """From now on nobody finds it. Raises `NotFound`."""

        async def op(connection: AsyncConnection) -> DocumentRow:
            collection = await read_collection(connection, workspace_id, key)
            row = await _read_document(connection, collection.id, document_id)
            await connection.execute(update(documents).where(documents.c.id == document_id).values(state="gone"))
            await _grow(connection, collection.id, -1, None)
            return row

        return await self._store.write(op)

    async def begin_document(self, row: DocumentRow) -> None:
        """A version on its way in."""
        await self._store.write(lambda connection: begin(connection, row))

    async def finish_document(self, row: DocumentRow, now_us: int) -> None:
        """It is searched from now on, and no older version of it. Raises `NotFound` if its collection went."""
        await self._store.write(lambda connection: finish(connection, row, now_us))

    async def give_up_document(self, document_id: str) -> None:
        """It did not get in; what there is of it goes."""

        async def op(connection: AsyncConnection) -> None:
            await connection.execute(
                update(documents)
                .where(documents.c.id == document_id, documents.c.state == "indexing")
                .values(state="gone")
            )

        await self._store.write(op)


async def read_collection(
    connection: AsyncConnection, workspace_id: str, key: str, *, lock: bool = False
) -> CollectionRow:
    """By id or name, within a transaction of one's own. Raises `NotFound`."""
    query = select(collections).where(
        collections.c.workspace_id == workspace_id,
        collections.c.gone.is_(False),
        (collections.c.id == key) | (collections.c.name == key),
    )
    found = (await connection.execute(query.with_for_update() if lock else query)).first()
    if found is None:
        raise NotFound(f"There is no collection {key[:100]!r}.")
    return CollectionRow(**found._mapping)


async def begin(connection: AsyncConnection, row: DocumentRow) -> None:
    """`KnowledgeRows.begin_document` within a transaction of one's own."""
    await connection.execute(insert(documents).values(**asdict(row)))


async def finish(connection: AsyncConnection, row: DocumentRow, now_us: int) -> None:
    """`KnowledgeRows.finish_document` within a transaction of one's own."""
    same = (documents.c.collection_id == row.collection_id, documents.c.name == row.name)
    before = await connection.execute(update(documents).where(*same, documents.c.state == "ready").values(state="gone"))
    await _grow(connection, row.collection_id, 1 - before.rowcount, now_us)
    await connection.execute(update(documents).where(documents.c.id == row.id).values(state="ready", chunks=row.chunks))


async def _grow(connection: AsyncConnection, collection_id: str, by: int, now_us: int | None) -> None:
    """So many documents more: what somebody remembers of it is out of date. Raises `NotFound` if it went."""
    values: dict[str, Any] = {"documents": collections.c.documents + by, "version": collections.c.version + 1}
    if now_us is not None:
        values["updated_us"] = now_us
    kept = update(collections).where(collections.c.id == collection_id, collections.c.gone.is_(False))
    if (await connection.execute(kept.values(**values))).rowcount < 1:
        raise NotFound("The collection was deleted meanwhile.")


async def _read_document(connection: AsyncConnection, collection_id: str, document_id: str) -> DocumentRow:
    query = select(documents).where(
        documents.c.collection_id == collection_id, documents.c.id == document_id, documents.c.state == "ready"
    )
    found: Row[Any] | None = (await connection.execute(query)).first()
    if found is None:
        raise NotFound(f"There is no document {document_id[:100]!r} in this collection.")
    return DocumentRow(**found._mapping)

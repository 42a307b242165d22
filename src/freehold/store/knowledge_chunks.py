"""Rows of the chunks of documents, with their words and vectors: put in and taken out in slices, and looked for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Select, delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.errors import NotFound
from freehold.store.engine import Store
from freehold.store.knowledge import CollectionRow, DocumentRow, begin, finish
from freehold.store.knowledge_index import index_for
from freehold.store.knowledge_words import Size, WordIndex
from freehold.store.tables import knowledge_chunks as chunks
from freehold.store.tables import knowledge_collections as collections
from freehold.store.tables import knowledge_documents as documents
from freehold.store.tables import knowledge_vectors as vectors

T = TypeVar("T")
SLICE = 256
"""Chunks that one transaction takes in: about a tenth of a second, in which nobody else writes."""
REMOVED_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class NewChunk:
    """One chunk on its way in: its text, the headings above, where it stands (JSON), its words, its vector."""

    text: str
    heading: str
    place: str
    words: Sequence[str]
    vector: bytes | None = None


@dataclass(frozen=True, slots=True)
class FoundChunk:
    """One chunk with what is known of its document."""

    number: int
    text: str
    heading: str
    place: str
    document_id: str
    name: str
    title: str


class Looking:
    """One moment of one collection, for a search; only within `KnowledgeChunks.look`."""

    def __init__(self, connection: AsyncConnection, index: WordIndex, collection: CollectionRow) -> None:
        self._connection = connection
        self._index = index
        self._id = collection.id
        self.size = Size(collection.indexed_chunks, collection.indexed_words)

    async def counts(self, words: Collection[str]) -> dict[str, int]:
        """How many chunks hold each word; words that none holds are left out."""
        return await self._index.counts(self._connection, self._id, words)

    async def holders(self, word: str) -> Sequence[int]:
        """The chunks that hold it."""
        return await self._index.holders(self._connection, self._id, word)

    async def scores(self, counts: Mapping[str, int], numbers: Collection[int]) -> dict[int, float]:
        """BM25 of those chunks for the words of `counts`."""
        return await self._index.scores(self._connection, self._id, self.size, counts, numbers)

    async def chunks(self, numbers: Collection[int]) -> dict[int, FoundChunk]:
        """Those of them whose documents are ready."""
        query = (
            select(chunks.c.number, chunks.c.text, chunks.c.heading, chunks.c.place)
            .add_columns(documents.c.id.label("document_id"), documents.c.name, documents.c.title)
            .join(documents, documents.c.id == chunks.c.document_id)
            .where(chunks.c.collection_id == self._id, chunks.c.number.in_(numbers), documents.c.state == "ready")
        )
        return {row.number: FoundChunk(**row._mapping) for row in await self._connection.execute(query)}


class KnowledgeChunks:
    """Chunks of all collections."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._index: WordIndex = index_for(store.dialect)

    async def add(self, document: DocumentRow, new: Sequence[NewChunk]) -> None:
        """Take in one slice of a document, at most `SLICE` chunks."""
        await self._store.write(lambda connection: self._put(connection, document, new))

    async def add_whole(self, document: DocumentRow, new: Sequence[NewChunk], now_us: int) -> None:
        """Take in a document of one slice: begun, put in and finished by one commit. Raises `NotFound`."""

        async def op(connection: AsyncConnection) -> None:
            await begin(connection, document)
            await self._put(connection, document, new)
            await finish(connection, document, now_us)

        await self._store.write(op)

    async def remove(self, document_id: str) -> bool:
        """Take out one slice of a document that is gone; with the last one its row goes, and it gives false."""

        async def op(connection: AsyncConnection) -> bool:
            query = select(documents).where(documents.c.id == document_id, documents.c.state == "gone")
            row = (await connection.execute(query)).first()
            if row is None:
                return False
            some = select(chunks.c.number).where(chunks.c.document_id == document_id).limit(REMOVED_AT_ONCE)
            numbers = list((await connection.execute(some)).scalars())
            if numbers:
                await self._forget(connection, row.collection_id, numbers)
                return True
            await connection.execute(delete(documents).where(documents.c.id == document_id))
            return False

        return await self._store.write(op)

    async def remove_collection(self, collection_id: str) -> bool:
        """Take out one slice of a collection that is gone; with the last one its row goes, and it gives false."""

        async def op(connection: AsyncConnection) -> bool:
            await self._index.drop(connection, collection_id)
            some = select(chunks.c.number).where(chunks.c.collection_id == collection_id).limit(REMOVED_AT_ONCE)
            numbers = list((await connection.execute(some)).scalars())
            for table in (vectors, chunks):
                of_it = (table.c.collection_id == collection_id, table.c.number.in_(numbers))
                await connection.execute(delete(table).where(*of_it))
            if numbers:
                return True
            its = select(documents.c.id).where(documents.c.collection_id == collection_id).limit(REMOVED_AT_ONCE)
            if ids := list((await connection.execute(its)).scalars()):
                await connection.execute(delete(documents).where(documents.c.id.in_(ids)))
                return True
            await connection.execute(delete(collections).where(collections.c.id == collection_id))
            return False

        return await self._store.write(op)

    async def leftovers(self, begun_before_us: int) -> tuple[list[str], list[str]]:
        """What still has to go: documents that are gone, or whose way in was broken off, and collections."""
        broken = (documents.c.state == "indexing") & (documents.c.created_us < begun_before_us)

        async def op(connection: AsyncConnection) -> tuple[list[str], list[str]]:
            await connection.execute(update(documents).where(broken).values(state="gone"))
            over = select(documents.c.id).where(documents.c.state == "gone").limit(1000)
            gone = select(collections.c.id).where(collections.c.gone.is_(True))
            return list((await connection.execute(over)).scalars()), list((await connection.execute(gone)).scalars())

        return await self._store.write(op)

    async def look(self, collection: CollectionRow, work: Callable[[Looking], Awaitable[T]]) -> T:
        """What `work` gives, which awaits nothing but what it is handed."""
        return await self._store.look(lambda connection: work(Looking(connection, self._index, collection)))

    async def of_document(self, document_id: str, *, after: int, limit: int) -> list[Any]:
        """Chunks of a document in order: number, text, heading, place."""
        query: Select[Any] = (
            select(chunks.c.number, chunks.c.text, chunks.c.heading, chunks.c.place)
            .where(chunks.c.document_id == document_id, chunks.c.number > after)
            .order_by(chunks.c.number)
            .limit(limit)
        )
        async with self._store.read() as connection:
            return list(await connection.execute(query))

    async def vectors(self, collection_id: str, *, after: int, limit: int) -> list[tuple[int, bytes]]:
        """The next vectors of a collection by number; documents on their way in or out are among them."""
        query = (
            select(vectors.c.number, vectors.c.vector)
            .where(vectors.c.collection_id == collection_id, vectors.c.number > after)
            .order_by(vectors.c.number)
            .limit(limit)
        )
        async with self._store.read() as connection:
            return [(row[0], row[1]) for row in await connection.execute(query)]

    async def _put(self, connection: AsyncConnection, document: DocumentRow, new: Sequence[NewChunk]) -> None:
        first = await self._numbers(connection, document.collection_id, new)
        rows = [
            (document.collection_id, number, document.id, chunk.text, chunk.heading, chunk.place)
            for number, chunk in enumerate(new, first)
        ]
        await self._store.insert_rows(connection, chunks, rows)
        held = [(document.collection_id, n, c.vector) for n, c in enumerate(new, first) if c.vector is not None]
        if held:
            await self._store.insert_rows(connection, vectors, held)
        words = [(number, chunk.words) for number, chunk in enumerate(new, first)]
        await self._index.add(connection, document.collection_id, words)

    async def _numbers(self, connection: AsyncConnection, collection_id: str, new: Sequence[NewChunk]) -> int:
        """The first of as many fresh numbers; the index has grown by these chunks."""
        grown = {
            "next_number": collections.c.next_number + len(new),
            "indexed_chunks": collections.c.indexed_chunks + len(new),
            "indexed_words": collections.c.indexed_words + sum(len(chunk.words) for chunk in new),
        }
        after = await connection.execute(
            update(collections)
            .where(collections.c.id == collection_id)
            .values(**grown)
            .returning(collections.c.next_number)
        )
        grown_to = after.scalar_one_or_none()
        if grown_to is None:
            raise NotFound("The collection was deleted meanwhile.")
        return int(grown_to) - len(new)

    async def _forget(self, connection: AsyncConnection, collection_id: str, numbers: Sequence[int]) -> None:
        """The index shrinks by these chunks, and by as many words as chunks hold on average."""
        lost = len(numbers)
        row = await connection.execute(
            select(collections.c.indexed_chunks, collections.c.indexed_words).where(collections.c.id == collection_id)
        )
        have, words = row.one()
        share = words * lost // max(1, have)
        await connection.execute(
            update(collections)
            .where(collections.c.id == collection_id)
            .values(
                indexed_chunks=collections.c.indexed_chunks - lost,
                indexed_words=collections.c.indexed_words - share,
                version=collections.c.version + 1,
            )
        )
        await self._index.remove(connection, collection_id, numbers)
        for table in (vectors, chunks):
            await connection.execute(
                delete(table).where(table.c.collection_id == collection_id, table.c.number.in_(numbers))
            )

"""Memory stores: small texts at paths, which agents keep from session to session, with the history of every change.

The rules of names, sizes and views. Knows no HTTP; how a store becomes a folder in a box stands in `memory_folder`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from freehold.clock import Clock
from freehold.errors import InvalidRequest
from freehold.ids import NewId
from freehold.library.memory_paths import checked_path, checked_prefix
from freehold.store.memories import Actor, Change, MemoryRow, MemoryRows
from freehold.store.memory_stores import MemoryStoreRow, MemoryStoreRows
from freehold.store.memory_versions import MemoryVersionRow, MemoryVersionRows

MOST_NAME_CHARS = 255
MOST_DESCRIPTION_CHARS = 1024
MOST_CONTENT_BYTES = 100 * 1024
VERSIONS_KEPT_US = 30 * 86_400 * 1_000_000
"""How long the history of a memory reaches back; its present version stays for ever."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Item:
    """One entry of a listing: a memory, or with `memory` left out a folder that has memories in it."""

    path: str
    memory: MemoryRow | None


class Memories:
    """Memory stores of all workspaces; every call names the one that it may see."""

    def __init__(
        self, stores: MemoryStoreRows, rows: MemoryRows, versions: MemoryVersionRows, *, clock: Clock, ids: NewId
    ) -> None:
        self.stores = stores
        self.rows = rows
        self.versions = versions
        self._clock = clock
        self._ids = ids

    async def create_store(
        self, workspace_id: str, name: str, description: str, metadata: dict[str, str]
    ) -> MemoryStoreRow:
        """A new, empty store. Raises `InvalidRequest`."""
        now_us = self._clock.now_us()
        row = MemoryStoreRow(
            id=self._ids("memstore"),
            workspace_id=workspace_id,
            name=checked_name(name),
            description=checked_description(description),
            metadata=metadata,
            created_us=now_us,
            updated_us=now_us,
            archived_us=None,
        )
        return await self.stores.create(row)

    async def update_store(
        self, workspace_id: str, store_id: str, change: Callable[[MemoryStoreRow], MemoryStoreRow]
    ) -> MemoryStoreRow:
        """Store what `change` makes of the store. Raises `NotFound`, and `InvalidRequest` for an archived one."""

        def checked(row: MemoryStoreRow) -> MemoryStoreRow:
            if row.archived_us is not None:
                raise InvalidRequest(f"The memory store {store_id} is archived and cannot be changed.")
            changed = change(row)
            return replace(
                changed, name=checked_name(changed.name), description=checked_description(changed.description)
            )

        return await self.stores.update(workspace_id, store_id, self._clock.now_us(), checked)

    async def archive_store(self, workspace_id: str, store_id: str) -> MemoryStoreRow:
        """Make it read-only for good. Raises `NotFound`."""
        return await self.stores.archive(workspace_id, store_id, self._clock.now_us())

    async def create(self, workspace_id: str, store_id: str, path: str, content: str, actor: Actor) -> MemoryRow:
        """A new memory; never overwrites. Raises `PathTaken`, `NotFound`, `InvalidRequest`."""
        change = Change(checked_path(path), checked_content(content))
        return await self.rows.create(workspace_id, store_id, change, actor=actor, now_us=self._clock.now_us())

    async def update(
        self,
        workspace_id: str,
        store_id: str,
        memory_id: str,
        *,
        actor: Actor,
        path: str | None = None,
        content: str | None = None,
        expected_sha256: str | None = None,
    ) -> MemoryRow:
        """New content, new path, or both; what is `None` stays.

        Raises:
            ContentChanged: the content is not the expected one any more.
            PathTaken: another memory is there.
            NotFound, InvalidRequest.
        """
        new_path = None if path is None else checked_path(path)
        new_content = None if content is None else checked_content(content)

        def change(row: MemoryRow) -> Change:
            return Change(new_path or row.path, (row.content or b"") if new_content is None else new_content)

        return await self.rows.update(
            workspace_id,
            store_id,
            memory_id,
            change,
            expected_sha256=checked_sha256(expected_sha256),
            actor=actor,
            now_us=self._clock.now_us(),
        )

    async def delete(
        self, workspace_id: str, store_id: str, memory_id: str, *, actor: Actor, expected_sha256: str | None = None
    ) -> None:
        """Delete a memory; its history stays. Raises as `update`."""
        await self.rows.delete(
            workspace_id,
            store_id,
            memory_id,
            expected_sha256=checked_sha256(expected_sha256),
            actor=actor,
            now_us=self._clock.now_us(),
        )

    async def entries(
        self,
        workspace_id: str,
        store_id: str,
        *,
        prefix: str = "/",
        children_only: bool = False,
        after: str | None = None,
        limit: int,
        content: bool = False,
    ) -> Sequence[Item]:
        """Memories below `prefix` in the order of their paths; with `children_only` deeper ones show as one folder.

        One more than `limit` if there is a next page. Raises `NotFound`, `InvalidRequest`.
        """

        def page(rows: Sequence[MemoryRow]) -> list[Item]:
            items = _grouped(rows, prefix) if children_only else [Item(row.path, row) for row in rows]
            return [item for item in items if after is None or item.path > after][: limit + 1]

        def shown(rows: Sequence[MemoryRow]) -> list[str]:
            return [item.memory.id for item in page(rows) if content and item.memory is not None]

        return page(await self.rows.below(workspace_id, store_id, checked_prefix(prefix), with_content=shown))

    async def redact(self, workspace_id: str, store_id: str, version_id: str, *, key_id: str) -> MemoryVersionRow:
        """Take path and content out of an old version for good. Raises `NotFound`, `InvalidRequest`."""
        return await self.versions.redact(
            workspace_id, store_id, version_id, key_id=key_id, now_us=self._clock.now_us()
        )

    async def forget_old_versions(self) -> int:
        """Delete versions older than thirty days that are nobody's present one; gives their number."""
        return await self.versions.delete_before(self._clock.now_us() - VERSIONS_KEPT_US)


def checked_name(name: str) -> str:
    """A store's name. Raises `InvalidRequest`."""
    if not 1 <= len(name) <= MOST_NAME_CHARS or not name.isprintable():
        raise InvalidRequest(f"name: must be 1 to {MOST_NAME_CHARS} characters without control characters.")
    return name


def checked_description(description: str) -> str:
    """A store's description. Raises `InvalidRequest`."""
    if len(description) > MOST_DESCRIPTION_CHARS or "\0" in description:
        raise InvalidRequest(f"description: at most {MOST_DESCRIPTION_CHARS} characters are taken, and no NUL.")
    return description


def checked_content(content: str) -> bytes:
    """A memory's content as UTF-8. Raises `InvalidRequest`."""
    raw = content.encode("utf-8")
    if len(raw) > MOST_CONTENT_BYTES:
        raise InvalidRequest(f"content: {len(raw):,} bytes, at most {MOST_CONTENT_BYTES:,} are taken.")
    return raw


def checked_sha256(digest: str | None) -> str | None:
    """What a precondition expects. Raises `InvalidRequest` when it can be no SHA-256."""
    if digest is not None and not _SHA256.fullmatch(digest):
        raise InvalidRequest("content_sha256: must be 64 lowercase hexadecimal characters.")
    return digest


def _grouped(rows: Sequence[MemoryRow], prefix: str) -> list[Item]:
    items: dict[str, Item] = {}
    for row in rows:
        child, slash, _ = row.path[len(prefix) :].partition("/")
        path = prefix + child + slash
        items.setdefault(path, Item(path, None if slash else row))
    return sorted(items.values(), key=lambda item: item.path)

"""Rows of skills and their versions. Does not know what is in them, or HTTP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Row, Select, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.errors import InvalidRequest, NotFound
from freehold.store.blobs import share_blob
from freehold.store.engine import Store
from freehold.store.keyset import page as page_of
from freehold.store.tables import skill_versions, skills

LATEST = "latest"


@dataclass(frozen=True, slots=True)
class SkillRow:
    """One skill. `name` is the slug that all its versions share."""

    id: str
    workspace_id: str
    name: str
    display_name: str
    latest_version_id: str
    created_us: int
    updated_us: int


@dataclass(frozen=True, slots=True)
class SkillVersionRow:
    """One version. `sha256` is the blob of its archive; `created_us` is unlike that of its siblings."""

    id: str
    skill_id: str
    name: str
    description: str
    size_bytes: int
    sha256: str
    created_us: int


class SkillRows:
    """Skills of all workspaces; every call names the one that it may see."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def create(self, skill: SkillRow, version: SkillVersionRow, *, ensure_blob: Callable[[], None]) -> SkillRow:
        """A new skill with its first version."""

        async def op(connection: AsyncConnection) -> SkillRow:
            await share_blob(connection, version.sha256)
            ensure_blob()
            await connection.execute(insert(skills).values(**asdict(skill)))
            await connection.execute(insert(skill_versions).values(**asdict(version)))
            return skill

        return await self._store.write(op)

    async def add_version(
        self,
        workspace_id: str,
        skill_id: str,
        make: Callable[[SkillRow, int], SkillVersionRow],
        *,
        ensure_blob: Callable[[], None],
    ) -> SkillVersionRow:
        """The next version. `make` gets the skill and when its last version was made, and may refuse."""

        async def op(connection: AsyncConnection) -> SkillVersionRow:
            skill = await _read_skill(connection, workspace_id, skill_id, lock=True)
            newest = select(func.max(skill_versions.c.created_us)).where(skill_versions.c.skill_id == skill_id)
            version = make(skill, (await connection.execute(newest)).scalar_one())
            await share_blob(connection, version.sha256)
            ensure_blob()
            await connection.execute(insert(skill_versions).values(**asdict(version)))
            await _set_latest(connection, version)
            return version

        return await self._store.write(op)

    async def get(self, workspace_id: str, skill_id: str) -> SkillRow:
        """Raises `NotFound`."""
        async with self._store.read() as connection:
            return await _read_skill(connection, workspace_id, skill_id)

    async def version(self, workspace_id: str, skill_id: str, version: str) -> SkillVersionRow:
        """One version by its id, by the time it was made, or `latest`. Raises `NotFound`."""
        async with self._store.read() as connection:
            return await _read_version(connection, workspace_id, skill_id, version)

    async def page(self, workspace_id: str, *, after: Sequence[Any] | None, limit: int) -> list[SkillRow]:
        """Skills made last first; one row more than `limit` if there is a next page."""
        query = select(skills).where(skills.c.workspace_id == workspace_id)
        keys = (skills.c.created_us, skills.c.id)
        async with self._store.read() as connection:
            found = await connection.execute(page_of(query, keys, after=after, limit=limit))
            return [_skill(row) for row in found]

    async def versions(
        self, workspace_id: str, skill_id: str, *, after: Sequence[Any] | None, limit: int
    ) -> list[SkillVersionRow]:
        """Versions made last first; one row more than `limit` if there is a next page. Raises `NotFound`."""
        async with self._store.read() as connection:
            await _read_skill(connection, workspace_id, skill_id)
            query = select(skill_versions).where(skill_versions.c.skill_id == skill_id)
            found = await connection.execute(
                page_of(query, (skill_versions.c.created_us, skill_versions.c.id), after=after, limit=limit)
            )
            return [_version(row) for row in found]

    async def delete(self, workspace_id: str, skill_id: str) -> set[str]:
        """Delete a skill with all its versions; gives the names of their blobs. Raises `NotFound`."""

        async def op(connection: AsyncConnection) -> set[str]:
            await _read_skill(connection, workspace_id, skill_id, lock=True)
            gone = await connection.execute(
                delete(skill_versions).where(skill_versions.c.skill_id == skill_id).returning(skill_versions.c.sha256)
            )
            blobs = set(gone.scalars())
            await connection.execute(delete(skills).where(skills.c.id == skill_id))
            return blobs

        return await self._store.write(op)

    async def delete_version(self, workspace_id: str, skill_id: str, version: str, now_us: int) -> SkillVersionRow:
        """Delete one version and give it. Raises `NotFound`, and `InvalidRequest` for the only one."""

        async def op(connection: AsyncConnection) -> SkillVersionRow:
            skill = await _read_skill(connection, workspace_id, skill_id, lock=True)
            row = await _read_version(connection, workspace_id, skill_id, version)
            await connection.execute(delete(skill_versions).where(skill_versions.c.id == row.id))
            rest = select(skill_versions).where(skill_versions.c.skill_id == skill_id)
            newest = (await connection.execute(rest.order_by(skill_versions.c.created_us.desc()).limit(1))).first()
            if newest is None:
                raise InvalidRequest(f"{row.id} is the only version of {skill_id}. Delete the skill instead.")
            if skill.latest_version_id == row.id:
                await _set_latest(connection, _version(newest), now_us)
            return row

        return await self._store.write(op)


async def _read_skill(connection: AsyncConnection, workspace_id: str, skill_id: str, *, lock: bool = False) -> SkillRow:
    query = select(skills).where(skills.c.workspace_id == workspace_id, skills.c.id == skill_id)
    found = (await connection.execute(query.with_for_update() if lock else query)).first()
    if found is None:
        raise NotFound(f"There is no skill {skill_id!r}.")
    return _skill(found)


async def _read_version(connection: AsyncConnection, workspace_id: str, skill_id: str, version: str) -> SkillVersionRow:
    skill = await _read_skill(connection, workspace_id, skill_id)
    query: Select[Any] = select(skill_versions).where(skill_versions.c.skill_id == skill_id)
    if version.isdecimal() and len(version) < 19:
        query = query.where(skill_versions.c.created_us == int(version))
    else:
        query = query.where(skill_versions.c.id == (skill.latest_version_id if version == LATEST else version))
    found = (await connection.execute(query)).first()
    if found is None:
        raise NotFound(f"The skill {skill_id!r} has no version {version!r}.")
    return _version(found)


async def _set_latest(connection: AsyncConnection, version: SkillVersionRow, now_us: int | None = None) -> None:
    await connection.execute(
        update(skills)
        .where(skills.c.id == version.skill_id)
        .values(latest_version_id=version.id, updated_us=version.created_us if now_us is None else now_us)
    )


def _skill(row: Row[Any]) -> SkillRow:
    return SkillRow(**row._mapping)


def _version(row: Row[Any]) -> SkillVersionRow:
    return SkillVersionRow(**row._mapping)

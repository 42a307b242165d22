"""`/v1/skills` and their versions: create, retrieve, list, delete, download; with the old shapes for old clients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response
from starlette.routing import BaseRoute

from freehold.api.base import Request, answer, route
from freehold.api.files import download
from freehold.api.multipart import Multipart
from freehold.clock import rfc3339
from freehold.errors import InvalidRequest
from freehold.library.bundles import MOST_FILES, UPLOAD_LIMIT_BYTES
from freehold.library.skills import Parts, Skills
from freehold.store.skills import SkillRow, SkillVersionRow

LEGACY_BETA = "skills-2025-10-02"
"""Clients that send it know `display_title`, a plain `source`, and versions by the time they were made."""
SOURCES = ("custom", "anthropic", "anthropic_example", "plugin")
_ENVELOPE_BYTES = 4 << 20
"""What boundaries and headers of up to 2,000 parts may add."""
_FILES = ("files[]", "files")
_NAMES = ("display_name", "display_title")


def routes(skills: Skills) -> list[BaseRoute]:
    """Every route of skills."""
    resource = _Skills(skills)
    version = "/v1/skills/{skill_id}/versions/{version}"
    return [
        route("POST", "/v1/skills", resource.create),
        route("GET", "/v1/skills", resource.page),
        route("GET", "/v1/skills/{skill_id}", resource.retrieve),
        route("DELETE", "/v1/skills/{skill_id}", resource.delete),
        route("POST", "/v1/skills/{skill_id}/versions", resource.create_version),
        route("GET", "/v1/skills/{skill_id}/versions", resource.versions),
        route("GET", version, resource.retrieve_version, worker="skill"),
        route("DELETE", version, resource.delete_version),
        route("GET", version + "/content", resource.content, worker="skill"),
    ]


class _Skills:
    def __init__(self, skills: Skills) -> None:
        self._skills = skills

    async def create(self, request: Request) -> Response:
        async with self._skills.uploading() as parts:
            fields = await _receive(request, parts, _NAMES)
            display_name = fields.get("display_name", fields.get("display_title"))
            skill = await self._skills.create(request.workspace_id, parts, display_name)
        return answer(await self._shown(request, skill))

    async def retrieve(self, request: Request) -> Response:
        skill = await self._skills.rows.get(request.workspace_id, request.path["skill_id"])
        return answer(await self._shown(request, skill))

    async def delete(self, request: Request) -> Response:
        skill_id = request.path["skill_id"]
        await self._skills.delete(request.workspace_id, skill_id)
        return answer({"id": skill_id, "type": "skill_deleted"})

    async def page(self, request: Request) -> Response:
        source = request.query.one_of("source", SOURCES, "")
        window = request.query.window("skills", {"source": source}, most=1000)
        rows = await self._skills.rows.page(request.workspace_id, after=window.after, limit=window.limit)
        if source not in ("", "custom"):
            rows = []  # every skill of this server was made by its users
        shown = {row.id: await self._shown(request, row) for row in rows[: window.limit]}
        page = window.page(rows, lambda row: shown[row.id], lambda row: (row.created_us, row.id))
        return answer(_with_more(request, page))

    async def create_version(self, request: Request) -> Response:
        async with self._skills.uploading() as parts:
            await _receive(request, parts, ())
            version = await self._skills.add_version(request.workspace_id, request.path["skill_id"], parts)
        return answer(shown_version(version, legacy=_legacy(request)))

    async def retrieve_version(self, request: Request) -> Response:
        skill_id, version = request.path["skill_id"], request.path["version"]
        row = await self._skills.rows.version(request.workspace_id, skill_id, version)
        return answer(shown_version(row, legacy=_legacy(request)))

    async def delete_version(self, request: Request) -> Response:
        skill_id, version = request.path["skill_id"], request.path["version"]
        if version == "latest":
            raise InvalidRequest("version: name the version to delete by its id, not as latest.")
        row = await self._skills.delete_version(request.workspace_id, skill_id, version)
        return answer({"id": version if _legacy(request) else row.id, "type": "skill_version_deleted"})

    async def versions(self, request: Request) -> Response:
        skill_id, legacy = request.path["skill_id"], _legacy(request)
        window = request.query.window("skill_versions", {"skill_id": skill_id}, most=1000)
        rows = await self._skills.rows.versions(request.workspace_id, skill_id, after=window.after, limit=window.limit)
        page = window.page(rows, lambda row: shown_version(row, legacy=legacy), lambda row: (row.created_us, row.id))
        return answer(_with_more(request, page))

    async def content(self, request: Request) -> Response:
        skill_id, version = request.path["skill_id"], request.path["version"]
        row, chunks = await self._skills.download(request.workspace_id, skill_id, version)
        return download(chunks, row.size_bytes, "application/zip", f"{row.name}.zip")

    async def _shown(self, request: Request, row: SkillRow) -> dict[str, Any]:
        if not _legacy(request):
            return shown(row)
        latest = await self._skills.rows.version(request.workspace_id, row.id, "latest")
        return _shown_legacy(row, latest)


def shown(row: SkillRow) -> dict[str, Any]:
    """A skill as the API shows it."""
    return {
        "id": row.id,
        "type": "skill",
        "display_name": row.display_name,
        "latest_version_id": row.latest_version_id,
        "source": {"type": "custom"},
        "created_at": rfc3339(row.created_us),
        "updated_at": rfc3339(row.updated_us),
    }


def shown_version(row: SkillVersionRow, *, legacy: bool = False) -> dict[str, Any]:
    """A version as the API shows it; the old shape addresses it by the time it was made."""
    old = {"version": str(row.created_us), "directory": row.name} if legacy else {}
    return {
        "id": row.id,
        "type": "skill_version",
        "skill_id": row.skill_id,
        "name": row.name,
        "description": row.description,
        "created_at": rfc3339(row.created_us),
        **old,
    }


def _shown_legacy(row: SkillRow, latest: SkillVersionRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "type": "skill",
        "display_title": row.display_name,
        "latest_version": str(latest.created_us),
        "source": "custom",
        "created_at": rfc3339(row.created_us),
        "updated_at": rfc3339(row.updated_us),
    }


def _legacy(request: Request) -> bool:
    return LEGACY_BETA in request.betas


def _with_more(request: Request, page: dict[str, Any]) -> dict[str, Any]:
    return {**page, "has_more": page["next_page"] is not None} if _legacy(request) else page


async def _receive(request: Request, parts: Parts, known: tuple[str, ...]) -> Mapping[str, str]:
    fields: dict[str, str] = {}
    chunks = request.chunks(UPLOAD_LIMIT_BYTES + _ENVELOPE_BYTES)
    async for part in Multipart(request.body.content_type, chunks, most_parts=MOST_FILES + 1):
        if part.name in _FILES:
            await parts.add(part.filename, part.pieces())
        elif part.name in known and part.name not in fields:
            fields[part.name] = await part.text()
        else:
            names = ", ".join(("files[]", *known[:1]))
            raise InvalidRequest(f"{part.name[:80]}: stands there twice, or is no field of this route: {names}.")
    return fields

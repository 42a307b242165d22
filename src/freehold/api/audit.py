"""`GET /freehold/v1/audit`: who changed what; for admin keys. `GET /freehold/v1/me`: whose key this is; for any key."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response
from starlette.routing import BaseRoute

from freehold.access.audit import AuditLog
from freehold.access.keys import Keys
from freehold.api.base import Request, answer, route
from freehold.api.keys import shown as shown_key
from freehold.clock import rfc3339
from freehold.store.audit import AuditRow


def routes(log: AuditLog, keys: Keys) -> list[BaseRoute]:
    """Both routes."""

    async def page(request: Request) -> Response:
        key_id = request.query.text("key_id")
        window = request.query.window("audit", {"key_id": key_id})
        rows = await log.list(limit=window.limit, after=window.key, key_id=key_id)
        return answer(window.page(rows, _shown, lambda row: (row.at_us, row.id)))

    async def me(request: Request) -> Response:
        request.query.refuse_others()
        return answer(shown_key(await keys.get(request.caller.key_id)))

    return [route("GET", "/freehold/v1/audit", page, door="admin"), route("GET", "/freehold/v1/me", me)]


def _shown(row: AuditRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "type": "audit_entry",
        "at": rfc3339(row.at_us),
        "workspace_id": row.workspace_id,
        "key_id": row.key_id,
        "role": row.role,
        "method": row.method,
        "path": row.path,
        "status": row.status,
    }

"""`/freehold/v1/export` and `/import`: the library of a workspace as one tar, out and in. For admin keys.

What the tar holds stands in `library.exports`. It is written and read by way of a file without a name on the data
folder's disk: whatever goes wrong is known before the answer begins, and nothing stays behind.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict

from starlette.responses import Response
from starlette.routing import BaseRoute

from freehold.access.workspaces import Workspaces
from freehold.api.base import Request, answer, pieces, route
from freehold.api.files import download
from freehold.api.scratch import Scratch, taken_in
from freehold.library.exports import Export
from freehold.library.imports import Import

MOST_BYTES = 1 << 40
"""Of one import; the disk's floor ends it sooner."""


def routes(export: Export, taking: Import, workspaces: Workspaces, scratch: Scratch) -> list[BaseRoute]:
    """Both routes."""
    library = _Library(export, taking, workspaces, scratch)
    return [
        route("GET", "/freehold/v1/export", library.write, door="admin"),
        route("POST", "/freehold/v1/import", library.read, door="admin"),
    ]


class _Library:
    def __init__(self, export: Export, taking: Import, workspaces: Workspaces, scratch: Scratch) -> None:
        self._export = export
        self._import = taking
        self._workspaces = workspaces
        self._scratch = scratch

    async def write(self, request: Request) -> Response:
        workspace_id = await self._workspace(request)
        file = self._scratch()
        try:
            await self._export.write(workspace_id, file)
            size = file.tell()
            await asyncio.to_thread(file.seek, 0)
        except BaseException:
            file.close()
            raise
        return download(pieces(file), size, "application/x-tar", f"{workspace_id}.tar")

    async def read(self, request: Request) -> Response:
        workspace_id = await self._workspace(request)
        async with taken_in(request, self._scratch, MOST_BYTES) as file:
            return answer({"type": "import", **asdict(await self._import.read(workspace_id, file))})

    async def _workspace(self, request: Request) -> str:
        """The one that was asked for, else the key's own. Raises `NotFound`."""
        asked = request.query.text("workspace_id")
        return request.workspace_id if asked is None else (await self._workspaces.get(asked)).id

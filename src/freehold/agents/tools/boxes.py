"""The built-in tools of sessions, through the fleet of boxes of this server; and the files on their way in and out.

Uploads are put into a session's folder before its tools may look for them, outputs are made files when a turn ends.
It knows neither the log nor the model.
"""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from freehold.agents.mounts import UPLOADS
from freehold.agents.tools.catalog import Spec
from freehold.agents.tools.checkouts import Checkouts
from freehold.agents.tools.execution import DIED, Place
from freehold.agents.tools.provisions import Provisions
from freehold.environments.base import Boxes, BoxSpec, Folder, Limits, ToolName, ToolOutcome
from freehold.environments.fleet import Fleet
from freehold.environments.tools.specs import specs
from freehold.environments.workdirs import Output, Workdir, Workdirs
from freehold.errors import FreeholdError
from freehold.library.files import FILE_LIMIT_BYTES
from freehold.library.names import output_name
from freehold.store.files import FileRow
from freehold.store.sessions import ResourceRow, SessionRows

log = logging.getLogger(__name__)

REOPENED = "A fresh one was opened on the same files; what ran in the old one and its shell state are gone."


class BoxFiles(Protocol):
    """The files that go in and out."""

    async def open(self, workspace_id: str, file_id: str) -> tuple[FileRow, Path]:
        """A file and where its bytes are."""
        ...

    async def register_output(self, workspace_id: str, session_id: str, source: BinaryIO, name: str) -> FileRow:
        """Make a file of what an agent has made."""
        ...


class FleetTools:
    """See `BoxTools`. `limits`: what a box with such a `config` may use."""

    def __init__(
        self,
        fleet: Fleet,
        boxes: Boxes,
        workdirs: Workdirs,
        uploads: Uploads,
        limits: Callable[[Mapping[str, Any]], Limits],
        provisions: Provisions | None = None,
        checkouts: Checkouts | None = None,
    ) -> None:
        self._fleet = fleet
        self._boxes = boxes
        self._workdirs = workdirs
        self._uploads = uploads
        self._limits = limits
        self._provisions = provisions
        self._checkouts = checkouts

    def specs(self) -> Sequence[Spec]:
        """See `BoxTools`."""
        return specs()

    async def call(self, place: Place, name: str, arguments: Mapping[str, Any], *, key: str) -> ToolOutcome:
        """See `BoxTools`. Tells the model, once, when a box is not the one that it knew."""
        await self._uploads.ensure(place.workspace_id, place.session_id)
        if self._checkouts is not None:
            await self._checkouts.ensure(place)
        if self._provisions is None:
            return await self._call(self._spec(place), name, arguments, key)
        async with self._provisions.used(place) as provided:
            outcome = await self._call(self._spec(place, provided.folders), name, arguments, key)
        notes = [{"type": "text", "text": note} for note in await self._provisions.news(place)]
        return replace(outcome, content=[*outcome.content, *notes]) if notes else outcome

    async def expect(self, place: Place) -> None:
        """See `BoxTools`."""
        if self._fleet.is_open(place.session_id) or place.environment.get("type") == "self_hosted":
            return
        await self._uploads.ensure(place.workspace_id, place.session_id)
        folders = () if self._provisions is None else await self._provisions.folders(place)
        if folders is not None:
            await self._fleet.warm(self._spec(place, folders))

    async def _call(self, spec: BoxSpec, name: str, arguments: Mapping[str, Any], key: str) -> ToolOutcome:
        found = await self._fleet.call(spec, cast(ToolName, name), arguments, key=key, epoch=spec.epoch)
        news = "" if found.died is None else f"{DIED} ({found.died}). {REOPENED}"
        return ToolOutcome(found.told, found.outcome.is_error, news)

    async def outcome(self, place: Place, key: str) -> ToolOutcome | None:
        """See `BoxTools`."""
        return await self._boxes.outcome(self._spec(place), key)

    def _spec(self, place: Place, folders: Sequence[Folder] = ()) -> BoxSpec:
        path = self._workdirs.of(place.session_id).path
        limits = self._limits(place.environment)
        return BoxSpec(
            place.session_id,
            path,
            place.epoch,
            limits,
            place.environment,
            folders=folders,
            workspace_id=place.workspace_id,
        )


class Uploads:
    """Puts the files that sessions were given where their boxes show them."""

    def __init__(self, rows: SessionRows, files: BoxFiles, workdirs: Workdirs) -> None:
        self._rows = rows
        self._files = files
        self._workdirs = workdirs
        self._put: dict[str, dict[str, str]] = {}
        """By session: the mount paths that this server has put there, by resource."""

    async def refresh(self, workspace_id: str, session_id: str) -> list[str]:
        """Bring the folder in line with the session's resources; gives their mount paths."""
        resources = (await self._rows.resources([session_id]))[session_id]
        wanted = [resource for resource in resources if resource.type == "file"]
        put = self._put.setdefault(session_id, {})
        workdir = self._workdirs.of(session_id)
        ids = {resource.id for resource in wanted}
        for gone in [resource_id for resource_id in put if resource_id not in ids]:
            await asyncio.to_thread(workdir.remove_upload, put.pop(gone))
        for resource in wanted:
            if resource.id not in put:
                await self._put_one(workspace_id, workdir, resource)
                put[resource.id] = resource.body["mount_path"]
        return [resource.body["mount_path"] for resource in wanted]

    async def ensure(self, workspace_id: str, session_id: str) -> None:
        """The same, if this server has not yet done so for that session."""
        if session_id not in self._put:
            await self.refresh(workspace_id, session_id)

    def forget(self, session_id: str) -> None:
        """The session was deleted."""
        self._put.pop(session_id, None)

    async def _put_one(self, workspace_id: str, workdir: Workdir, resource: ResourceRow) -> None:
        _, path = await self._files.open(workspace_id, resource.body["file_id"])

        def copy() -> None:
            with path.open("rb") as source:
                workdir.put_upload(resource.body["mount_path"], source)

        await asyncio.to_thread(copy)


class Spilled:
    """Long results of tools, as files beside the uploads: read-only in the box, and where no link can lead astray."""

    def __init__(self, workdirs: Workdirs) -> None:
        self._workdirs = workdirs

    async def keep(self, place: Place, call_id: str, text: str) -> str:
        """See `Spill`. Raises `OSError`."""
        path = f"{UPLOADS}/tool-results/{call_id}.txt"
        workdir = self._workdirs.of(place.session_id)
        await asyncio.to_thread(lambda: workdir.put_upload(path, io.BytesIO(text.encode("utf-8", "replace"))))
        return path


class Outputs:
    """Makes files of what agents leave under `/mnt/session/outputs`."""

    def __init__(self, files: BoxFiles, workdirs: Workdirs) -> None:
        self._files = files
        self._workdirs = workdirs
        self._seen: dict[str, dict[str, Output]] = {}
        """By session: what was made a file of already, as it was then."""

    async def collect(self, place: Place) -> None:
        """Take what is new or has changed. One that cannot be taken is logged and does not harm the others."""
        workdir = self._workdirs.of(place.session_id)
        if not workdir.has_outputs():
            return
        found = await asyncio.to_thread(workdir.list_outputs)
        seen = self._seen.setdefault(place.session_id, {})
        names: set[str] = set()
        for output in found:
            name = output_name(output.path, names)
            names.add(name)
            if seen.get(output.path) != output and await self._take(place, workdir, output, name):
                seen[output.path] = output

    def forget(self, session_id: str) -> None:
        """The session was deleted."""
        self._seen.pop(session_id, None)

    async def _take(self, place: Place, workdir: Workdir, output: Output, name: str) -> bool:
        if output.size_bytes > FILE_LIMIT_BYTES:
            log.warning("%s: an output of %d bytes is too large for a file", place.session_id, output.size_bytes)
            return True
        try:
            source = await asyncio.to_thread(workdir.open_output, output.path)
            try:
                await self._files.register_output(place.workspace_id, place.session_id, source, name)
            finally:
                source.close()
        except (FreeholdError, OSError) as error:
            log.warning("%s: the output %r could not be taken: %s", place.session_id, output.path[:200], error)
            return False
        return True

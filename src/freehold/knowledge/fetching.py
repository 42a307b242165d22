"""Where documents come from besides uploads: files of the workspace by their ids, and pages by their addresses."""

from __future__ import annotations

import asyncio
from urllib.parse import unquote, urlsplit

from freehold.errors import InvalidRequest
from freehold.knowledge.ingest import Given
from freehold.knowledge.names import shown
from freehold.knowledge.settings import KnowledgeSettings
from freehold.library.files import Files
from freehold.outbound.failures import WayOutFailed
from freehold.outbound.fetch import Fetch, NotFetched
from freehold.outbound.limits import Limits
from freehold.outbound.strangers import Strangers

FETCH_S = 60.0
"""For everything: names, redirects, the document."""


class Fetching:
    """Fetches documents; addresses only through the guard."""

    def __init__(self, files: Files, settings: KnowledgeSettings, environment: dict[str, str]) -> None:
        """`environment` names the proxies."""
        self._files = files
        self._most_bytes = settings.knowledge_document_bytes
        limits = Limits(silence_s=FETCH_S, stall_s=FETCH_S, whole_bytes=self._most_bytes)
        strangers = Strangers(settings.knowledge_private_hosts, environment, limits)
        self._fetch = Fetch(strangers, "freehold-knowledge", self._most_bytes)

    async def file(self, workspace_id: str, file_id: str) -> Given:
        """A file of the workspace, under its own name. Raises `NotFound` and `InvalidRequest`."""
        row, path = await self._files.open(workspace_id, file_id)
        if row.size_bytes > self._most_bytes:
            raise InvalidRequest(f"{file_id}: has {row.size_bytes:,} bytes, at most {self._most_bytes:,} are taken.")
        return Given(row.filename, await asyncio.to_thread(path.read_bytes), row.mime_type)

    async def page(self, url: str) -> Given:
        """What stands at an address, under the address. Raises `InvalidRequest`."""
        if not url.startswith(("http://", "https://")):
            raise InvalidRequest(f"urls: {shown(url, 100)!r} does not begin with http:// or https://.")
        try:
            async with asyncio.timeout(FETCH_S):
                found = await self._fetch.get(url)
        except TimeoutError:
            raise InvalidRequest(f"{shown(url)}: no answer within {FETCH_S:g} s.") from None
        except (NotFetched, WayOutFailed) as error:
            raise InvalidRequest(f"{shown(url)}: {error}") from error
        data = found.body
        if found.media_type.startswith("text/") and found.charset.lower().replace("-", "") != "utf8":
            data = _as_utf8(data, found.charset)
        title = unquote(urlsplit(url).path.rstrip("/").rpartition("/")[2])
        return Given(url, data, found.media_type, title if "html" not in found.media_type else "")


def _as_utf8(data: bytes, charset: str) -> bytes:
    try:
        return data.decode(charset, "replace").encode()
    except LookupError:
        return data

"""What a workspace shows to MCP servers elsewhere: request headers for an address, kept as sealed secrets.

It knows neither MCP nor HTTP; whoever calls a server asks for its headers.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import msgspec

from freehold.access.secrets import Secrets
from freehold.errors import InvalidRequest, NotFound

MOST = 100
"""Credentials of one workspace."""
_PREFIX = "mcpcred_"
_MOST_HEADERS = 10
_MOST_VALUE_CHARS = 8192
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_OURS = ("host", "connection", "accept", "accept-encoding", "content-type", "content-length", "transfer-encoding", "te")
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class McpCredential:
    """Headers for one address. `id` follows from the address, so that there is one for each."""

    id: str
    url: str
    headers: Mapping[str, str] = field(repr=False)


class McpCredentials:
    """The credentials of every workspace."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets

    async def put(self, workspace_id: str, url: str, headers: Mapping[str, str]) -> McpCredential:
        """Keep headers for an address, in place of older ones.

        Raises:
            InvalidRequest: names what does not fit.
        """
        _check(headers)
        made = McpCredential(_id(url), url, dict(headers))
        kept = await self.all(workspace_id)
        if len(kept) >= MOST and made.id not in [one.id for one in kept]:
            raise InvalidRequest(f"url: there are {MOST} credentials in this workspace already; delete one.")
        body = msgspec.json.encode({"url": url, "headers": made.headers})
        await self._secrets.put(workspace_id, made.id, body)
        return made

    async def headers(self, workspace_id: str, url: str) -> Mapping[str, str]:
        """What goes along with requests to that address; empty where nothing was kept."""
        sealed = await self._secrets.get(workspace_id, _id(url))
        return {} if sealed is None else _read(sealed).headers

    async def all(self, workspace_id: str) -> list[McpCredential]:
        """Those of a workspace, by address."""
        found = await self._secrets.named(workspace_id, _PREFIX)
        return sorted((_read(sealed) for sealed in found), key=lambda one: one.url)

    async def remove(self, workspace_id: str, credential_id: str) -> None:
        """Forget one. Raises `NotFound`."""
        known = credential_id.startswith(_PREFIX)
        if not known or not await self._secrets.remove(workspace_id, credential_id):
            raise NotFound("There is no such MCP credential.")


def _read(sealed: bytes) -> McpCredential:
    body = msgspec.json.decode(sealed)
    return McpCredential(_id(body["url"]), body["url"], body["headers"])


def _id(url: str) -> str:
    """Of the address in one spelling: case of the host, default port and a final slash do not matter."""
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError as error:
        raise InvalidRequest(f"url: cannot be read: {error}.") from error
    if parts.scheme not in _DEFAULT_PORTS or not host:
        raise InvalidRequest("url: must be the http:// or https:// address of an MCP server.")
    place = f"{parts.scheme}://{host}:{port or _DEFAULT_PORTS[parts.scheme]}{parts.path.rstrip('/')}?{parts.query}"
    return _PREFIX + hashlib.sha256(place.encode()).hexdigest()[:24]


def _check(headers: Mapping[str, str]) -> None:
    if not 1 <= len(headers) <= _MOST_HEADERS:
        raise InvalidRequest(f"headers: must be 1 to {_MOST_HEADERS} headers, such as authorization.")
    for name, value in headers.items():
        if not _HEADER.fullmatch(name) or name.lower() in _OURS or name.lower().startswith("mcp-"):
            raise InvalidRequest(f"headers: {name[:80]!r} is no header that can be given here.")
        if not 1 <= len(value) <= _MOST_VALUE_CHARS or not value.isascii() or not value.isprintable():
            raise InvalidRequest(f"headers.{name}: must be 1 to {_MOST_VALUE_CHARS} printable characters of ASCII.")

"""OAuth as MCP prescribes it: clients that register themselves, codes with PKCE, and tokens that open one toolbox.

A code is good once and for a minute, an access token for an hour, a refresh token once; one that comes a second time
was stolen from somebody, so it ends the grant. All of it ends with the key by which it was granted. Knows no HTTP.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
from dataclasses import dataclass, replace
from typing import Protocol
from urllib.parse import urlsplit

from freehold.calls import Caller
from freehold.clock import Clock
from freehold.errors import NotFound, Unauthenticated
from freehold.ids import NewId
from freehold.store import oauth as rows
from freehold.store.base import Connection
from freehold.store.engine import Store
from freehold.store.oauth import ClientRow, GrantRow

TOKEN = "sk-fh-oat-"
"""Access tokens begin so."""
_REFRESH, _CODE = "sk-fh-ort-", "sk-fh-oac-"
ACCESS_S = 3600
_CODE_S = 60
_GRANT_S = 90 * 86_400
"""A grant that is not refreshed for so long is over."""
_UNUSED_S = 86_400
"""A client that nobody granted anything is forgotten then, or where there are too many, much sooner."""
_CROWDED_S = 600
_MOST_URIS = 5
_MOST_URI_CHARS = 1000
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_APP_SCHEME = re.compile(r"[a-z][a-z0-9+-]*(\.[a-z0-9+-]+)+|claude|cursor|vscode|vscode-insiders")
"""Of programs on the user's machine: a name turned round (RFC 8252, 7.1), and those known to use a word."""
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")


class OAuthRefused(Exception):
    """With a code of RFC 6749 (5.2), RFC 7591 (3.2.2) or RFC 8707 (2), and words."""

    def __init__(self, code: str, words: str) -> None:
        super().__init__(words)
        self.code = code


class KnowsKeys(Protocol):
    """Tells whether a key is still good (`access.keys.Keys`)."""

    def holder(self, key_id: str) -> Caller | None:
        """Whose key it is; `None` if there is none any more."""
        ...


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client asks a user for."""

    client: ClientRow
    redirect_uri: str
    challenge: str
    toolbox: str


@dataclass(frozen=True, slots=True)
class Tokens:
    """Shown to the client once."""

    access: str
    refresh: str


class OAuth:
    """Clients, grants and tokens."""

    def __init__(self, store: Store, keys: KnowsKeys, *, clock: Clock, ids: NewId, most_clients: int = 1000) -> None:
        self._store = store
        self._most_clients = most_clients
        self._keys = keys
        self._clock = clock
        self._ids = ids

    async def register(self, name: str, redirect_uris: list[str]) -> ClientRow:
        """A new client. Raises `OAuthRefused`."""
        if not 1 <= len(redirect_uris) <= _MOST_URIS or not all(_may_lead_to(uri) for uri in redirect_uris):
            raise OAuthRefused(
                "invalid_redirect_uri",
                f"redirect_uris: 1 to {_MOST_URIS} addresses; https, http to this machine, or an app's own scheme.",
            )
        now_us = self._clock.now_us()
        row = ClientRow(self._ids("mcpclient"), name, json.dumps(redirect_uris), now_us)
        unused, used = [now_us - s * 1_000_000 for s in (_UNUSED_S, _CROWDED_S)], now_us - 2 * _GRANT_S * 1_000_000

        async def op(conn: Connection) -> bool:
            return await rows.add_client(
                conn, row, most=self._most_clients, unused_before_us=unused, used_before_us=used
            )

        if not await self._store.write(op):
            raise OAuthRefused("temporarily_unavailable", "There are too many clients here now; try again tomorrow.")
        return row

    async def client(self, client_id: str, redirect_uri: str) -> ClientRow:
        """The client that may be answered at that address. Raises `OAuthRefused`: nobody may be sent there."""
        async with self._store.read() as conn:
            found = await rows.client(conn, client_id[:64])
        if found is None:
            raise OAuthRefused("invalid_client", "This client is not registered here, or not any more.")
        if not any(_same_place(redirect_uri, known) for known in json.loads(found.redirect_uris)):
            raise OAuthRefused("invalid_redirect_uri", "This client has not registered that redirect_uri.")
        return found

    async def grant(self, asked: Asked, caller: Caller) -> str:
        """The code of a new grant by that key's holder. Raises `OAuthRefused`."""
        if not _CHALLENGE.fullmatch(asked.challenge):
            raise OAuthRefused("invalid_request", "code_challenge: S256 gives 43 characters.")
        code, now_us = _CODE + secrets.token_urlsafe(32), self._clock.now_us()
        row = GrantRow(
            id=self._ids("mcpgrant"),
            workspace_id=caller.workspace_id,
            key_id=caller.key_id,
            client_id=asked.client.id,
            toolbox=asked.toolbox,
            redirect_uri=asked.redirect_uri,
            challenge=asked.challenge,
            code_hash=_hash(code),
            code_until_us=now_us + _CODE_S * 1_000_000,
            created_us=now_us,
            until_us=now_us + _GRANT_S * 1_000_000,
        )
        await self._store.write(lambda conn: rows.add_grant(conn, row, now_us))
        return code

    async def redeem(
        self, code: str, verifier: str, client_id: str, redirect_uri: str, toolbox: str | None = None
    ) -> Tokens:
        """Tokens for a code; `toolbox`: which one the client means, if it says so. Raises `OAuthRefused`."""
        async with self._store.read() as conn:
            grant = await rows.by_code(conn, _hash(code))
        if grant is None or grant.client_id != client_id or grant.redirect_uri != redirect_uri:
            raise OAuthRefused("invalid_grant", "This code is not good here.")
        if grant.access_hash:  # it was used before: who has it now may have stolen it
            await self._end(grant)
            raise OAuthRefused("invalid_grant", "This code was used already; what it gave is revoked.")
        right = _VERIFIER.fullmatch(verifier) and hmac.compare_digest(_challenge(verifier), grant.challenge)
        if not right or grant.code_until_us < self._clock.now_us():
            await self._end(grant)
            raise OAuthRefused("invalid_grant", "This code is over, or code_verifier does not fit it.")
        return await self._renewed(grant, toolbox)

    async def refresh(self, token: str, client_id: str, toolbox: str | None = None) -> Tokens:
        """New tokens for a refresh token, which is used up by it. Raises `OAuthRefused`."""
        digest = _hash(token)
        async with self._store.read() as conn:
            grant = await rows.by_refresh(conn, digest)
        if grant is None or grant.client_id != client_id or grant.until_us < self._clock.now_us():
            raise OAuthRefused("invalid_grant", "This refresh token is not good here.")
        if grant.refresh_hash != digest:
            await self._end(grant)
            raise OAuthRefused("invalid_grant", "This refresh token was used already; what it gave is revoked.")
        return await self._renewed(grant, toolbox)

    async def revoke(self, token: str) -> None:
        """End the grant of an access or refresh token. One that is unknown is no mistake (RFC 7009)."""
        digest = _hash(token)
        async with self._store.read() as conn:
            grant = await rows.by_access(conn, digest) or await rows.by_refresh(conn, digest)
        if grant is not None:
            await self._end(grant)

    async def check(self, token: str, toolbox: str) -> Caller:
        """Who calls that toolbox with this access token. Raises `Unauthenticated`."""
        async with self._store.read() as conn:
            grant = await rows.by_access(conn, _hash(token))
        caller = None if grant is None else self._keys.holder(grant.key_id)
        if grant is None or caller is None or grant.access_until_us < self._clock.now_us():
            raise Unauthenticated("The access token is not valid: it is over, revoked, or of another server.")
        if grant.toolbox != toolbox:
            raise Unauthenticated("The access token is for another toolbox of this server.")
        return caller

    async def grants(self, workspace_id: str) -> list[GrantRow]:
        """What was granted in a workspace and is not over, newest first."""
        async with self._store.read() as conn:
            found = await rows.of_workspace(conn, workspace_id)
        now_us = self._clock.now_us()
        return [one for one in found if one.until_us > now_us and one.access_hash]

    async def end(self, workspace_id: str, grant_id: str) -> None:
        """Take a grant back. Raises `NotFound`."""
        found = next((one for one in await self.grants(workspace_id) if one.id == grant_id), None)
        if found is None:
            raise NotFound("There is no such grant.")
        await self._end(found)

    async def _renewed(self, grant: GrantRow, toolbox: str | None) -> Tokens:
        if toolbox is not None and toolbox != grant.toolbox:
            raise OAuthRefused("invalid_target", "resource: was granted for another toolbox.")
        if self._keys.holder(grant.key_id) is None:
            await self._end(grant)
            raise OAuthRefused("invalid_grant", "The key by which this was granted is revoked.")
        now_us = self._clock.now_us()
        tokens = Tokens(TOKEN + secrets.token_urlsafe(32), _REFRESH + secrets.token_urlsafe(32))
        fresh = replace(
            grant,
            access_hash=_hash(tokens.access),
            access_until_us=now_us + ACCESS_S * 1_000_000,
            refresh_hash=_hash(tokens.refresh),
            last_refresh_hash=grant.refresh_hash,
            until_us=now_us + _GRANT_S * 1_000_000,
        )
        if not await self._store.write(lambda conn: rows.renew(conn, grant, fresh)):
            raise OAuthRefused("invalid_grant", "It was used at the same moment by somebody else.")
        return tokens

    async def _end(self, grant: GrantRow) -> None:
        await self._store.write(lambda conn: rows.end(conn, grant.id))


def _hash(token: str) -> str:
    return hashlib.sha256(token[:512].encode("utf-8", "replace")).hexdigest()


def _challenge(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _may_lead_to(uri: str) -> bool:
    try:
        parts = urlsplit(uri)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    if len(uri) > _MOST_URI_CHARS or not uri.isascii() or not uri.isprintable() or " " in uri or parts.fragment:
        return False
    if parts.username is not None or "\\" in uri:
        return False
    if parts.scheme == "https":
        return bool(host)
    return host in _LOOPBACK if parts.scheme == "http" else bool(_APP_SCHEME.fullmatch(parts.scheme))


def _same_place(given: str, known: str) -> bool:
    """The same address, letter by letter; of this machine the port may be any (RFC 8252, 7.3)."""
    if given == known:
        return True
    if not _may_lead_to(given):
        return False
    one, other = urlsplit(given), urlsplit(known)
    local = one.scheme == other.scheme == "http" and one.hostname == other.hostname and one.hostname in _LOOPBACK
    return local and (one.path, one.query) == (other.path, other.query)

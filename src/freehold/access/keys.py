"""API keys: made once, known only by their hash, checked in memory.

A key is `sk-fh-` and 43 characters, 256 random bits: nobody guesses one, so a plain SHA-256 protects it at rest. A key
that is revoked stops working here at once and in every other process within a second or so.

An environment key (`sk-fh-env-`) is a worker's: it opens what `workers.py` says, and nothing else.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

from freehold.calls import Caller, Headers
from freehold.clock import Clock
from freehold.errors import InvalidRequest, NotFound, Unauthenticated, Unavailable
from freehold.ids import NewId, new_id
from freehold.store import keys as rows
from freehold.store import workspaces
from freehold.store.base import Connection
from freehold.store.engine import Store
from freehold.store.environments import read_environment
from freehold.store.keys import KeyRow, Role
from freehold.wire.repeated import once

log = logging.getLogger(__name__)

PREFIX = "sk-fh-"
ENVIRONMENT_PREFIX = "sk-fh-env-"
TOKEN_PREFIX = "sk-fh-work-"
"""Of the tokens of work items, which `workers.py` checks."""
WAKE = "keys"
LOOK_S = 1.0
"""How often the table is looked at when nobody said that it changed."""
LONGEST = 512
"""Bytes of a key that is worth hashing; a longer one is nobody's."""
NAME_LONGEST = 255


@dataclass(frozen=True, slots=True)
class Created:
    """A new key. `secret` is shown to its owner now and never again."""

    key: KeyRow
    secret: str


class Worker(Caller, frozen=True, gc=False):
    """Who does the work of a self-hosted environment."""

    environment_id: str
    session_id: str | None = None
    """The one session that it may see; `None`: it holds the key of the environment."""
    work_id: str | None = None
    void: bool = False
    """Its item was handed to another worker since."""


class Keys:
    """All valid keys, in memory. Made by `open`, ended by `close`."""

    def __init__(self, store: Store, *, clock: Clock, ids: NewId = new_id) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._known: dict[bytes, tuple[bytes, Caller]] = {}
        self._workers: dict[bytes, tuple[bytes, Worker]] = {}
        self._seen: rows.Fingerprint | None = None
        self._reading = asyncio.Lock()
        """One reads at a time: what was read before a key was revoked must not come after what was read behind it."""
        self._follower: asyncio.Task[None] | None = None
        self.failures = 0
        """Requests that came with no valid key, since the start."""

    @classmethod
    async def open(cls, store: Store, *, clock: Clock, ids: NewId = new_id) -> Keys:
        """Read the keys and follow their changes from now on."""
        keys = cls(store, clock=clock, ids=ids)
        version = store.wakes.version(WAKE)
        await keys.refresh()
        keys._follower = asyncio.create_task(keys._follow(version), name="keys follower")
        return keys

    async def close(self) -> None:
        """Stop following."""
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.gather(self._follower, return_exceptions=True)

    def check(self, headers: Headers) -> Caller:
        """Who sends these headers (names in lower case). `x-api-key` goes before `Authorization: Bearer`.

        Raises:
            Unauthenticated: there is no key, or it is not valid. The message never repeats it.
        """
        digest = once(headers, _digest)
        if digest is None:
            self.failures += 1
            raise Unauthenticated("No API key was sent. Send it as `x-api-key: KEY` or `Authorization: Bearer KEY`.")
        # The look-up sees half of a hash, which tells nothing of a key; all of it is compared in constant time.
        stored, caller = self._known.get(digest[:16], (bytes(32), None))
        if not hmac.compare_digest(stored, digest) or caller is None:
            self.failures += 1
            raise Unauthenticated(_refused(sent_key(headers) or b""))
        return caller

    def worker(self, sent: bytes) -> Worker | None:
        """Whose environment key that is; `None`: nobody's."""
        digest = hashlib.sha256(sent[: LONGEST + 1]).digest()
        stored, worker = self._workers.get(digest[:16], (bytes(32), None))
        return worker if hmac.compare_digest(stored, digest) else None

    def holder(self, key_id: str) -> Caller | None:
        """Whose key that is, by its id; `None` if it is not valid any more."""
        return next((caller for _, caller in self._known.values() if caller.key_id == key_id), None)

    async def create(self, workspace_id: str, name: str, role: Role = "member") -> Created:
        """A new key for that workspace.

        Raises:
            InvalidRequest: the name is empty or too long, or the role is not one.
            NotFound: there is no such workspace.
        """
        if role not in ("admin", "member", "viewer"):
            raise InvalidRequest("role: must be admin, member or viewer")
        secret = new_secret()
        return await self._create(key_row(self._ids("apikey"), workspace_id, name, role, secret, self._now()), secret)

    async def create_for_environment(self, workspace_id: str, name: str, environment_id: str) -> Created:
        """A new key for workers of that self-hosted environment.

        Raises:
            InvalidRequest: the name is empty or too long, or the environment is not self-hosted.
            NotFound: there is no such workspace, or no such environment in it.
        """
        async with self._store.read() as conn:
            environment = await read_environment(conn, workspace_id, environment_id)
        if environment.body["config"]["type"] != "self_hosted":
            raise InvalidRequest(f"environment_id: {environment_id} is not self-hosted, so it has no workers.")
        secret = ENVIRONMENT_PREFIX + secrets.token_urlsafe(32)
        row = key_row(self._ids("apikey"), workspace_id, name, "worker", secret, self._now())
        return await self._create(replace(row, environment_id=environment_id), secret)

    def _now(self) -> int:
        return self._clock.now_us()

    async def _create(self, row: KeyRow, secret: str) -> Created:
        if not 1 <= len(row.name) <= NAME_LONGEST or "\0" in row.name:
            raise InvalidRequest(f"name: a key's name has 1 to {NAME_LONGEST} characters")

        async def op(conn: Connection) -> KeyRow:
            if await workspaces.get(conn, row.workspace_id) is None:
                raise NotFound(f"There is no workspace {row.workspace_id}.")
            if row.environment_id is not None:  # not deleted meanwhile
                await read_environment(conn, row.workspace_id, row.environment_id, lock=True)
            return await rows.create(conn, row)

        await self._store.write(op, wake=[WAKE])
        await self.refresh()
        return Created(row, secret)

    async def revoke(self, key_id: str) -> KeyRow:
        """End a key for good. Here it is refused when this returns; revoking it again changes nothing.

        Raises:
            NotFound: there is no such key.
        """
        now_us = self._clock.now_us()
        row = await self._store.write(lambda conn: rows.revoke(conn, key_id, now_us), wake=[WAKE])
        if row is None:
            raise NotFound(f"There is no key {key_id}.")
        await self.refresh()
        return row

    async def list(
        self, *, limit: int = 100, after: tuple[int, str] | None = None, workspace_id: str | None = None
    ) -> Sequence[KeyRow]:
        """Keys, newest first, revoked too, from behind (`created_us`, `id`) on: `limit`, and one if more follow."""
        async with self._store.read() as conn:
            return await rows.listed(conn, limit=limit, after=after, workspace_id=workspace_id)

    async def get(self, key_id: str) -> KeyRow:
        """One key. Raises `NotFound`."""
        async with self._store.read() as conn:
            row = await rows.get(conn, key_id)
        if row is None:
            raise NotFound(f"There is no key {key_id}.")
        return row

    async def refresh(self) -> None:
        """Read the keys if anything about them has changed."""
        async with self._reading:
            seen, valid = await self._store.look(self._read)
            if valid is not None:
                self._take(valid)
                self._seen = seen

    async def _read(self, conn: Connection) -> tuple[rows.Fingerprint, Sequence[KeyRow] | None]:
        """The keys, unless they are those that are known."""
        seen = await rows.fingerprint(conn)
        return seen, None if seen == self._seen else await rows.valid(conn)

    def _take(self, valid: Sequence[KeyRow]) -> None:
        self._known, self._workers = {}, {}
        for row in valid:
            digest = bytes.fromhex(row.sha256)
            if row.environment_id is not None:
                worker = Worker(row.workspace_id, row.id, "worker", row.environment_id)
                self._workers[digest[:16]] = (digest, worker)
            elif row.role != "worker":
                self._known[digest[:16]] = (digest, Caller(row.workspace_id, row.id, row.role))

    async def _follow(self, version: int) -> None:
        while True:
            version = await self._store.wakes.changed(WAKE, version, LOOK_S, lazy=True)
            try:
                await self.refresh()
            except Unavailable as error:
                log.warning("API keys cannot be read, those known stay valid: %s", error.message)
            except Exception:
                log.exception(
                    "API keys cannot be read, those known stay valid."
                )  # and it goes on: never stop following


def new_secret() -> str:
    """A fresh key."""
    return PREFIX + secrets.token_urlsafe(32)


def key_row(key_id: str, workspace_id: str, name: str, role: Role, secret: str, now_us: int) -> KeyRow:
    """What is kept of a key."""
    digest = hashlib.sha256(secret.encode()).hexdigest()
    return KeyRow(key_id, workspace_id, name, role, digest, secret[-4:], now_us, None)


def _digest(headers: Headers) -> bytes | None:
    sent = sent_key(headers)
    return None if sent is None else hashlib.sha256(sent[: LONGEST + 1]).digest()


def sent_key(headers: Headers) -> bytes | None:
    """The key in a request's headers. `x-api-key` goes before `Authorization: Bearer`."""
    bearer = None
    for name, value in headers:
        if name == b"x-api-key":
            if key := value.strip():
                return key
        elif name == b"authorization" and value[:7].lower() == b"bearer " and value[7:].strip():
            bearer = bearer or value[7:].strip()
    return bearer


def _refused(sent: bytes) -> str:
    if sent.startswith((ENVIRONMENT_PREFIX.encode(), TOKEN_PREFIX.encode())):
        return (
            "The keys and tokens of workers open the work of their environment, not this. Send an API key here; if you "
            "are a worker and this is your work, your key or token is not valid (any more)."
        )
    return "The API key is not valid: it is mistyped, revoked, or of another server."

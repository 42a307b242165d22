"""What the first start leaves behind: the default workspace, and an admin key in a file that only its owner can read.

The file is written before the key is valid, and read again if it is there: a crash between the two loses nothing, and
several servers that start at once on one folder agree on one key.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from freehold.access.keys import WAKE, key_row, new_secret
from freehold.access.private_file import keep_private
from freehold.clock import Clock
from freehold.config import setting
from freehold.errors import Misconfigured
from freehold.ids import NewId, new_id
from freehold.store import keys, workspaces
from freehold.store.base import Connection
from freehold.store.engine import Store
from freehold.store.keys import KeyRow
from freehold.store.workspaces import Workspace

DEFAULT_WORKSPACE = "default"
KEY_FILE = "admin-key"
FIRST_KEY = "first start"
"""The name of the key that is made."""
SET_KEY = "FREEHOLD_ADMIN_KEY"
"""The name of the key that is set by the operator: whatever was set before under it is revoked."""
SHORTEST = 32


@dataclass(frozen=True, slots=True)
class AdminKeySettings:
    """The admin key, if the operator brings one."""

    admin_key: str | None = setting(
        None,
        "The admin key of the default workspace, at least 32 characters. Left out, the first start makes one and keeps "
        "it in the data folder. Changing it revokes the one set before.",
        secret=True,
    )


@dataclass(frozen=True, slots=True)
class FirstStart:
    """What was found or made."""

    workspace: Workspace
    """The default one."""
    key_file: Path | None
    """Where the admin key lies that was made just now; `None` if there was one already, or the operator set it."""
    admin_key: str | None
    """That key, to be shown on a terminal and nowhere else."""


async def first_start(
    store: Store, settings: AdminKeySettings, data: Path, *, clock: Clock, ids: NewId = new_id
) -> FirstStart:
    """See that the default workspace and an admin key are there; harmless at every later start.

    Raises:
        Misconfigured: the key that was set is too short or revoked, or the file cannot be written or is readable by
            others.
    """
    if settings.admin_key:
        made = _Made(_checked(settings.admin_key), ids, clock.now_us())
        return FirstStart(await store.write(made.set_by_operator, wake=[WAKE]), None, None)
    async with store.read() as conn:
        default = await workspaces.named(conn, DEFAULT_WORKSPACE)
        if default is not None and await keys.has_admin(conn):
            return FirstStart(default, None, None)
    path = data / KEY_FILE
    while True:
        made = _Made(keep_private(path, new_secret()), ids, clock.now_us())
        outcome, workspace = await store.write(made.unless_there_is_one, wake=[WAKE])
        if outcome == "valid":
            return FirstStart(workspace, path, made.secret)
        path.unlink(missing_ok=True)  # it holds a key that opens nothing
        if outcome == "another":
            return FirstStart(workspace, None, None)


class _Made:
    """The rows of the default workspace and an admin key, put in as operations of the store."""

    def __init__(self, secret: str, ids: NewId, now_us: int) -> None:
        self.secret = secret
        self._workspace = Workspace(ids("wrkspc"), DEFAULT_WORKSPACE, now_us, None)
        self._key_id = ids("apikey")
        self._now_us = now_us

    async def set_by_operator(self, conn: Connection) -> Workspace:
        """Make this key valid and the ones set before it not."""
        workspace = await workspaces.ensure(conn, self._workspace)
        row = self._row(workspace, SET_KEY)
        there = await keys.by_sha256(conn, row.sha256)
        if there is not None and there.revoked_us is not None:
            raise Misconfigured("FREEHOLD_ADMIN_KEY is a key that was revoked. Set another one.")
        if there is None:
            await keys.revoke_named(conn, workspace.id, SET_KEY, self._now_us)
            await keys.create(conn, row)
        return workspace

    async def unless_there_is_one(self, conn: Connection) -> tuple[Literal["valid", "revoked", "another"], Workspace]:
        """Make this key valid, unless it was revoked, or another process has made one meanwhile."""
        workspace = await workspaces.ensure(conn, self._workspace)
        row = self._row(workspace, FIRST_KEY)
        there = await keys.by_sha256(conn, row.sha256)
        if there is not None:
            return ("valid" if there.revoked_us is None else "revoked"), workspace
        if await keys.has_admin(conn):
            return "another", workspace
        await keys.create(conn, row)
        return "valid", workspace

    def _row(self, workspace: Workspace, name: str) -> KeyRow:
        return key_row(self._key_id, workspace.id, name, "admin", self.secret, self._now_us)


def _checked(secret: str) -> str:
    if len(secret) < SHORTEST or not secret.isascii() or not secret.isprintable() or " " in secret:
        raise Misconfigured(
            f"FREEHOLD_ADMIN_KEY must have at least {SHORTEST} printable ASCII characters and no space. "
            "Make one with: python3 -c 'import secrets; print(\"sk-fh-\" + secrets.token_urlsafe(32))'"
        )
    return secret

"""Secrets at rest: AES-256-GCM, each bound to its workspace and name, so that no row can be put in another's place."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from freehold.access.private_file import keep_private, read_private
from freehold.clock import Clock
from freehold.config import setting
from freehold.errors import Misconfigured
from freehold.store import secrets as rows
from freehold.store.engine import Store

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_FILE = "secret-key"
KEY_BYTES = 32
_FORMAT = b"\x01"
"""The first byte of what is sealed: AES-256-GCM, 12 bytes of nonce, then text and tag."""
_NONCE_BYTES = 12


@dataclass(frozen=True, slots=True)
class SecretSettings:
    """Where the key comes from that protects secrets at rest."""

    secret_key: str | None = setting(
        None,
        "32 random bytes in base64 that protect secrets at rest. Left out, the first start makes them and keeps them "
        "in the data folder. Servers that share a database must share it.",
        secret=True,
    )


class Secrets:
    """Seals and opens, and keeps what is sealed in the store. The cipher is loaded with the first secret: eight
    megabytes that most servers never need.
    """

    def __init__(self, store: Store, key: bytes, *, clock: Clock) -> None:
        self._store = store
        self._key = key
        self._clock = clock

    @cached_property
    def _cipher(self) -> AESGCM:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return AESGCM(self._key)

    def seal(self, workspace_id: str, name: str, secret: bytes) -> bytes:
        """Encrypt; two results for the same secret differ."""
        nonce = os.urandom(_NONCE_BYTES)
        return _FORMAT + nonce + self._cipher.encrypt(nonce, secret, _bound_to(workspace_id, name))

    def open(self, workspace_id: str, name: str, sealed: bytes) -> bytes:
        """What `seal` was given for this workspace and name.

        Raises:
            Misconfigured: it was sealed with another key, for another place, or is damaged.
        """
        from cryptography.exceptions import InvalidTag

        nonce, rest = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            if sealed[:1] != _FORMAT:
                raise InvalidTag
            return self._cipher.decrypt(nonce, rest, _bound_to(workspace_id, name))
        except (InvalidTag, ValueError) as error:
            raise Misconfigured(
                f"The secret {name!r} of {workspace_id} cannot be opened: it is damaged, or FREEHOLD_SECRET_KEY (or "
                f"the data folder's {KEY_FILE}) is not the one that it was sealed with."
            ) from error

    async def put(self, workspace_id: str, name: str, secret: bytes) -> None:
        """Keep a secret, in place of an older one of the same name."""
        sealed = self.seal(workspace_id, name, secret)
        now_us = self._clock.now_us()
        await self._store.write(lambda conn: rows.put(conn, workspace_id, name, sealed, now_us))

    async def get(self, workspace_id: str, name: str) -> bytes | None:
        """A secret that was kept, or `None`."""
        async with self._store.read() as conn:
            sealed = await rows.get(conn, workspace_id, name)
        return None if sealed is None else self.open(workspace_id, name, sealed)

    async def named(self, workspace_id: str, prefix: str) -> list[bytes]:
        """The secrets of a workspace whose names begin so."""
        async with self._store.read() as conn:
            found = await rows.named(conn, workspace_id, prefix)
        return [self.open(workspace_id, name, sealed) for name, sealed in found]

    async def remove_named(self, workspace_id: str, prefix: str) -> None:
        """Forget the secrets of a workspace whose names begin so."""
        await self._store.write(lambda conn: rows.remove_named(conn, workspace_id, prefix))

    async def remove(self, workspace_id: str, name: str) -> bool:
        """Forget a secret; false if there was none."""
        return await self._store.write(lambda conn: rows.remove(conn, workspace_id, name))


def secret_key(settings: SecretSettings, data: Path) -> bytes:
    """The key from the settings, or else from the data folder, where the first start makes one.

    Raises:
        Misconfigured: it is not 32 bytes in base64, or its file can be read by others.
    """
    if settings.secret_key:
        return _decoded(settings.secret_key, "FREEHOLD_SECRET_KEY")
    path = data / KEY_FILE
    kept = read_private(path) or keep_private(path, base64.b64encode(os.urandom(KEY_BYTES)).decode())
    return _decoded(kept, str(path))


def _decoded(text: str, place: str) -> bytes:
    try:
        key = base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise Misconfigured(
            f"{place} is not {KEY_BYTES} bytes in base64. Make one with: openssl rand -base64 {KEY_BYTES}"
        )
    return key


def _bound_to(workspace_id: str, name: str) -> bytes:
    return f"{workspace_id}\0{name}".encode()

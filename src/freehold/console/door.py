"""The door of the console: a key opens it, a sealed cookie keeps it open, and guessing is slow.

The cookie holds the key itself, sealed with the server's own secret, so that a login outlives a restart and holds on
every server of one database; what is revoked opens nothing from then on. Scripts cannot read it, and other sites cannot
send it. Every form carries a token that only this login's pages know.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import secrets as random
from dataclasses import dataclass
from typing import Protocol

from freehold.clock import Clock
from freehold.errors import FreeholdError

COOKIE = "freehold_console"
_LONGEST_COOKIE = 4096
_WORKSPACE, _NAME = "console", "login"


class Seals(Protocol):
    """Seals and opens (`access.secrets.Secrets`)."""

    def seal(self, workspace_id: str, name: str, secret: bytes) -> bytes:
        """The sealed form."""
        ...

    def open(self, workspace_id: str, name: str, sealed: bytes) -> bytes:
        """What was sealed; raises a `FreeholdError` where it was not sealed here."""
        ...


@dataclass(frozen=True, slots=True)
class Login:
    """Who is in."""

    key: str
    token: str
    """What every form of this login must send."""


class Door:
    """Makes and reads the cookie's value."""

    def __init__(self, seals: Seals, clock: Clock, hours: int) -> None:
        self._seals = seals
        self._clock = clock
        self.lasts_s = hours * 3600

    def open(self, key: str) -> str:
        """A new login, with a token that no earlier one had; the value of its cookie."""
        until = self._clock.now_us() // 1_000_000 + self.lasts_s
        inside = json.dumps([key, random.token_urlsafe(24), until]).encode()
        return base64.urlsafe_b64encode(self._seals.seal(_WORKSPACE, _NAME, inside)).decode("ascii")

    def read(self, cookie: str | None) -> Login | None:
        """Who is in, unless the cookie is missing, not ours, or too old."""
        if not cookie or len(cookie) > _LONGEST_COOKIE:
            return None
        try:
            inside = self._seals.open(_WORKSPACE, _NAME, base64.urlsafe_b64decode(cookie.encode("ascii")))
            key, token, until = json.loads(inside)
        except (ValueError, binascii.Error, FreeholdError):
            return None
        return Login(key, token) if self._clock.now_us() < until * 1_000_000 else None


def same(given: str, expected: str) -> bool:
    """Compared in constant time."""
    return hmac.compare_digest(given.encode(), expected.encode())

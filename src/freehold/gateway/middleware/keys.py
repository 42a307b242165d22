"""Who asks: no call passes without a valid key, unless it was made in process and says for whom."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from freehold.calls import Call, Caller, Handler, Headers, Reply
from freehold.errors import PermissionDenied
from freehold.wire.headers import WORKSPACE_ID, first
from freehold.wire.repeated import once


class ChecksKeys(Protocol):
    """Tells who sends these headers (`access.keys.Keys`)."""

    def check(self, headers: Headers) -> Caller:
        """The caller. Raises `Unauthenticated`."""
        ...


class KeyCheck:
    """Sets `call.caller`. A request that could not be read is refused here too: after its key, so that a stranger
    learns nothing and the record knows whose it was.

    Raises:
        Unauthenticated: no valid key.
        PermissionDenied: the key belongs to another workspace than the one that was asked for, or is a viewer's.
    """

    def __init__(self, keys: ChecksKeys) -> None:
        self._keys = keys

    def __call__(self, inner: Handler) -> Handler:
        """See `Middleware`."""

        def handle(call: Call) -> AbstractAsyncContextManager[Reply]:
            if call.caller is None:
                call.caller = caller = self._keys.check(call.headers)
                asked = once(call.headers, _workspace_asked)
                if asked is not None and asked != caller.workspace_id:
                    raise PermissionDenied(f"{WORKSPACE_ID.decode()}: this key does not belong to {asked[:80]!r}.")
                if caller.role == "viewer":
                    raise PermissionDenied("This key's role is viewer: it reads, and asks no model anything.")
            if call.refused is not None:
                raise call.refused
            return inner(call)

        return handle


def _workspace_asked(headers: Headers) -> str | None:
    return first(headers, WORKSPACE_ID)

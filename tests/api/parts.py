"""What tests of the HTTP surface stand on: known keys, and a plain HTTP client without a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx2
from starlette.routing import BaseRoute

from freehold.api.base import Application, application
from freehold.calls import Caller, Headers
from freehold.clock import Clock, HandClock
from freehold.errors import Unauthenticated
from freehold.inprocess import AsgiTransport


@dataclass(frozen=True, slots=True)
class KnownKeys:
    """Keys that are known beforehand: from the bearer token to its caller."""

    callers: Mapping[str, Caller]

    def check(self, headers: Headers) -> Caller:
        bearer = dict(headers).get(b"authorization", b"").decode().removeprefix("Bearer ")
        if bearer not in self.callers:
            raise Unauthenticated
        return self.callers[bearer]


KEYS = KnownKeys(
    {
        "sk-member": Caller("wrkspc_one", "apikey_member", "member"),
        "sk-admin": Caller("wrkspc_one", "apikey_admin", "admin"),
        "sk-other": Caller("wrkspc_two", "apikey_other", "member"),
    }
)


def app_of(routes: Sequence[BaseRoute], *, clock: Clock | None = None, body_patience_s: float = 30) -> Application:
    return application(routes, keys=KEYS, clock=clock or HandClock(), body_patience_s=body_patience_s)


@asynccontextmanager
async def http(app: Application, key: str | None = "sk-member") -> AsyncIterator[httpx2.AsyncClient]:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    transport = AsgiTransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
        yield client

"""A running in-process server, as a test sees it: its clients, keys and places."""

from __future__ import annotations

import asyncio
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from freehold.app.application import Application
from freehold.clock import Clock
from freehold.inprocess import async_client, sync_client

if TYPE_CHECKING:
    from anthropic import Anthropic, AsyncAnthropic


class Running:
    """One server. Its clients hold the admin key of the default workspace unless they are told another.

    Attributes:
        application: the parts and the ASGI application.
        data: its data folder; gone after the test unless the test brought its own.
        key: the admin key.
        clock: the clock of the whole server; a `HandClock` if the test gave one.
    """

    def __init__(self, application: Application, data: Path, key: str, clock: Clock, strict: bool) -> None:
        self.application = application
        self.data = data
        self.key = key
        self.clock = clock
        self._strict = strict
        self._loop = asyncio.get_running_loop()
        self._async_clients: list[AsyncAnthropic] = []
        self._sync_clients: list[Anthropic] = []

    @cached_property
    def client(self) -> AsyncAnthropic:
        """The official async client, for the event loop of the server."""
        return self.new_client()

    @cached_property
    def sync_client(self) -> Anthropic:
        """The official sync client, for any other thread (`asyncio.to_thread`)."""
        return self.new_sync_client()

    def new_client(self, key: str | None = None, *, strict: bool | None = None, max_retries: int = 2) -> AsyncAnthropic:
        """A further async client; `key` as in `new_key`, `strict` as the server was asked if left out."""
        strict = self._strict if strict is None else strict
        client = async_client(self.application.asgi, key or self.key, strict=strict, max_retries=max_retries)
        self._async_clients.append(client)
        return client

    def new_sync_client(self, key: str | None = None, *, strict: bool | None = None, max_retries: int = 2) -> Anthropic:
        """A further sync client."""
        strict = self._strict if strict is None else strict
        app = self.application.asgi
        client = sync_client(app, key or self.key, self._loop, strict=strict, max_retries=max_retries)
        self._sync_clients.append(client)
        return client

    async def new_key(
        self, role: Literal["admin", "member", "viewer"] = "member", *, workspace: str | None = None, name: str = "test"
    ) -> str:
        """A fresh key, made through the API; in a new workspace of that name if `workspace` is given."""
        body: dict[str, object] = {"name": name, "role": role}
        if workspace is not None:
            made = await self.client.post("/freehold/v1/workspaces", body={"name": workspace}, cast_to=dict[str, str])
            body["workspace_id"] = made["id"]
        key = await self.client.post("/freehold/v1/keys", body=body, cast_to=dict[str, object])
        return str(key["secret"])

    async def close(self) -> None:
        """Close every client that was made here."""
        for sync in self._sync_clients:
            await asyncio.to_thread(sync.close)
        for client in self._async_clients:
            await client.close()

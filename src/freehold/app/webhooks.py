"""Makes who is told of what happens, and what tells them."""

from __future__ import annotations

import asyncio

from freehold.access.secrets import Secrets
from freehold.app.ground import Ground
from freehold.jobs.webhooks import Webhooks, WebhookSettings
from freehold.store.webhooks import WebhookRows


class WebhookHouse:
    """Who is told, and what tells them."""

    def __init__(self, rows: WebhookRows, secrets: Secrets, sender: Webhooks) -> None:
        self.rows = rows
        self.secrets = secrets
        self._sender = sender
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to send."""
        self._task = asyncio.create_task(self._sender.run(), name="webhooks")

    async def tidy(self) -> None:
        """Forget what was told long ago."""
        await self._sender.tidy()

    async def close(self) -> None:
        """What waits is sent by the next start, or by another process."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


def make_webhooks(ground: Ground, secrets: Secrets) -> WebhookHouse:
    """The queue of deliveries and its sender."""
    rows, private = WebhookRows(ground.store), ground.configuration.section(WebhookSettings).webhook_private_hosts
    sender = Webhooks(rows, ground.store, secrets, clock=ground.clock, private_hosts=private)
    return WebhookHouse(rows, secrets, sender)

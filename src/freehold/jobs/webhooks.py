"""Sends what the store has queued for webhooks: signed by the Standard Webhooks rules, tried three times, guarded.

The address is a stranger's, so it is dialled only if all its addresses are public, but for hosts that the operator
names. No redirect is followed, and of the answer nothing but its status is kept.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
import secrets
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Protocol
from urllib.parse import urlsplit

from freehold.clock import Clock
from freehold.config import setting
from freehold.errors import FreeholdError, InvalidRequest, Unavailable
from freehold.outbound.client import Client
from freehold.outbound.dial import Dialer, parse_url
from freehold.outbound.failures import WayOutFailed
from freehold.store.engine import Store
from freehold.store.webhooks import WAKE, DeliveryRow, WebhookRow, WebhookRows

log = logging.getLogger(__name__)

PREFIX = "whsec_"
_SECRET_BYTES = 32
WAITS_S = (10.0, 120.0)
"""Before the second and the third attempt; after that it has failed (Claude API docs: three attempts)."""
ANSWER_S = 15.0
_AT_ONCE = 64
_OF_ONE_WORKSPACE = 16
"""Of those at once: receivers that answer late hold up nobody else's."""
_LEASE_S = 60.0
_LOOK_S = 1.0
_KEPT_US = 30 * 24 * 3600 * 1_000_000
MOST_URL_CHARS = 2048


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """Where webhooks may go."""

    webhook_private_hosts: tuple[str, ...] = setting(
        (), "Hosts that webhooks may be sent to although their address is private; all others must be public."
    )


class OpensSecrets(Protocol):
    """What of `access.secrets.Secrets` is needed here."""

    def seal(self, workspace_id: str, name: str, secret: bytes) -> bytes:
        """Encrypt."""
        ...

    def open(self, workspace_id: str, name: str, sealed: bytes) -> bytes:
        """Decrypt."""
        ...


def new_secret() -> str:
    """A fresh signing secret: `whsec_` and 32 random bytes in base64."""
    return PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def signature(secret: str, event_id: str, timestamp_s: int, body: bytes) -> str:
    """`v1,…` over `id.timestamp.body` (standardwebhooks.com specification, section Signature scheme)."""
    key = base64.b64decode(secret.removeprefix(PREFIX))
    signed = b"%b.%d.%b" % (event_id.encode(), timestamp_s, body)
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def check_url(url: str) -> None:
    """Raises `InvalidRequest` unless it is an http(s) address without a password. Where it points is judged each time
    that it is dialled."""
    if len(url) > MOST_URL_CHARS or not url.isascii() or not url.isprintable() or " " in url:
        raise InvalidRequest(f"url: must be plain ASCII of at most {MOST_URL_CHARS} characters without spaces.")
    parts = urlsplit(url)
    try:
        parse_url(f"{parts.scheme}://{parts.netloc}")
    except ValueError as error:
        raise InvalidRequest(f"url: {error}.") from None
    if parts.fragment:
        raise InvalidRequest("url: must have no fragment.")


class Webhooks:
    """The sender of one process; any number may run."""

    def __init__(
        self, rows: WebhookRows, store: Store, secrets_: OpensSecrets, *, clock: Clock, private_hosts: Collection[str]
    ) -> None:
        self._rows = rows
        self._store = store
        self._secrets = secrets_
        self._clock = clock
        self._private_hosts = frozenset(private_hosts)
        self._guarded = Dialer(public_only=True)
        self._free = Dialer(public_only=False)
        self._trying: dict[asyncio.Task[None], str] = {}
        """What is being sent, and for which workspace."""

    async def run(self) -> None:
        """For ever. What is being sent when it is cancelled is sent again once its lease has run out."""
        try:
            while True:
                seen = self._store.wakes.version(WAKE)
                try:
                    while await self._begin():
                        pass
                except Unavailable as error:
                    log.warning("webhooks cannot be sent now: %s", error.message)
                except Exception:  # the outer edge of a job
                    log.exception("sending webhooks failed; it goes on")
                await self._store.wakes.changed(WAKE, seen, _LOOK_S, lazy=True)
        finally:
            for task in self._trying:
                task.cancel()
            await asyncio.gather(*self._trying, return_exceptions=True)

    async def _begin(self) -> int:
        """Begin to send what is due, as far as there is room; gives how many."""
        room, now_us = _AT_ONCE - len(self._trying), self._clock.now_us()
        if not room or not await self._store.look(lambda connection: self._rows.any_due(connection, now_us)):
            return 0
        busy = Counter(self._trying.values())
        due = await self._rows.take(limit=room, each=_OF_ONE_WORKSPACE, busy=busy, now_us=now_us, lease_s=_LEASE_S)
        for delivery, webhook in due:
            task = asyncio.create_task(self._attempt(delivery, webhook), name=f"webhook {delivery.id}")
            self._trying[task] = webhook.workspace_id
            task.add_done_callback(self._ended)
        return len(due)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._trying[task]
        if not task.cancelled() and (error := task.exception()):
            log.warning("%s: it is not known how it ended, so it is sent again: %s", task.get_name(), error)
        self._store.wakes.signal([WAKE])  # there is room

    async def tidy(self) -> None:
        """Forget deliveries that ended long ago."""
        await self._rows.forget(self._clock.now_us() - _KEPT_US)

    async def _attempt(self, delivery: DeliveryRow, webhook: WebhookRow) -> None:
        status: int | None = None
        problem: str | None = None
        try:
            async with asyncio.timeout(ANSWER_S):
                status = await self._send(delivery, webhook)
        except TimeoutError:
            problem = f"no answer within {ANSWER_S:g} s"
        except (WayOutFailed, FreeholdError) as error:
            problem = str(error)
        except Exception as error:  # the outer edge of a delivery: it counts as tried, and holds up no other
            log.exception("the delivery %s failed inside the server", delivery.id)
            problem = f"it failed inside the server ({type(error).__name__})"
        if problem is None and status is not None and not 200 <= status < 300:
            problem = f"answered {status}"
        await self._rows.told(self._after(delivery, status, problem))

    def _after(self, delivery: DeliveryRow, status: int | None, problem: str | None) -> DeliveryRow:
        now_us, attempts = self._clock.now_us(), delivery.attempts + 1
        tried = replace(delivery, attempts=attempts, last_status=status, last_error=problem and problem[:500])
        if problem is None:
            return replace(tried, state="delivered", ended_us=now_us)
        if attempts > len(WAITS_S):
            return replace(tried, state="failed", ended_us=now_us)
        return replace(tried, next_us=now_us + round(WAITS_S[attempts - 1] * 1_000_000))

    async def _send(self, delivery: DeliveryRow, webhook: WebhookRow) -> int:
        parts = urlsplit(webhook.url)
        origin, _ = parse_url(f"{parts.scheme}://{parts.netloc}")
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        secret = self._secrets.open(webhook.workspace_id, webhook.id, webhook.sealed).decode()
        body = delivery.body.encode()
        now_s = self._clock.now_us() // 1_000_000
        lines = [
            f"POST {target} HTTP/1.1",
            f"host: {origin.authority}",
            "content-type: application/json",
            "user-agent: freehold-webhooks",
            f"webhook-id: {delivery.id}",
            f"webhook-timestamp: {now_s}",
            f"webhook-signature: {signature(secret, delivery.id, now_s, body)}",
            f"content-length: {len(body)}",
            "connection: close",
        ]
        head = "\r\n".join(lines).encode("ascii") + b"\r\n\r\n"
        client = Client(origin, self._free if origin.host in self._private_hosts else self._guarded)
        try:
            async with client.exchange(head, body) as answer:
                return answer.status
        finally:
            await client.close()

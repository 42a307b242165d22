"""Who a worker is to the server: the environment's key, and for one item of work the token inside its secret.

Both are only ever a Bearer header; neither is written down or logged.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec
from anthropic import AsyncAnthropic

from freehold.outbound.sdk_http import HttpClient


def token_in(secret: str | None) -> str | None:
    """The session's token in the secret of a polled item (URL-safe base64 of JSON, padding left out); `None`: none."""
    if not secret:
        return None
    try:
        found: Any = msgspec.json.decode(base64.urlsafe_b64decode(secret + "=" * (-len(secret) % 4)))
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        return None
    token = found.get("sessions_token") if isinstance(found, dict) else None
    return token if isinstance(token, str) and token else None


def client_of(url: str, environment_key: str, way: HttpClient) -> AsyncAnthropic:
    """The SDK's client of that server. An API key in the environment is for something else and not used."""
    client = AsyncAnthropic(base_url=url, auth_token=environment_key, http_client=way)
    client.api_key = None
    return client


def speaking_as(client: AsyncAnthropic, token: str) -> AsyncAnthropic:
    """The same client with that Bearer token and no other credential."""
    made = client.copy(auth_token=token, api_key=None)
    made.api_key = None  # `copy` takes the parent's, or the environment's, where it is left out
    return made

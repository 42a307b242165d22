"""Google credentials for Vertex AI, whose tokens are fetched by our own way out. Loaded only where Vertex is used."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]
_TOKEN_S = 30.0


def vertex_credentials(file: str | None, http_client: Any) -> VertexCredentials:
    """From a service account's file, else those that Google's library finds (`GOOGLE_APPLICATION_CREDENTIALS`, gcloud,
    the machine's own).

    Raises:
        ValueError: there are none, or the file holds none.
    """
    import google.auth
    from google.oauth2 import service_account

    try:
        if file is not None:
            account: Any = service_account.Credentials
            found = account.from_service_account_file(file, scopes=_SCOPES)
        else:
            found, _ = google.auth.default(scopes=_SCOPES)
    except (OSError, ValueError, google.auth.exceptions.GoogleAuthError) as error:
        raise ValueError(f"the credentials for Vertex cannot be used: {error}") from error
    return VertexCredentials(found, http_client)


class VertexCredentials:
    """What the SDK's client wants of credentials: a token, whether it has expired, and a new one."""

    def __init__(self, inner: Any, http_client: Any) -> None:
        self._inner = inner
        self._http_client = http_client
        self._loop = asyncio.get_running_loop()

    @property
    def token(self) -> str | None:
        """The token, if there is one."""
        token: str | None = self._inner.token
        return token

    @property
    def expired(self) -> bool:
        """Whether it is over, or will be soon."""
        return bool(self._inner.expired)

    def refresh(self, _: object) -> None:
        """Get a new one. Blocks: the SDK calls it in a thread, the request runs on the loop. Raises `RuntimeError`."""
        import google.auth.exceptions

        try:
            self._inner.refresh(self._ask)
        except google.auth.exceptions.GoogleAuthError as error:
            raise RuntimeError(str(error)) from error

    def _ask(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **_: Any,
    ) -> _Told:
        """What Google's library takes for a transport."""

        async def ask() -> _Told:
            reply = await self._http_client.request(method, url, content=body, headers=headers)
            return _Told(reply.status_code, dict(reply.headers), reply.content)

        return asyncio.run_coroutine_threadsafe(ask(), self._loop).result(timeout or _TOKEN_S)


@dataclass(frozen=True, slots=True)
class _Told:
    status: int
    headers: Mapping[str, str]
    data: bytes

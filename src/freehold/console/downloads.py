"""Downloads: what the API answers, handed on while it comes."""

from __future__ import annotations

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from freehold.console.visit import SAFE, Visit


class HandedOn(Response):
    """What the API answers, as a download that is never shown as a page. It is asked when the answer is sent.

    `name`: what it is called where the API does not say.
    """

    media_type = "application/octet-stream"

    def __init__(self, visit: Visit, path: str, name: str) -> None:
        super().__init__()
        self._api = visit.api
        self._path = path
        self._named = f'attachment; filename="{name}"'

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        async with self._api.open("GET", self._path) as answer:
            told = dict(answer.headers).get(b"content-disposition")
            headers = {**SAFE, "content-disposition": told.decode("latin-1") if told else self._named}
            shown: Response = StreamingResponse(answer.parts, 200, headers, media_type=self.media_type)
            if answer.status != 200:
                shown = Response("This cannot be downloaded.", answer.status, SAFE, media_type="text/plain")
            await shown(scope, receive, send)

"""`GET /freehold/v1/doctor`: how the running server is, seen from inside; for admin keys."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from starlette.responses import Response
from starlette.routing import BaseRoute

from freehold.api.base import Request, answer, route


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `note`: it works, but not as well as it could; `bad`: it does not."""

    subject: str
    level: Literal["ok", "note", "bad"]
    detail: str
    remedy: str = ""


def routes(examine: Callable[[], Awaitable[Sequence[Finding]]]) -> list[BaseRoute]:
    """The route."""

    async def doctor(request: Request) -> Response:
        request.query.refuse_others()
        return answer({"data": [{"type": "finding", **asdict(one)} for one in await examine()]})

    return [route("GET", "/freehold/v1/doctor", doctor, door="admin")]

"""`GET /v1/models` and `/v1/models/{model_id}`: what the upstreams of this server offer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from starlette.responses import Response
from starlette.routing import BaseRoute

from freehold.api.base import Request, answer, route
from freehold.errors import InvalidRequest
from freehold.wire.pages import id_page

LIFECYCLES = ("active", "deprecated", "retired")


class NamesModels(Protocol):
    """All models, or one (`gateway.catalogue.Catalogue`)."""

    async def all(self) -> Sequence[dict[str, Any]]:
        """Entries in the shape of `ModelInfo`."""
        ...

    async def get(self, model_id: str) -> dict[str, Any]:
        """One of them. Raises `NotFound`."""
        ...


def routes(models: NamesModels) -> list[BaseRoute]:
    """The two routes."""

    async def list_models(request: Request) -> Response:
        query = request.query
        limit = query.whole("limit", least=1, most=1000) or 20
        after, before = query.text("after_id"), query.text("before_id")
        wanted = _lifecycles(query.texts("lifecycle", most=len(LIFECYCLES)))
        query.refuse_others()
        if after is not None and before is not None:
            raise InvalidRequest("after_id, before_id: only one of them can be given.")
        entries = [entry for entry in await models.all() if entry.get("lifecycle", "active") in wanted]
        return answer(_page(entries, limit, after, before))

    async def get_model(request: Request) -> Response:
        return answer(await models.get(request.path["model_id"]))

    return [route("GET", "/v1/models", list_models), route("GET", "/v1/models/{model_id}", get_model)]


def _lifecycles(asked: Sequence[str]) -> Sequence[str]:
    for value in asked:
        if value not in LIFECYCLES:
            raise InvalidRequest(f"lifecycle[]: must be one of {', '.join(LIFECYCLES)}, not {value[:40]!r}.")
    return asked or LIFECYCLES


def _page(entries: Sequence[dict[str, Any]], limit: int, after: str | None, before: str | None) -> dict[str, Any]:
    """A page of at most `limit`: the first ones, those right after `after`, or those right before `before`."""
    if after is not None:
        entries = entries[_position(entries, "after_id", after) + 1 :]
    if before is not None:
        earlier = entries[: _position(entries, "before_id", before)]
        return id_page(earlier[-limit:], len(earlier) > limit)
    return id_page(entries[:limit], len(entries) > limit)


def _position(entries: Sequence[dict[str, Any]], name: str, model_id: str) -> int:
    for position, entry in enumerate(entries):
        if entry["id"] == model_id:
            return position
    raise InvalidRequest(f"{name}: there is no model {model_id[:128]!r} in this list.")

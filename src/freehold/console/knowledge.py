"""Knowledge: collections, their documents, and what a search finds in them."""

from __future__ import annotations

from starlette.responses import Response

from freehold.console.visit import Visit

_PATH = "/freehold/v1/knowledge"


async def listed(visit: Visit) -> Response:
    """The collections, newest first, and what is found in all of them."""
    page = await visit.api.get(f"{_PATH}/collections", {"limit": 50, "page": visit.asked("page")})
    found = await _found(visit, None)
    return visit.show("knowledge.html", collections=page["data"], next_page=page.get("next_page"), found=found)


async def show(visit: Visit) -> Response:
    """One, with its documents."""
    path = f"{_PATH}/collections/{visit.id('collection_id')}"
    collection = await visit.api.get(path)
    page = await visit.api.get(f"{path}/documents", {"limit": 100, "page": visit.asked("page")})
    return visit.show(
        "collection.html",
        collection=collection,
        documents=page["data"],
        next_page=page.get("next_page"),
        found=await _found(visit, collection["name"]),
    )


async def _found(visit: Visit, collection: str | None) -> list[dict[str, object]] | None:
    """Passages for what is sought; `None` where nothing is."""
    sought = visit.asked("sought").strip()
    if not sought:
        return None
    body = {"query": sought, **({"collections": [collection]} if collection else {})}
    return list((await visit.api.post(f"{_PATH}/search", body))["data"])

"""Pages of the lists that the simulator itself answers: models and batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from freehold.errors import InvalidRequest
from freehold.wire import pages


def id_page(entries: list[dict[str, Any]], query: Mapping[str, list[str]]) -> dict[str, Any]:
    """One page of a list by `limit`, `after_id` and `before_id`.

    Raises:
        InvalidRequest: the limit is not from 1 to 1000, or the cursor is no entry.
    """
    text = query.get("limit", ["20"])[-1]
    if not text.isdecimal() or not 1 <= int(text[:5]) <= 1000:
        raise InvalidRequest("limit: Input should be a number from 1 to 1000")
    limit = int(text)
    ids = [entry["id"] for entry in entries]
    for name in ("after_id", "before_id"):
        if name in query and query[name][-1] not in ids:
            raise InvalidRequest(f"{name}: there is no entry {query[name][-1][:80]!r}")
    if "before_id" in query:
        end = ids.index(query["before_id"][-1])
        return pages.id_page(entries[max(0, end - limit) : end], end > limit)
    start = ids.index(query["after_id"][-1]) + 1 if "after_id" in query else 0
    return pages.id_page(entries[start : start + limit], start + limit < len(entries))

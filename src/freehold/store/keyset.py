"""Pages of a table by key instead of offset: stable while rows come and go, and as cheap on page 1,000 as on page 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, literal, tuple_


def page(
    query: Select[Any],
    keys: Sequence[ColumnElement[Any]],
    *,
    after: Sequence[Any] | None,
    limit: int,
    descending: bool = True,
) -> Select[Any]:
    """`query` ordered by `keys`, from the row behind `after` on, `limit` rows and one to tell of a next page.

    `keys` must tell any two rows apart; an index with the same columns makes it cheap.
    """
    if after is not None:
        here = tuple_(*keys)
        there = tuple_(*(literal(value, key.type) for value, key in zip(after, keys, strict=True)))
        query = query.where(here < there if descending else here > there)
    return query.order_by(*(key.desc() if descending else key.asc() for key in keys)).limit(limit + 1)

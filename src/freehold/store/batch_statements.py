"""The statements that each group of a batch's items runs, built once: building them anew cost more than running them.

Places come as one expanding parameter. What is meant by each statement stands in `batch_work.py`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, Integer, Select, String, bindparam, select, update
from sqlalchemy.sql.dml import ReturningUpdate, Update

from freehold.store.leases import database_now
from freehold.store.tables import batch_items, batch_requests, batches

COUNTED = ("succeeded", "errored", "canceled", "expired")
SUMMED = (
    *COUNTED,
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cost_nanodollars",
    "cache_saved_nanodollars",
    "unpriced",
)
"""What a batch's row adds up of its items."""

_item = batch_items.c
_BATCH = bindparam("batch", type_=String())
_PLACES = bindparam("places", type_=Integer(), expanding=True)
_OWNER = bindparam("of_owner", type_=String())


@lru_cache(maxsize=2)
def taking(dialect: str) -> ReturningUpdate[Any]:
    """Parameters: batch, of_owner, now, lease, most. The items are picked in a part of its own, which runs once."""
    now = database_now(dialect, bindparam("now", type_=BigInteger()))
    picked = (
        select(_item.idx)
        .where(_item.batch_id == _BATCH, _item.state == "queued", _item.not_before_us <= now)
        .order_by(_item.turn)
        .limit(bindparam("most", type_=Integer()))
        .with_for_update(skip_locked=True)
        .cte("picked")
    )
    until = now + bindparam("lease", type_=BigInteger())
    return (
        update(batch_items)
        .where(_item.batch_id == _BATCH, _item.idx.in_(select(picked.c.idx)))
        .values(state="leased", owner=_OWNER, attempt=_item.attempt + 1, lease_until_us=until)
        .returning(_item.idx, _item.custom_id, _item.attempt, _item.failures, _item.size_bytes, _item.turn)
    )


HELD: Select[Any] = (
    select(_item.idx, _item.attempt)
    .where(_item.batch_id == _BATCH, _item.idx.in_(_PLACES), _item.owner == _OWNER, _item.state == "leased")
    .order_by(_item.idx)
    .with_for_update()
)
FINISHING: Update = (
    update(batch_items)
    .where(_item.batch_id == _BATCH, _item.idx.in_(_PLACES))
    .values(state=bindparam("final", type_=String()), owner=None, lease_until_us=None)
)
PUTTING_BACK: Update = (
    update(batch_items)
    .where(_item.batch_id == _BATCH, _item.idx == bindparam("place", type_=Integer()))
    .values(
        state="queued",
        owner=None,
        lease_until_us=None,
        not_before_us=bindparam("not_before", type_=BigInteger()),
        failures=bindparam("failed", type_=Integer()),
    )
)
SUMMING: ReturningUpdate[Any] = (
    update(batches)
    .where(batches.c.id == _BATCH)
    .values(**{name: batches.c[name] + bindparam(f"more_{name}", type_=BigInteger()) for name in SUMMED})
    .returning(batches.c.total, *(batches.c[name] for name in COUNTED))
)
_request = batch_requests.c
_PARAMS: Select[Any] = select(_request.idx, _request.params).where(_request.batch_id == _BATCH)
PARAMS_OF = _PARAMS.where(_request.idx.in_(_PLACES))
PARAMS_BETWEEN = _PARAMS.where(
    _request.idx.between(bindparam("first", type_=Integer()), bindparam("last", type_=Integer()))
)

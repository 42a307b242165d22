"""One row a Messages call, refused and failed ones too: the record from which bills and reports are summed."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from sqlalchemy import Table

from freehold.store.base import Row
from freehold.store.tables import calls


class TakesRows(Protocol):
    """What of a `Store` the record needs."""

    def add_row(self, table: Table, row: Row) -> None:
        """See `Store.add_row`."""


class CallRow(NamedTuple):
    """A row of `calls`, in the order of its columns; see `store/tables.py` for what each is."""

    id: str
    workspace_id: str | None
    key_id: str | None
    session_id: str | None
    user_id: str | None
    task_type: str | None
    source: str | None
    route: str
    model_asked: str | None
    model_answered: str | None
    upstream: str | None
    streamed: bool
    status: int
    error_type: str | None
    stop_reason: str | None
    attempts: int
    input_tokens: int | None
    output_tokens: int | None
    cache_write_5m_tokens: int | None
    cache_write_1h_tokens: int | None
    cache_read_tokens: int | None
    web_searches: int | None
    cost_nanodollars: int | None
    price_version: str | None
    usage_known: str
    latency_us: int
    first_byte_us: int | None
    upstream_request_id: str | None
    started_us: int
    reserved_nanodollars: int | None = None
    settled_nanodollars: int | None = None
    settlement: str | None = None
    conversation: str | None = None
    decided: str | None = None


def add_call(store: TakesRows, row: CallRow) -> None:
    """Hand the row to the writer; nobody waits for it."""
    store.add_row(calls, row)

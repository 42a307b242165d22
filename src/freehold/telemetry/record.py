"""How the record keeps up: what waits to be written, what was lost, whether the database takes writes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric


class Record(Protocol):
    """What a store tells of itself. See `freehold.store.engine.Store`."""

    @property
    def healthy(self) -> bool:
        """Whether the database takes writes."""

    @property
    def commits(self) -> int:
        """Transactions so far."""

    @property
    def rows_waiting(self) -> int:
        """Rows of the record that are not yet written."""

    @property
    def rows_lost(self) -> int:
        """Rows that never will be."""


class RecordMetrics:
    """A `prometheus_client.registry.Collector` of one store: figures of this process since its start."""

    def __init__(self, record: Record) -> None:
        self._record = record

    def collect(self) -> Iterator[Metric]:
        """See `prometheus_client.registry.Collector`."""
        record = self._record
        yield GaugeMetricFamily("freehold_store_healthy", "1 if the database takes writes.", value=record.healthy)
        yield CounterMetricFamily("freehold_store_commits", "Transactions that were committed.", value=record.commits)
        waiting = record.rows_waiting
        yield GaugeMetricFamily("freehold_record_rows_waiting", "Rows of the record not yet written.", value=waiting)
        yield CounterMetricFamily("freehold_record_rows_lost", "Rows dropped or refused.", value=record.rows_lost)

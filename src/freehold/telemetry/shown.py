"""Metrics in Prometheus's text form."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import Collector


def text_of(*collectors: Collector) -> Callable[[], bytes]:
    """A function that gives what all of them tell at the moment it is called."""
    registry = CollectorRegistry(auto_describe=False)
    for one in collectors:
        registry.register(one)
    return lambda: generate_latest(registry)

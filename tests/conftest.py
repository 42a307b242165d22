"""What every test can ask for. The fixtures stand in plug-in files, one a subject."""

from __future__ import annotations

import signal

import pytest

pytest_plugins = ("tests.databases", "tests.environments.podman")

LONG = (
    "tests/batches/test_offload.py",
    "tests/chaos/",
    "tests/ledger/test_chaos.py",
    "tests/acceptance/",
    "tests/cli/",
    "tests/testing/test_plugin.py",
    "tests/gateway/caching/test_replay.py",
    "tests/console/",
    "tests/telemetry/",
    "tests/store/test_processes.py",
    "tests/worker/",
    "tests/test_connections.py",
    "tests/conformance/",
    "tests/toolboxes/test_isolated.py",
)
"""Files of few tests that take long. They come first, so that no worker is left with one when all others are done."""


def pytest_configure() -> None:
    """Whatever started the tests in the background may ignore Ctrl-C, and what tests start would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, all else in its order."""
    items.sort(key=lambda item: next((at for at, part in enumerate(LONG) if item.nodeid.startswith(part)), len(LONG)))

"""What every test can ask for. The fixtures stand in plug-in files, one a subject."""

from __future__ import annotations

import importlib.util
import os
import signal
from importlib.machinery import EXTENSION_SUFFIXES

import pytest

from benchmarks import compiled

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


def pytest_addoption(parser: pytest.Parser) -> None:
    """`scripts/test_compiled.sh` gives it."""
    parser.addoption("--compiled", action="store_true", help="fail unless these tests run the compiled hot path")


def pytest_configure(config: pytest.Config) -> None:
    """Whatever started the tests in the background may ignore Ctrl-C, and what tests start would inherit that.

    Raises:
        UsageError: the compiled hot path was asked for, and a module of it would be another one.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.getoption("--compiled"):
        if not compiled.is_current():
            raise pytest.UsageError("nothing is compiled, or of other files than are here now: run `make compiled`")
        if others := [name for name in compiled.modules() if not _is_compiled(name)]:
            raise pytest.UsageError(f"with PYTHONPATH={os.environ.get('PYTHONPATH')} not compiled: {', '.join(others)}")


def _is_compiled(name: str) -> bool:
    origin = getattr(importlib.util.find_spec(name), "origin", None) or ""
    return origin.startswith(f"{compiled.PLACE}/") and origin.endswith(tuple(EXTENSION_SUFFIXES))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, all else in its order."""
    items.sort(key=lambda item: next((at for at, part in enumerate(LONG) if item.nodeid.startswith(part)), len(LONG)))

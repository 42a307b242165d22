"""The clients that people use, of several makers and in two languages, against the gateway over the simulator.

Their packages are those of requirements/conformance.lock, in an environment of their own (`scripts/conformance.sh`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from freehold.launch import ServerProcess
from tests.conformance.clients_of_others import CLIENTS, PAGE, PYTHON, WANTED, Outcome, outcome_of, page, server

_FOUND: dict[str, Outcome] = {}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("conformance")


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[ServerProcess]:
    if not PYTHON.exists():
        if os.environ.get("CI"):
            pytest.fail("the clients are needed in CI: scripts/conformance.sh")
        pytest.skip("scripts/conformance.sh has not been run")
    with server(folder) as process:
        yield process


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_works_in_every_way_that_it_has(client: str, running: ServerProcess, folder: Path) -> None:
    outcome = _FOUND[client] = outcome_of(client, running, folder)
    assert {name: found for name, found in outcome.cases.items() if found != "ok"} == {}
    missing = set(WANTED) - set(outcome.cases)
    assert missing == ({"count_tokens"} if client == "instructor_client" else set())


def test_the_page_says_what_was_found() -> None:
    if set(_FOUND) != set(CLIENTS):
        pytest.skip("not every client ran")
    assert PAGE.read_text("utf-8") == page(_FOUND), "run `python -m tests.conformance.clients_of_others`"

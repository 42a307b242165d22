"""A pytest plugin: Claude, offline, for the tests of any project that calls it.

    # conftest.py
    pytest_plugins = ["freehold.testing.plugin"]

    # test_mine.py
    @pytest.mark.claude_scenario("scenarios/refund.yaml")
    def test_a_refund_is_looked_up(claude):
        answer = my_code()                      # anthropic.Anthropic() in it finds the simulator by itself
        assert claude.requests[0]["model"] == "claude-haiku-5-5"
        assert claude.bill.nanodollars < 1_000_000

While a test has the fixture `claude`, `ANTHROPIC_BASE_URL` and `ANTHROPIC_API_KEY` point at a fresh simulator on a
local port. One server runs for the whole session; each test gets a simulator of its own with its own clock, cache and
bill.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from anthropic import Anthropic, AsyncAnthropic

    from freehold.simulator.account import Line, Total
    from freehold.simulator.served import Served

_MARKER = (
    "claude_scenario(scenario=None, *, seed=0, brain='planner', start=None, exact_counts=False): how Claude behaves in "
    "this test: the path of a YAML scenario or its text, or a brain; `start` is what its clock shows (RFC 3339)"
)
_KEY = "sk-ant-simulated"
_START_S = 15.0
_TURN_S = 15.0


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", _MARKER)


class Claude:
    """The simulated Claude of one test."""

    def __init__(self, url: str, served: Served, loop: asyncio.AbstractEventLoop) -> None:
        self.url = url
        """Its base URL, for any client in any language."""
        self.key = _KEY
        self._served = served
        self._loop = loop

    @property
    def requests(self) -> list[dict[str, Any]]:
        """The bodies of the messages requests so far, in order; those that were refused too."""
        return [json.loads(asked.body) for asked in self._served.simulator.claude.heard]

    @property
    def bill(self) -> Total:
        """What the real API would have billed: `nanodollars`, `requests`, `errors`, tokens by kind."""
        return self._served.simulator.claude.account.total

    @property
    def lines(self) -> list[Line]:
        """The bill request by request."""
        return list(self._served.simulator.claude.account.lines())

    def fault(self, kind: str, **settings: Any) -> None:
        """Order a fault: `claude.fault("overloaded", times=2)`. Settings as in the guide “Test your Claude code”.

        Raises:
            InvalidRequest: there is no such fault or setting.
        """
        from freehold.simulator.faults import order_from

        self._served.simulator.faults.order(order_from({"kind": kind, **settings}))

    def clear_faults(self) -> None:
        """Let everything work again."""
        self._served.simulator.faults.clear()

    def advance(self, seconds: float) -> None:
        """Turn Claude's clock: caches expire, limits refill, batches end."""
        turned: Future[None] = asyncio.run_coroutine_threadsafe(self._served.clock.advance(seconds), self._loop)
        turned.result(_TURN_S)

    def client(self, **options: Any) -> Anthropic:
        """An official client for it."""
        from anthropic import Anthropic

        return Anthropic(**{"api_key": self.key, "base_url": self.url, **options})

    def async_client(self, **options: Any) -> AsyncAnthropic:
        """An official async client for it."""
        from anthropic import AsyncAnthropic

        return AsyncAnthropic(**{"api_key": self.key, "base_url": self.url, **options})


class Station:
    """The HTTP server of a test session, which serves whatever simulator the running test has."""

    def __init__(self) -> None:
        import uvicorn

        self.served: Served | None = None
        config = uvicorn.Config(
            self._app,
            host="127.0.0.1",
            port=0,
            interface="asgi3",
            log_level="warning",
            lifespan="off",
            access_log=False,
            proxy_headers=False,
        )
        self._server = uvicorn.Server(config)
        self.loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="claude-simulator", daemon=True)
        self._thread.start()
        if not self._ready.wait(_START_S):
            raise RuntimeError("the simulator's server did not start")
        self.url = f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        if self.served is None:
            raise RuntimeError("a request reached the simulator while no test was using it")
        await self.served(scope, receive, send)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)

        async def serve() -> None:
            task = asyncio.ensure_future(self._server.serve())
            while not self._server.started and not task.done():  # noqa: ASYNC110  (uvicorn has no event for it)
                await asyncio.sleep(0.005)
            self._ready.set()
            await task

        try:
            self.loop.run_until_complete(serve())
        finally:
            self.loop.close()

    def close(self) -> None:
        """Stop the server and its thread."""
        self._server.should_exit = True
        self._thread.join(_START_S)


@pytest.fixture(scope="session")
def claude_station() -> Iterator[Station]:
    """The server behind `claude`; tests use `claude`."""
    station = Station()
    yield station
    station.close()


@pytest.fixture
def claude(
    request: pytest.FixtureRequest, claude_station: Station, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Claude]:
    """Claude, offline: a simulator of this test's own, to which the official clients are pointed."""
    from freehold.simulator.served import Served

    served = Served(_settings(request))
    claude_station.served = served
    monkeypatch.setenv("ANTHROPIC_BASE_URL", claude_station.url)
    monkeypatch.setenv("ANTHROPIC_API_KEY", _KEY)
    yield Claude(claude_station.url, served, claude_station.loop)
    claude_station.served = None


@pytest.fixture
def claude_url(claude: Claude) -> str:
    """The base URL of this test's simulator."""
    return claude.url


def _settings(request: pytest.FixtureRequest) -> Any:
    """What the test's marker asks for."""
    from freehold.clock import parse_rfc3339
    from freehold.simulator.served import Settings

    marker = request.node.get_closest_marker("claude_scenario")
    given: Mapping[str, Any] = marker.kwargs if marker else {}
    unknown = set(given) - {"seed", "brain", "start", "exact_counts"}
    if unknown or (marker and len(marker.args) > 1):
        raise pytest.UsageError(
            f"claude_scenario takes no {', '.join(sorted(unknown)) or 'second scenario'}: {_MARKER}"
        )
    brain = given.get("brain", "planner")
    if marker and marker.args:
        brain = _scenario(marker.args[0], request.node.path.parent)
    start = given.get("start")
    return Settings(
        seed=given.get("seed", 0),
        brain=brain,
        exact_counts=given.get("exact_counts", False),
        start_us=parse_rfc3339(start) if start else None,
        keep_bodies=True,
    )


def _scenario(given: str | Path, folder: Path) -> Any:
    """The script of a path (beside the test file, or as it is) or of a YAML text."""
    from freehold.simulator.brains.script import Script

    if isinstance(given, str) and "\n" in given:
        return Script.parse(given)
    beside = folder / given
    return Script.load(beside if beside.exists() else Path(given))

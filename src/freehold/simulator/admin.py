"""The simulator's own surface, `/freehold/v1/simulator/…`: its clock, faults, bill, history, seed.

Whoever can reach the simulator may use it: it is a tool for tests and listens on this machine unless told otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from freehold.clock import parse_rfc3339, rfc3339
from freehold.errors import FreeholdError, InvalidRequest, NotFound
from freehold.simulator.clock import TurnedClock
from freehold.simulator.faults import Order, order_from
from freehold.simulator.upstream import Simulator

PREFIX = "/freehold/v1/simulator"
_FURTHEST_S = 10 * 365 * 86_400
_ORDERS = (
    'a JSON object such as {"kind": "overloaded", "times": 2}; besides the fault\'s settings it takes times, every, '
    "at, rate, model, from_us, until_us"
)


class Admin:
    """Answers admin calls. `start_over` makes everything new with another seed."""

    def __init__(self, simulator: Simulator, clock: TurnedClock, start_over: Callable[[int], None]) -> None:
        self._simulator = simulator
        self._clock = clock
        self._start_over = start_over

    async def answer(self, method: str, path: str, body: bytes) -> dict[str, Any]:
        """The answer to an admin call.

        Raises:
            NotFound: there is no such path or method.
            InvalidRequest: the body does not fit; says what would.
        """
        what = path.removeprefix(PREFIX).strip("/")
        match method, what:
            case "GET", "clock":
                return self._time()
            case "POST", "clock":
                await self._turn(_object(body))
                return self._time()
            case "GET", "faults":
                return {"data": self._simulator.faults.show()}
            case "POST", "faults":
                self._simulator.faults.order(order_of(_object(body)))
                return {"data": self._simulator.faults.show()}
            case "DELETE", "faults":
                self._simulator.faults.clear()
                return {"data": []}
            case "GET", "account":
                return self._simulator.claude.account.show()
            case "GET", "requests":
                return {"data": [msgspec.to_builtins(line) for line in self._simulator.claude.account.lines()]}
            case "GET", _ if what.startswith("requests/"):
                return self._request(what.removeprefix("requests/"))
            case "POST", "seed":
                return self._seed(_object(body))
            case "DELETE", "cache":
                self._simulator.claude.cache.clear()
                return {"cache_entries": 0}
            case "GET", "":
                return {"seed": self._simulator.claude.character.seed, **self._time()}
        raise NotFound(
            f"There is no {method} {path[:200]}; see clock, faults, account, requests, seed, cache under {PREFIX}."
        )

    def _time(self) -> dict[str, Any]:
        return {"now": rfc3339(self._clock.now_us()), "stopped": self._clock.stopped}

    async def _turn(self, body: Mapping[str, Any]) -> None:
        _only(body, "advance_s", "now", "stopped")
        if body.get("stopped") is True:
            self._clock.stop()
        elif "stopped" in body:
            raise InvalidRequest("stopped: Input should be true; a stopped clock stays stopped")
        seconds = body.get("advance_s", 0)
        if "now" in body:
            try:
                seconds = (parse_rfc3339(str(body["now"])) - self._clock.now_us()) / 1_000_000
            except ValueError as error:
                raise InvalidRequest(f"now: {error}") from None
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= _FURTHEST_S:
            raise InvalidRequest(f"advance_s: the clock turns forward only, by 0 to {_FURTHEST_S} seconds")
        await self._clock.advance(seconds)

    def _request(self, request_id: str) -> dict[str, Any]:
        found = self._simulator.claude.account.lines(request_id=request_id)
        if not found:
            raise NotFound(f"No request {request_id[:80]!r} is among the latest ones.")
        line: dict[str, Any] = msgspec.to_builtins(found[-1])
        return line

    def _seed(self, body: Mapping[str, Any]) -> dict[str, Any]:
        _only(body, "seed")
        seed = body.get("seed")
        if isinstance(seed, bool) or not isinstance(seed, int) or not -(1 << 63) <= seed < 1 << 63:
            raise InvalidRequest("seed: Input should be a whole number of 64 bits")
        self._start_over(seed)
        return {"seed": seed, **self._time()}


def order_of(body: Mapping[str, Any]) -> Order:
    """A fault order from JSON; the error shows an example."""
    try:
        return order_from(body)
    except FreeholdError as error:
        raise InvalidRequest(f"{error.message} Send {_ORDERS}.") from None


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(body or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"The request body is not valid JSON: {str(error)[:300]}") from None
    if not isinstance(value, dict):
        raise InvalidRequest("The request body is not a JSON object.")
    return value


def _only(body: Mapping[str, Any], *names: str) -> None:
    for name in body:
        if name not in names:
            raise InvalidRequest(f"{name[:60]}: Extra inputs are not permitted; known are {', '.join(names)}")

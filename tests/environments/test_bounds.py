"""What an environment may limit, and that its boxes are held to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from freehold.environments.base import BoxSpec, Limits
from freehold.environments.bounds import BoundSettings, check_limits, limits_of
from freehold.environments.bubblewrap import Bubblewrap
from freehold.errors import InvalidRequest
from tests.environments.live import Agent, text


def test_what_is_left_out_takes_the_default() -> None:
    assert limits_of({}, BoundSettings()) == Limits()
    assert limits_of({"limits": {"processes": 16}}, BoundSettings()) == Limits(processes=16)


def test_the_operators_bound_holds_for_what_was_asked_before_it() -> None:
    asked = {"limits": {"memory_bytes": 4 << 30, "command_s": 900}}
    bounded = limits_of(asked, BoundSettings(most_box_memory_bytes=1 << 30, most_box_command_s=60.0))
    assert (bounded.memory_bytes, bounded.command_s) == (1 << 30, 60.0)


def test_one_file_is_not_larger_than_the_disk() -> None:
    assert limits_of({"limits": {"disk_bytes": 32 << 20}}, BoundSettings()).file_bytes == 32 << 20
    assert limits_of({"limits": {"disk_bytes": 8 << 30}}, BoundSettings()).file_bytes == 4 << 30


@pytest.mark.parametrize(
    "given", [{"memory_bytes": 1}, {"cpu_cores": True}, {"disk_bytes": "1"}, {"command_s": 0}, {"x": 1}, 7]
)
def test_what_cannot_be_had_is_refused_by_name(given: object) -> None:
    with pytest.raises(InvalidRequest, match=r"limits"):
        check_limits(given, BoundSettings())


async def test_a_box_is_held_to_them(walled: Bubblewrap, root: Path) -> None:
    environment = {"limits": {"processes": 20, "disk_bytes": 16 << 20, "command_s": 2}}

    async def opened(name: str) -> Agent:
        wanted = BoxSpec(name, root / name, 1, limits_of(environment, BoundSettings()), environment)
        return Agent(await walled.open(wanted), wanted)

    agent = await opened("sesn_1")
    late = await agent.call("bash", command="sleep 600", timeout_ms=500_000)
    assert late.is_error and "timed out after 2 s" in text(late)
    full = await agent.call("bash", command="head -c 20M /dev/zero > large; stat -c %s large")
    assert str(16 << 20) in text(full)
    many = await (await opened("sesn_2")).call("bash", command="for n in $(seq 40); do sleep 1 & done; wait")
    assert "Resource temporarily unavailable" in text(many)

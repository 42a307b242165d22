"""When boxes open and close, on a clock turned by hand, with the box that has no walls (the cheapest real one)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from freehold.clock import HandClock
from freehold.environments.base import BoxDied, BoxFailed, BoxSpec, Fenced, Limits, ToolOutcome
from freehold.environments.channel import LiveBox
from freehold.environments.fleet import BoxSettings, CallResult, Fleet
from freehold.environments.local import Local
from tests.environments.live import spec, text


class Counting(Local):
    """Counts how often a box is opened."""

    opened = 0
    fails = False
    stuck = 0
    """So many boxes cannot be closed at first."""

    def __init__(self, *, unsafe_no_isolation: bool) -> None:
        super().__init__(unsafe_no_isolation=unsafe_no_isolation)
        self.entered, self.gate = asyncio.Event(), asyncio.Event()
        self.gate.set()

    async def open(self, spec: BoxSpec) -> LiveBox:
        self.opened += 1
        self.entered.set()
        await self.gate.wait()
        if self.fails:
            raise BoxFailed("on purpose")
        box = await super().open(spec)
        close = box.close

        async def closing() -> None:
            if self.stuck:
                self.stuck -= 1
                raise OSError("on purpose")
            await close()

        box.close = closing  # type: ignore[method-assign]
        return box


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def backend() -> Counting:
    return Counting(unsafe_no_isolation=True)


@pytest.fixture
async def fleet(clock: HandClock, backend: Counting) -> AsyncIterator[Fleet]:
    made = Fleet(backend, BoxSettings(box_idle_s=600, max_boxes=2), clock)
    yield made
    await made.close()


async def bash(fleet: Fleet, wanted: BoxSpec, command: str) -> CallResult:
    key = f"sevt_{command}_{id(object())}"
    return await fleet.call(wanted, "bash", {"command": command}, key=key, epoch=wanted.epoch)


async def test_a_box_opens_with_the_first_call_and_serves_the_next(fleet: Fleet, root: Path, backend: Counting) -> None:
    wanted = spec(root)
    assert fleet.count() == 0
    first = await bash(fleet, wanted, "x=5")
    second = await bash(fleet, wanted, "echo $x")
    assert (first.shell_lost, second.shell_lost) == (False, False)
    assert text(second.outcome) == "5"
    assert backend.opened == 1


async def test_calls_at_once_open_one_box(fleet: Fleet, root: Path, backend: Counting) -> None:
    wanted = spec(root)
    await asyncio.gather(*(fleet.call(wanted, "glob", {"pattern": "*"}, key=f"k{n}", epoch=1) for n in range(10)))
    assert backend.opened == 1


async def test_an_idle_box_is_closed_and_the_next_call_says_so_once(fleet: Fleet, root: Path, clock: HandClock) -> None:
    wanted = spec(root)
    await bash(fleet, wanted, "echo kept > a; x=5")
    await clock.advance(599)
    await fleet.sweep()
    assert fleet.is_open(wanted.session_id)
    await clock.advance(2)
    await fleet.sweep()
    assert not fleet.is_open(wanted.session_id)
    again = await bash(fleet, wanted, 'cat a; echo "x=$x"')
    assert again.shell_lost
    assert text(again.outcome) == "kept\nx="
    assert not (await bash(fleet, wanted, "true")).shell_lost


async def test_a_session_that_had_a_box_of_another_server_is_told_too(root: Path, clock: HandClock) -> None:
    wanted = spec(root)
    for lost in (False, True):
        fleet = Fleet(Local(unsafe_no_isolation=True), BoxSettings(), clock)
        assert (await bash(fleet, wanted, "true")).shell_lost is lost
        await fleet.close()


async def test_a_box_at_work_is_not_idle(fleet: Fleet, root: Path, clock: HandClock) -> None:
    wanted = spec(root)
    task = asyncio.create_task(bash(fleet, wanted, "until [ -e go ]; do :; done; echo done"))
    await fleet.warm(wanted)
    await clock.advance(10_000)
    await fleet.sweep()
    await fleet.call(wanted, "write", {"file_path": "go", "content": ""}, key="w", epoch=1)
    assert text((await task).outcome) == "done"


async def test_beyond_the_most_the_one_idle_longest_goes(fleet: Fleet, root: Path, clock: HandClock) -> None:
    for name in ("sesn_a", "sesn_b", "sesn_c"):
        await bash(fleet, spec(root, name), "true")
        await clock.advance(1)
    await fleet.sweep()
    assert [fleet.is_open(name) for name in ("sesn_a", "sesn_b", "sesn_c")] == [False, True, True]
    assert fleet.count() == 2


async def test_the_sweep_runs_by_itself(fleet: Fleet, root: Path, clock: HandClock) -> None:
    wanted = spec(root)
    await bash(fleet, wanted, "true")
    task = asyncio.create_task(fleet.run())
    await asyncio.sleep(0)
    await clock.advance(700)
    async with asyncio.timeout(60):
        while fleet.is_open(wanted.session_id):  # noqa: ASYNC110 (nothing tells when a sweep has ended)
            await asyncio.sleep(0)
    task.cancel()


async def test_a_box_that_cannot_be_closed_keeps_no_other_open(
    fleet: Fleet, root: Path, clock: HandClock, backend: Counting
) -> None:
    first, second = spec(root), spec(root)
    for wanted in (first, second):
        await bash(fleet, wanted, "true")
    backend.stuck = 1
    await clock.advance(700)
    await fleet.sweep()
    assert fleet.count() == 1
    await fleet.sweep()
    assert fleet.count() == 0


async def test_a_dead_box_is_replaced_by_the_next_call(fleet: Fleet, root: Path, backend: Counting) -> None:
    wanted = spec(root)
    await bash(fleet, wanted, "echo kept > a")
    with pytest.raises(BoxDied):
        await bash(fleet, wanted, "kill -9 $PPID; sleep 60")
    again = await bash(fleet, wanted, "cat a")
    assert again.shell_lost
    assert text(again.outcome) == "kept"
    assert backend.opened == 2


async def test_a_box_that_fails_to_open_fails_that_call_only(fleet: Fleet, root: Path, backend: Counting) -> None:
    backend.fails = True
    with pytest.raises(BoxFailed, match="on purpose"):
        await bash(fleet, spec(root), "true")
    backend.fails = False
    assert not (await bash(fleet, spec(root), "true")).shell_lost


async def test_a_box_that_was_opened_ahead_serves_the_first_call(fleet: Fleet, root: Path, backend: Counting) -> None:
    wanted = spec(root)
    await asyncio.gather(fleet.warm(wanted), bash(fleet, wanted, "true"), fleet.warm(wanted))
    assert backend.opened == 1


async def test_what_goes_wrong_ahead_is_told_by_the_first_call_and_the_next_opens(
    fleet: Fleet, root: Path, backend: Counting
) -> None:
    wanted = spec(root)
    backend.fails = True
    await fleet.warm(wanted)
    await fleet.warm(wanted)
    backend.fails = False
    assert backend.opened == 1
    with pytest.raises(BoxFailed, match="on purpose"):
        await bash(fleet, wanted, "true")
    await fleet.warm(wanted)
    assert backend.opened == 1, "what has just failed is not tried again before it is asked for"
    assert text((await bash(fleet, wanted, "echo fine")).outcome) == "fine"


async def test_a_call_that_waits_for_an_opening_that_fails_is_told_and_tries_no_second_one(
    fleet: Fleet, root: Path, backend: Counting
) -> None:
    wanted = spec(root)
    backend.fails = True
    _, called = await asyncio.gather(fleet.warm(wanted), bash(fleet, wanted, "true"), return_exceptions=True)
    assert isinstance(called, BoxFailed) and backend.opened == 1
    backend.fails = False
    assert text((await bash(fleet, wanted, "echo fine")).outcome) == "fine"


async def test_what_went_wrong_ahead_long_ago_is_tried_again(
    fleet: Fleet, root: Path, backend: Counting, clock: HandClock
) -> None:
    backend.fails = True
    await fleet.warm(spec(root))
    backend.fails = False
    await clock.advance(61)
    assert text((await bash(fleet, spec(root), "echo fine")).outcome) == "fine"


async def test_no_box_is_closed_for_one_that_is_only_likely(fleet: Fleet, root: Path) -> None:
    for name in ("sesn_a", "sesn_b"):
        await bash(fleet, spec(root, name), "true")
    await fleet.warm(spec(root, "sesn_c"))
    assert [fleet.is_open(name) for name in ("sesn_a", "sesn_b", "sesn_c")] == [True, True, False]


async def test_boxes_open_ahead_only_where_that_is_wanted(root: Path, clock: HandClock, backend: Counting) -> None:
    fleet = Fleet(backend, BoxSettings(early_boxes=False), clock)
    await fleet.warm(spec(root))
    assert backend.opened == 0
    await fleet.close()


async def test_an_opening_goes_on_when_its_caller_is_told_to_stop_but_not_past_the_end(
    fleet: Fleet, root: Path, backend: Counting
) -> None:
    wanted = spec(root)
    backend.gate.clear()
    task = asyncio.create_task(fleet.warm(wanted))
    await backend.entered.wait()
    task.cancel()
    await asyncio.wait([task])
    backend.gate.set()
    assert text((await bash(fleet, wanted, "echo fine")).outcome) == "fine"
    assert backend.opened == 1
    await fleet.end(wanted.session_id)
    backend.gate.clear()
    backend.entered.clear()
    task = asyncio.create_task(fleet.warm(wanted))
    await backend.entered.wait()
    task.cancel()
    await fleet.end(wanted.session_id)
    assert fleet.count() == 0


async def test_why_a_box_ended_by_itself_is_told_once(fleet: Fleet, root: Path) -> None:
    wanted = spec(root)
    calls = [bash(fleet, wanted, "sleep 60") for _ in range(2)]
    running = [asyncio.create_task(call) for call in calls]
    with pytest.raises(BoxDied) as killed:
        await bash(fleet, wanted, "kill -9 $PPID; sleep 60")
    others = await asyncio.gather(*running, return_exceptions=True)
    assert [bool(died.news) for died in [killed.value, *others] if isinstance(died, BoxDied)].count(True) == 1
    assert (await bash(fleet, wanted, "true")).died is None


async def test_a_box_that_ended_between_two_calls_is_told_with_the_second(fleet: Fleet, root: Path) -> None:
    wanted = spec(root)
    await bash(fleet, wanted, "(sleep 0.2; kill -9 $PPID) &")
    async with asyncio.timeout(120):
        while fleet.is_open(wanted.session_id):  # noqa: ASYNC110 (it ends by itself: nothing tells of it)
            await asyncio.sleep(0.01)
    assert (await bash(fleet, wanted, "true")).died == "its supervisor is gone"
    assert (await bash(fleet, wanted, "true")).died is None
    await fleet.end(wanted.session_id)
    assert (await bash(fleet, wanted, "true")).died is None


async def test_an_ended_session_has_no_box(fleet: Fleet, root: Path) -> None:
    await bash(fleet, spec(root), "true")
    await fleet.end("sesn_test")
    await fleet.end("sesn_unknown")
    assert fleet.count() == 0


async def test_a_closed_fleet_opens_nothing(root: Path, clock: HandClock) -> None:
    fleet = Fleet(Local(unsafe_no_isolation=True), BoxSettings(), clock)
    await bash(fleet, spec(root), "true")
    await fleet.close()
    with pytest.raises(BoxDied, match="stopping"):
        await bash(fleet, spec(root, "sesn_b"), "true")


async def test_an_older_epoch_of_the_same_box_is_refused(fleet: Fleet, root: Path) -> None:
    outcome: ToolOutcome = (await bash(fleet, spec(root, epoch=2), "echo new")).outcome
    assert text(outcome) == "new"
    with pytest.raises(Fenced):
        await bash(fleet, spec(root, epoch=1, limits=Limits()), "echo old")

"""Where the breakpoints of a request go, and for how long: from what is warm and what is worth keeping.

A prefix that is warm is read; what comes behind it is written up to the block where writing stops to pay, the part that
is asked for rarely for an hour and the rest for five minutes, because hours must come before minutes. Rules of the
Claude API docs, page "Prompt caching", read 2026-11-23: at most four breakpoints, each found within twenty blocks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from freehold.gateway.caching.habits import FIVE_MINUTES_US, HOUR_US, Prices, Worth
from freehold.gateway.caching.layout import Block, Layout
from freehold.gateway.caching.memory import Memory, Node

SLOTS = 4
LOOK_BACK = 18
"""Blocks that a breakpoint is found behind; the API looks back over twenty, we stay clear of the edge."""
_FIRST_BLOCKS = 3
"""Of the first message, so many blocks are looked at as documents that others may share."""
_SYSTEM_BLOCKS = 4


class Mark(NamedTuple):
    """A breakpoint: on which block, and for how long."""

    at: int
    hour: bool


class End(NamedTuple):
    """A block at which a breakpoint may stand, with what is known of the prefix that ends there."""

    at: int
    block: Block
    node: Node


@dataclass(slots=True)
class Plan:
    """What was decided about a request; `written` and `read` become true when the answer begins."""

    marks: list[Mark]
    route: str
    warm_at: int = -1
    """The last block of the prefix that should be read; -1: none."""
    warm_bytes: int = 0
    ends: list[End] = field(default_factory=list)
    keep_alive: bool = False
    """The prefix shall be kept warm by pings while it waits."""


class Planner:
    """Plans requests over one memory."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory

    def plan(self, layout: Layout, route: str, prices: Prices, minimum_bytes: float, now_us: int) -> Plan:
        """The plan of a request that is made now."""
        memory, blocks = self.memory, layout.blocks
        memory.settle(now_us)
        new = (at for at, block in enumerate(blocks) if memory.known(block.hash, now_us) is None)
        known = next(new, len(blocks))
        ends = self._ends(layout, route, known, now_us)
        plan = Plan([], route, ends=ends)
        warm = [end for end in ends if end.node.until_us > now_us and end.block.until_bytes >= minimum_bytes]
        if warm:
            plan.warm_at, plan.warm_bytes = warm[-1].at, warm[-1].block.until_bytes
        cold = [end for end in ends if end.at > plan.warm_at and end.block.until_bytes >= minimum_bytes]
        written = self._write(cold, plan, prices)
        plan.marks = _marks(warm, written, len(blocks))
        return plan

    def _ends(self, layout: Layout, route: str, known: int, now_us: int) -> list[End]:
        """The blocks that count, in order; every block is noted as seen."""
        blocks, memory = layout.blocks, self.memory
        counted = _kinds(layout, known)
        ends = []
        for at, block in enumerate(blocks):
            kind = counted.get(at)
            node = memory.see(block.hash, kind or "inner", now_us)
            if kind is not None and block.markable:
                if node.habit is None:
                    if node.kind == "inner":
                        node.kind = kind
                    memory.count(block.hash, node, route)
                ends.append(End(at, block, node))
        return ends

    def _write(self, cold: list[End], plan: Plan, prices: Prices) -> list[Mark]:
        """How far to write, and how far of it for an hour: the cheapest of all cuts."""
        parts = []
        before = plan.warm_bytes
        for end in cold:
            worth = self.memory.habit(plan.route, end.node.kind).worth(prices)[end.node.generation]
            parts.append((end.block.until_bytes - before, worth))
            before = end.block.until_bytes
        hours, written, kept = _cut(parts, plan.warm_bytes)
        plan.keep_alive = kept
        marks = []
        if hours:
            marks.append(Mark(cold[hours - 1].at, True))
        if written > hours:
            marks.append(Mark(cold[written - 1].at, False))
        # A shared beginning gets a breakpoint of its own, so that requests that go on differently find it.
        for place in range(written):
            if cold[place].block.plain:
                continue
            if len(marks) < SLOTS and cold[place].at not in (mark.at for mark in marks):
                marks.append(Mark(cold[place].at, place < hours))
        return sorted(marks)

    def begun(self, plan: Plan, started_us: int) -> None:
        """The answer has begun: what was marked is warm from the start of the request on."""
        hours = {mark.at: mark.hour for mark in plan.marks}
        for end in plan.ends:
            if end.at in hours or end.at == plan.warm_at:
                node = end.node
                alive = node.until_us > started_us
                node.hour = (node.hour and alive) or hours.get(end.at, node.hour)
                node.until_us = max(node.until_us, started_us + (HOUR_US if node.hour else FIVE_MINUTES_US))

    def lost(self, plan: Plan) -> None:
        """The upstream did not have what should have been warm: it is not counted on any more."""
        for end in plan.ends:
            if end.at <= plan.warm_at:
                end.node.until_us = 0


def _kinds(layout: Layout, known: int) -> dict[int, str]:
    """By block: what kind of prefix ends there."""
    kinds: dict[int, str] = {}
    blocks = layout.blocks
    systems = firsts = 0
    for at, block in enumerate(blocks):
        member = block.place.member
        if member == "tools":
            kinds.pop(at - 1, None)
            kinds[at] = "tools"
        elif member == "system":
            if systems < _SYSTEM_BLOCKS:
                kinds[at] = f"system.{systems}"
            systems += 1
        elif block.place.item == 0 and firsts < _FIRST_BLOCKS and at < len(blocks) - 1 and not block.plain:
            kinds[at] = f"first.{firsts}"
            firsts += 1
        elif block.place.item > 0 or firsts >= _FIRST_BLOCKS:
            break
    if known and known - 1 not in kinds:
        kinds[known - 1] = "talk"
    tail = "tools_at_work" if layout.answers_tools else ("talk" if layout.turns > 1 else "first_talk")
    kinds[len(blocks) - 1] = tail
    return kinds


def _cut(parts: list[tuple[int, Worth]], warm: int) -> tuple[int, int, bool]:
    """(so many parts for an hour, so many written at all, kept alive), at the least expected cost."""
    none, five, hour, alive = [0.0], [0.0], [0.0], [0.0]
    for size, worth in parts:
        none.append(none[-1] + size * worth.none)
        five.append(five[-1] + size * worth.five)
        hour.append(hour[-1] + size * worth.hour)
        alive.append(alive[-1] + size * worth.kept_alive)
    best, choice = none[-1], (0, 0, False)
    for written in range(1, len(parts) + 1):
        rest = none[-1] - none[written]
        for hours in range(written + 1):
            cost = hour[hours] + five[written] - five[hours] + rest
            if cost < best:
                best, choice = cost, (hours, written, False)
        kept = alive[written] + warm * parts[written - 1][1].pings + rest
        if kept < best:
            best, choice = kept, (0, written, True)
    return choice


def _marks(warm: list[End], written: list[Mark], size: int) -> list[Mark]:
    """All breakpoints: what is written, what must be found again, what is refreshed; four at most."""
    marks = {mark.at: mark for mark in written}
    if warm:
        last = warm[-1]
        first_written = written[0].at if written else size
        if not written or first_written - last.at >= LOOK_BACK:
            marks[last.at] = Mark(last.at, last.node.hour)
        for end in warm:  # a read keeps an entry warm, and costs no more
            if len(marks) < SLOTS and not end.block.plain:
                marks.setdefault(end.at, Mark(end.at, end.node.hour))
    latest_hour = max((mark.at for mark in marks.values() if mark.hour), default=-1)
    ordered = sorted(marks.values())
    if len(ordered) > SLOTS:
        ordered = ordered[-SLOTS:]
    return [Mark(mark.at, mark.hour or mark.at < latest_hour) for mark in ordered]

"""What tests of boxes share: a box with calls that need no ceremony, and folders of every kind of reachability."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from freehold.environments.base import Box, Boxes, BoxSpec, Limits, ToolName, ToolOutcome

SESSION = "sesn_test"


class Agent:
    """Calls tools of one box as a model would."""

    def __init__(self, box: Box, spec: BoxSpec) -> None:
        self.box = box
        self.spec = spec
        self._numbers = itertools.count(1)

    async def call(self, name: ToolName, **arguments: Any) -> ToolOutcome:
        key = f"sevt_{id(self.box)}_{next(self._numbers)}"
        return await self.box.call(name, arguments, key=key, epoch=self.spec.epoch)

    async def bash(self, command: str, **arguments: Any) -> str:
        """The output of a command that succeeds."""
        outcome = await self.call("bash", command=command, **arguments)
        assert not outcome.is_error, text(outcome)
        return text(outcome)

    async def python(self, program: str) -> str:
        """The output of a Python program, whatever it exits with."""
        await self.call("write", file_path="/tmp/program.py", content=program)
        return text(await self.call("bash", command="python3 /tmp/program.py"))


def text(outcome: ToolOutcome) -> str:
    """The words of an outcome of one text block."""
    (block,) = outcome.content
    return str(block["text"])


def spec(root: Path, session_id: str = SESSION, *, epoch: int = 1, limits: Limits | None = None) -> BoxSpec:
    return BoxSpec(session_id, root / session_id, epoch, limits or Limits())


async def agent(boxes: Boxes, wanted: BoxSpec) -> Agent:
    """A box, open."""
    return Agent(await boxes.open(wanted), wanted)


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Look again and again; fail when it has not come true in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        threading.Event().wait(0.005)  # leaves the processor to what it waits for


def processes_with(marker: str) -> list[int]:
    """The host's processes that have this word on their command line."""
    found = []
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and marker.encode() in Path("/proc", name, "cmdline").read_bytes():
                found.append(int(name))
        except OSError:
            continue
    return found

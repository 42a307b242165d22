"""The inside of an isolated toolbox: loads one file, then answers a call a line: `python -m freehold.toolboxes.child`.

What the functions print goes to standard error: the way of the answers is closed to them.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from freehold.clock import SystemClock
from freehold.errors import Misconfigured
from freehold.toolboxes.current import Asker
from freehold.toolboxes.isolated import Answer, Offer, Question
from freehold.toolboxes.load import load_toolbox
from freehold.toolboxes.loaded import LoadedToolbox
from freehold.toolboxes.settings import ToolboxSettings

_NEVER_S = 1e9
"""Time-outs are kept outside, by killing this process."""


def main() -> None:
    """Arguments: the file, and how many bytes of text and of media a result may have."""
    questions, answers = _private_ways()
    lines = iter(questions.readline, b"")
    next(lines, None)  # whoever started this asks what there is
    file, text_bytes, media_bytes = sys.argv[1:4]
    settings = ToolboxSettings(
        tool_timeout_s=_NEVER_S, tool_result_bytes=int(text_bytes), tool_media_bytes=int(media_bytes)
    )
    try:
        toolbox = load_toolbox(Path(file), settings, SystemClock())
    except Misconfigured as error:
        _say(answers, Offer(refused=str(error)))
        return
    _say(answers, Offer(tools=list(toolbox.tools())))
    asyncio.run(_serve(toolbox, lines, answers))


def _private_ways() -> tuple[BinaryIO, BinaryIO]:
    """Standard input and output, taken away from everybody else."""
    questions, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    return questions, answers


async def _serve(toolbox: LoadedToolbox, lines: Iterator[bytes], answers: BinaryIO) -> None:
    while line := await asyncio.to_thread(next, lines, b""):
        asked = msgspec.json.decode(line, type=Question)
        who = Asker(*asked.asker)
        given = await toolbox.call(asked.tool, asked.arguments, key=asked.key, session_id=asked.session_id, asker=who)
        _say(answers, Answer([dict(block) for block in given.content], given.is_error))
    await toolbox.close()


def _say(answers: BinaryIO, value: msgspec.Struct) -> None:
    answers.write(msgspec.json.encode(value) + b"\n")
    answers.flush()


if __name__ == "__main__":
    main()

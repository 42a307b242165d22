"""`freehold demo`: the main job, told live against a real server that it starts, kills and stops itself."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Annotated

import typer

from freehold.money import NANODOLLARS_PER_CENT

FILES = Path(__file__).with_name("story").joinpath("examples", "demo").resolve()
"""The toolbox and scripts. A checkout has a link there to its `examples/`, an installed wheel the files themselves."""


def demo(
    live: Annotated[bool, typer.Option("--live", help="On Claude, with ANTHROPIC_API_KEY; stops at $0.25.")] = False,
    data: Annotated[Path | None, typer.Option(help="Data folder of the demo.", show_default="a new one")] = None,
) -> None:
    """Show the main job: a conversation, an agent in a box with your tools, a crash survived, the bill."""
    from freehold.cli.story.tell import Plan, tell
    from freehold.errors import Misconfigured

    if live and not os.environ.get("ANTHROPIC_API_KEY"):
        raise Misconfigured("the demo on Claude needs a key: export ANTHROPIC_API_KEY=…")
    folder = data or _new_folder()
    if live:
        tell(Plan(FILES, folder, upstream="claude", most_nanodollars=25 * NANODOLLARS_PER_CENT))
    else:
        tell(Plan(FILES, folder))


def _new_folder() -> Path:
    """Short, because it is named in commands to copy; a new one each time, so that nothing of the user's is touched."""
    numbers = itertools.count(1)
    return next(path for number in numbers if not (path := Path("freehold-data") / f"demo-{number}").exists())

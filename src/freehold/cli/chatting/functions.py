"""The functions of a Python file that a model may call: those that the SDK's decorators made into tools."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

from freehold.errors import FreeholdError


class NoFunctions(FreeholdError):
    """The file cannot be run, or has no tools."""


def functions(file: Path) -> tuple[Any, ...]:
    """Every tool of the file, in the order of their names. Running the file is trusting it.

    Raises:
        NoFunctions: there is none, or the file raised something.
    """
    from anthropic.lib.tools import BetaFunctionTool

    if not file.is_file():
        raise NoFunctions(f"{file}: there is no such Python file")
    sys.path.insert(0, str(file.resolve().parent))  # modules beside the file can be imported by it
    try:
        made = runpy.run_path(str(file))
    except Exception as error:  # the user's own code
        raise NoFunctions(f"{file} cannot be loaded: {type(error).__name__}: {error}") from error
    found = {value.name: value for value in made.values() if isinstance(value, BetaFunctionTool)}
    if not found:
        raise NoFunctions(f"{file} has no function that the SDK's `beta_tool` made into a tool")
    return tuple(found[name] for name in sorted(found))

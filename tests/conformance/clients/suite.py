"""What every Python client of the suite shares: cases by name, run one after the other, their outcome as JSON.

Runs with the packages of requirements/conformance.lock and nothing of Freehold. `BASE_URL`, `KEY` and `MATERIALS` (a
folder with `image.png` and `page.pdf`) come from the environment.
"""

from __future__ import annotations

import asyncio
import base64
import importlib.metadata
import inspect
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

BASE_URL = os.environ["BASE_URL"]
KEY = os.environ["KEY"]
HAIKU = "claude-haiku-4-5"
SONNET = "claude-sonnet-4-5"
IMAGE = (Path(os.environ["MATERIALS"]) / "image.png").read_bytes()
PDF = (Path(os.environ["MATERIALS"]) / "page.pdf").read_bytes()
IMAGE_TEXT = base64.b64encode(IMAGE).decode()
PDF_TEXT = base64.b64encode(PDF).decode()
CASES: dict[str, Callable[[], Any]] = {}


def case(function: Callable[[], Any]) -> Callable[[], Any]:
    """A function whose name is a line of the page; it raises where something is wrong."""
    CASES[function.__name__] = function
    return function


def get_weather(city: str) -> str:
    """Get the weather in a city."""
    return f"It is sunny in {city}."


def raises(kind: type[BaseException], call: Callable[[], Any]) -> Any:
    """The exception of that kind that `call` raises."""
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__} was raised")


def run(*packages: str) -> None:
    """Run every case and print what came of each, with the versions of the packages."""
    found = {}
    for name, function in CASES.items():
        try:
            made = function()
            if inspect.isawaitable(made):
                asyncio.run(_awaited(made))
            found[name] = "ok"
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            found[name] = f"{type(error).__name__}: {error}"[:500]
    versions = {package: importlib.metadata.version(package) for package in packages}
    print(json.dumps({"versions": versions, "cases": found}))


async def _awaited(made: Any) -> Any:
    return await made

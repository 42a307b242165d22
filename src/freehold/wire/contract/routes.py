"""Which routes Claude's API has, as the official SDK's methods call them; read from disk when first asked."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import msgspec


def is_of_claude(method: str, path: str) -> bool:
    """Whether some method of the SDK calls that route (`path` with real ids in it)."""
    return any(verb == method and known.fullmatch(path) for verb, known in _known())


@functools.cache
def _known() -> tuple[tuple[str, re.Pattern[str]], ...]:
    data = Path(__file__).with_name("shapes").joinpath("surface.json").read_bytes()
    found = {(method["verb"], method["path"]) for method in msgspec.json.decode(data)["methods"].values()}
    return tuple((verb, re.compile(re.sub(r"\{\w+\}", "[^/]+", path))) for verb, path in sorted(found))

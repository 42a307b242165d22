"""`freehold config`: every setting, its value here and now, and where that comes from."""

from __future__ import annotations

import dataclasses
from typing import Any

from freehold.cli.options import Json, print_json
from freehold.cli.serve import ConfigFile


def config(config: ConfigFile = None, as_json: Json = False) -> None:
    """List every setting: its value as a server started here would have it, where that comes from, what it does."""
    from freehold.cli.settings import configured
    from freehold.server import sections

    values = {source.name: source for source in configured({}, config).sources}
    entries = []
    for section in sections():
        for field in dataclasses.fields(section):
            source = values[field.name]
            shown = _shown(source.value, source.secret)
            entry = {"name": field.name, "value": shown, "source": source.source}
            entries.append({**entry, "unit": field.metadata.get("unit", ""), "doc": field.metadata.get("doc", "")})
    if as_json:
        print_json(entries)
    else:
        _print(entries)


def _shown(value: object, secret: bool) -> object:
    if secret:
        return "(hidden)" if value else None
    if isinstance(value, tuple):
        return list(value)
    return value if isinstance(value, bool | int | float | str | list | dict | None) else str(value)


def _print(entries: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    for entry in entries:
        value = "(not set)" if entry["value"] in (None, "", []) else str(entry["value"])
        unit = f" {entry['unit']}" if entry["unit"] and entry["value"] is not None else ""
        line = Text.assemble((entry["name"], "bold"), " = ", (value + unit, "cyan"))
        if entry["source"] != "default":
            line.append(f"   ({entry['source']})", "green")
        console.print(line)
        console.print(Text(f"    {entry['doc']}", "dim"))

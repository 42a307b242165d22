"""`[toolboxes.NAME]` of the configuration file: which ready toolboxes there are, and what each of them is made from.

[toolboxes.shop]
kind = "sql"
url = "sqlite:////srv/shop.db"         # or url_env = "NAME_OF_A_VARIABLE"
tables = ["orders", "products"]        # left out: all
"""

from __future__ import annotations

from collections.abc import Callable

from freehold.clock import Clock
from freehold.errors import Misconfigured
from freehold.toolboxes.functions import Function
from freehold.toolboxes.loaded import LoadedToolbox
from freehold.toolboxes.ready.entry import Entry
from freehold.toolboxes.sdk import NAME
from freehold.toolboxes.settings import ToolboxSettings

Make = Callable[[Entry], list[Function]]


def ready_toolboxes(settings: ToolboxSettings, clock: Clock) -> dict[str, LoadedToolbox]:
    """Every declared toolbox by name. Nothing is connected to yet.

    Raises:
        Misconfigured: names the toolbox and the field.
    """
    made = {}
    for name, fields in settings.toolboxes.items():
        if not NAME.fullmatch(name) or not isinstance(fields, dict):
            raise Misconfigured(f"toolboxes.{name}: must be a table named by letters, digits, _ and -, at most 64")
        entry = Entry(name, fields)
        made[name] = LoadedToolbox(name, _maker(entry)(entry), settings, clock)
    return made


def _maker(entry: Entry) -> Make:
    """Imported only where it is used: each stands on a library of its own."""
    kind = entry.fields.get("kind")
    if kind == "sql":
        from freehold.toolboxes.ready.sql import functions

        return functions
    if kind == "openapi":
        from freehold.toolboxes.ready.openapi import functions

        return functions
    if kind == "folder":
        from freehold.toolboxes.ready.folder import functions

        return functions
    raise entry.wrong("kind", "must be sql, openapi or folder")

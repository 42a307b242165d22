"""Makes the toolboxes: those of this process, and those that run in processes of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from starlette.types import ASGIApp

from freehold.api.own_tools import NAME, OwnTools
from freehold.clock import Clock
from freehold.environments.toolprocess import ToolProcesses
from freehold.errors import Misconfigured
from freehold.toolboxes.base import Toolbox
from freehold.toolboxes.changing import ChangingToolbox
from freehold.toolboxes.isolated import IsolatedToolbox
from freehold.toolboxes.load import load_toolbox, load_toolboxes, named_files
from freehold.toolboxes.loaded import LoadedToolbox
from freehold.toolboxes.ready.declared import ready_toolboxes
from freehold.toolboxes.settings import ToolboxSettings
from freehold.toolboxes.settings import check as check_settings


async def make_toolboxes(settings: ToolboxSettings, clock: Clock, on_error: AsyncExitStack) -> Mapping[str, Toolbox]:
    """Every toolbox by name; isolated ones are closed by `on_error` if a later part refuses.

    Raises:
        Misconfigured: a file is no toolbox, or it is to be isolated where that cannot be done.
    """
    check_settings(settings)
    files = named_files(settings)
    if settings.tools_reload:
        if settings.isolate:
            raise Misconfigured("tools_reload: does not go with `isolate`; leave one of them out")
        changing = {name: ChangingToolbox(path, _loads(path, settings, clock)) for name, path in files.items()}
        toolboxes: dict[str, Toolbox] = dict(changing)
    else:
        toolboxes = dict(load_toolboxes(settings, clock))
    for name, ready in ready_toolboxes(settings, clock).items():
        if name in files:
            raise Misconfigured(f"toolboxes.{name}: there is a tools file of that name; rename one of them")
        toolboxes[name] = ready
    if not settings.isolate:
        return toolboxes
    processes = ToolProcesses(variables=settings.isolate_variables, paths=settings.isolate_paths)
    for name in settings.isolate:
        toolbox = await IsolatedToolbox.open(files[name], settings, clock, processes.start)
        on_error.push_async_callback(toolbox.close)
        toolboxes[name] = toolbox
    return toolboxes


def _loads(path: Path, settings: ToolboxSettings, clock: Clock) -> Callable[[], Toolbox]:
    return lambda: load_toolbox(path, settings, clock)


def own_toolbox(
    settings: ToolboxSettings, others: Mapping[str, Toolbox], app: Callable[[], ASGIApp], clock: Clock
) -> Toolbox:
    """The toolbox of this server itself, for MCP clients. `app` gives the application once it is made.

    Raises:
        Misconfigured: another one has its name.
    """
    if NAME in others:
        raise Misconfigured(f"the name {NAME!r} is that of the server's own toolbox; rename yours")
    return LoadedToolbox(NAME, OwnTools(app).functions(), settings, clock)

"""Makes the console, where it is wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from starlette.types import ASGIApp

from freehold.access.secrets import Secrets
from freehold.app.ground import Ground
from freehold.console.late import Console
from freehold.console.settings import PATH, ConsoleSettings


def make_console(ground: Ground, secrets: Secrets, api: Callable[[], ASGIApp]) -> Mapping[str, ASGIApp]:
    """The pages over `api` by the path below which they stand; nothing where the settings say so."""
    settings = ground.configuration.section(ConsoleSettings)
    return {PATH: Console(api, secrets, settings, ground.clock)} if settings.console else {}

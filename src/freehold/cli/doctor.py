"""`freehold doctor`: would a server work here, and how safe would its boxes be?"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from freehold.cli.options import Json, print_json
from freehold.cli.serve import ConfigFile

if TYPE_CHECKING:
    from rich.text import Text

    from freehold.cli.checks import Finding


def doctor(
    config: ConfigFile = None,
    data: Annotated[Path | None, typer.Option(help="Data folder of the server.")] = None,
    database: Annotated[str | None, typer.Option(help="Database URL.")] = None,
    upstream: Annotated[str | None, typer.Option(help="Who answers model calls.")] = None,
    as_json: Json = False,
) -> None:
    """Check this machine by doing it: open a real box, the database, the upstream. Exit code 1 if something is bad."""
    import asyncio

    flags = {"data": data, "database": database, "upstream": upstream}
    found = asyncio.run(_all(flags, config, None if as_json else _show))
    if as_json:
        import dataclasses

        print_json([dataclasses.asdict(finding) for finding in found])
    raise typer.Exit(1 if any(finding.level == "bad" for finding in found) else 0)


async def _all(
    flags: Mapping[str, object], config: Path | None, show: Callable[[Finding], None] | None
) -> list[Finding]:
    found = []
    async for finding in _findings(flags, config):
        found.append(finding)
        if show is not None:
            show(finding)
    return found


async def _findings(flags: Mapping[str, object], config: Path | None) -> AsyncIterator[Finding]:
    import tempfile

    from freehold.app.settings import DataSettings
    from freehold.cli import checks
    from freehold.cli.settings import configured

    settings = configured(flags, config).section(DataSettings)
    folder = checks.data_folder(settings.data)
    yield folder
    yield await checks.database(settings)
    if folder.level == "bad":
        return
    with tempfile.TemporaryDirectory(prefix=".doctor-", dir=checks.nearest(settings.data)) as place:
        trial = {**flags, "data": Path(place), "database": f"sqlite:///{place}/trial.db"}
        async for finding in checks.parts(configured(trial, config)):
            yield finding


def _show(finding: Finding) -> None:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    console.print(_line(finding))
    if finding.remedy:
        console.print(f"       → {finding.remedy}", markup=False)


def _line(finding: Finding) -> Text:
    from rich.text import Text

    mark, style = {"ok": ("ok  ", "green"), "note": ("note", "yellow"), "bad": ("BAD ", "bold red")}[finding.level]
    return Text.assemble((mark, style), "  ", (finding.subject.ljust(24), "bold"), " ", finding.detail)

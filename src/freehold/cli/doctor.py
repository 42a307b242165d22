"""`freehold doctor`: would a server work here, and how safe would its boxes be?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from freehold.cli.options import Json, print_json
from freehold.cli.serve import ConfigFile

if TYPE_CHECKING:
    from rich.text import Text

    from freehold.cli.checks import Finding
    from freehold.config import Configuration


def doctor(
    config: ConfigFile = None,
    data: Annotated[Path | None, typer.Option(help="Data folder of the server.")] = None,
    database: Annotated[str | None, typer.Option(help="Database URL.")] = None,
    upstream: Annotated[str | None, typer.Option(help="Who answers model calls.")] = None,
    as_json: Json = False,
) -> None:
    """Check this machine by doing it: open a real box, the database, the upstream. Exit code 1 if something is bad."""
    import asyncio

    from freehold.cli.settings import configured

    configuration = configured({"data": data, "database": database, "upstream": upstream}, config)
    found = asyncio.run(_all(configuration, as_json))
    if as_json:
        import dataclasses

        print_json([dataclasses.asdict(finding) for finding in found])
    raise typer.Exit(1 if any(finding.level == "bad" for finding in found) else 0)


async def _all(configuration: Configuration, quiet: bool) -> list[Finding]:
    from freehold.cli.checks import findings

    found = []
    async for finding in findings(configuration):
        found.append(finding)
        if not quiet:
            _show(finding)
    return found


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

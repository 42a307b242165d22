"""`freehold serve`: the server itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[
    Path | None, typer.Option("--config", envvar="FREEHOLD_CONFIG", show_envvar=False, help="TOML file of settings.")
]


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 picks a free one.", show_default="8788", max=65535)] = None,
    data: Annotated[Path | None, typer.Option(help="Folder for everything that is kept.")] = None,
    config: ConfigFile = None,
    database: Annotated[str | None, typer.Option(help="Database URL.", show_default="SQLite in --data")] = None,
    upstream: Annotated[
        str | None, typer.Option(help="Who answers model calls: `simulator`, `claude` or a URL.")
    ] = None,
    tools: Annotated[
        list[Path] | None, typer.Option(help="Python file of your own tools; may be given again.", metavar="FILE")
    ] = None,
    tools_reload: Annotated[
        bool, typer.Option("--tools-reload", help="Load a tools file anew when it has changed.")
    ] = False,
    unsafe_no_isolation: Annotated[
        bool, typer.Option("--unsafe-no-isolation", help="Run agent tools even where no box can be made.")
    ] = False,
) -> None:
    """Start the server. Every setting can also be FREEHOLD_NAME in the environment or a line of the --config file,
    which SIGHUP makes it read again.
    """
    from freehold.cli.settings import configured
    from freehold.server import serve as run

    flags = {
        "host": host,
        "port": port,
        "data": data,
        "database": database,
        "upstream": upstream,
        "tools": [str(path) for path in tools] if tools else None,
        "tools_reload": True if tools_reload else None,
        "unsafe_no_isolation": True if unsafe_no_isolation else None,
    }
    raise typer.Exit(run(lambda: configured(flags, config)))

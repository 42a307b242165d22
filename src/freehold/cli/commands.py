"""The table of contents of the command line. Commands import what they need when they run, so `--help` is quick."""

from __future__ import annotations

from typing import Annotated

import typer

from freehold import build
from freehold.cli import (
    agents,
    alerts,
    batch,
    budgets,
    cache,
    calls,
    chat,
    configuration,
    demo,
    doctor,
    env,
    keys,
    knowledge,
    library,
    logs,
    mcp,
    route,
    run,
    serve,
    sessions,
    simulate,
    tools,
    usage,
    webhooks,
    worker,
    workspaces,
)


def commands() -> typer.Typer:
    """All commands, in the order in which `--help` shows them."""
    app = typer.Typer(
        help="The Claude agent platform you own: one server that speaks the whole Claude API.",
        epilog="Begin with `freehold demo`, then `freehold serve`.",
        no_args_is_help=True,
        add_completion=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    app.command()(serve.serve)
    app.command()(demo.demo)
    app.command()(chat.chat)
    app.command()(run.run)
    app.command()(worker.worker)
    app.command()(doctor.doctor)
    app.command()(simulate.simulate)
    app.command("config")(configuration.config)
    app.add_typer(agents.commands(), name="agents")
    app.add_typer(env.commands(), name="env")
    app.add_typer(sessions.commands(), name="sessions")
    app.add_typer(workspaces.commands(), name="workspaces")
    app.add_typer(keys.commands(), name="keys")
    app.add_typer(budgets.commands(), name="budgets")
    app.add_typer(calls.commands(), name="calls")
    app.add_typer(batch.commands(), name="batch")
    app.add_typer(webhooks.commands(), name="webhooks")
    app.add_typer(tools.commands(), name="tools")
    app.add_typer(mcp.commands(), name="mcp")
    app.add_typer(knowledge.commands(), name="knowledge")
    app.add_typer(route.commands(), name="route")
    app.add_typer(cache.commands(), name="cache")
    app.command()(usage.usage)
    app.command()(logs.logs)
    app.command()(calls.replay)
    app.command()(alerts.alerts)
    app.command()(library.export)
    app.command("import")(library.import_)
    return app


def _version(asked: bool) -> None:
    if asked:
        print(f"freehold {build()}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and the build, and stop.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    """What stands before the command; there is nothing to do for it."""

"""`freehold worker`: the tools of sessions that any server orchestrates, run in boxes on this machine."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from freehold.cli.serve import ConfigFile

if TYPE_CHECKING:
    from freehold.app.worker import Post

CLAUDE_URL = "https://api.anthropic.com"


def worker(
    environment: Annotated[
        str | None, typer.Option(help="Id of the environment.", show_default="ANTHROPIC_ENVIRONMENT_ID")
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(help="Address of the server.", show_default=f"ANTHROPIC_BASE_URL, else {CLAUDE_URL}"),
    ] = None,
    key_file: Annotated[
        Path | None,
        typer.Option(help="File with the environment's key.", show_default="ANTHROPIC_ENVIRONMENT_KEY"),
    ] = None,
    at_once: Annotated[int | None, typer.Option(min=1, help="Sessions served side by side.", show_default="10")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder for the sessions' files.")] = None,
    config: ConfigFile = None,
    unsafe_no_isolation: Annotated[
        bool, typer.Option("--unsafe-no-isolation", help="Run agent tools even where no box can be made.")
    ] = False,
) -> None:
    """Serve the work queue of a self-hosted environment, of this server or of any that speaks the Claude API: the
    session runs there, its tools run here.
    """
    from freehold.app.worker import Post
    from freehold.cli.calling import read_key
    from freehold.cli.settings import configured

    environment = environment or os.environ.get("ANTHROPIC_ENVIRONMENT_ID")
    key = read_key(key_file) if key_file else os.environ.get("ANTHROPIC_ENVIRONMENT_KEY")
    if not environment or not key:
        missing = "--environment or ANTHROPIC_ENVIRONMENT_ID" if not environment else "ANTHROPIC_ENVIRONMENT_KEY"
        print(f"Say which environment: {missing} is missing.", file=sys.stderr)
        raise typer.Exit(2)
    flags: dict[str, Any] = {
        "data": data,
        "worker_at_once": at_once,
        "unsafe_no_isolation": True if unsafe_no_isolation else None,
    }
    url = server or os.environ.get("ANTHROPIC_BASE_URL") or CLAUDE_URL
    post = Post(url, environment, key)
    raise typer.Exit(asyncio.run(_work(configured(flags, config), post)))


async def _work(configuration: Any, post: Post) -> int:
    from anthropic import APIStatusError

    from freehold.app.worker import make_worker
    from freehold.environments.base import NoIsolation

    def heard(what: str, session_id: str) -> None:
        print(f"{what} {session_id}", flush=True)

    try:
        async with make_worker(configuration, post, heard) as made:
            print(f"Worker of {post.environment_id} on {post.url}: waiting for sessions.", flush=True)
            task = asyncio.create_task(made.run(), name="worker")
            for name in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(name, task.cancel)
            try:
                await task
            except asyncio.CancelledError:
                print("Stopped.", flush=True)
    except NoIsolation as error:
        print(f"No box can be made on this machine: {error} See `freehold doctor`.", file=sys.stderr)
        return 1
    except APIStatusError as error:
        print(f"{post.url} refuses this worker: {error}", file=sys.stderr)
        return 1
    return 0

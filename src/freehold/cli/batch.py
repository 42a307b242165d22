"""`freehold batch`: many calls at once, from a file or a folder, and what became of them."""

from __future__ import annotations

import json
import time
from typing import Annotated

import typer

from freehold.cli.options import Data, Json, KeyFile, Url, print_json, print_table, tell

_PATH = "/v1/messages/batches"
_POLL_S = 1.0
BatchId = Annotated[str, typer.Argument(help="Id of the batch, as `freehold batch list` shows it.")]


def commands() -> typer.Typer:
    """The group."""
    from freehold.cli.batch_run.command import estimate, run

    group = typer.Typer(help="Many calls at once, by message batches.", no_args_is_help=True)
    for command, name in (
        (run, "run"),
        (estimate, "estimate"),
        (status, "status"),
        (results, "results"),
        (cancel, "cancel"),
    ):
        group.command(name)(command)
    group.command("resume")(resume_paused)
    group.command("list")(list_them)
    return group


def status(
    batch_id: BatchId, data: Data = None, url: Url = None, key_file: KeyFile = None, as_json: Json = True
) -> None:
    """Print how far a batch is, as JSON in any case."""
    from freehold.cli.settings import server_of

    print_json(server_of(data, url, key_file).get(f"/freehold/v1/batches/{batch_id}/progress"))


def results(
    batch_id: BatchId,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it has ended.")] = False,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: Json = True,
) -> None:
    """Print the results of a batch, in any case a JSON line for each request."""
    from freehold.cli.batch_run import remote
    from freehold.cli.settings import server_of

    server = server_of(data, url, key_file)
    while wait and server.get(f"{_PATH}/{batch_id}")["processing_status"] != "ended":
        time.sleep(_POLL_S)
    for line in remote.results(server, batch_id):
        print(json.dumps(line, ensure_ascii=False))


def cancel(
    batch_id: BatchId, data: Data = None, url: Url = None, key_file: KeyFile = None, as_json: Json = False
) -> None:
    """Cancel a batch: what is done stays, calls that are open come to their end."""
    from freehold.cli.settings import server_of

    made = server_of(data, url, key_file).post(f"{_PATH}/{batch_id}/cancel", {})
    tell(f"{batch_id} is {made['processing_status']}.", made, as_json)


def resume_paused(
    batch_id: BatchId, data: Data = None, url: Url = None, key_file: KeyFile = None, as_json: Json = False
) -> None:
    """Let a batch go on that has paused."""
    from freehold.cli.settings import server_of

    done = server_of(data, url, key_file).post(f"/freehold/v1/batches/{batch_id}/resume", {})
    tell(f"{batch_id} goes on.", done, as_json)


def list_them(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 20,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """List the newest batches."""
    from freehold.cli.settings import server_of

    found = server_of(data, url, key_file).get(_PATH, {"limit": str(limit)})["data"]
    if as_json:
        print_json(found)
        return
    entries = [{**one, **one["request_counts"]} for one in found]
    columns = ["id", "processing_status", "processing", "succeeded", "errored", "canceled", "expired", "created_at"]
    print_table(columns, entries, "There is no batch.")

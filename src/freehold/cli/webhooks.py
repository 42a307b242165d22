"""`freehold webhooks`: who is told of what happens, and whether it arrived."""

from __future__ import annotations

from typing import Annotated

import typer

from freehold.cli.options import Data, Json, KeyFile, Url, print_json, print_table, tell

_PATH = "/freehold/v1/webhooks"
WebhookId = Annotated[str, typer.Argument(help="Id of the webhook, as `freehold webhooks list` shows it.")]


def commands() -> typer.Typer:
    """The group."""
    group = typer.Typer(help="Signed requests that tell others what happened.", no_args_is_help=True)
    group.command("add")(add)
    group.command("list")(list_them)
    group.command("test")(test)
    group.command("deliveries")(deliveries)
    group.command("delete")(delete)
    return group


def add(
    address: Annotated[str, typer.Argument(help="Where the requests go.")],
    event: Annotated[list[str] | None, typer.Option(help="A type to send; may be repeated. Left out: all.")] = None,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Add a webhook. Its signing secret is shown this once."""
    from freehold.cli.settings import server_of

    made = server_of(data, url, key_file).post(_PATH, {"url": address, "events": event or []})
    if as_json:
        print_json(made)
        return
    print(made["secret"])
    typer.echo(f"{made['id']}. The secret above is shown only now.", err=True)


def list_them(data: Data = None, url: Url = None, key_file: KeyFile = None, as_json: Json = False) -> None:
    """List the webhooks, without their secrets."""
    from freehold.cli.settings import server_of

    entries = server_of(data, url, key_file).pages(_PATH)
    if as_json:
        print_json(entries)
        return
    rows = [{**one, "events": ", ".join(one["events"]) or "all"} for one in entries]
    print_table(["id", "url", "events", "created_at"], rows, "There is no webhook.")


def test(
    webhook_id: WebhookId, data: Data = None, url: Url = None, key_file: KeyFile = None, as_json: Json = False
) -> None:
    """Send a test event."""
    from freehold.cli.settings import server_of

    made = server_of(data, url, key_file).post(f"{_PATH}/{webhook_id}/test", {})
    tell(f"{made['id']} is on its way; `freehold webhooks deliveries {webhook_id}` tells how it went.", made, as_json)


def deliveries(
    webhook_id: WebhookId, data: Data = None, url: Url = None, key_file: KeyFile = None, as_json: Json = False
) -> None:
    """List what was sent or waits to be sent, newest first."""
    from freehold.cli.settings import server_of

    entries = server_of(data, url, key_file).pages(f"{_PATH}/{webhook_id}/deliveries")
    if as_json:
        print_json(entries)
        return
    columns = ["id", "event", "state", "attempts", "last_status", "last_error", "created_at"]
    print_table(columns, entries, "Nothing was sent yet.")


def delete(
    webhook_id: WebhookId, data: Data = None, url: Url = None, key_file: KeyFile = None, as_json: Json = False
) -> None:
    """Delete a webhook, with what still waits for it."""
    from freehold.cli.settings import server_of

    gone = server_of(data, url, key_file).delete(f"{_PATH}/{webhook_id}")
    tell(f"{webhook_id} is deleted.", gone, as_json)

"""`freehold sessions fork|diff|export|import`: a session's files as they are and were, and a second way from there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import urlencode

import typer

from freehold.cli.options import Data, Json, KeyFile, Url, print_json, print_table, tell

_PATH = "/freehold/v1/sessions"
SessionId = Annotated[str, typer.Argument(help="Id of the session, as `freehold sessions list` shows it.")]
EventId = Annotated[str | None, typer.Option("--at", help="Id of the session.status_idle event to go back to.")]


def add_to(group: typer.Typer) -> None:
    """Put these commands into the group of sessions."""
    group.command("fork")(fork)
    group.command("diff")(diff)
    group.command("export")(export)
    group.command("import")(import_)
    group.command("denied")(denied)


def fork(
    session_id: SessionId,
    at: EventId = None,
    title: Annotated[str | None, typer.Option(help="Title of the new session; else the old one's.")] = None,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Make a second session with the log and the files that this one had at the end of a turn, by default the last."""
    from freehold.cli.settings import server_of

    made = server_of(data, url, key_file).post(f"{_PATH}/{session_id}/fork", {"event_id": at, "title": title})
    tell(f"{made['id']} goes on from there.", made, as_json)


def diff(
    session_id: SessionId,
    before: Annotated[str | None, typer.Option("--from", help="Event of the earlier state; the latest kept.")] = None,
    after: Annotated[
        str | None, typer.Option("--to", help="Event of the later state; the files as they are now.")
    ] = None,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Show which files of a session differ between the ends of two turns."""
    from freehold.cli.settings import server_of

    query = {name: value for name, value in (("from", before), ("to", after)) if value}
    changes = server_of(data, url, key_file).get(f"{_PATH}/{session_id}/diff", query)["data"]
    if as_json:
        print_json(changes)
        return
    print_table(["what", "path", "bytes_before", "bytes_after"], changes, "Nothing differs.")


def denied(
    session_id: SessionId, data: Data = None, url: Url = None, key_file: KeyFile = None, as_json: Json = False
) -> None:
    """Show what the box of a session asked of the network and did not get, the newest first."""
    from freehold.cli.settings import server_of

    found = server_of(data, url, key_file).get(f"{_PATH}/{session_id}/denied")["data"]
    if as_json:
        print_json(found)
        return
    print_table(["at", "target", "reason"], found, "Nothing was denied.")


def export(
    session_id: SessionId,
    file: Annotated[Path, typer.Argument(help="The tar.zst to write; it must not exist.")],
    at: EventId = None,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Write the files of a session, as they are now or were at the end of a turn, to a tar.zst."""
    from freehold.cli.settings import server_of

    query = f"?{urlencode({'event_id': at})}" if at else ""
    size = server_of(data, url, key_file).download(f"{_PATH}/{session_id}/archive{query}", file)
    tell(f"{file}: {size:,} bytes", {"file": str(file), "size_bytes": size}, as_json)


def import_(
    session_id: SessionId,
    file: Annotated[
        Path,
        typer.Argument(help="A tar.zst with workspace/, home/ or outputs/ at its top.", exists=True),
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Replace all files of a session by those of an archive; links and devices are refused."""
    from freehold.cli.settings import server_of

    server = server_of(data, url, key_file)
    if not yes:
        typer.confirm(f"Replace all files of {session_id}?", abort=True)
    done = server.upload(f"{_PATH}/{session_id}/archive", file)
    tell(f"{session_id} has the files of {file}.", done, as_json)

"""`freehold sessions`: what agents are doing and have done on a running server; each can be read like a story."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from freehold.cli import session_files
from freehold.cli.options import Data, Json, KeyFile, Url, print_json, print_table, tell

_PATH = "/v1/sessions"
SessionId = Annotated[str, typer.Argument(help="Id of the session, as `freehold sessions list` shows it.")]


def commands() -> typer.Typer:
    """The group."""
    group = typer.Typer(help="The sessions of agents on a running server.", no_args_is_help=True)
    group.command("list")(list_them)
    group.command("show")(show)
    group.command("send")(send)
    group.command("interrupt")(interrupt)
    group.command("archive")(archive)
    group.command("delete")(delete)
    session_files.add_to(group)
    return group


def list_them(
    agent: Annotated[str | None, typer.Option(help="Only those of this agent, by its id.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at the most, the newest first.")] = 50,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """List the sessions, the newest first."""
    from freehold.cli.settings import server_of

    query = {"limit": str(min(limit, 1000)), **({"agent_id": agent} if agent else {})}
    entries = server_of(data, url, key_file).pages(_PATH, query, most=limit)
    if as_json:
        print_json(entries)
        return
    columns = ["id", "status", "title", "agent", "tokens", "created_at"]
    print_table(columns, [_row(entry) for entry in entries], "There is no session.")


def show(
    session_id: SessionId,
    full: Annotated[bool, typer.Option("--full", help="Everything that was said, not only its first words.")] = False,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Show a session and everything that happened in it, in order."""
    from freehold.cli.settings import server_of
    from freehold.cli.transcript import Transcript

    server = server_of(data, url, key_file)
    session = server.get(f"{_PATH}/{session_id}")
    events = server.pages(f"{_PATH}/{session_id}/events", {"limit": "1000", "order": "asc"})
    if as_json:
        print_json({**session, "events": events})
        return
    Transcript(full=full).print(session, events)


def send(
    session_id: SessionId,
    text: Annotated[str, typer.Argument(help="What to say.")],
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Send a message to a session, and return at once; `freehold run --session` also shows what comes of it."""
    from freehold.cli.settings import server_of

    content = [{"type": "text", "text": text}]
    sent = _tell(server_of(data, url, key_file), session_id, {"type": "user.message", "content": content})
    tell(f"{sent} is in the log of {session_id}.", {"id": sent, "session_id": session_id}, as_json)


def interrupt(
    session_id: SessionId, data: Data = None, url: Url = None, key_file: KeyFile = None, as_json: Json = False
) -> None:
    """Stop what a session is doing; it stays, and takes the next message."""
    from freehold.cli.settings import server_of

    sent = _tell(server_of(data, url, key_file), session_id, {"type": "user.interrupt"})
    tell(f"{session_id} was told to stop.", {"id": sent, "session_id": session_id}, as_json)


def archive(
    session_id: SessionId, data: Data = None, url: Url = None, key_file: KeyFile = None, as_json: Json = False
) -> None:
    """Put a session away: it stays readable and takes nothing more."""
    from freehold.cli.settings import server_of

    done = server_of(data, url, key_file).post(f"{_PATH}/{session_id}/archive", {})
    tell(f"{session_id} is archived.", done, as_json)


def delete(
    session_id: SessionId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Delete a session with its log, its files and its outputs."""
    from freehold.cli.settings import server_of

    server = server_of(data, url, key_file)
    if not yes:
        typer.confirm(f"Delete {session_id} with its log and its files?", abort=True)
    tell(f"{session_id} is deleted.", server.delete(f"{_PATH}/{session_id}"), as_json)


def _tell(server: Any, session_id: str, event: dict[str, Any]) -> str:
    sent = server.post(f"{_PATH}/{session_id}/events", {"events": [event]})
    return str(sent["data"][0]["id"])


def _row(session: dict[str, Any]) -> dict[str, Any]:
    agent = session.get("agent") or {}
    return {**session, "agent": agent.get("name"), "tokens": f"{_tokens(session.get('usage') or {}):,}"}


def _tokens(usage: dict[str, Any]) -> int:
    """Of all kinds; those written to the cache stand a level deeper, by their time to live."""
    return sum(
        _tokens(value) if isinstance(value, dict) else value
        for name, value in usage.items()
        if isinstance(value, dict) or (name.endswith("_tokens") and isinstance(value, int))
    )

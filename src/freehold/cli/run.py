"""`freehold run`: one task for an agent, watched live; calls that need leave are asked here."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from freehold.cli.options import Data, KeyFile, Url
from freehold.errors import FreeholdError

if TYPE_CHECKING:
    from anthropic import Anthropic

    from freehold.cli.calling import Server
    from freehold.cli.running.live import Answer, Outcome

_NOT_DONE = 3
"""Exit code where the session ended otherwise than with `end_turn`."""


def run(
    agent: Annotated[str, typer.Argument(help="The agent: its id, its name, or a YAML or JSON file that defines it.")],
    task: Annotated[str, typer.Argument(help="What it shall do.")],
    file: Annotated[list[Path] | None, typer.Option(help="A file to give it; may be repeated.")] = None,
    environment: Annotated[
        str | None, typer.Option(help="Id or name of the environment; left out: a plain one, without network.")
    ] = None,
    session: Annotated[str | None, typer.Option(help="Go on in this session instead of a new one.")] = None,
    outputs: Annotated[Path | None, typer.Option(help="Folder for the files that it leaves in its outputs.")] = None,
    allow: Annotated[bool, typer.Option("--allow", help="Say yes to every call that asks.")] = False,
    deny: Annotated[bool, typer.Option("--deny", help="Say no to every call that asks.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print every event as a line of JSON.")] = False,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
) -> None:
    """Give an agent a task and watch it work. Ctrl-C tells it to stop; the session stays."""
    from freehold.cli.official import client_of
    from freehold.cli.running.live import Live
    from freehold.cli.running.prepare import Task, begin
    from freehold.cli.settings import server_of

    if allow and deny:
        raise typer.BadParameter("say --allow or --deny, not both")
    server = server_of(data, url, key_file)
    with client_of(server) as client:
        title = task.split("\n", 1)[0][:60]
        new = Task(agent, environment, title, file or [])
        session_id = session or begin(client, new).id
        _say(f"{session_id}", as_json)
        live = Live(client, session_id, _asker(True if allow else False if deny else None))
        outcome = _watched(live, task, as_json)
        if outputs is not None:
            _download(client, session_id, outputs, as_json)
        _end(server, session_id, outcome, as_json)


def _watched(live: Any, task: str, as_json: bool) -> Outcome:
    try:
        outcome: Outcome = live.turn(task, _print_json if as_json else None)
    except KeyboardInterrupt:
        live.interrupt()
        raise FreeholdError("the agent was told to stop; its session stays, with all its files") from None
    return outcome


def _print_json(event: Any) -> None:
    if not event.type.startswith("event_"):
        print(event.to_json(indent=None), flush=True)


def _asker(always: bool | None) -> Any:
    from freehold.cli.running.live import Answer, NeedsLeave

    def ask(call: Any) -> Answer:
        from freehold.cli.event_lines import summary

        if always is not None:
            return Answer(always, None if always else "The person who runs this agent allows no such call.")
        if not sys.stdin.isatty():
            raise NeedsLeave(f"{call.name} asks for leave, and there is no terminal to ask at: say --allow or --deny.")
        typer.secho(f"\n   The agent asks to run {summary(call)}", fg="yellow")
        if typer.confirm("   May it?", default=False):
            return Answer(True)
        return Answer(False, typer.prompt("   What shall it be told?", default="", show_default=False) or None)

    return ask


def _download(client: Anthropic, session_id: str, folder: Path, as_json: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for made in client.beta.files.list(scope_id=session_id):
        if made.downloadable:
            target = folder / Path(made.filename).name
            client.beta.files.download(made.id).write_to_file(target)
            _say(f"   {target}  {made.size_bytes:,} bytes", as_json)


def _end(server: Server, session_id: str, outcome: Outcome, as_json: bool) -> None:
    from freehold.money import show_dollars

    total = server.get("/freehold/v1/bill", {"session_id": session_id})["total"]
    _say(f"   {outcome.stop_reason}: {total['calls']} calls, {show_dollars(total['cost_nanodollars'])}", as_json)
    if outcome.error:
        typer.echo(f"freehold: the session reported: {outcome.error}", err=True)
    if outcome.stop_reason != "end_turn":
        raise typer.Exit(_NOT_DONE)


def _say(text: str, as_json: bool) -> None:
    if not as_json:
        typer.secho(text, dim=True)

"""`freehold agents`: the agents of a running server, as files that can be kept under version control."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from freehold.cli.options import Data, Json, KeyFile, Url, print_json, print_table, tell
from freehold.errors import FreeholdError

_PATH = "/v1/agents"
_LARGEST_BYTES = 4 << 20
AgentId = Annotated[str, typer.Argument(help="Id of the agent, as `freehold agents list` shows it.")]
Definition = Annotated[
    Path, typer.Argument(help="A YAML or JSON file with the body of the API's request: name, model, system, tools, …")
]


class BadDefinition(FreeholdError):
    """The file does not define an agent; the message says why."""


def commands() -> typer.Typer:
    """The group."""
    group = typer.Typer(help="The agents of a running server.", no_args_is_help=True)
    group.command("list")(list_them)
    group.command("show")(show)
    group.command("create")(create)
    group.command("update")(update)
    group.command("archive")(archive)
    return group


def list_them(data: Data = None, url: Url = None, key_file: KeyFile = None, as_json: Json = False) -> None:
    """List the agents, the newest first."""
    from freehold.cli.settings import server_of

    entries = server_of(data, url, key_file).pages(_PATH, {"limit": "100"})
    if as_json:
        print_json(entries)
        return
    rows = [{**entry, "model": _model(entry), "tools": len(entry.get("tools") or [])} for entry in entries]
    print_table(["id", "name", "version", "model", "tools", "created_at"], rows, "There is no agent.")


def show(agent_id: AgentId, data: Data = None, url: Url = None, key_file: KeyFile = None, as_json: Json = True) -> None:
    """Show an agent whole, as JSON in any case."""
    from freehold.cli.settings import server_of

    print_json(server_of(data, url, key_file).get(f"{_PATH}/{agent_id}"))


def create(
    definition: Definition, data: Data = None, url: Url = None, key_file: KeyFile = None, as_json: Json = False
) -> None:
    """Create an agent from a file."""
    from freehold.cli.settings import server_of

    made = server_of(data, url, key_file).post(_PATH, read_definition(definition))
    if as_json:
        print_json(made)
        return
    print(made["id"])
    typer.echo(f'"{made["name"]}" on {_model(made)}. Try: freehold run {made["id"]} "your task"', err=True)


def update(
    agent_id: AgentId,
    definition: Definition,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Make a new version of an agent from a file. Sessions that run keep the version they began with."""
    from freehold.cli.settings import server_of

    server = server_of(data, url, key_file)
    body = read_definition(definition)
    body.setdefault("version", server.get(f"{_PATH}/{agent_id}")["version"])
    made = server.post(f"{_PATH}/{agent_id}", body)
    if as_json:
        print_json(made)
        return
    print(f"{agent_id} is at version {made['version']}.")


def archive(
    agent_id: AgentId, data: Data = None, url: Url = None, key_file: KeyFile = None, as_json: Json = False
) -> None:
    """Put an agent away: no new session can be made of it; those that run go on."""
    from freehold.cli.settings import server_of

    done = server_of(data, url, key_file).post(f"{_PATH}/{agent_id}/archive", {})
    tell(f"{agent_id} is archived.", done, as_json)


def read_definition(file: Path) -> dict[str, Any]:
    """The body of a request, from a YAML or JSON file.

    Raises:
        BadDefinition: it cannot be read, or is no mapping.
    """
    import yaml

    try:
        if file.stat().st_size > _LARGEST_BYTES:
            raise BadDefinition(f"{file} is larger than {_LARGEST_BYTES:,} bytes; is it the right file?")
        text = file.read_text("utf-8")
        value = json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
    except OSError as error:
        raise BadDefinition(f"{file} cannot be read: {error.strerror or error}") from error
    except (ValueError, yaml.YAMLError) as error:
        raise BadDefinition(f"{file} is neither YAML nor JSON: {error}") from error
    if not isinstance(value, dict):
        raise BadDefinition(f"{file} must be a mapping with `name`, `model` and what else the agent is.")
    return value


def _model(agent: dict[str, Any]) -> str:
    model = agent.get("model")
    return str(model.get("id") if isinstance(model, dict) else model)

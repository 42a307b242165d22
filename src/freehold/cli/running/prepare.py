"""What a task needs before it begins: the agent, an environment, the files, a session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from freehold.cli.agents import read_definition
from freehold.errors import FreeholdError

if TYPE_CHECKING:
    from anthropic import Anthropic

ENVIRONMENT = "freehold-run"
"""Name of the plain environment that is made where none was named, and used again."""
UPLOADS = "/mnt/session/uploads"


class NotFound(FreeholdError):
    """What the command names is not there, or is there more than once."""


@dataclass(frozen=True, slots=True)
class Task:
    """What the user asked for. `agent` is an id, a name, or the path of a file that defines one."""

    agent: str
    environment: str | None = None
    title: str | None = None
    files: Sequence[Path] = ()


def resolved(client: Anthropic, task: Task) -> Task:
    """The same with ids instead of names: for many sessions of one agent. Raises as `begin`."""
    agent, environment = _agent(client, task.agent), _environment(client, task.environment)
    return replace(task, agent=agent, environment=environment)


def begin(client: Anthropic, task: Task) -> Any:
    """A new session for the task, with its files uploaded and mounted.

    Raises:
        NotFound: there is no such agent, environment or file.
    """
    missing = [str(file) for file in task.files if not file.is_file()]
    if missing:
        raise NotFound(f"no such file: {', '.join(missing)}")
    names = [file.name for file in task.files]
    if len(set(names)) < len(names):
        raise NotFound("two of the files have the same name; in the box they would stand in each other's place")
    agent = _agent(client, task.agent)
    environment = _environment(client, task.environment)
    uploaded = [client.beta.files.upload(file=file) for file in task.files]
    resources: list[Any] = [
        {"type": "file", "file_id": file.id, "mount_path": f"{UPLOADS}/{file.filename}"} for file in uploaded
    ]
    return client.beta.sessions.create(
        agent=agent, environment_id=environment, title=task.title or "freehold run", resources=resources
    )


def _agent(client: Anthropic, named: str) -> str:
    if named.startswith("agent_"):
        return named
    if Path(named).suffix in (".yaml", ".yml", ".json"):
        return client.beta.agents.create(**read_definition(Path(named))).id
    return _only([agent for agent in client.beta.agents.list(limit=100) if agent.name == named], "agent", named)


def _environment(client: Anthropic, named: str | None) -> str:
    if named is not None and named.startswith("env_"):
        return named
    wanted = named or ENVIRONMENT
    found = [one for one in client.beta.environments.list(limit=100) if one.name == wanted]
    if not found and named is None:
        return client.beta.environments.create(name=ENVIRONMENT).id
    return _only(found, "environment", wanted)


def _only(found: Sequence[Any], kind: str, name: str) -> str:
    if not found:
        listed = {"agent": "agents", "environment": "env"}[kind]
        raise NotFound(f'there is no {kind} named "{name}". `freehold {listed} list` shows those there are.')
    if len(found) > 1:
        raise NotFound(f'{len(found)} {kind}s are named "{name}"; use an id: {", ".join(one.id for one in found)}')
    return str(found[0].id)

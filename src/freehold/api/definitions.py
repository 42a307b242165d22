"""What an agent is, as one value: from what a client sent to the definition that is stored, shown and run.

`created`, `updated` and `overridden` give complete definitions with every default spelled out. What this server does
not do is refused by name, never stored and ignored. Field rules: Claude API docs, Managed Agents, read 2026-11-23, and
the docstrings of the SDK's `agent_create_params.py` and `agent_update_params.py`. Knows no database and no HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from freehold.api.metadata import merged_metadata, new_metadata
from freehold.api.toolsets import Toolsets
from freehold.errors import InvalidRequest, NotBuilt

SERVICE_ACCOUNT = {"type": "service_account"}
"""Who the runs of an agent act as; the only identity there is without a cloud account."""
MOST_NAME_CHARS = 256
MOST_DESCRIPTION_CHARS = 2048
MOST_SYSTEM_CHARS = 100_000
MOST_MODEL_CHARS = 128
MOST_SKILLS = 500
LATEST_SKILL = "latest"
"""Resolved and pinned when a session begins."""
EFFORTS = ("low", "medium", "high", "xhigh", "max")

Definition = dict[str, Any]
"""`{name, description, system, model, tools, mcp_servers, skills, metadata, multiagent, execution_identity}`."""


class Definitions:
    """Makes definitions under what this server has: its toolboxes, its web provider.

    That a skill exists is for the caller to check.
    """

    def __init__(self, toolsets: Toolsets) -> None:
        self._toolsets = toolsets

    def created(self, fields: Mapping[str, Any]) -> Definition:
        """A first version from the fields of a create request. Raises `InvalidRequest`, naming the field."""
        _refuse_multiagent(fields)
        definition: Definition = {
            "name": _name(fields.get("name")),
            "description": _text(fields, "description", MOST_DESCRIPTION_CHARS),
            "system": _text(fields, "system", MOST_SYSTEM_CHARS),
            "model": _model(fields.get("model"), None),
            "mcp_servers": self._toolsets.servers(fields.get("mcp_servers") or ()),
            "tools": self._toolsets.expanded(fields.get("tools") or ()),
            "skills": _skills(fields.get("skills") or ()),
            "metadata": new_metadata(fields.get("metadata")),
            "multiagent": None,
            "execution_identity": _identity(fields),
        }
        return self._checked(definition)

    def updated(self, current: Definition, fields: Mapping[str, Any]) -> Definition:
        """The next version: what is left out stays, scalars and lists are replaced, metadata is merged.

        `null` clears `description`, `system` and the lists; `name` and `model` cannot be cleared.
        """
        return self._checked(self._changed(current, fields))

    def overridden(self, current: Definition, fields: Mapping[str, Any]) -> Definition:
        """The definition for one session, with some of its fields replaced. The agent stays as it is."""
        return self._checked(self._changed(current, fields))

    def _changed(self, current: Definition, fields: Mapping[str, Any]) -> Definition:
        changed = dict(current)
        if "name" in fields:
            changed["name"] = _name(fields["name"])
        if "model" in fields:
            changed["model"] = _model(fields["model"], current["model"])
        if "description" in fields:
            changed["description"] = _text(fields, "description", MOST_DESCRIPTION_CHARS)
        if "system" in fields:
            changed["system"] = _text(fields, "system", MOST_SYSTEM_CHARS)
        if "mcp_servers" in fields:
            changed["mcp_servers"] = self._toolsets.servers(fields["mcp_servers"] or ())
        if "tools" in fields:
            changed["tools"] = self._toolsets.expanded(fields["tools"] or ())
        if "skills" in fields:
            changed["skills"] = _skills(fields.get("skills") or ())
        if "metadata" in fields:
            changed["metadata"] = merged_metadata(current["metadata"], fields["metadata"])
        if "multiagent" in fields:
            _refuse_multiagent(fields)
        if "execution_identity" in fields:
            changed["execution_identity"] = _identity(fields)
        return changed

    def _checked(self, definition: Definition) -> Definition:
        self._toolsets.check(definition["tools"], definition["mcp_servers"])
        return definition


def _name(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > MOST_NAME_CHARS:
        raise InvalidRequest(f"name: must be text of 1 to {MOST_NAME_CHARS} characters.")
    return value


def _text(fields: Mapping[str, Any], name: str, most: int) -> str | None:
    value = fields.get(name)
    if value is not None and len(value) > most:
        raise InvalidRequest(f"{name}: {len(value):,} characters, at most {most:,} are taken.")
    return value or None  # an empty text clears, like null


def _model(value: Any, current: Mapping[str, Any] | None) -> dict[str, Any]:
    given = {"id": value} if isinstance(value, str) else dict(value or {})
    model_id = given.get("id")
    if not isinstance(model_id, str) or not 1 <= len(model_id) <= MOST_MODEL_CHARS:
        raise InvalidRequest(f"model: must be a model id of 1 to {MOST_MODEL_CHARS} characters, or {{id, …}}.")
    kept = current["effort"] if current and current["id"] == model_id else None
    return {
        "id": model_id,
        "effort": _effort(given["effort"]) if "effort" in given else kept,
        "speed": given.get("speed") or "standard",
        "inference_geo": given.get("inference_geo"),
    }


def _effort(value: Any) -> dict[str, str] | None:
    if value is None:
        return None
    level = value.get("type") if isinstance(value, dict) else value
    if level not in EFFORTS:
        raise InvalidRequest(f"model.effort: must be one of {', '.join(EFFORTS)}, not {str(level)[:40]!r}.")
    return {"type": level}


def _skills(given: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    if len(given) > MOST_SKILLS:
        raise InvalidRequest(f"skills: {len(given)} skills, at most {MOST_SKILLS} are taken.")
    skills: list[dict[str, str]] = []
    for index, skill in enumerate(given):
        if skill["type"] != "custom":
            raise NotBuilt(
                f"skills.{index}.type: Anthropic's own skills are not on this server. Upload the skill and name it as "
                f'{{"type": "custom", "skill_id": "skill_…"}}.'
            )
        if skill["skill_id"] in {known["skill_id"] for known in skills}:
            raise InvalidRequest(f"skills.{index}.skill_id: {skill['skill_id'][:80]!r} stands there twice.")
        skills.append(
            {"type": "custom", "skill_id": skill["skill_id"], "version": skill.get("version") or LATEST_SKILL}
        )
    return skills


def _refuse_multiagent(fields: Mapping[str, Any]) -> None:
    if fields.get("multiagent") is not None:
        raise NotBuilt("multiagent: agents that lead other agents are not built yet. Leave it out or send null.")


def _identity(fields: Mapping[str, Any]) -> dict[str, str]:
    identity = fields.get("execution_identity")
    if identity is not None and identity.get("type") != "service_account":
        raise NotBuilt('execution_identity: only {"type": "service_account"} is there; cloud roles are not built yet.')
    return dict(SERVICE_ACCOUNT)

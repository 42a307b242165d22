"""The Messages request that puts a session to the model. Pure, and the same session always gives the same bytes.

Key order, tool order and block order are fixed, so that the longest possible prefix is found in the prompt cache.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from freehold.agents.session import Json

# Output limits by family (Claude API docs, models overview, read 2026-11-23); what is not listed writes up to 128k.
_OUTPUT_LIMITS: Sequence[tuple[re.Pattern[str], int]] = (
    (re.compile(r"claude-(opus|sonnet|haiku)-4-5"), 64_000),
    (re.compile(r"claude-(sonnet-4|3-7-sonnet)"), 64_000),
    (re.compile(r"claude-opus-4-[01]|claude-opus-4-2"), 32_000),
    (re.compile(r"claude-3-5"), 8_192),
    (re.compile(r"claude-3-"), 4_096),
)
CLAUDE_MAX_TOKENS = 64_000
"""Room for thinking and a long file in one reply, and still a bound on what one reply may cost."""
OTHER_MAX_TOKENS = 8_192
"""Models that are not Claude often have small windows, in which the reply counts."""


def max_tokens(model: str) -> int:
    """How long one reply of this model may be."""
    if not model.startswith("claude-"):
        return OTHER_MAX_TOKENS
    limit = next((limit for family, limit in _OUTPUT_LIMITS if family.match(model)), CLAUDE_MAX_TOKENS)
    return min(limit, CLAUDE_MAX_TOKENS)


def body(agent: Mapping[str, Any], system: str, tools: Sequence[Json], messages: Sequence[Json]) -> Json:
    """The body of `POST /v1/messages`. `agent` is the session's snapshot; `system` the whole system prompt."""
    model = agent["model"]
    made: Json = {"model": model["id"], "max_tokens": max_tokens(model["id"]), "stream": True}
    made.update(_model_options(model))
    if tools:
        made["tools"] = list(tools)
    if system:
        made["system"] = system
    made["messages"] = list(messages)
    if model["id"].startswith("claude-"):
        # One breakpoint that moves with the conversation: each request reads what the one before it has written.
        made["cache_control"] = {"type": "ephemeral"}
    return made


def _model_options(model: Mapping[str, Any]) -> Json:
    made: Json = {}
    effort = model.get("effort")
    if effort:
        made["output_config"] = {"effort": effort["type"]}
    if model.get("speed") == "fast":
        made["speed"] = "fast"
    if model.get("inference_geo"):
        made["inference_geo"] = model["inference_geo"]
    return made


_PLACES = """

<environment>
Your tools run in a box of your own. You work in /workspace, which keeps its files for the whole session.
Files that the user gave you are under /mnt/session/uploads{uploads}
Put every file that the user shall get into /mnt/session/outputs.
</environment>"""


_ELSEWHERE = """

<environment>
Your tools run on a machine of your user's. They begin in its working directory; give paths relative to that.
</environment>"""


_SKILLS = """

<skills>
Each of these folders holds a SKILL.md with instructions, and the files that belong to it; you can read them, not change
them. When a task fits the description of a skill, read its SKILL.md before you begin.
{listed}
</skills>"""

_REPOSITORIES = """

<repositories>
These git repositories were cloned for you. What you commit stays here: you have no right to push.
{listed}
</repositories>"""

_MEMORY = """

<memory>
These folders keep text files from session to session; other sessions may share them. Look there before you begin a
task, and keep there what will be needed again (plain text, at most 100 kB a file). A file whose name holds
".conflict-" is a version that clashed with another session's: bring the two together and delete it.
{listed}
</memory>"""


@dataclass(frozen=True, slots=True)
class SkillGiven:
    """A skill as the model is told of it. `path`: its folder in the box."""

    name: str
    description: str
    path: str


@dataclass(frozen=True, slots=True)
class MemoryGiven:
    """A memory store as the model is told of it."""

    path: str
    description: str
    instructions: str | None
    read_only: bool


@dataclass(frozen=True, slots=True)
class RepositoryGiven:
    """A repository as the model is told of it. `at`: the branch or commit, if one was named."""

    path: str
    url: str
    at: str | None


@dataclass(frozen=True, slots=True)
class Given:
    """What a session has in its box besides files."""

    skills: Sequence[SkillGiven] = ()
    memories: Sequence[MemoryGiven] = ()
    repositories: Sequence[RepositoryGiven] = ()


def system_prompt(agent: Mapping[str, Any], has_box: bool, uploads: Sequence[str], given: Given | None = None) -> str:
    """The agent's own prompt, and after it what it must know of its box. `uploads` are mount paths."""
    own = agent.get("system") or ""
    if not has_box:
        return own
    listed = ":\n" + "\n".join(uploads) if uploads else "."
    return (own + _PLACES.format(uploads=listed) + _told(given or Given())).strip()


def prompt_elsewhere(agent: Mapping[str, Any], given: Given) -> str:
    """The same for a session whose tools a worker of its environment runs."""
    own = agent.get("system") or ""
    return (own + _ELSEWHERE + _told(given)).strip()


def _told(given: Given) -> str:
    skills = "\n".join(f"{skill.path}/SKILL.md — {skill.name}: {skill.description}" for skill in given.skills)
    stores = "\n".join(_of_store(store) for store in given.memories)
    clones = "\n".join(_of_repository(repository) for repository in given.repositories)
    told = ((_SKILLS, skills), (_MEMORY, stores), (_REPOSITORIES, clones))
    return "".join(text.format(listed=listed) for text, listed in told if listed)


def _of_repository(repository: RepositoryGiven) -> str:
    return f"{repository.path}: {repository.url}" + (f" at {repository.at}" if repository.at else "")


def _of_store(store: MemoryGiven) -> str:
    access = "read-only" if store.read_only else "read and write"
    words = [f"{store.path} ({access})", *([store.description] if store.description else [])]
    return ": ".join(words) + (f"\n{store.instructions}" if store.instructions else "")

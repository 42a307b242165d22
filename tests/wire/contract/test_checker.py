"""Bodies against the contract: what is refused, and where the message points."""

from __future__ import annotations

import json
import subprocess
import sys
import typing
from datetime import datetime
from typing import Any

import pydantic
import pytest
from anthropic.types import ContentBlock
from anthropic.types.beta import BetaContentBlock

from freehold.errors import InvalidRequest
from freehold.wire.contract import check, fields, operations
from tests.contract.manifest import shows_difference

MESSAGE: dict[str, Any] = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}]}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/bmp", "data": ""}}


def user(*content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(content)}]}


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        ("messages.create", MESSAGE),
        ("messages.create", MESSAGE | {"max_tokens": 0, "stream": True, "system": [{"type": "text", "text": "s"}]}),
        ("messages.create", MESSAGE | {"temperature": 0.5, "top_p": 1, "top_k": 5}),
        ("messages.create", MESSAGE | {"tools": [{"name": "x", "input_schema": {"type": "object", "$defs": {}}}]}),
        ("messages.create", MESSAGE | {"tools": [{"type": None, "name": "x", "input_schema": {"type": "object"}}]}),
        ("messages.create", MESSAGE | {"tools": [{"type": "bash_20250124", "name": "bash"}]}),
        ("messages.create", MESSAGE | {"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}),
        ("messages.count_tokens", {"model": "m", "messages": []}),
        ("messages.batches.create", {"requests": [{"custom_id": "a", "params": {"judged": "later"}}]}),
        ("agents.create", {"name": "a", "model": "m"}),
        ("agents.create", {"name": "a", "model": {"id": "m"}, "tools": [{"type": "agent_toolset_20260401"}]}),
        ("agents.update", {"description": None, "metadata": {"k": None}}),
        ("environments.update", {}),
        ("sessions.create", {"agent": "agent_1", "environment_id": "env_1"}),
        ("sessions.create", {"agent": {"type": "agent", "id": "agent_1", "version": 2}, "environment_id": "env_1"}),
        ("sessions.events.send", {"events": [{"type": "user.message", "content": [{"type": "text", "text": "a"}]}]}),
        ("sessions.resources.add", {"type": "file", "file_id": "file_1", "mount_path": None}),
    ],
)
def test_what_the_sdk_sends_is_taken(operation: str, body: object) -> None:
    check(operation, body)


@pytest.mark.parametrize(
    ("operation", "body", "complaint"),
    [
        ("messages.create", [], "The request body must be a JSON object"),
        ("messages.create", {"messages": [], "model": "m"}, "max_tokens: Field required"),
        ("messages.create", MESSAGE | {"max_tokens": "1"}, "max_tokens: Input should be a valid integer"),
        ("messages.create", MESSAGE | {"max_tokens": True}, "max_tokens: Input should be a valid integer"),
        ("messages.create", MESSAGE | {"max_tokens": 1.0}, "max_tokens: Input should be a valid integer"),
        ("messages.create", MESSAGE | {"max_tokens": 2**63}, "max_tokens: Input should be a valid integer"),
        ("messages.create", MESSAGE | {"stream": 1}, "stream: Input should be true or false"),
        ("messages.create", MESSAGE | {"temperature": "hot"}, "temperature: Input should be a valid number"),
        ("messages.create", MESSAGE | {"model": None}, "model: Input should be a valid string"),
        ("messages.create", MESSAGE | {"messages": {}}, "messages: Input should be a valid list"),
        ("messages.create", MESSAGE | {"messages": ["x"]}, "messages.0: Input should be a valid object"),
        ("messages.create", MESSAGE | {"messages": [{"content": "x"}]}, "messages.0.role: Field required"),
        (
            "messages.create",
            MESSAGE | {"messages": [{"role": "robot", "content": "x"}]},
            'messages.0.role: "robot" is not one that is known here. Known: assistant, system, user',
        ),
        (
            "messages.create",
            MESSAGE | {"messages": [{"role": "user", "content": 3}]},
            "messages.0.content: Input should be a string or a list",
        ),
        (
            "messages.create",
            MESSAGE | user({"type": "text", "text": "a"}, {"type": "texxt"}),
            "messages.0.content.1.type",
        ),
        ("messages.create", MESSAGE | user({"text": "a"}), "messages.0.content.0.type: Field required"),
        ("messages.create", MESSAGE | user({"type": ["text"]}), "messages.0.content.0.type: a list is not one"),
        ("messages.create", MESSAGE | user(IMAGE), "messages.0.content.0.source.media_type: Input should be"),
        (
            "messages.create",
            MESSAGE | user({"type": "tool_result", "tool_use_id": "t", "content": [IMAGE]}),
            'messages.0.content.0.content.0.source.media_type: Input should be "image/gif" or',
        ),
        (
            "messages.create",
            MESSAGE | {"tools": [{"name": "x", "input_schema": {"typ": "object"}}]},
            "tools.0.input_schema.type: Field required",
        ),
        ("messages.create", MESSAGE | {"fallbacks": "always"}, 'fallbacks: Input should be "default", not "always"'),
        ("messages.create", MESSAGE | {"fallbacks": 1}, 'fallbacks: Input should be null or "default" or a list'),
        (
            "messages.create",
            MESSAGE | {"top_pp": 1},
            r"top_pp: Extra inputs are not permitted \(did you mean top_p\?\)",
        ),
        ("messages.create", MESSAGE | {"x": 1}, r"x: Extra inputs are not permitted \(known here: billing_policy, "),
        ("messages.create", MESSAGE | {"max_tokns": 1}, "max_tokns: Extra inputs"),
        (
            "messages.create",
            MESSAGE | user({"type": "text", "text": "", "bold": 1}),
            "messages.0.content.0.bold: Extra",
        ),
        ("messages.count_tokens", MESSAGE, "max_tokens: Extra inputs are not permitted"),
        (
            "agents.create",
            {"name": "a", "model": "m", "metadata": {"k": 1}},
            "metadata.k: Input should be a valid string",
        ),
        (
            "agents.create",
            {"name": "a", "model": "m", "tools": [{"type": "agent_toolset_20260401", "configs": [{"name": "bas"}]}]},
            'tools.0.configs.0.name: "bas" is not one that is known here. Known: bash, edit,',
        ),
        ("environments.create", {"name": "x", "config": {"type": "cloud", "networking": {}}}, "config.networking.type"),
        ("sessions.create", {"agent": 1, "environment_id": "e"}, "agent: Input should be a string or an object"),
        ("sessions.events.send", {"events": [{"type": "user.message", "content": "Hi"}]}, "events.0.content: Input"),
        ("sessions.events.send", {"events": [{"type": "agent.message"}]}, "events.0.type: "),
        (
            "user_profiles.update",
            {"external_user_details": 1},
            "external_user_details: Input should be",
        ),
        (
            "beta.user_profiles.update",
            {"external_user_onboarded_at": "yesterday"},
            "external_user_onboarded_at: Input should be an RFC 3339 time",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_its_path(operation: str, body: object, complaint: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^{complaint}"):
        check(operation, body)


def test_every_element_of_a_list_is_checked() -> None:
    good = {"type": "user.message", "content": [{"type": "text", "text": "a"}]}
    for at in range(3):
        events: list[dict[str, Any]] = [good, good, good]
        events[at] = {"type": "user.message", "content": [{"type": "text"}]}
        with pytest.raises(InvalidRequest, match=rf"^events\.{at}\.content\.0\.text: Field required"):
            check("sessions.events.send", {"events": events})


def test_unknown_members_are_passed_where_the_caller_says_so() -> None:
    body = MESSAGE | user({"type": "text", "text": "", "bold": {"deep": 1}}) | {"seed": 7}
    check("messages.create", body, extra="allow")
    with pytest.raises(InvalidRequest, match="max_tokens: Field required"):
        check("messages.create", {k: v for k, v in body.items() if k != "max_tokens"}, extra="allow")


@shows_difference("depth-of-free-parts")
def test_what_is_free_may_be_anything_but_not_endlessly_deep() -> None:
    def use(value: object) -> dict[str, Any]:
        block = {"type": "tool_use", "id": "t", "name": "n", "input": {"v": value}}
        return MESSAGE | {"messages": [{"role": "assistant", "content": [block]}]}

    deep: Any = 1
    for _ in range(90):
        deep = [deep]
    check("messages.create", use({"any": [1, None, "x", deep]}))
    for _ in range(20):
        deep = {"d": deep}
    with pytest.raises(InvalidRequest, match=r"^messages\.0\.content\.0\.input\.v: nested more than 100 deep"):
        check("messages.create", use(deep))


def test_a_message_never_grows_with_what_was_sent() -> None:
    for body in (
        MESSAGE | {"service_tier": "x" * 10**6},
        MESSAGE | user({"type": "y" * 10**6}),
        MESSAGE | {"service_tier": 10**400},
    ):
        with pytest.raises(InvalidRequest) as refused:
            check("messages.create", body)
        assert len(refused.value.message) < 2000
    with pytest.raises(InvalidRequest) as refused:
        check("messages.create", MESSAGE | {"z" * 10**6: 1})
    assert len(refused.value.message) < 3000


def test_operations_are_named_as_in_the_sdk() -> None:
    named = {
        "messages.create",
        "messages.count_tokens",
        "agents.create",
        "agents.update",
        "environments.create",
        "environments.update",
        "sessions.create",
        "sessions.update",
        "sessions.events.send",
        "sessions.resources.add",
        "sessions.resources.update",
        "memory_stores.memories.create",
        "vaults.credentials.create",
    }
    assert named <= operations()
    assert fields("sessions.resources.add") == {"type", "file_id", "mount_path"}
    with pytest.raises(KeyError):
        check("sessions.destroy", {})


def members(union: Any) -> tuple[Any, ...]:
    while typing.get_origin(union) is typing.Annotated:
        union = typing.get_args(union)[0]
    return typing.get_args(union)


def bare(kind: Any) -> Any:
    """The barest value of an answered type: every optional member null."""
    while typing.get_origin(kind) is typing.Annotated:
        kind = typing.get_args(kind)[0]
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if isinstance(kind, type) and issubclass(kind, pydantic.BaseModel):
        return {
            (field.alias or name): bare(field.annotation) if field.is_required() else None
            for name, field in kind.model_fields.items()
        }
    if origin is typing.Union:
        return None if type(None) in arguments else bare(arguments[0])
    if origin is typing.Literal:
        return arguments[0]
    plain: dict[Any, Any] = {list: [bare(arguments[0])] if origin is list else [], dict: {}, object: {}}
    plain |= {str: "x", int: 1, float: 1.0, bool: True, datetime: "2026-01-01T00:00:00Z"}
    return plain[origin or kind]


@pytest.mark.parametrize("block", [*members(ContentBlock), *members(BetaContentBlock)], ids=lambda kind: kind.__name__)
def test_every_block_that_is_answered_may_be_sent_back(block: type[pydantic.BaseModel]) -> None:
    content = json.loads(json.dumps([bare(block)]))
    check("messages.create", MESSAGE | {"messages": [{"role": "assistant", "content": content}]})


def test_importing_the_contract_reads_nothing_and_never_the_sdk() -> None:
    program = (
        "import sys; from freehold.wire.contract import checker; import freehold.wire.contract\n"
        "assert checker._contract.cache_info().currsize == 0\n"
        "assert not {'anthropic', 'pydantic', 'httpx2'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)

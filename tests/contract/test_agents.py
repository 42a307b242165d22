"""Agents through the official SDK in strict mode: versions, field rules, limits, paging."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from anthropic import BadRequestError, ConflictError, NotFoundError

from freehold.store.engine import Store
from tests.api.house import House, open_house
from tests.contract.manifest import proves, shows_difference

COMPANY_SERVER: dict[str, Any] = {"type": "url", "name": "shop", "url": "toolbox:company"}
COMPANY_TOOLS: dict[str, Any] = {
    "type": "mcp_toolset",
    "mcp_server_name": "shop",
    "default_config": {"permission_policy": {"type": "always_allow"}},
}


@pytest.fixture
async def house(store: Store, tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(store, tmp_path) as house:
        yield house


@proves("beta.agents.create", "beta.agents.retrieve")
async def test_an_agent_is_created_with_every_default_spelled_out(house: House) -> None:
    agent = await house.client().beta.agents.create(
        name="Helper", model="claude-sonnet-4-5", tools=[{"type": "agent_toolset_20260401"}]
    )
    assert agent.id.startswith("agent_")
    assert (agent.type, agent.version, agent.archived_at, agent.description, agent.system) == (
        "agent",
        1,
        None,
        None,
        None,
    )
    assert agent.execution_identity.type == "service_account"
    assert (agent.model.id, agent.model.speed, agent.model.effort) == ("claude-sonnet-4-5", "standard", None)
    assert (agent.skills, agent.mcp_servers, agent.metadata, agent.multiagent) == ([], [], {}, None)
    [toolset] = agent.tools
    assert toolset.type == "agent_toolset_20260401"
    assert toolset.default_config.enabled and toolset.default_config.permission_policy.type == "always_allow"
    enabled = {config.name: config.enabled for config in toolset.configs}
    on = dict.fromkeys(("bash", "edit", "read", "write", "glob", "grep"), True)
    assert enabled == {**on, "web_fetch": False, "web_search": False}
    assert await house.client().beta.agents.retrieve(agent.id) == agent


async def test_a_toolset_keeps_what_was_said_and_takes_the_rest_from_its_default(house: House) -> None:
    agent = await house.client().beta.agents.create(
        name="Careful",
        model={"id": "claude-opus-4-5", "effort": "high", "speed": "fast", "inference_geo": "us"},
        mcp_servers=[COMPANY_SERVER],  # type: ignore[list-item]
        tools=[
            {
                "type": "agent_toolset_20260401",
                "default_config": {"enabled": False, "permission_policy": {"type": "always_ask"}},
                "configs": [{"name": "bash", "enabled": True}, {"name": "web_search", "enabled": False}],
            },
            {
                "type": "mcp_toolset",
                "mcp_server_name": "shop",
                "configs": [{"name": "find_user", "permission_policy": {"type": "always_allow"}}],
            },
            {
                "type": "custom",
                "name": "ask_human",
                "description": "Asks.",
                "input_schema": {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]},
            },
        ],
    )
    assert agent.model.effort is not None and agent.model.effort.type == "high"
    assert (agent.model.speed, agent.model.inference_geo) == ("fast", "us")
    built_in, company, custom = agent.tools
    assert built_in.type == "agent_toolset_20260401"
    assert {config.name for config in built_in.configs if config.enabled} == {"bash"}
    assert {config.permission_policy.type for config in built_in.configs} == {"always_ask"}
    assert company.type == "mcp_toolset"
    assert company.default_config.permission_policy.type == "always_ask"
    assert [(c.name, c.enabled, c.permission_policy.type) for c in company.configs] == [
        ("find_user", True, "always_allow")
    ]
    assert custom.type == "custom" and custom.input_schema.required == ["q"]


@proves("beta.agents.update")
async def test_an_update_keeps_what_is_left_out_and_clears_with_null(house: House) -> None:
    client = house.client()
    first = await client.beta.agents.create(
        name="A",
        model={"id": "claude-haiku-4-5", "effort": "low", "inference_geo": "eu"},
        system="Be kind.",
        description="d",
        metadata={"a": "1", "b": "2"},
        tools=[{"type": "agent_toolset_20260401"}],
    )
    house_time = first.updated_at
    await house.clock.advance(5)
    second = await client.beta.agents.update(
        first.id, system=None, metadata={"a": None, "c": "3"}, model={"id": "claude-haiku-4-5"}
    )
    assert (second.version, second.system, second.description) == (2, None, "d")
    assert second.metadata == {"b": "2", "c": "3"}
    assert second.tools == first.tools
    assert second.model.effort is not None and second.model.effort.type == "low", "kept with the same model"
    assert second.model.inference_geo is None, "the model is replaced as a whole"
    assert (second.created_at, second.updated_at) == (first.created_at, house_time + timedelta(seconds=5))

    third = await client.beta.agents.update(first.id, tools=None, description="", model="claude-sonnet-4-5")
    assert (third.version, third.tools, third.description, third.model.effort) == (3, [], None, None)


async def test_an_update_that_changes_nothing_makes_no_version(house: House) -> None:
    client = house.client()
    agent = await client.beta.agents.create(
        name="A", model="claude-haiku-4-5", tools=[{"type": "agent_toolset_20260401"}]
    )
    same = await client.beta.agents.update(
        agent.id, name="A", tools=[{"type": "agent_toolset_20260401"}], metadata={"gone": None}
    )
    assert same == agent


async def test_a_version_that_is_not_the_newest_is_a_conflict_even_without_a_change(house: House) -> None:
    client = house.client()
    agent = await client.beta.agents.create(name="A", model="claude-haiku-4-5")
    await client.beta.agents.update(agent.id, name="B", version=1)
    with pytest.raises(ConflictError) as error:
        await client.beta.agents.update(agent.id, name="B", version=1)
    assert error.value.response.headers["x-should-retry"] == "false"
    assert "version 2" in error.value.message
    assert (await client.beta.agents.retrieve(agent.id)).version == 2


async def test_of_many_updates_at_once_with_the_same_version_one_wins(house: House) -> None:
    client = house.client()
    agent = await client.beta.agents.create(name="A", model="claude-haiku-4-5")
    outcomes = await asyncio.gather(
        *(client.beta.agents.update(agent.id, name=f"N{n}", version=1) for n in range(8)), return_exceptions=True
    )
    assert sum(isinstance(outcome, ConflictError) for outcome in outcomes) == 7
    assert (await client.beta.agents.retrieve(agent.id)).version == 2


@proves("beta.agents.versions.list")
async def test_every_version_can_be_read_and_listed_newest_first(house: House) -> None:
    client = house.client()
    agent = await client.beta.agents.create(name="v1", model="claude-haiku-4-5")
    for n in range(2, 6):
        await client.beta.agents.update(agent.id, name=f"v{n}")
    assert (await client.beta.agents.retrieve(agent.id, version=2)).name == "v2"
    listed = [version.name async for version in client.beta.agents.versions.list(agent.id, limit=2)]
    assert listed == ["v5", "v4", "v3", "v2", "v1"]
    for version in (6, 0):
        with pytest.raises((NotFoundError, BadRequestError)):
            await client.beta.agents.retrieve(agent.id, version=version)


@proves("beta.agents.archive")
@shows_difference("archived-agents-refuse-with-400")
async def test_an_archived_agent_can_be_read_but_not_changed_and_leaves_the_list(house: House) -> None:
    client = house.client()
    agent = await client.beta.agents.create(name="A", model="claude-haiku-4-5")
    archived = await client.beta.agents.archive(agent.id)
    assert archived.archived_at is not None
    await house.clock.advance(60)
    assert (await client.beta.agents.archive(agent.id)).archived_at == archived.archived_at
    with pytest.raises(BadRequestError) as error:
        await client.beta.agents.update(agent.id, name="B")
    assert "archived" in error.value.message
    assert [a.id async for a in client.beta.agents.list()] == []
    assert [a.id async for a in client.beta.agents.list(include_archived=True)] == [agent.id]


@proves("beta.agents.list")
async def test_a_list_pages_newest_first_without_gaps_while_agents_are_added(house: House) -> None:
    client = house.client()
    made = []
    for n in range(7):
        made.append((await client.beta.agents.create(name=f"A{n}", model="claude-haiku-4-5")).id)
        await house.clock.advance(n % 2)  # some share their time of making
    page = await client.beta.agents.list(limit=3)
    await client.beta.agents.create(name="late", model="claude-haiku-4-5")
    seen = [agent.id for agent in page.data]
    while page.has_next_page():
        page = await page.get_next_page()
        seen += [agent.id for agent in page.data]
    assert seen == sorted(made, reverse=True)


async def test_a_list_is_bounded_by_time_of_making_in_any_offset(house: House) -> None:
    client = house.client()
    old = await client.beta.agents.create(name="old", model="claude-haiku-4-5")
    await house.clock.advance(3600)
    new = await client.beta.agents.create(name="new", model="claude-haiku-4-5")
    border = old.created_at + timedelta(minutes=30)
    later = [a.id async for a in client.beta.agents.list(created_at_gte=border)]
    earlier = [a.id async for a in client.beta.agents.list(created_at_lte=border.isoformat())]
    assert (later, earlier) == ([new.id], [old.id])
    elsewhere = datetime.fromtimestamp(border.timestamp(), UTC).astimezone()
    assert [a.id async for a in client.beta.agents.list(created_at_gte=elsewhere)] == [new.id]


def _custom(name: str, **other: Any) -> dict[str, Any]:
    return {"type": "custom", "name": name, "description": "d", "input_schema": {"type": "object"}, **other}


def _toolset(**other: Any) -> dict[str, Any]:
    return {"type": "agent_toolset_20260401", **other}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": " "}, ["name"]),
        ({"name": "n" * 257}, ["name", "256"]),
        ({"model": ""}, ["model"]),
        ({"system": "s" * 100_001}, ["system", "100,000"]),
        ({"description": "s" * 2049}, ["description"]),
        ({"metadata": {str(n): "" for n in range(17)}}, ["metadata", "16"]),
        ({"metadata": {"k": "v" * 513}}, ["metadata.k", "512"]),
        ({"metadata": {"k" * 65: ""}}, ["metadata", "64"]),
        ({"tools": [_custom("bash")]}, ["tools.0.name", "bash"]),
        ({"tools": [_custom("mcp__x")]}, ["tools.0.name"]),
        ({"tools": [_custom("no spaces")]}, ["tools.0.name"]),
        ({"tools": [_custom("x" * 129)]}, ["tools.0.name", "128"]),
        ({"tools": [_custom("x", description=" ")]}, ["tools.0.description"]),
        ({"tools": [_custom("x"), _custom("x")]}, ["tools", "'x'"]),
        ({"tools": [_custom(f"t{n}") for n in range(257)]}, ["tools", "256"]),
        ({"tools": [_toolset(), *(_custom(f"t{n}") for n in range(251))]}, ["257 tools"]),
        ({"tools": [_toolset(), _toolset()]}, ["agent_toolset_20260401"]),
        (
            {"tools": [_toolset(configs=[{"name": "web_search", "enabled": True}])]},
            ["tools.0.configs.0", "web_search", "provider"],
        ),
        (
            {"tools": [_toolset(configs=[{"name": "web_fetch", "allowed_domains": ["a.b"]}])]},
            ["tools.0.configs.0", "web_fetch"],
        ),
        ({"tools": [_toolset(configs=[{"name": "bash"}, {"name": "bash"}])]}, ["tools.0.configs.1"]),
        ({"mcp_servers": [COMPANY_SERVER]}, ["mcp_servers", "shop"]),
        ({"tools": [COMPANY_TOOLS]}, ["tools.0.mcp_server_name", "shop"]),
        (
            {"mcp_servers": [{**COMPANY_SERVER, "url": "toolbox:nope"}], "tools": [COMPANY_TOOLS]},
            ["mcp_servers.0.url", "nope", "company"],
        ),
        (
            {"mcp_servers": [{**COMPANY_SERVER, "url": "http://mcp.example.com"}], "tools": [COMPANY_TOOLS]},
            ["mcp_servers.0.url", "https://"],
        ),
        ({"mcp_servers": [COMPANY_SERVER, COMPANY_SERVER], "tools": [COMPANY_TOOLS]}, ["mcp_servers", "'shop'"]),
        ({"mcp_servers": [COMPANY_SERVER], "tools": [COMPANY_TOOLS, COMPANY_TOOLS]}, ["tools", "'shop'"]),
        (
            {"mcp_servers": [COMPANY_SERVER], "tools": [{**COMPANY_TOOLS, "configs": [{"name": "fire"}]}]},
            ["tools.0.configs.0.name", "fire", "find_user"],
        ),
        ({"multiagent": {"type": "coordinator", "agents": ["agent_1"]}}, ["multiagent", "not built"]),
        ({"skills": [{"type": "custom", "skill_id": "skill_1"}]}, ["skills.0", "skill_1"]),
        ({"skills": [{"type": "anthropic", "skill_id": "xlsx"}]}, ["skills.0", "not on this server"]),
        ({"execution_identity": {"type": "aws_role", "role_arn": "arn:x"}}, ["execution_identity", "not built"]),
        ({"surprise": 1}, ["surprise"]),
    ],
)
@pytest.mark.parametrize("database_kind", ["sqlite"])
@shows_difference("toolbox-addresses")
@shows_difference("no-web-tools-without-a-provider")
@shows_difference("no-anthropic-skills")
@shows_difference("cloud-roles-not-built")
@shows_difference("lengths-of-names")
async def test_what_is_wrong_or_not_built_is_refused_by_name(
    house: House, fields: dict[str, Any], words: list[str]
) -> None:
    client = house.client()
    given = {"name": "A", "model": "claude-haiku-4-5", **fields}
    with pytest.raises(BadRequestError) as error:
        await client.post("/v1/agents", cast_to=object, body=given)
    for word in words:
        assert word in error.value.message
    agent = await client.beta.agents.create(name="A", model="claude-haiku-4-5")
    with pytest.raises(BadRequestError):
        await client.post(f"/v1/agents/{agent.id}", cast_to=object, body=fields)
    assert (await client.beta.agents.retrieve(agent.id)).version == 1


@pytest.mark.parametrize("database_kind", ["sqlite"])
@proves(
    "beta.agents.create",
    "beta.agents.retrieve",
    "beta.agents.update",
    "beta.agents.versions.list",
    "beta.agents.list",
    "beta.agents.archive",
    clients=("sync",),
)
async def test_the_sync_client_drives_every_method_of_agents(house: House) -> None:
    client = house.sync_client()

    def drive() -> None:
        agent = client.beta.agents.create(name="A", model="claude-haiku-4-5", system="s")
        assert client.beta.agents.retrieve(agent.id, version=1) == agent
        assert client.beta.agents.update(agent.id, system=None, version=1).version == 2
        assert [version.version for version in client.beta.agents.versions.list(agent.id)] == [2, 1]
        assert [listed.id for listed in client.beta.agents.list()] == [agent.id]
        assert client.beta.agents.archive(agent.id).archived_at is not None

    await asyncio.to_thread(drive)

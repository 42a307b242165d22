"""Environments through the official SDK in strict mode."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from anthropic import BadRequestError, ConflictError, NotFoundError
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.store.engine import Store
from freehold.store.tables import sessions
from tests.api.house import House, open_house
from tests.contract.manifest import proves, shows_difference


@pytest.fixture
async def house(store: Store, tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(store, tmp_path) as house:
        yield house


@proves("beta.environments.create", "beta.environments.retrieve")
async def test_an_environment_without_a_config_is_a_cloud_one_without_network_or_packages(house: House) -> None:
    environment = await house.client().beta.environments.create(name="plain")
    assert environment.id.startswith("env_")
    assert (environment.type, environment.description, environment.metadata) == ("environment", None, {})
    assert isinstance(environment.created_at, str) and environment.created_at.endswith("Z")
    assert environment.archived_at is None
    config = environment.config
    assert config.type == "cloud" and config.networking.type == "limited"
    assert config.networking.allowed_hosts == []
    assert config.networking.allow_mcp_servers and not config.networking.allow_package_managers
    assert (config.packages.pip, config.packages.apt) == ([], [])
    assert await house.client().beta.environments.retrieve(environment.id) == environment


@proves("beta.environments.update")
async def test_an_update_keeps_what_is_left_out_and_tells_null_from_empty(house: House) -> None:
    client = house.client()
    made = await client.beta.environments.create(name="e", description="d", metadata={"a": "1", "b": "2", "c": "3"})
    await house.clock.advance(1)
    changed = await client.beta.environments.update(made.id, name="f", metadata={"a": None, "b": "", "d": "4"})
    assert (changed.name, changed.description, changed.metadata) == ("f", "d", {"c": "3", "d": "4"})
    assert changed.updated_at > made.updated_at and changed.created_at == made.created_at
    assert (await client.beta.environments.update(made.id, description="")).description == ""
    assert (await client.beta.environments.update(made.id, description=None)).description is None
    limited = await client.beta.environments.update(
        made.id, config={"type": "cloud", "networking": {"type": "limited", "allowed_hosts": []}}
    )
    assert limited.config == made.config


async def test_an_environment_cannot_become_another_type(house: House) -> None:
    client = house.client()
    environment = await client.beta.environments.create(name="e")
    with pytest.raises(BadRequestError) as error:
        await client.beta.environments.update(environment.id, config={"type": "self_hosted"})
    assert _code(error.value) == "invalid_config_type_change"


@proves("beta.environments.archive")
async def test_an_archived_environment_is_read_only_and_leaves_the_list(house: House) -> None:
    client = house.client()
    environment = await client.beta.environments.create(name="e")
    archived = await client.beta.environments.archive(environment.id)
    assert archived.archived_at is not None
    assert (await client.beta.environments.archive(environment.id)).archived_at == archived.archived_at
    with pytest.raises(BadRequestError) as error:
        await client.beta.environments.update(environment.id, name="f")
    assert _code(error.value) == "environment_archived"
    assert [e.id async for e in client.beta.environments.list()] == []
    assert [e.id async for e in client.beta.environments.list(include_archived=True)] == [environment.id]


@proves("beta.environments.delete")
async def test_a_deleted_environment_is_gone(house: House) -> None:
    client = house.client()
    environment = await client.beta.environments.create(name="e")
    deleted = await client.beta.environments.delete(environment.id)
    assert (deleted.id, deleted.type) == (environment.id, "environment_deleted")
    with pytest.raises(NotFoundError) as error:
        await client.beta.environments.retrieve(environment.id)
    assert _code(error.value) == "environment_not_found"
    with pytest.raises(NotFoundError):
        await client.beta.environments.delete(environment.id)


@shows_difference("environments-in-use")
async def test_an_environment_that_a_session_refers_to_is_not_deleted(house: House) -> None:
    client = house.client()
    environment = await client.beta.environments.create(name="e")
    agent = await client.beta.agents.create(name="a", model="claude-haiku-4-5")
    await _add_session(house, agent.id, environment.id)
    with pytest.raises(ConflictError) as error:
        await client.beta.environments.delete(environment.id)
    assert "session" in error.value.message
    assert (await client.beta.environments.retrieve(environment.id)).id == environment.id


@proves("beta.environments.list")
async def test_a_list_pages_newest_first(house: House) -> None:
    client = house.client()
    made = [(await client.beta.environments.create(name=f"e{n}")).id for n in range(5)]
    assert [e.id async for e in client.beta.environments.list(limit=2)] == sorted(made, reverse=True)


def cloud(**config: Any) -> dict[str, Any]:
    return {"config": {"type": "cloud", **config}}


async def test_networking_and_packages_are_kept_as_they_are_shown(house: House) -> None:
    client = house.client()
    hosts = ["api.example.com", "*.example.org:8443"]
    made = await client.beta.environments.create(
        name="data",
        config={
            "type": "cloud",
            "networking": {"type": "limited", "allowed_hosts": hosts, "allow_package_managers": True},
            "packages": {"pip": ["pandas==2.2.0"], "npm": ["semver"]},
        },
    )
    assert made.config.type == "cloud" and made.config.networking.type == "limited"
    assert made.config.networking.allowed_hosts == hosts
    assert made.config.networking.allow_package_managers
    assert (made.config.packages.pip, made.config.packages.npm) == (["pandas==2.2.0"], ["semver"])
    changed = await client.beta.environments.update(
        made.id,
        config={"type": "cloud", "networking": {"type": "limited", "allowed_hosts": []}, "packages": {"npm": []}},
    )
    assert changed.config.type == "cloud" and changed.config.networking.type == "limited"
    assert changed.config.networking.allowed_hosts == [] and changed.config.networking.allow_package_managers
    assert (changed.config.packages.pip, changed.config.packages.npm) == (["pandas==2.2.0"], [])
    opened = await client.beta.environments.update(
        made.id, config={"type": "cloud", "networking": {"type": "unrestricted"}}
    )
    assert opened.config.type == "cloud" and opened.config.networking.type == "unrestricted"


@shows_difference("limits-of-environments")
async def test_limits_are_kept_shown_and_left_out_where_there_are_none(house: House) -> None:
    client = house.client()
    limits = {"memory_bytes": 128 << 20, "cpu_cores": 0.5, "command_s": 10}
    made = await client.beta.environments.create(name="small", extra_body=cloud(limits=limits))
    assert made.config.to_dict()["limits"] == limits
    kept = await client.beta.environments.update(made.id, config={"type": "cloud"})
    assert kept.config.to_dict()["limits"] == limits
    freed = await client.beta.environments.update(made.id, extra_body=cloud(limits={}))
    assert "limits" not in freed.config.to_dict()


async def test_packages_open_the_registries_where_nothing_is_said_of_networking(house: House) -> None:
    made = await house.client().beta.environments.create(
        name="data", config={"type": "cloud", "packages": {"pip": ["pandas"]}}
    )
    assert made.config.type == "cloud" and made.config.networking.type == "limited"
    assert made.config.networking.allow_package_managers and made.config.networking.allowed_hosts == []


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": ""}, ["name"]),
        (cloud(networking={"type": "limited", "allowed_hosts": ["10.0.0.1"]}), ["config.networking.allowed_hosts"]),
        (cloud(packages={"apt": ["-o=x"]}), ["config.packages.apt"]),
        (cloud(limits={"memory_bytes": 1 << 60}), ["config.limits.memory_bytes", "must be from"]),
        (cloud(limits={"processes": 1.5}), ["config.limits.processes", "whole number"]),
        (cloud(limits={"gpus": 1}), ["config.limits.gpus", "memory_bytes"]),
        (cloud(limits=[1]), ["config.limits", "object"]),
        (cloud(packages={"pip": ["-r /etc/passwd"]}), ["config.packages.pip"]),
        (
            cloud(packages={"pip": ["pandas"]}, networking={"type": "limited"}),
            ["config.networking.allow_package_managers", "must be true"],
        ),
        ({"scope": "account"}, ["scope"]),
        ({"metadata": {"k": "v" * 513}}, ["metadata.k"]),
        ({"surprise": 1}, ["surprise"]),
    ],
)
@pytest.mark.parametrize("database_kind", ["sqlite"])
@shows_difference("boxes-are-closed-by-default")
async def test_what_is_wrong_or_not_built_is_refused_by_name(
    house: House, fields: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(BadRequestError) as error:
        await house.client().post("/v1/environments", cast_to=object, body={"name": "e", **fields})
    for word in words:
        assert word in error.value.message
    assert [e.id async for e in house.client().beta.environments.list()] == []


@pytest.mark.parametrize("database_kind", ["sqlite"])
@proves(
    "beta.environments.create",
    "beta.environments.retrieve",
    "beta.environments.update",
    "beta.environments.list",
    "beta.environments.archive",
    "beta.environments.delete",
    clients=("sync",),
)
async def test_the_sync_client_drives_every_method_of_environments(house: House) -> None:
    client = house.sync_client()

    def drive() -> None:
        made = client.beta.environments.create(name="e", config={"type": "cloud"})
        assert client.beta.environments.retrieve(made.id) == made
        assert client.beta.environments.update(made.id, name="f").name == "f"
        assert [listed.id for listed in client.beta.environments.list()] == [made.id]
        assert client.beta.environments.archive(made.id).archived_at is not None
        assert client.beta.environments.delete(made.id).id == made.id

    await asyncio.to_thread(drive)


def _code(error: BadRequestError | NotFoundError) -> object:
    body = error.body
    assert isinstance(body, dict)
    return body["error"]["details"]["error_code"]


async def _add_session(house: House, agent_id: str, environment_id: str) -> None:
    async def op(connection: AsyncConnection) -> None:
        await connection.execute(
            insert(sessions).values(
                id="sesn_1",
                workspace_id=house.one,
                key_id="apikey_member",
                agent_id=agent_id,
                agent_version=1,
                environment_id=environment_id,
                agent="{}",
                environment_config="{}",
                metadata="{}",
                thread_id="sthr_1",
                usage="{}",
                status="idle",
                created_us=0,
                updated_us=0,
            )
        )

    await house.store.write(op)

"""Sessions over HTTP, by the official SDK in strict mode: made, changed, listed, put away; threads and resources."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from anthropic import BadRequestError, NotFoundError

from freehold.store.engine import Store
from tests.agents.house import BoxFunctions, Script, calls, text
from tests.api.session_house import SERVERS, TOOLS, SessionHouse, open_session_house
from tests.contract.manifest import proves, shows_difference
from tests.contract.strict import undeclared

Opens = Callable[..., Awaitable[SessionHouse]]
HELLO: Any = {"type": "user.message", "content": [{"type": "text", "text": "hello"}]}


@pytest.fixture
async def opens(store: Store, tmp_path: Path) -> AsyncIterator[Opens]:
    made: list[Any] = []

    async def open_one(script: Script | None = None, boxes: BoxFunctions | None = None) -> SessionHouse:
        context = open_session_house(store, tmp_path, script or Script([text("hi")]), boxes)
        made.append(context)
        return await context.__aenter__()

    yield open_one
    for context in made:
        await context.__aexit__(None, None, None)


async def parts(house: SessionHouse) -> tuple[str, str]:
    """A new agent and environment."""
    client = house.client()
    agent = await client.beta.agents.create(
        name="tester", model="claude-haiku-4-5", system="Be brief.", tools=TOOLS, mcp_servers=SERVERS
    )
    return agent.id, (await client.beta.environments.create(name="here", config={"type": "cloud"})).id


@proves("beta.sessions.create", "beta.sessions.retrieve")
async def test_a_session_is_made_of_an_agent_and_an_environment(opens: Opens) -> None:
    house = await opens()
    agent, environment = await parts(house)
    client = house.client()
    made = await client.beta.sessions.create(
        agent=agent, environment_id=environment, title="first", metadata={"team": "a"}
    )
    assert made.status == "idle" and made.title == "first" and made.metadata == {"team": "a"}
    assert made.agent.id == agent and made.agent.version == 1 and made.agent.system == "Be brief."
    assert made.resources == [] and made.vault_ids == [] and made.outcome_evaluations == []
    assert made.usage.input_tokens == 0 and made.stats.duration_seconds is not None
    found = await client.beta.sessions.retrieve(made.id)
    assert found.id == made.id and found.agent == made.agent
    assert undeclared(found) == []


async def test_a_session_keeps_the_agent_as_it_was(opens: Opens) -> None:
    house = await opens()
    agent, environment = await parts(house)
    client = house.client()
    first = await client.beta.sessions.create(agent=agent, environment_id=environment)
    await client.beta.agents.update(agent, system="Be long.")
    assert (await client.beta.sessions.retrieve(first.id)).agent.system == "Be brief."
    newest = await client.beta.sessions.create(agent={"type": "agent", "id": agent}, environment_id=environment)
    assert newest.agent.version == 2 and newest.agent.system == "Be long."
    pinned = await client.beta.sessions.create(
        agent={"type": "agent", "id": agent, "version": 1}, environment_id=environment
    )
    assert pinned.agent.version == 1 and pinned.agent.system == "Be brief."
    with pytest.raises(NotFoundError, match="version 7"):
        await client.beta.sessions.create(
            agent={"type": "agent", "id": agent, "version": 7}, environment_id=environment
        )


async def test_a_session_may_override_parts_of_its_agent(opens: Opens) -> None:
    house = await opens(Script([text("hi")]))
    agent, environment = await parts(house)
    made = await house.client().beta.sessions.create(
        agent={
            "type": "agent_with_overrides",
            "id": agent,
            "system": "Be rude.",
            "model": "claude-sonnet-4-5",
            "tools": [],
            "mcp_servers": [],
        },
        environment_id=environment,
    )
    assert made.agent.system == "Be rude." and made.agent.tools == [] and made.agent.model.id == "claude-sonnet-4-5"
    await house.say(made.id)
    await house.idle(made.id)
    assert house.script.asked[0]["system"] == "Be rude." and "tools" not in house.script.asked[0]
    assert (await house.client().beta.agents.retrieve(agent)).system == "Be brief."


async def test_a_session_may_begin_with_messages(opens: Opens) -> None:
    house = await opens()
    session = await house.session(initial_events=[HELLO, HELLO])
    events = await house.idle(session)
    assert [event.type for event in events[:4]] == [
        "user.message",
        "user.message",
        "session.status_running",
        "session.thread_status_running",
    ]
    assert len(house.script.asked) == 1


async def test_what_is_not_there_or_archived_makes_no_session(opens: Opens) -> None:
    house = await opens()
    agent, environment = await parts(house)
    client = house.client()
    create = client.beta.sessions.create
    with pytest.raises(NotFoundError, match="agent_none"):
        await create(agent="agent_none", environment_id=environment)
    with pytest.raises(NotFoundError, match="env_none"):
        await create(agent=agent, environment_id="env_none")
    with pytest.raises(NotFoundError, match="file_none"):
        await create(agent=agent, environment_id=environment, resources=[{"type": "file", "file_id": "file_none"}])
    await client.beta.environments.archive(environment)
    with pytest.raises(BadRequestError, match="environment_archived"):
        await create(agent=agent, environment_id=environment)
    other = await client.beta.environments.create(name="other", config={"type": "cloud"})
    await client.beta.agents.archive(agent)
    with pytest.raises(BadRequestError, match="archived"):
        await create(agent=agent, environment_id=other.id)
    assert (await client.beta.sessions.list()).data == []


@shows_difference("sessions-not-built")
async def test_what_is_not_built_is_refused_by_name(opens: Opens) -> None:
    house = await opens()
    agent, environment = await parts(house)
    base: dict[str, Any] = {"agent": agent, "environment_id": environment}
    outcome = {"type": "user.define_outcome", "description": "x", "rubric": {"type": "text", "content": "y"}}
    store = {"type": "memory_store", "memory_store_id": "memstore_1", "instructions": "x" * 4097}
    async with house.http() as client:
        for more, named in (
            ({"vault_ids": ["vlt_1"]}, "vault_ids"),
            ({"initial_events": [outcome]}, "initial_events.0"),
            ({"resources": [store]}, "resources.0"),
            ({"colour": "red"}, "colour"),
            ({"agent": {"type": "agent"}}, "agent"),
            ({"metadata": {"k": "v" * 600}}, "metadata"),
        ):
            answer = await client.post("/v1/sessions", json=base | more)
            assert answer.status_code == 400 and named in answer.json()["error"]["message"], answer.json()
        for query in ("deployment_id=depl_1", "agent_version=1", "statuses[]=asleep"):
            answer = await client.get(f"/v1/sessions?{query}")
            assert answer.status_code == 400 and query.partition("=")[0] in answer.json()["error"]["message"]


@proves("beta.sessions.update", "event session.updated")
async def test_an_update_changes_what_it_names_and_says_so(opens: Opens) -> None:
    house = await opens()
    session = await house.session(title="old", metadata={"a": "1", "b": "2"})
    client = house.client()
    changed = await client.beta.sessions.update(session, title="new", metadata={"a": None, "c": "3"})
    assert changed.title == "new" and changed.metadata == {"b": "2", "c": "3"}
    await client.beta.sessions.update(session, title="new")
    with pytest.raises(BadRequestError, match="title: holds a NUL"):
        await client.beta.sessions.update(session, title="n\0w")
    (event,) = await house.events(session)
    assert event.type == "session.updated" and event.title == "new" and event.metadata == {"b": "2", "c": "3"}
    assert event.model_fields_set == {"id", "type", "processed_at", "title", "metadata"}


async def test_the_tools_of_a_session_can_be_changed_while_it_is_idle(opens: Opens) -> None:
    script = Script([text("one"), text("two")])
    house = await opens(script)
    session = await house.session()
    client = house.client()
    await house.say(session)
    await house.idle(session)
    changed = await client.beta.sessions.update(session, agent={"tools": [TOOLS[2]], "mcp_servers": []})
    assert [tool.type for tool in changed.agent.tools] == ["custom"] and changed.agent.mcp_servers == []
    script.waits = True
    await house.say(session)
    with pytest.raises(BadRequestError, match="running"):
        await client.beta.sessions.update(session, agent={"tools": []})
    with pytest.raises(BadRequestError, match="running"):
        await client.beta.sessions.archive(session)
    with pytest.raises(BadRequestError, match="running"):
        await client.beta.sessions.delete(session)
    script.gate.set()
    await house.idle(session, 2)
    assert [tool["name"] for tool in script.asked[1]["tools"]] == ["weather"]


@proves("beta.sessions.archive", "event session.status_terminated", "event session.thread_status_terminated")
async def test_an_archived_session_is_terminated_and_stays_readable(opens: Opens) -> None:
    house = await opens()
    session = await house.session()
    client = house.client()
    await house.say(session)
    await house.idle(session)
    archived = await client.beta.sessions.archive(session)
    assert archived.status == "terminated" and archived.archived_at is not None
    assert (await client.beta.sessions.archive(session)).archived_at == archived.archived_at
    events = await house.events(session)
    assert [event.type for event in events[-2:]] == ["session.thread_status_terminated", "session.status_terminated"]
    assert session in house.closed
    with pytest.raises(BadRequestError, match="ended"):
        await house.say(session)
    with pytest.raises(BadRequestError, match="ended"):
        await client.beta.sessions.update(session, title="late")
    assert (await client.beta.sessions.list()).data == []
    assert [one.id for one in (await client.beta.sessions.list(include_archived=True)).data] == [session]


@proves("beta.sessions.delete")
async def test_a_deleted_session_is_gone_with_everything_of_it(opens: Opens) -> None:
    house = await opens()
    client = house.client()
    given = await client.files.upload(file=("a.csv", b"1,2\n", "text/csv"))
    session = await house.session(resources=[{"type": "file", "file_id": given.id}])
    await house.say(session)
    await house.idle(session)
    gone = await client.beta.sessions.delete(session)
    assert gone.id == session and gone.type == "session_deleted"
    with pytest.raises(NotFoundError):
        await client.beta.sessions.retrieve(session)
    assert [file.id async for file in client.files.list()] == [given.id]
    assert not house.workdirs.of(session).path.exists()
    assert session in house.closed


@proves("beta.sessions.list")
async def test_lists_go_both_ways_in_either_order(opens: Opens) -> None:
    house = await opens()
    agent, environment = await parts(house)
    client = house.client()
    made = [(await client.beta.sessions.create(agent=agent, environment_id=environment)).id for _ in range(5)]
    for order, expected in (("desc", made[::-1]), ("asc", made)):
        first: Any = await client.beta.sessions.list(limit=2, order=order)  # type: ignore[arg-type]
        assert [one.id for one in first.data] == expected[:2] and first.prev_page is None
        second: Any = await client.beta.sessions.list(limit=2, order=order, page=first.next_page)  # type: ignore[arg-type]
        third: Any = await client.beta.sessions.list(limit=2, order=order, page=second.next_page)  # type: ignore[arg-type]
        assert [one.id for one in [*second.data, *third.data]] == expected[2:] and third.next_page is None
        back: Any = await client.beta.sessions.list(limit=2, order=order, page=third.prev_page)  # type: ignore[arg-type]
        assert [one.id for one in back.data] == expected[2:4] and back.next_page and back.prev_page
        start: Any = await client.beta.sessions.list(limit=2, order=order, page=back.prev_page)  # type: ignore[arg-type]
        assert [one.id for one in start.data] == expected[:2] and start.prev_page is None and start.next_page
    with pytest.raises(BadRequestError, match="another"):
        await client.beta.sessions.list(limit=2, order="asc", page=second.next_page, agent_id=agent)
    assert [one.id async for one in client.beta.sessions.list(limit=2)] == made[::-1]


async def test_lists_are_filtered(opens: Opens) -> None:
    house = await opens(Script([calls(("weather", {})), text("hi")]))
    client = house.client()
    first, second = await house.session(), await house.session()
    agent = (await client.beta.sessions.retrieve(first)).agent.id
    await house.client().beta.sessions.archive(second)
    listed = client.beta.sessions.list
    assert [one.id for one in (await listed(agent_id=agent)).data] == [first]
    assert [one.id for one in (await listed(agent_id=agent, agent_version=1)).data] == [first]
    assert (await listed(agent_id=agent, agent_version=2)).data == []
    assert [one.id for one in (await listed(statuses=["terminated"], include_archived=True)).data] == [second]
    assert [one.id for one in (await listed(statuses=["idle", "running"])).data] == [first]
    at = (await client.beta.sessions.retrieve(first)).created_at
    assert [one.id for one in (await listed(created_at_gte=at)).data] == [first]
    assert (await listed(created_at_lt=at)).data == []


@proves(
    "beta.sessions.threads.list",
    "beta.sessions.threads.retrieve",
    "beta.sessions.threads.archive",
    "beta.sessions.threads.events.list",
    "beta.sessions.threads.events.stream",
)
@shows_difference("primary-threads-are-not-archived")
async def test_a_session_has_one_thread_that_shows_the_same(opens: Opens) -> None:
    house = await opens()
    session = await house.session()
    threads = house.client().beta.sessions.threads
    (thread,) = (await threads.list(session)).data
    assert thread.parent_thread_id is None and thread.status == "idle" and thread.stats is None
    async with await threads.events.stream(thread.id, session_id=session) as stream:
        await house.say(session)
        seen = []
        event: Any
        async for event in stream:
            seen.append(event.id)
            if event.type == "session.status_idle":
                break
    assert [event.id for event in await house.idle(session)] == seen
    assert [event.id async for event in threads.events.list(thread.id, session_id=session)] == seen
    found = await threads.retrieve(thread.id, session_id=session)
    assert found.usage is not None and found.usage.input_tokens == 10
    assert undeclared(found) == []
    assert (await threads.list(session, statuses=["running"])).data == []
    with pytest.raises(BadRequestError, match="primary thread"):
        await threads.archive(thread.id, session_id=session)
    with pytest.raises(NotFoundError):
        await threads.retrieve("sthr_none", session_id=session)


@proves(
    "beta.sessions.resources.add",
    "beta.sessions.resources.list",
    "beta.sessions.resources.retrieve",
    "beta.sessions.resources.delete",
    "beta.sessions.resources.update",
)
async def test_files_of_a_session_are_copies_that_its_tools_can_see(opens: Opens) -> None:
    house = await opens(Script([calls(("bash", {})), text("done")]))
    client = house.client()
    first = await client.files.upload(file=("a.csv", b"1,2\n", "text/csv"))
    second = await client.files.upload(file=("b.csv", b"3,4\n", "text/csv"))
    session = await house.session(
        resources=[{"type": "file", "file_id": first.id, "mount_path": "/mnt/session/uploads/data/a.csv"}]
    )
    resources = client.beta.sessions.resources
    one: Any
    (one,) = (await client.beta.sessions.retrieve(session)).resources
    assert one.type == "file" and one.file_id != first.id and one.mount_path == "/mnt/session/uploads/data/a.csv"
    added = await resources.add(session, type="file", file_id=second.id)
    assert added.mount_path == f"/mnt/session/uploads/{second.id}"
    assert undeclared(added) == []
    listed: list[Any] = [each async for each in resources.list(session)]
    assert [each.id for each in listed] == [one.id, added.id]
    found: Any = await resources.retrieve(added.id, session_id=session)
    assert found == listed[1]
    await house.say(session)
    await house.idle(session)
    uploads = house.workdirs.of(session).uploads
    assert (uploads / "data" / "a.csv").read_bytes() == b"1,2\n"
    assert added.mount_path in house.script.asked[0]["system"]
    gone = await resources.delete(added.id, session_id=session)
    assert gone.type == "session_resource_deleted"
    await house.say(session)
    await house.idle(session, 2)
    assert not (uploads / second.id).exists()
    with pytest.raises(BadRequestError, match="authorization_token"):
        await resources.update(one.id, session_id=session, authorization_token="t")
    with pytest.raises(NotFoundError):
        await resources.retrieve(added.id, session_id=session)


@shows_difference("rules-of-mount-paths")
async def test_a_mount_path_stays_beneath_the_uploads(opens: Opens) -> None:
    house = await opens()
    client = house.client()
    given = await client.files.upload(file=("a.csv", b"1,2\n", "text/csv"))
    session = await house.session()
    for path in ("/etc/passwd", "/mnt/session/uploads/../../x", "../x", "/mnt/session/uploads/a//b", "a\nb"):
        with pytest.raises(BadRequestError, match="mount_path"):
            await client.beta.sessions.resources.add(session, type="file", file_id=given.id, mount_path=path)
    await client.beta.sessions.resources.add(session, type="file", file_id=given.id, mount_path="x")
    for path in ("x", "x/y"):
        with pytest.raises(BadRequestError, match="clash"):
            await client.beta.sessions.resources.add(session, type="file", file_id=given.id, mount_path=path)
    assert len([file async for file in client.files.list()]) == 2


async def test_what_the_agent_leaves_as_outputs_can_be_listed_and_downloaded(opens: Opens) -> None:
    boxes = BoxFunctions()
    house = await opens(Script([calls(("bash", {})), text("done")]), boxes)
    session = await house.session()

    async def make(_: Any) -> str:
        outputs = house.workdirs.of(session).outputs
        (outputs / "charts").mkdir(parents=True, exist_ok=True)
        (outputs / "report.txt").write_text("all is well")
        (outputs / "charts" / "a.txt").write_text("up")
        return "made"

    boxes.functions["bash"] = make
    await house.say(session)
    await house.idle(session)
    client = house.client()
    made = {file.filename: file async for file in client.beta.files.list(scope_id=session)}
    assert set(made) == {"report.txt", "charts_a.txt"} and made["report.txt"].downloadable
    content = await client.beta.files.download(made["report.txt"].id)
    assert await content.read() == b"all is well"


async def test_another_workspace_sees_no_sessions(opens: Opens) -> None:
    house = await opens()
    session = await house.session()
    stranger = house.client("other").beta.sessions
    assert (await stranger.list(include_archived=True)).data == []
    for attempt in (
        stranger.retrieve(session),
        stranger.update(session, title="x"),
        stranger.archive(session),
        stranger.delete(session),
        stranger.resources.list(session),
        stranger.resources.add(session, type="file", file_id="file_1"),
        stranger.threads.list(session),
    ):
        with pytest.raises(NotFoundError):
            await attempt
    agent = (await house.client().beta.sessions.retrieve(session)).agent.id
    with pytest.raises(NotFoundError):
        await stranger.create(agent=agent, environment_id="env_1")


@proves(
    "beta.sessions.create",
    "beta.sessions.retrieve",
    "beta.sessions.update",
    "beta.sessions.list",
    "beta.sessions.archive",
    "beta.sessions.delete",
    "beta.sessions.events.send",
    "beta.sessions.events.list",
    "beta.sessions.events.stream",
    "beta.sessions.resources.add",
    "beta.sessions.resources.list",
    "beta.sessions.resources.retrieve",
    "beta.sessions.resources.update",
    "beta.sessions.resources.delete",
    "beta.sessions.threads.list",
    "beta.sessions.threads.retrieve",
    "beta.sessions.threads.archive",
    "beta.sessions.threads.events.list",
    "beta.sessions.threads.events.stream",
    clients=("sync",),
)
async def test_the_sync_client_drives_every_method(opens: Opens) -> None:
    import asyncio

    house = await opens()
    agent, environment = await parts(house)
    given = await house.client().files.upload(file=("a.csv", b"1,2\n", "text/csv"))

    def drive() -> None:
        sessions = house.sync_client().beta.sessions
        made = sessions.create(agent=agent, environment_id=environment)
        assert sessions.retrieve(made.id).id == made.id
        assert sessions.update(made.id, title="t").title == "t"
        assert [one.id for one in sessions.list()] == [made.id]
        added: Any = sessions.resources.add(made.id, type="file", file_id=given.id)
        assert [one.type for one in sessions.resources.list(made.id)] == ["file"]
        assert sessions.resources.retrieve(added.id, session_id=made.id) == added
        with pytest.raises(BadRequestError):
            sessions.resources.update(added.id, session_id=made.id, authorization_token="t")
        assert sessions.resources.delete(added.id, session_id=made.id).id == added.id
        (thread,) = sessions.threads.list(made.id)
        assert sessions.threads.retrieve(thread.id, session_id=made.id).id == thread.id
        with pytest.raises(BadRequestError):
            sessions.threads.archive(thread.id, session_id=made.id)
        with (
            sessions.events.stream(made.id) as stream,
            sessions.threads.events.stream(thread.id, session_id=made.id) as beside,
        ):
            sessions.events.send(made.id, events=[HELLO])
            assert next(iter(beside)).type == "user.message"
            for event in stream:
                if event.type == "session.status_idle":
                    break
        assert len(list(sessions.events.list(made.id))) == 10
        assert len(list(sessions.threads.events.list(thread.id, session_id=made.id))) == 10
        assert sessions.archive(made.id).status == "terminated"
        assert sessions.delete(made.id).id == made.id

    await asyncio.to_thread(drive)

"""Memory stores in sessions with real boxes: filled, kept, shared, guarded."""

from __future__ import annotations

from typing import Any

import pytest
from anthropic import BadRequestError, NotFoundError

from freehold import testing
from tests.agents.house import Script, calls, text
from tests.agents.stage import Play, another

NOTES = "/mnt/memory/team-notes/notes.md"


async def store_with(running: testing.Running, content: str, name: str = "Team notes") -> str:
    client = running.client
    store = await client.beta.memory_stores.create(name=name, description="What the team knows.")
    await client.beta.memory_stores.memories.create(store.id, path="/notes.md", content=content)
    return store.id


async def kept(running: testing.Running, store_id: str) -> dict[str, str | None]:
    listed = running.client.beta.memory_stores.memories.list(store_id, view="full")
    return {one.path: one.content async for one in listed if one.type == "memory"}


async def with_store(running: testing.Running, store_id: str, **more: Any) -> Play:
    return await another(running, resources=[{"type": "memory_store", "memory_store_id": store_id, **more}])


def bash(command: str) -> Any:
    return calls(("bash", {"command": command}))


async def test_a_store_is_a_folder_whose_changes_are_kept_after_the_turn() -> None:
    script = Script(
        [bash(f"cat {NOTES}; echo two >> {NOTES}; mkdir {NOTES[:-9]}/a; echo x > {NOTES[:-9]}/a/b"), text("")]
    )
    async with testing.server(upstream=script) as running:
        store = await store_with(running, "one\n")
        stage = await with_store(running, store, instructions="Keep it short.")
        assert (await stage.turn(1))[0].strip() == "one"
        assert await kept(running, store) == {"/notes.md": "one\ntwo\n", "/a/b": "x\n"}
        versions = running.client.beta.memory_stores.memory_versions.list(store, session_id=stage.session)
        assert len([version async for version in versions]) == 2
        session = await running.client.beta.sessions.retrieve(stage.session)
        (resource,) = session.resources
        assert resource.type == "memory_store" and resource.mount_path == "/mnt/memory/team-notes"
        assert (resource.access, resource.name, resource.instructions) == ("read_write", "Team notes", "Keep it short.")
        assert [s.id async for s in running.client.beta.sessions.list(memory_store_id=store)] == [stage.session]
        assert [s.id async for s in running.client.beta.sessions.list(memory_store_id="memstore_x")] == []
    system = script.asked[0]["system"]
    assert "/mnt/memory/team-notes (read and write): What the team knows.\nKeep it short." in system


@pytest.mark.parametrize(
    "call",
    [
        ("bash", {"command": f"echo x > {NOTES}"}),
        ("bash", {"command": "rm -rf /mnt/memory/team-notes"}),
        ("write", {"file_path": "/mnt/memory/team-notes/new.md", "content": "x"}),
        ("edit", {"file_path": NOTES, "old_string": "one", "new_string": "two"}),
    ],
)
async def test_a_read_only_store_cannot_be_changed(call: tuple[str, dict[str, Any]]) -> None:
    script = Script([calls(call), text("no")])
    async with testing.server(upstream=script) as running:
        store = await store_with(running, "one\n")
        stage = await with_store(running, store, access="read_only")
        (words,) = await stage.turn(1)
        assert "ead-only" in words, words
        assert await kept(running, store) == {"/notes.md": "one\n"}
    assert "(read-only)" in script.asked[0]["system"]


async def test_two_sessions_that_write_one_memory_at_once_keep_both_and_are_told() -> None:
    sessions: list[Play] = []

    async def while_a_writes(_: Any) -> Any:
        await sessions[0].turn(2)
        return bash(f"echo from b > {NOTES}")

    both = bash(f"cat {NOTES}; ls /mnt/memory/team-notes")
    script = Script(
        [
            *(bash(f"cat {NOTES}"), text("a has looked")),
            *(bash(f"cat {NOTES}"), while_a_writes),
            *(bash(f"echo from a > {NOTES}"), text("a has written")),
            *(both, text("b has seen both")),
        ]
    )
    async with testing.server(upstream=script) as running:
        store = await store_with(running, "begin\n")
        sessions += [await with_store(running, store), await with_store(running, store)]
        await sessions[0].turn(1)
        looked, wrote, saw = await sessions[1].turn(1)
        found = await kept(running, store)
        assert found.pop("/notes.md") == "from a\n"
        ((aside, mine),) = found.items()
        assert mine == "from b\n" and ".conflict-" in aside
        assert looked.strip() == "begin"
        assert f"yours is kept as /mnt/memory/team-notes{aside}" in wrote
        assert saw.split() == ["from", "a", aside[1:], "notes.md"]


async def test_a_session_is_told_what_another_has_changed_since_its_last_turn() -> None:
    script = Script(
        [
            *(bash(f"cat {NOTES}"), text("a has looked")),
            *(bash(f"echo from b > {NOTES}"), text("b has written")),
            *(bash(f"cat {NOTES}"), bash(f"cat {NOTES}"), text("a has read it")),
        ]
    )
    async with testing.server(upstream=script) as running:
        store = await store_with(running, "begin\n")
        a, b = await with_store(running, store), await with_store(running, store)
        await a.turn(1)
        assert "Another session" not in (await b.turn(1))[0]
        results = await a.turn(2)
        assert results[1].startswith("from b") and "Another session has changed these" in results[1]
        assert results[2].strip() == "from b"


async def test_a_store_that_was_deleted_is_told_and_its_files_stay() -> None:
    script = Script([bash(f"cat {NOTES}"), text(""), bash(f"cat {NOTES}"), text("")])
    async with testing.server(upstream=script) as running:
        store = await store_with(running, "one\n")
        stage = await with_store(running, store)
        await stage.turn(1)
        await running.client.beta.memory_stores.delete(store)
        words = (await stage.turn(2))[1]
        assert words.startswith("one") and "could not be brought up to date" in words


async def test_what_cannot_be_attached_makes_no_session() -> None:
    async with testing.server() as running:
        client = running.client
        stores = [await store_with(running, "", f"s{number}") for number in range(9)]
        for resources, words in (
            ([{"type": "memory_store", "memory_store_id": one} for one in stores], "at most 8"),
            ([{"type": "memory_store", "memory_store_id": stores[0]}] * 2, "twice"),
        ):
            with pytest.raises(BadRequestError, match=words):
                await another(running, resources=resources)
        with pytest.raises(NotFoundError, match="memstore_none"):
            await with_store(running, "memstore_none")
        await client.beta.memory_stores.archive(stores[0])
        with pytest.raises(BadRequestError, match="archived"):
            await with_store(running, stores[0])
        assert [session.id async for session in client.beta.sessions.list()] == []


async def test_stores_of_one_name_have_folders_of_their_own() -> None:
    script = Script([bash("ls /mnt/memory"), text("")])
    async with testing.server(upstream=script) as running:
        resources = [
            {"type": "memory_store", "memory_store_id": await store_with(running, "x", name)}
            for name in ("Öl & Gas", "ol gas", "日本")
        ]
        stage = await another(running, resources=resources)
        assert (await stage.turn(1))[0].split() == ["memory", "ol-gas", "ol-gas-2"]

"""Claude's memory tool over a memory store, driven as the SDK's tool runner drives it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from anthropic.lib.tools import ToolError

from freehold.memory_tool import MemoryStoreTool
from freehold.store.engine import Store
from tests.api.house import House, open_house


class Desk:
    """A tool on an empty store."""

    def __init__(self, house: House, store_id: str) -> None:
        self.house = house
        self.store_id = store_id
        self.tool = MemoryStoreTool(house.client(), store_id)

    async def call(self, command: str, **fields: object) -> str:
        result = await self.tool.call({"command": command, **fields})
        assert isinstance(result, str)
        return result

    async def refused(self, command: str, **fields: object) -> str:
        with pytest.raises(ToolError) as error:
            await self.call(command, **fields)
        return str(error.value)

    async def held(self) -> dict[str, str | None]:
        memories = self.house.client().beta.memory_stores.memories
        listed = memories.list(self.store_id, view="full")
        return {item.path: item.content async for item in listed if item.type == "memory"}


@pytest.fixture
async def desk(store: Store, tmp_path: Path) -> AsyncIterator[Desk]:
    async with open_house(store, tmp_path) as house:
        made = await house.client().beta.memory_stores.create(name="Claude's")
        yield Desk(house, made.id)


async def test_files_are_created_viewed_and_listed_two_levels_deep(desk: Desk) -> None:
    assert "/memories" in await desk.call("view", path="/memories")
    created = await desk.call("create", path="/memories/a.md", file_text="one\ntwo\nthree")
    assert created == "File created successfully at: /memories/a.md"
    await desk.call("create", path="/memories/deep/er/est.md", file_text="x" * 1536)
    await desk.call("create", path="/memories/.hidden", file_text="x")
    assert await desk.call("view", path="/memories/a.md") == (
        "Here's the content of /memories/a.md with line numbers:\n     1\tone\n     2\ttwo\n     3\tthree"
    )
    ranged = await desk.call("view", path="/memories/a.md", view_range=[2, -1])
    assert ranged.splitlines()[1:] == ["     2\ttwo", "     3\tthree"]
    listing = (await desk.call("view", path="/memories/")).splitlines()
    assert listing[0].startswith("Here're the files and directories up to 2 levels deep in /memories")
    assert listing[2:] == ["13B\t/memories/a.md", "1.5K\t/memories/deep/", "1.5K\t/memories/deep/er/"]
    assert (await desk.call("view", path="/memories/deep")).splitlines()[-1] == "1.5K\t/memories/deep/er/est.md"


async def test_edits_replace_one_text_or_insert_lines(desk: Desk) -> None:
    await desk.call("create", path="/memories/a", file_text="one\ntwo\ntwo\n")
    message = await desk.call("str_replace", path="/memories/a", old_str="one", new_str="ONE")
    assert message.splitlines()[1:4] == ["     1\tONE", "     2\ttwo", "     3\ttwo"]
    assert "lines: 2, 3" in await desk.refused("str_replace", path="/memories/a", old_str="two", new_str="x")
    assert "verbatim" in await desk.refused("str_replace", path="/memories/a", old_str="nine", new_str="x")
    await desk.call("insert", path="/memories/a", insert_line=0, insert_text="zero\n")
    await desk.call("insert", path="/memories/a", insert_line=4, insert_text="last")
    assert await desk.held() == {"/a": "zero\nONE\ntwo\ntwo\nlast\n"}
    assert "[0, 5]" in await desk.refused("insert", path="/memories/a", insert_line=6, insert_text="x")


async def test_files_and_folders_are_renamed_and_deleted(desk: Desk) -> None:
    for name in ("a", "d/x", "d/e/y"):
        await desk.call("create", path=f"/memories/{name}", file_text=name)
    await desk.call("rename", old_path="/memories/d", new_path="/memories/f")
    assert set(await desk.held()) == {"/a", "/f/x", "/f/e/y"}
    assert "already exists" in await desk.refused("rename", old_path="/memories/a", new_path="/memories/f")
    assert await desk.call("delete", path="/memories/f/e") == "Successfully deleted /memories/f/e"
    await desk.call("delete", path="/memories/a")
    assert set(await desk.held()) == {"/f/x"}


async def test_what_cannot_be_done_is_said_so_that_claude_can_act_on_it(desk: Desk) -> None:
    missing = "The path /memories/no does not exist. Please provide a valid path."
    assert await desk.refused("view", path="/memories/no") == missing
    assert await desk.refused("str_replace", path="/memories/no", old_str="a", new_str="b") == missing
    assert "does not exist" in await desk.refused("delete", path="/memories/no")
    assert "does not exist" in await desk.refused("rename", old_path="/memories/no", new_path="/memories/b")
    assert "/memories" in await desk.refused("view", path="/etc/passwd")
    assert "`..`" in await desk.refused("create", path="/memories/../x", file_text="")
    assert "itself" in await desk.refused("delete", path="/memories")
    await desk.call("create", path="/memories/a", file_text="")
    assert "already exists" in await desk.refused("create", path="/memories/a", file_text="")
    assert "102,400" in await desk.refused("create", path="/memories/big", file_text="x" * 102_401)


async def test_edits_of_several_at_once_are_all_there_in_the_end(desk: Desk) -> None:
    await desk.call("create", path="/memories/list", file_text="begin\n")
    await asyncio.gather(
        *(desk.call("insert", path="/memories/list", insert_line=1, insert_text=f"by {n}") for n in range(3))
    )
    [content] = (await desk.held()).values()
    assert content is not None and sorted(content.split()) == ["0", "1", "2", "begin", "by", "by", "by"]

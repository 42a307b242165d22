"""Sessions in real boxes: files in and out, a command that is interrupted, a box that is opened anew."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from typing import Any

import pytest

from tests.agents.house import Script, calls, text
from tests.agents.stage import play
from tests.contract.manifest import shows_difference


async def test_a_command_reads_what_was_uploaded_and_its_outputs_can_be_downloaded() -> None:
    command = "cat /mnt/session/uploads/in.txt > /mnt/session/outputs/out.txt; wc -c < /mnt/session/uploads/in.txt"
    async with play(Script([calls(("bash", {"command": command})), text("done")])) as stage:
        given = await stage.client.files.upload(file=("in.txt", b"12345", "text/plain"))
        await stage.client.beta.sessions.resources.add(
            stage.session, type="file", file_id=given.id, mount_path="/mnt/session/uploads/in.txt"
        )
        assert (await stage.turn(1))[0].strip() == "5"
        made = [file async for file in stage.client.beta.files.list(scope_id=stage.session)]
        output = next(file for file in made if file.downloadable)
        assert output.filename == "out.txt"
        assert await (await stage.client.beta.files.download(output.id)).read() == b"12345"


async def test_an_interrupted_command_is_ended_and_the_shell_goes_on() -> None:
    script = Script(
        [
            calls(("bash", {"command": "touch begun; sleep 600; touch ended"})),
            calls(("bash", {"command": "ls; pgrep sleep || echo none"})),
            text("done"),
        ]
    )
    async with play(script) as stage:
        folder = stage.running.data / "sessions" / stage.session / "workspace"
        await stage.say()
        async with asyncio.timeout(120):
            while not (folder / "begun").exists():  # noqa: ASYNC110 (made in a box: nothing tells of it)
                await asyncio.sleep(0.02)
        interrupt: Any = {"type": "user.interrupt"}
        await stage.client.beta.sessions.events.send(stage.session, events=[interrupt])
        results = await stage.turn(2)
        assert "interrupted" in results[0]
        assert "begun" in results[1] and "ended" not in results[1] and "none" in results[1]


async def test_a_box_that_is_opened_anew_is_told_once_and_its_files_are_there() -> None:
    command = {"command": "echo x >> lines; wc -l < lines; echo ${MARK:-gone}; MARK=here"}
    script = Script([calls(("bash", command)), text("one"), calls(("bash", command), ("bash", command)), text("two")])
    async with play(script) as stage:
        first = await stage.turn(1)
        assert first[0].split() == ["1", "gone"]
        await stage.running.application._parts.sessions.boxes.fleet.end(stage.session)
        results = await stage.turn(2)
        assert "shell state is gone" in results[1] and results[1].split()[-2:] == ["2", "gone"]
        assert "shell state" not in results[2] and results[2].split() == ["3", "here"]


@shows_difference("a-box-that-ends-is-told")
async def test_the_end_of_a_box_is_told_in_the_log_and_the_next_call_has_its_files() -> None:
    look = calls(("bash", {"command": "echo x >> lines; wc -l < lines"}))
    script = Script([look, text("one"), look, text("two"), look, text("three")])
    async with play(script) as stage:
        folder = stage.running.data / "sessions" / stage.session
        fleet = stage.running.application._parts.sessions.boxes.fleet
        await stage.turn(1)
        os.kill(json.loads((folder / "holder.json").read_text())["pid"], signal.SIGKILL)
        async with asyncio.timeout(120):
            while fleet.is_open(stage.session):  # noqa: ASYNC110 (nothing tells of it but the next call)
                await asyncio.sleep(0.01)
        results = await stage.turn(2)
        assert "shell state is gone" in results[1] and results[1].split()[-1] == "2"
        assert (await stage.turn(3))[2].split() == ["3"]
        (told,) = [event.error for event in await stage.events() if event.type == "session.error"]
        assert told.type == "unknown_error" and told.retry_status.type == "retrying"
        assert told.message.startswith("The session's box ended by itself")


async def test_a_box_that_ends_under_a_call_leaves_its_outcome_unknown_and_says_why() -> None:
    script = Script([calls(("bash", {"command": "touch begun; sleep 600"})), text("one")])
    async with play(script) as stage:
        folder = stage.running.data / "sessions" / stage.session
        await stage.say()
        async with asyncio.timeout(120):
            while not (folder / "workspace" / "begun").exists():  # noqa: ASYNC110 (made in a box: nothing tells of it)
                await asyncio.sleep(0.01)
        os.kill(json.loads((folder / "holder.json").read_text())["pid"], signal.SIGKILL)
        events = await stage.idle(1)
        told = [event.error.message for event in events if event.type == "session.error"]
        assert "ended by itself while bash ran" in told[0] and "is unknown" in told[1]


@pytest.mark.parametrize("name", ["bash", "read"])
async def test_input_that_a_tool_cannot_take_is_an_error_result(name: str) -> None:
    async with play(Script([calls((name, {"nonsense": 1})), text("sorry")])) as stage:
        await stage.turn(1)
        (result,) = [event for event in await stage.events() if event.type == "agent.tool_result"]
        assert result.is_error and name in result.content[0].text

"""Skills in sessions with real boxes: pinned, listed, mounted read-only."""

from __future__ import annotations

from typing import Any

import pytest
from anthropic import NotFoundError

from freehold import testing
from tests.agents.house import Script, calls, text
from tests.agents.stage import another


def front(words: str) -> bytes:
    return f"---\nname: refunds\ndescription: How refunds are made. {words}\n---\n# Refunds\n{words}\n".encode()


def parts(words: str) -> list[Any]:
    script = ("refunds/run.sh", b"#!/bin/sh\necho run by $0\n", "text/plain")
    return [("refunds/SKILL.md", front(words), "text/markdown"), script]


async def test_a_skill_is_listed_to_the_model_and_read_in_the_box(tmp_path: Any) -> None:
    script = Script(
        [
            calls(
                ("bash", {"command": "cat /workspace/skills/refunds/SKILL.md; sh /workspace/skills/refunds/run.sh"}),
                ("read", {"file_path": "/workspace/skills/refunds/SKILL.md"}),
            ),
            text("done"),
        ]
    )
    async with testing.server(upstream=script) as running:
        skill = await running.client.beta.skills.create(files=parts("Ask first."))
        stage = await another(running, skills=[{"type": "custom", "skill_id": skill.id}])
        results = await stage.turn(1)
    assert "Ask first." in results[0] and "run by /workspace/skills/refunds/run.sh" in results[0]
    assert "Ask first." in results[1]
    system = script.asked[0]["system"]
    assert "/workspace/skills/refunds/SKILL.md" in system and "How refunds are made. Ask first." in system


async def test_a_session_keeps_the_version_that_was_the_latest_when_it_began() -> None:
    command = ("bash", {"command": "cat /workspace/skills/refunds/SKILL.md"})
    script = Script([calls(command), text("one"), calls(command), text("two")])
    async with testing.server(upstream=script) as running:
        client = running.client
        skill = await client.beta.skills.create(files=parts("Ask first."))
        before = await another(running, skills=[{"type": "custom", "skill_id": skill.id}])
        made = await client.beta.skills.versions.create(skill.id, files=parts("Never ask."))
        after = await another(running, skills=[{"type": "custom", "skill_id": skill.id}])
        shown = await client.beta.sessions.retrieve(before.session)
        assert [one.version for one in shown.agent.skills] == [skill.latest_version_id]
        shown = await client.beta.sessions.retrieve(after.session)
        assert [one.version for one in shown.agent.skills] == [made.id]
        assert "Ask first." in (await before.turn(1))[0]
        assert "Never ask." in (await after.turn(1))[0]


@pytest.mark.parametrize(
    "call",
    [
        ("bash", {"command": "echo x > /workspace/skills/refunds/SKILL.md"}),
        ("bash", {"command": "rm -r /workspace/skills/refunds"}),
        ("bash", {"command": "mv /workspace/skills /workspace/mine"}),
        ("write", {"file_path": "/workspace/skills/refunds/new.md", "content": "x"}),
        ("write", {"file_path": "/workspace/skills/new.md", "content": "x"}),
        ("edit", {"file_path": "/workspace/skills/refunds/SKILL.md", "old_string": "Ask", "new_string": "No"}),
    ],
)
async def test_a_skill_cannot_be_changed_by_an_agent(call: tuple[str, dict[str, Any]]) -> None:
    script = Script([calls(call), text("no"), calls(("bash", {"command": "ls /workspace/skills/*"})), text("done")])
    async with testing.server(upstream=script) as running:
        skill = await running.client.beta.skills.create(files=parts("Ask first."))
        stage = await another(running, skills=[{"type": "custom", "skill_id": skill.id}])
        (words,) = await stage.turn(1)
        (result,) = [event for event in await stage.events() if event.type == "agent.tool_result"]
        assert (result.is_error and "ead-only" in words) or "busy" in words, words
        assert (await stage.turn(2))[1].split() == ["SKILL.md", "run.sh"]


async def test_a_skill_that_is_not_there_makes_neither_agent_nor_session() -> None:
    async with testing.server() as running:
        client = running.client
        stage = await another(running)
        session = await client.beta.sessions.retrieve(stage.session)
        agent: Any = {
            "type": "agent_with_overrides",
            "id": session.agent.id,
            "skills": [{"type": "custom", "skill_id": "skill_none"}],
        }
        with pytest.raises(NotFoundError, match="skill_none"):
            await client.beta.sessions.create(agent=agent, environment_id=session.environment_id)


async def test_a_session_whose_skill_was_deleted_goes_on_without_it() -> None:
    script = Script([calls(("bash", {"command": "ls /workspace"})), text("done")])
    async with testing.server(upstream=script) as running:
        skill = await running.client.beta.skills.create(files=parts("Ask first."))
        stage = await another(running, skills=[{"type": "custom", "skill_id": skill.id}])
        await running.client.beta.skills.delete(skill.id)
        await stage.turn(1)
    assert "refunds" not in script.asked[0]["system"]

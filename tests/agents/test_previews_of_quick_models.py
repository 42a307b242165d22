"""A model that answers at once is watched like any other: its previews come, in order, with the ids of the events."""

from __future__ import annotations

from typing import Any

from anthropic.lib.sessions import accumulate_managed_agents_event

from freehold.testing import server


async def test_previews_of_a_quick_answer_come_before_the_event_that_they_preview() -> None:
    async with server(strict=True) as running:
        client: Any = running.client
        agent = await client.beta.agents.create(name="quick", model="claude-haiku-4-5")
        environment = await client.beta.environments.create(name="plain")
        session = await client.beta.sessions.create(agent=agent.id, environment_id=environment.id)
        kinds = ["agent.message", "agent.thinking"]
        seen: list[Any] = []
        preview: Any = None
        async with await client.beta.sessions.events.stream(session.id, event_deltas=kinds) as stream:
            said = {"type": "user.message", "content": [{"type": "text", "text": "Hello there, how are you?"}]}
            await client.beta.sessions.events.send(session.id, events=[said])
            async for event in stream:
                seen.append(event)
                if event.type in ("event_start", "event_delta"):
                    preview = accumulate_managed_agents_event(preview, event)
                if event.type == "session.status_idle":
                    break
    types = [event.type for event in seen]
    message = next(event for event in seen if event.type == "agent.message")
    start = next(event for event in seen if event.type == "event_start" and event.event.type == "agent.message")
    deltas = [event for event in seen if event.type == "event_delta"]
    assert start.event.id == message.id
    assert {delta.event_id for delta in deltas} == {message.id}
    assert types.index("span.model_request_start") < types.index("event_start") < types.index("event_delta")
    last_delta = max(place for place, kind in enumerate(types) if kind == "event_delta")
    assert last_delta < types.index("agent.message")
    assert preview.id == message.id
    assert message.content[0].text.startswith(preview.content[0].text)

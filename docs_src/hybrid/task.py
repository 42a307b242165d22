import os

from anthropic import Anthropic

client = Anthropic()
agent = client.beta.agents.create(
    name="Reader",
    model="claude-sonnet-5-5",
    tools=[{"type": "agent_toolset_20260401"}],
)
session = client.beta.sessions.create(agent=agent.id, environment_id=os.environ["ANTHROPIC_ENVIRONMENT_ID"])
with client.beta.sessions.events.stream(session.id) as events:
    task = "Count the lines:\n```sh\nwc -l *.txt\n```"
    client.beta.sessions.events.send(
        session.id, events=[{"type": "user.message", "content": [{"type": "text", "text": task}]}]
    )
    for event in events:
        if event.type in ("agent.message", "user.tool_result"):
            print(event.type, "".join(block.text for block in event.content))
        if event.type == "session.status_idle" and event.stop_reason.type == "end_turn":
            break

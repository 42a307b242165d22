from pathlib import Path

from anthropic import Anthropic

client = Anthropic()
project = Path("project")  # what you downloaded: instructions.md and the project's files

collection = client.post("/freehold/v1/knowledge/collections", body={"name": "rollout"}, cast_to=object)
for file in sorted(project.glob("knowledge/*")):
    client.post(
        f"/freehold/v1/knowledge/collections/{collection['id']}/documents",
        files={"file": (file.name, file.read_bytes())},
        cast_to=object,
        options={"headers": {"content-type": "multipart/form-data"}},
    )

agent = client.beta.agents.create(
    name="rollout",
    model="claude-sonnet-5-5",
    system=(project / "instructions.md").read_text("utf-8"),
    mcp_servers=[{"type": "url", "name": "knowledge", "url": "toolbox:knowledge"}],
    tools=[
        {
            "type": "mcp_toolset",
            "mcp_server_name": "knowledge",
            "default_config": {"permission_policy": {"type": "always_allow"}},
        }
    ],
)
environment = client.beta.environments.create(name="rollout", config={"type": "cloud"})
session = client.beta.sessions.create(agent=agent.id, environment_id=environment.id)
question = {"type": "text", "text": "Search the knowledge for: who signs the rollout plan?"}
with client.beta.sessions.events.stream(session.id) as stream:
    client.beta.sessions.events.send(session.id, events=[{"type": "user.message", "content": [question]}])
    for event in stream:
        if event.type == "agent.mcp_tool_result":
            print("found:", [block.title for block in event.content if block.type == "search_result"])
        elif event.type == "agent.message":
            print("".join(block.text for block in event.content))
        elif event.type == "session.status_idle":
            break

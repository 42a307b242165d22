from anthropic import Anthropic

client = Anthropic()
environment = client.beta.environments.create(
    name="with-packages",
    config={
        "type": "cloud",
        "packages": {"pip": ["greeting==1.0"]},
        "networking": {"type": "limited", "allow_package_managers": True},
    },
)
agent = client.beta.agents.create(
    name="greeter",
    model="claude-haiku-5-5",
    tools=[{"type": "agent_toolset_20260401", "default_config": {"permission_policy": {"type": "always_allow"}}}],
)
session = client.beta.sessions.create(agent=agent.id, environment_id=environment.id)
command = "Run this in bash:\n```bash\npython3 -c 'import greeting; greeting.main()'\n```"
with client.beta.sessions.events.stream(session.id) as stream:
    message = {"type": "user.message", "content": [{"type": "text", "text": command}]}
    client.beta.sessions.events.send(session.id, events=[message])
    for event in stream:
        if event.type == "agent.tool_result":
            print("".join(block.text for block in event.content).strip())
        elif event.type == "session.status_idle":
            break

from anthropic import Anthropic

client = Anthropic()
TOOLS = [
    {"type": "agent_toolset_20260401", "default_config": {"permission_policy": {"type": "always_allow"}}},
]


def ask(session_id: str, text: str) -> None:
    """One turn; prints what the agent's commands said."""
    message = {"type": "user.message", "content": [{"type": "text", "text": text}]}
    with client.beta.sessions.events.stream(session_id) as stream:
        client.beta.sessions.events.send(session_id, events=[message])
        for event in stream:
            if event.type == "agent.tool_result":
                print("".join(block.text for block in event.content).strip())
            elif event.type == "session.status_idle":
                return


agent = client.beta.agents.create(name="analyst", model="claude-haiku-5-5", tools=TOOLS)
environment = client.beta.environments.create(name="analysis", config={"type": "cloud"})
session = client.beta.sessions.create(agent=agent.id, environment_id=environment.id, title="Quarter 3")
ask(session.id, "Run this in bash:\n```bash\necho 'draft one' > report.txt; wc -c report.txt\n```")

# Tomorrow, from another program, after any number of restarts:
[found] = [one for one in client.beta.sessions.list() if one.title == "Quarter 3"]
ask(found.id, "Run this in bash:\n```bash\ncat report.txt\n```")

# Another attempt that does not touch the first: the same log and the same files, from here on apart.
fork = client.post(f"/freehold/v1/sessions/{found.id}/fork", body={"title": "Quarter 3, bolder"}, cast_to=object)
ask(fork["id"], "Run this in bash:\n```bash\nsed -i s/one/two/ report.txt; cat report.txt\n```")
ask(found.id, "Run this in bash:\n```bash\ncat report.txt\n```")

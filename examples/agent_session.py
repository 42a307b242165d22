"""An agent with a box: it is given a file, runs a command on it, and leaves one for you.

Needs ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY. Boxes need bubblewrap on the server's machine: `freehold doctor`.
"""

from anthropic import Anthropic

TASK = """Count the words of the file you were given.

```bash
wc -w < /mnt/session/uploads/note.txt | tee /mnt/session/outputs/count.txt
```
"""

client = Anthropic()
beta = client.beta

note = beta.files.upload(file=("note.txt", b"to be, or not to be\n", "text/plain"))
environment = beta.environments.create(name="example", config={"type": "cloud"})
agent = beta.agents.create(name="Counter", model="claude-sonnet-5-5", tools=[{"type": "agent_toolset_20260401"}])
session = beta.sessions.create(
    agent=agent.id,
    environment_id=environment.id,
    resources=[{"type": "file", "file_id": note.id, "mount_path": "/mnt/session/uploads/note.txt"}],
)

# The stream tells what happens from now on, so it is opened before anything is sent.
with beta.sessions.events.stream(session.id) as events:
    beta.sessions.events.send(
        session.id, events=[{"type": "user.message", "content": [{"type": "text", "text": TASK}]}]
    )
    for event in events:
        if event.type == "agent.tool_use":
            print(f"{event.name}: {event.input}")
        elif event.type == "agent.tool_result":
            print(*(block.text for block in event.content or [] if block.type == "text"))
        elif event.type == "agent.message":
            print(*(block.text for block in event.content if block.type == "text"))
        elif event.type == "session.status_idle":
            print(f"({event.stop_reason.type})")
            break

for file in beta.files.list(scope_id=session.id):
    if file.downloadable:
        print(f"{file.filename}: {beta.files.download(file.id).text().strip()}")

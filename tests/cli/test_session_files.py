"""`freehold sessions fork|diff|export|import` against a real server with a real box."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import anthropic

from freehold.launch import ServerProcess
from tests.cli.commands import freehold
from tests.environments.conftest import require_bubblewrap


def worked(client: anthropic.Anthropic, command: str) -> str:
    agent = client.beta.agents.create(
        name="worker", model="claude-haiku-4-5", tools=[{"type": "agent_toolset_20260401"}]
    )
    environment = client.beta.environments.create(name="here")
    session = client.beta.sessions.create(agent=agent.id, environment_id=environment.id)
    task: Any = [{"type": "text", "text": f"Please run this:\n```bash\n{command}\n```"}]
    with client.beta.sessions.events.stream(session.id) as stream:
        client.beta.sessions.events.send(session.id, events=[{"type": "user.message", "content": task}])
        for event in stream:
            if event.type == "session.status_idle":
                break
    return session.id


def test_files_are_compared_forked_taken_away_and_brought_back(tmp_path: Path) -> None:
    require_bubblewrap()
    with (
        ServerProcess(tmp_path / "data", arguments=["--upstream", "simulator"]) as server,
        anthropic.Anthropic(base_url=server.address, api_key=server.key, max_retries=0) as client,
    ):
        session = worked(client, "echo one > /workspace/kept")
        same = freehold("sessions", "diff", session, "--data", server.data)
        assert same.stdout.strip() == "Nothing differs.", same.stderr
        forked = freehold("sessions", "fork", session, "--title", "again", "--data", server.data)
        assert forked.returncode == 0, forked.stderr
        fork = forked.stdout.split()[0]
        assert client.beta.sessions.retrieve(fork).title == "again"

        archive = tmp_path / "files.tar.zst"
        done = freehold("sessions", "export", fork, archive, "--data", server.data)
        assert done.returncode == 0, done.stderr
        listed = subprocess.run(["tar", "--zstd", "-tf", archive], capture_output=True, check=True, text=True).stdout
        assert "workspace/kept" in listed.splitlines()

        other = worked(client, "echo other > /workspace/mine")
        done = freehold("sessions", "import", other, archive, "--yes", "--data", server.data)
        assert done.returncode == 0, done.stderr
        workspace = server.data / "sessions" / other / "workspace"
        assert [path.name for path in workspace.iterdir()] == ["kept"]
        none = freehold("sessions", "fork", session, "--at", "sevt_none", "--data", server.data)
        assert none.returncode == 2 and "answered 400" in none.stderr

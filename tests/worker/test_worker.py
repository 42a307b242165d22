"""`freehold worker`, the real command: sessions of a real server whose tools run in real boxes of another process."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from anthropic import AsyncAnthropic

from freehold.app.sections import sections
from freehold.app.worker import Post, make_worker
from freehold.config import load
from freehold.errors import Misconfigured
from freehold.launch import ServerProcess
from freehold.worker.calls import UNKNOWN

T = TypeVar("T")
TOOLS: Any = [
    {"type": "agent_toolset_20260401", "default_config": {"permission_policy": {"type": "always_allow"}}},
]
SLOW_ONCE = "echo begun >> marks.txt; [ $(wc -l < marks.txt) -gt 1 ] || sleep 30"
DENIED = "The user denied this tool call."
LEASE = {"FREEHOLD_WORK_LEASE_S": "10"}
SKILL_MD = b"---\nname: rhyme\ndescription: How to rhyme.\n---\nThe last syllables sound alike.\n"


async def _until(look: Callable[[], Awaitable[T]], there: Callable[[T], object]) -> T:
    """Look again and again, as a client of two other processes must, until it is there."""
    async with asyncio.timeout(60):
        while not there(found := await look()):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return found


def _marks(data: Path) -> list[Path]:
    return [path for path in data.glob("worker/*/workspace/marks.txt") if path.stat().st_size]


def _shown(pid: int) -> str:
    """What a list of processes shows of that one."""
    return Path(f"/proc/{pid}/cmdline").read_text()


class Far:
    """The server, as its user sees it, and the environment whose tools run elsewhere."""

    def __init__(self, client: AsyncAnthropic, url: str, environment: str, key: str) -> None:
        self.client = client
        self.url = url
        self.environment = environment
        self.key = key

    async def session(self, **more: Any) -> str:
        skills = more.pop("skills", [])
        agent = await self.client.beta.agents.create(
            name="hand", model="claude-haiku-5-5", tools=more.pop("tools", TOOLS), skills=skills
        )
        made = await self.client.beta.sessions.create(agent=agent.id, environment_id=self.environment, **more)
        return made.id

    async def say(self, session: str, command: str) -> None:
        text = f"Run this in bash:\n```bash\n{command}\n```"
        event: Any = {"type": "user.message", "content": [{"type": "text", "text": text}]}
        await self.client.beta.sessions.events.send(session, events=[event])

    async def log(self, session: str, *kinds: str) -> list[Any]:
        events = [event async for event in self.client.beta.sessions.events.list(session)]
        return [event for event in events if event.type in kinds]

    async def until(self, session: str, kind: str, count: int = 1) -> list[Any]:
        """The events of that kind, once there are so many."""
        return await _until(lambda: self.log(session, kind), lambda found: len(found) >= count)

    async def ends(self, session: str, count: int = 1) -> None:
        """Its turn has ended so often."""
        await _until(
            lambda: self.log(session, "session.status_idle"),
            lambda idle: sum(event.stop_reason.type == "end_turn" for event in idle) >= count,
        )

    @contextmanager
    def worker(self, data: Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
        """The real command, with its key where no process list shows it."""
        command = [sys.executable, "-m", "freehold", "worker", "--data", str(data)]
        given = {
            "ANTHROPIC_BASE_URL": self.url,
            "ANTHROPIC_ENVIRONMENT_ID": self.environment,
            "ANTHROPIC_ENVIRONMENT_KEY": self.key,
            "FREEHOLD_WORKER_IDLE_S": "1",
        }
        env = {name: value for name, value in os.environ.items() if not name.startswith(("ANTHROPIC_", "FREEHOLD_"))}
        process = subprocess.Popen(
            command, env={**env, **given, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
            assert process.stdout is not None
            with process.stdout as said:
                print(said.read()[-4000:])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("far")
    with ServerProcess(folder, arguments=["--upstream", "simulator"], environment=LEASE) as process:
        yield process


@asynccontextmanager
async def far(served: ServerProcess) -> AsyncIterator[Far]:
    async with AsyncAnthropic(base_url=served.address, api_key=served.key) as client:
        environment = await client.beta.environments.create(name="ours", config={"type": "self_hosted"})
        body = {"name": "worker", "environment_id": environment.id}
        made = await client.post("/freehold/v1/keys", body=body, cast_to=dict[str, Any])
        yield Far(client, served.address, environment.id, str(made["secret"]))


def words(event: Any) -> str:
    return "".join(block.text for block in event.content if block.type == "text")


async def test_a_session_runs_its_tools_where_the_worker_is(served: ServerProcess, tmp_path: Path) -> None:
    async with far(served) as place:
        skill = await place.client.skills.create(files=[("rhyme/SKILL.md", SKILL_MD)])
        store = await place.client.beta.memory_stores.create(name="notes")
        await place.client.beta.memory_stores.memories.create(store.id, path="/colour.md", content="green\n")
        session = await place.session(
            skills=[{"type": "custom", "skill_id": skill.id}],
            resources=[{"type": "memory_store", "memory_store_id": store.id}],
        )
        mounted = (await place.client.beta.sessions.retrieve(session)).resources[0]
        assert mounted.type == "memory_store" and mounted.mount_path
        told = f"cat skills/rhyme/SKILL.md {mounted.mount_path}/colour.md; echo kept > kept.txt; id -u; env"
        with place.worker(tmp_path, ANTHROPIC_API_KEY="sk-for-something-else") as process:
            await place.say(session, f"{told}; echo blue > {mounted.mount_path}/sky.md")
            await place.ends(session)
            [result] = await place.log(session, "user.tool_result")
            assert not result.is_error, words(result)
            assert "sound alike" in words(result) and "green" in words(result)
            assert place.key not in words(result) and "sk-for-something-else" not in words(result)
            assert place.key not in _shown(process.pid)
            await place.say(session, "cat kept.txt")
            await place.ends(session, 2)
            assert words((await place.log(session, "user.tool_result"))[-1]).strip() == "kept"
            memories = place.client.beta.memory_stores.memories
            # It leaves the session a second after its turn, and brings memories back.
            await _until(lambda: memories.list(store.id), lambda found: "/sky.md" in [one.path for one in found.data])
        [folder] = (tmp_path / "worker").glob("sesn_*")
        assert (folder / "workspace" / "kept.txt").read_text() == "kept\n"
        assert not list(folder.glob("given-*")), "what it was given is gone"


async def test_whatever_an_agent_does_to_its_memories_its_results_arrive(served: ServerProcess, tmp_path: Path) -> None:
    async with far(served) as place:
        store = await place.client.beta.memory_stores.create(name="notes")
        memories = place.client.beta.memory_stores.memories
        await memories.create(store.id, path="/colour.md", content="green\n")
        await memories.create(store.id, path="/sky.md", content="blue\n")
        session = await place.session(resources=[{"type": "memory_store", "memory_store_id": store.id}])
        mounted: Any = (await place.client.beta.sessions.retrieve(session)).resources[0]
        with place.worker(tmp_path):
            planted = "rm colour.md sky.md; mkdir colour.md; echo red > colour.md/x.md; ln -s /etc/passwd sky.md"
            await place.say(session, f"cd {mounted.mount_path}; {planted}; echo new > new.md; chmod 0 .; echo done")
            await place.ends(session)
            [result] = await place.log(session, "user.tool_result")
            assert words(result).strip() == "done"
            await place.say(session, f"chmod 700 {mounted.mount_path}; echo again")
            await place.ends(session, 2)
            assert words((await place.log(session, "user.tool_result"))[-1]).strip() == "again"

            async def contents() -> dict[str, str | None]:
                listed = (await memories.list(store.id, view="full")).data
                return {one.path: one.content for one in listed if one.type == "memory"}

            found = await _until(contents, lambda found: "/new.md" in found)
            # The SDK deletes no memory where a folder stands now, so `colour.md` stays as it was.
            assert found == {"/colour.md": "green\n", "/new.md": "new\n", "/sky.md": "blue\n"}


async def test_a_worker_that_dies_repeats_nothing_in_silence(served: ServerProcess, tmp_path: Path) -> None:
    async with far(served) as place:
        session = await place.session()
        with place.worker(tmp_path) as first:
            await place.say(session, SLOW_ONCE)
            await _until(lambda: asyncio.to_thread(_marks, tmp_path), bool)
            first.send_signal(signal.SIGKILL)
            first.wait()
        with place.worker(tmp_path):  # the lease runs out, and the queue hands the session on
            await place.ends(session)
            told, *others = await place.log(session, "user.tool_result")
            assert told.is_error and words(told) == UNKNOWN
            calls = await place.log(session, "agent.tool_use")
            assert len(calls) == 1 + len(others), "whatever ran again, the model had asked for it again"
            await place.say(session, "cat marks.txt")
            await place.ends(session, 2)
        marks = words((await place.log(session, "user.tool_result"))[-1]).split()
        assert marks == ["begun"] * len(calls)


async def test_a_call_that_waits_for_a_person_runs_when_it_is_allowed(served: ServerProcess, tmp_path: Path) -> None:
    asks: Any = [{"type": "agent_toolset_20260401", "default_config": {"permission_policy": {"type": "always_ask"}}}]
    async with far(served) as place:
        session = await place.session(tools=asks)
        with place.worker(tmp_path):
            for verdict in ("deny", "allow"):
                await place.say(session, f"echo {verdict}")
                idle = (await place.until(session, "session.status_idle", 1 if verdict == "deny" else 3))[-1]
                assert idle.stop_reason.type == "requires_action"
                confirmation: Any = {
                    "type": "user.tool_confirmation",
                    "tool_use_id": idle.stop_reason.event_ids[0],
                    "result": verdict,
                }
                await place.client.beta.sessions.events.send(session, events=[confirmation])
                await place.ends(session, 1 if verdict == "deny" else 2)
        assert [words(event).strip() for event in await place.log(session, "user.tool_result")] == [DENIED, "allow"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"packages": {"pip": "pandas"}}, "packages.pip"),
        ({"packages": {"pipp": ["pandas"]}}, "pipp"),
        ({"typo": 1}, "typo"),
        ({"networking": {"type": "banana"}}, "networking"),
        ({"networking": {"type": "limited", "allowed_host": ["a.example"]}}, "allowed_host"),
        ({"limits": {"memory_byte": 1}}, "memory_byte"),
        ({"limits": {"memory_bytes": 10**15}}, "memory_bytes"),
    ],
)
async def test_what_a_workers_boxes_cannot_have_stops_its_start(
    given: dict[str, Any], told: str, tmp_path: Path
) -> None:
    configuration = load(sections(), flags={"data": tmp_path, "worker_environment": given}, environment={})
    with pytest.raises(Misconfigured, match=f"worker_environment: .*{told}"):
        async with make_worker(configuration, Post("http://127.0.0.1:9", "env_1", "sk-none"), lambda *_: None):
            pass


def test_a_worker_without_a_right_to_be_one_is_told_why(served: ServerProcess, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "freehold", "worker", "--data", str(tmp_path), "--server", served.address]
    plain = {name: value for name, value in os.environ.items() if not name.startswith("ANTHROPIC_")}
    missing = subprocess.run(command, env=plain, capture_output=True, text=True, timeout=60, check=False)
    assert missing.returncode == 2 and "ANTHROPIC_ENVIRONMENT_ID" in missing.stderr
    wrong = {**plain, "ANTHROPIC_ENVIRONMENT_ID": "env_none", "ANTHROPIC_ENVIRONMENT_KEY": "sk-ant-no"}
    refused = subprocess.run(command, env=wrong, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 1 and "refuses this worker" in refused.stderr, refused

"""Sessions and calls as they really go through a server, recorded: agents in boxes, a chat, agents side by side.

`python -m benchmarks.caching.record [--minutes 15] [--seed 1]` writes `benchmarks/data/caching/*.jsonl.xz`, which
`replay.py` reads. A real server with `record = "full"` and boxes, in front of the simulator at the pace of a model; the
clients are the official SDK. What is asked, by whom and after how much thinking comes from the seed; when each request
is sent, what tools answer and how long that takes is what happens.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import inspect
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from anthropic import AsyncAnthropic

from freehold.launch import ServerProcess

ROOT = Path(__file__).parents[2]
DATA = ROOT / "benchmarks" / "data" / "caching"
_DEMO = ROOT / "examples" / "demo"
_GUIDES = ROOT / "docs" / "guides"
_SONNET, _HAIKU = "claude-sonnet-5-5", "claude-haiku-5-5"
_ANALYST = (
    "You are the analyst of a small shop. Run the scripts you are given, ask the company's tools for facts, call "
    "independent tools in parallel, and report in two sentences in the language of the request."
)
_UPLOADED = "/mnt/session/uploads/orders.csv"
_LOOKS = (
    "head -20 {file}",
    "wc -l {file}; cut -d, -f5 {file} | sort | uniq -c | sort -rn | head",
    "grep -c returned {file}; grep returned {file} | head -15",
    "awk -F, 'NR>1 {{sum[$4]+=$7}} END {{for (city in sum) print city, sum[city]}}' {file}",
    "ls -la /workspace /mnt/session/outputs; cat summary.json 2>/dev/null | head -40",
)


class Day:
    """A stretch of time in which people use one server, each with a seed of its own."""

    def __init__(self, client: AsyncAnthropic, chance: random.Random, until_s: float) -> None:
        self.client = client
        self.chance = chance
        self._until_s = until_s

    def other(self) -> Day:
        """The same stretch, for somebody else."""
        return Day(self.client, random.Random(self.chance.random()), self._until_s)

    async def thinks(self, median_s: float, factor: float = 2.0) -> bool:
        """Let the log-normal time pass that a person takes for the next message; false: the day would be over."""
        pause_s = median_s * factor ** self.chance.gauss(0, 1)
        if time.monotonic() + pause_s >= self._until_s:
            return False
        await asyncio.sleep(pause_s)
        return True


async def sessions(day: Day) -> None:
    """Five people, each with an analyst in a box: scripts over a year of orders, the company's own tools, files."""
    beta = day.client.beta
    environment = await beta.environments.create(name="recorded", config={"type": "cloud"})
    agent = await beta.agents.create(
        name="Shop analyst",
        model=_SONNET,
        system=_ANALYST,
        mcp_servers=[{"type": "url", "name": "company", "url": "toolbox:company"}],
        tools=[
            {"type": "agent_toolset_20260401"},
            {
                "type": "mcp_toolset",
                "mcp_server_name": "company",
                "default_config": {"permission_policy": {"type": "always_allow"}},
            },
        ],
    )
    file = await beta.files.upload(file=("orders.csv", _orders(), "text/csv"))

    async def person(mine: Day) -> None:
        while await mine.thinks(25):
            session = await beta.sessions.create(
                agent=agent.id,
                environment_id=environment.id,
                resources=[{"type": "file", "file_id": file.id, "mount_path": _UPLOADED}],
            )
            for task in _tasks(mine.chance):
                await _turn(day.client, session.id, task)
                if not await mine.thinks(25):
                    return

    await asyncio.gather(*(person(day.other()) for _ in range(5)))


async def _turn(client: AsyncAnthropic, session_id: str, text: str) -> None:
    """Send a message and wait until the session is idle again."""
    events = client.beta.sessions.events
    async with await events.stream(session_id) as stream:
        await events.send(session_id, events=[{"type": "user.message", "content": [{"type": "text", "text": text}]}])
        async for event in stream:
            if event.type == "session.error":
                raise RuntimeError(f"the session reported: {event.error.message}")
            if event.type == "session.status_idle":
                return


def _tasks(chance: random.Random) -> Iterator[str]:
    script = (_DEMO / "analyse.py").read_text("utf-8")
    shell = f"cat > analyse.py <<'PY'\n{script}PY\npython3 analyse.py"
    yield f"Run this script over orders.csv, please.\n\n```bash\n{shell}\n```"
    for _ in range(chance.randint(3, 7)):
        user = chance.randint(1001, 1400)
        looks = "\n\n".join(
            f"```bash\n{look.format(file=_UPLOADED)}\n```" for look in chance.sample(_LOOKS, chance.randint(1, 3))
        )
        yield chance.choice(
            (
                f"Look up user {user}: the user's profile, the orders, and the recent activity.",
                f"查询用户 {user} 的资料、订单和最近活动。",
                f"Run these one after the other and tell me what stands out.\n\n{looks}",
            )
        )


async def chats(day: Day) -> None:
    """Conversations about a handbook that stands in the system prompt, which their client has marked."""
    handbook = _text("gateway.md")
    system: Any = [
        {
            "type": "text",
            "text": f"You answer questions about this handbook.\n\n{handbook}",
            "cache_control": {"type": "ephemeral"},
        }
    ]
    parts = [part for part in handbook.split("\n\n") if 150 < len(part) < 1500 and not part.startswith("```")]

    async def conversation(mine: Day) -> None:
        if not await mine.thinks(60, 3.0):
            return
        model = mine.chance.choice((_SONNET, _HAIKU))
        messages: list[Any] = []
        while True:
            asked = f"What does this mean for us, and what follows from it?\n\n> {mine.chance.choice(parts)}"
            messages.append({"role": "user", "content": asked})
            async with mine.client.messages.stream(
                model=model, max_tokens=1000, system=system, messages=messages
            ) as stream:
                said = await stream.get_final_message()
            messages.append({"role": "assistant", "content": said.content})
            if not await mine.thinks(75, 2.2):
                return

    await asyncio.gather(*(conversation(day.other()) for _ in range(8)))


async def sub_agents(day: Day) -> None:
    """A lead hands one long briefing to four others, each of which goes on alone with its tools; nothing is marked."""
    sys.path.insert(0, str(_DEMO))
    company = importlib.import_module("company")

    briefing = _text("boxes.md")
    tools = {tool.name: tool for tool in (company.find_user, company.list_orders, company.recent_activity)}

    async def one(mine: Day) -> None:
        user = mine.chance.randint(1001, 1400)
        messages: list[Any] = [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": briefing},
                    {"type": "text", "text": f"Look up user {user}: the profile, the orders, the recent activity."},
                ],
            }
        ]
        for number in range(mine.chance.randint(3, 5)):
            await _loop(mine.client, messages, tools)
            messages.append({"role": "user", "content": f"Now user {user + number + 1}: profile, orders, activity."})

    while True:
        await asyncio.gather(*(one(day.other()) for _ in range(4)))
        if not await day.thinks(90):
            return


async def _loop(client: AsyncAnthropic, messages: list[Any], tools: Mapping[str, Any]) -> None:
    """Ask, run the tools that are called, and ask again until none is."""
    while True:
        said = await client.messages.create(
            model=_SONNET,
            max_tokens=1000,
            system=_ANALYST,
            tools=[tool.to_dict() for tool in tools.values()],
            messages=messages,
        )
        messages.append({"role": "assistant", "content": said.content})
        uses = [block for block in said.content if block.type == "tool_use"]
        if not uses:
            return
        results = [await _ran(tools[use.name], use.input) for use in uses]
        answered = [
            {"type": "tool_result", "tool_use_id": use.id, "content": result}
            for use, result in zip(uses, results, strict=True)
        ]
        messages.append({"role": "user", "content": answered})


async def _ran(tool: Any, given: object) -> str:
    result = tool.call(given)
    return str(await result if inspect.isawaitable(result) else result)


def _orders() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, _DEMO / "make_orders.py", f"{folder}/orders.csv"], check=True, cwd=folder)
        return Path(folder, "orders.csv").read_bytes()


def _text(guide: str) -> str:
    return (_GUIDES / guide).read_text("utf-8")


USES: dict[str, Callable[[Day], Awaitable[None]]] = {"sessions": sessions, "chats": chats, "sub_agents": sub_agents}


@contextlib.contextmanager
def simulator(seed: int) -> Iterator[str]:
    """The address of a simulator that answers at the pace of a model."""
    command = [sys.executable, "-m", "freehold", "simulate", "--port=0", f"--seed={seed}"]
    command += ["--first-token-s=1.2", "--tokens-per-s=70"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    assert process.stdout is not None
    try:
        found = next(found for line in process.stdout if (found := re.search(r"http://\S+:\d+", line)))
        yield found[0]
    finally:
        process.terminate()
        process.wait(10)


@contextlib.asynccontextmanager
async def server(upstream: str, folder: Path) -> AsyncIterator[ServerProcess]:
    """A real one, which records all calls whole."""
    process = ServerProcess(
        folder,
        tools=[_DEMO / "company.py"],
        arguments=["--upstream", upstream],
        environment={
            "FREEHOLD_RECORD": "full",
            "FREEHOLD_UPSTREAM_KEY": "any",
            "COMPANY_DB": str(folder / "company.db"),
        },
    )
    await asyncio.to_thread(process.start)
    try:
        yield process
    finally:
        await asyncio.to_thread(process.stop)


async def record(minutes: float, seed: int) -> None:
    """Let the day pass, then write what was recorded of each use."""
    with tempfile.TemporaryDirectory() as folder, simulator(seed) as upstream:
        os.environ["COMPANY_DB"] = f"{folder}/company.db"
        async with (
            server(upstream, Path(folder)) as process,
            AsyncAnthropic(base_url=process.address, api_key=process.key) as admin,
        ):
            until_s = time.monotonic() + minutes * 60
            keys: dict[str, dict[str, Any]] = {}
            for name in USES:
                made = await admin.post("/freehold/v1/keys", body={"name": name, "role": "member"}, cast_to=object)
                keys[name] = dict(made)  # type: ignore[call-overload]
            clients = {name: admin.with_options(api_key=key["secret"]) for name, key in keys.items()}
            await asyncio.gather(
                *(use(Day(clients[name], random.Random(f"{seed} {name}"), until_s)) for name, use in USES.items())
            )
            DATA.mkdir(parents=True, exist_ok=True)
            for name, key in keys.items():
                file = DATA / f"{name}.jsonl.xz"
                command = [sys.executable, "-m", "freehold", "cache", "replay", "--key", key["id"], "--save", file]
                at = ["--url", process.address, "--data", folder]
                await asyncio.to_thread(subprocess.run, [*command, *at], check=True)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    asyncio.run(record(options.minutes, options.seed))


if __name__ == "__main__":
    main()

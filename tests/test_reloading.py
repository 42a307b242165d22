"""SIGHUP on a real server: what changes at once, what waits for a restart, and that no stream is dropped."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anthropic import AsyncAnthropic, RateLimitError

from freehold.launch import ServerProcess
from tests.gateway.house import BODY, EVENTS, MODEL, stream_all, until, whole
from tests.scripted_upstream import Line, Request, ScriptedUpstream, scripted

CONFIGURATION = """
max_retries = 0
{more}
[[upstreams]]
name = "claude"
url = "{url}"
keys = ["{key}"]
[upstreams.aliases]
{aliases}
{tables}
"""


@dataclass
class Place:
    """A running server and the file that it reads."""

    server: ServerProcess
    upstream: ScriptedUpstream
    file: Path
    sdk: AsyncAnthropic

    def write(self, *, key: str = "sk-old", aliases: str = "", more: str = "", tables: str = "") -> None:
        """The file, anew."""
        text = CONFIGURATION.format(url=self.upstream.url, key=key, aliases=aliases, more=more, tables=tables)
        self.file.write_text(text, "utf-8")

    async def reload(self) -> str:
        """SIGHUP; what the server says to it."""
        said = self.server.output.count("The configuration was")
        os.kill(self.server.pid, signal.SIGHUP)
        await until(lambda: self.server.output.count("The configuration was") > said)
        return self.server.output.splitlines()[-1]

    async def ask(self) -> Request:
        """One call; the request as the upstream got it."""
        await self.sdk.messages.create(**BODY)
        return self.upstream.requests[-1]


@asynccontextmanager
async def place(folder: Path) -> AsyncIterator[Place]:
    file = folder / "freehold.toml"

    async def either(request: Request, line: Line) -> None:
        await (stream_all if request.json().get("stream") else whole)(request, line)

    async with scripted(either) as upstream:
        server = ServerProcess(folder / "data", arguments=["--config", str(file)])
        made = Place(server, upstream, file, AsyncAnthropic(base_url="http://nowhere", api_key="x", max_retries=0))
        made.write()
        try:
            await asyncio.to_thread(server.start)
            made.sdk = AsyncAnthropic(base_url=server.address, api_key=server.key, max_retries=0)
            yield made
        finally:
            await made.sdk.close()
            await asyncio.to_thread(server.stop)


async def test_keys_aliases_and_limits_change_while_a_stream_goes_on(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        goes_on = asyncio.Event()

        async def slow(_: Request, line: Line) -> None:
            await line.begin_stream()
            for data in EVENTS[:4]:
                await line.chunk(data)
            async with asyncio.timeout(120):
                await goes_on.wait()
            for data in EVENTS[4:]:
                await line.chunk(data)
            await line.chunk(b"")

        assert (await here.ask()).header("x-api-key") == "sk-old"
        usual, here.upstream.script = here.upstream.script, slow
        async with here.sdk.messages.stream(**BODY) as stream:
            events = aiter(stream)
            await anext(events)
            here.upstream.script = usual
            here.write(
                key="sk-new", aliases=f'"{MODEL}" = "another"', more="key_requests_per_minute = 2\nkeep_alive_s = 60"
            )
            said = await here.reload()
            assert "in force now:" in said
            now, _, later = said.partition("; after a restart: ")
            assert "upstreams" in now and "key_requests_per_minute" in now
            assert later.startswith("keep_alive_s")
            request = await here.ask()
            assert (request.header("x-api-key"), request.json()["model"]) == ("sk-new", "another")
            await here.ask()
            try:
                await here.ask()
            except RateLimitError as error:
                assert "retry-after" in error.response.headers
            else:
                raise AssertionError("the limit did not hold")
            goes_on.set()
            message = await stream.get_final_message()
        assert message.stop_reason == "end_turn"


async def test_a_file_that_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        for wrong in ("no_such_setting = 1", "max_retries = -1", "["):
            here.write(key="sk-new", more=wrong)
            assert "everything stays as it was" in await here.reload()
        here.write(key="sk-new", tables='[routes]\n"*" = ["nobody"]')
        assert "there is no upstream 'nobody'" in await here.reload()
        here.write(key="sk-new", more="upstream_stall_s = 5")
        assert "needs a restart" in await here.reload()
        assert (await here.ask()).header("x-api-key") == "sk-old"


async def test_routes_begin_to_hold(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        here.write(tables='[routes]\n"*" = ["claude/claude-haiku-4-5"]')
        assert "in force now: routes" in await here.reload()
        assert json.loads((await here.ask()).body)["model"] == "claude-haiku-4-5"


async def test_rules_of_routing_and_of_caching_change_at_once(tmp_path: Path) -> None:
    async with place(tmp_path) as here:

        async def asked(text: str, model: str = "auto") -> Request:
            messages: Any = [{"role": "user", "content": text}]
            await here.sdk.messages.create(model=model, max_tokens=50, messages=messages)
            return here.upstream.requests[-1]

        assert (await asked("shoe the horse")).json()["model"] == "claude-sonnet-5-5"
        here.write(
            more='routing_simple_words = ["horse"]\ncaching = "off"', tables='[routing_aliases.cheap]\nbalanced = "m"'
        )
        said = await here.reload()
        assert all(name in said for name in ("routing_simple_words", "routing_aliases", "caching"))
        assert (await asked("shoe the horse", "cheap")).json()["model"] == "claude-haiku-5-5"
        assert (await asked("shoe", "cheap")).json()["model"] == "m"
        marked: Any = [{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}]
        await here.sdk.messages.create(**BODY, system=marked)
        assert b"cache_control" not in here.upstream.requests[-1].body
        here.write(more="routing_shadow_share = 2.0")
        assert "routing_shadow_share" in await here.reload()
        assert (await asked("shoe", "cheap")).json()["model"] == "m", "what does not fit changes nothing"

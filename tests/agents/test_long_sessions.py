"""Long sessions on a whole server, by the official SDK in strict mode: compaction, and results too long to be read."""

from __future__ import annotations

from freehold import testing
from freehold.toolboxes.base import ToolResult, ToolSpec
from tests.agents.house import Company, Script, calls, text
from tests.agents.stage import Play, another
from tests.contract.manifest import proves, shows_difference


@proves("event agent.thread_context_compacted")
@shows_difference("how-sessions-compact")
async def test_a_long_session_compacts_by_itself() -> None:
    script = Script([text("one") | {"usage": {"input_tokens": 170_000}}, text("the gist"), text("two")])
    async with testing.server(upstream=script, strict=True) as running:
        play = await another(running)
        await play.say()
        await play.idle(1)
        await play.say()
        events = await play.idle(2)
        assert sum(event.type == "agent.thread_context_compacted" for event in events) == 1
        assert "the gist" in script.asked[2]["messages"][0]["content"][0]["text"]
        session = await running.client.beta.sessions.retrieve(play.session)
        assert session.usage.input_tokens == 170_020  # the summary is paid for, too


class Library(Company):
    """A toolbox whose answer is long."""

    def tools(self) -> list[ToolSpec]:
        return [ToolSpec("lookup", "read it all", {"type": "object"})]

    async def call(
        self, tool: str, arguments: object, *, key: str, session_id: str = "", asker: object = None
    ) -> ToolResult:
        return ToolResult([{"type": "text", "text": "\n".join(f"line {n}" for n in range(30_000))}])


async def test_a_result_that_is_too_long_is_kept_where_the_tools_can_read_it() -> None:
    find = calls(("bash", {"command": "sed -n 29001p /mnt/session/uploads/tool-results/*.txt"}))
    script = Script([calls(("mcp__company__lookup", {})), find, text("done")])
    async with testing.server(upstream=script, strict=True, toolboxes={"company": Library()}) as running:
        client = running.client
        tools = [{"type": "agent_toolset_20260401"}, _ALLOWED]
        servers = [{"type": "url", "name": "company", "url": "toolbox:company"}]
        agent = await client.beta.agents.create(
            name="reader",
            model="claude-haiku-4-5",
            tools=tools,  # type: ignore[arg-type]
            mcp_servers=servers,  # type: ignore[arg-type]
        )
        environment = await client.beta.environments.create(name="here")
        made = await client.beta.sessions.create(agent=agent.id, environment_id=environment.id)
        play = Play(running, made.id)
        await play.say()
        events = await play.idle(1)
        (long,) = [event for event in events if event.type == "agent.mcp_tool_result"]
        assert len(long.content[0].text) < 25_000 and "/mnt/session/uploads/tool-results/" in long.content[0].text
        (found,) = [event for event in events if event.type == "agent.tool_result"]
        assert found.content[0].text.strip() == "line 29000"


_ALLOWED = {
    "type": "mcp_toolset",
    "mcp_server_name": "company",
    "default_config": {"permission_policy": {"type": "always_allow"}},
}

"""The tools of an agent: which the model sees, by which name, under which policy."""

from __future__ import annotations

from freehold.agents.permissions import REFUSED, evaluate
from freehold.agents.tools.catalog import catalog
from freehold.toolboxes.base import ToolSpec
from tests.agents.house import ASK, BUILT_IN, definition

SPECS = [ToolSpec(name, "d", {"type": "object"}) for name in BUILT_IN]
LOOKUP = [ToolSpec("lookup", "d", {"type": "object"}), ToolSpec("erase", "d", {"type": "object"})]


def test_the_model_sees_every_enabled_tool_in_the_agents_order() -> None:
    made = catalog(definition(), SPECS, {"company": LOOKUP}, {})
    assert made.names == [*BUILT_IN, "mcp__company__lookup", "mcp__company__erase", "weather"]
    assert made.has_box and not catalog(definition(), [], {"company": LOOKUP}, {}).has_box


def test_a_disabled_tool_is_not_there() -> None:
    tools = definition()["tools"]
    tools[0]["configs"][0]["enabled"] = False
    tools[1]["configs"] = [{"name": "erase", "enabled": False, "permission_policy": ASK}]
    made = catalog(definition(tools=tools), SPECS, {"company": LOOKUP}, {})
    assert tools[0]["configs"][0]["name"] not in made.names
    assert "mcp__company__erase" not in made.names and "mcp__company__lookup" in made.names


def test_a_server_that_is_not_there_offers_nothing() -> None:
    assert "mcp__company__lookup" not in catalog(definition(), SPECS, {}, {}).names


def test_only_tools_that_change_nothing_may_be_repeated() -> None:
    made = catalog(definition(), SPECS, {"company": LOOKUP}, {"mcp__company__lookup": "retry"})
    repeats = {name: tool.repeat for name in made.names if (tool := made.find(name))}
    assert {name for name, repeat in repeats.items() if repeat == "retry"} == {
        "read",
        "glob",
        "grep",
        "mcp__company__lookup",
    }


def test_policies_are_shown_as_they_were_judged() -> None:
    assert evaluate({"type": "always_allow"}).fields() == {
        "evaluated_permission": "allow",
        "evaluation": {"type": "always_allow"},
    }
    assert evaluate({"type": "always_ask"}).verdict == "ask"
    assert evaluate({"type": "something_newer"}).verdict == "ask"
    assert REFUSED.fields() == {"evaluated_permission": "deny"}

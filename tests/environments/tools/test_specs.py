"""What the model is told, and how wrong input is answered."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from freehold.environments.tools.specs import MOST_TEXT, problem, specs


def test_there_are_the_six_tools_of_the_toolset() -> None:
    assert [spec.name for spec in specs()] == ["bash", "read", "write", "edit", "glob", "grep"]
    for spec in specs():
        jsonschema.Draft202012Validator.check_schema(dict(spec.input_schema))


@pytest.mark.parametrize("name", [spec.name for spec in specs()])
def test_the_fields_are_those_of_the_sdk(name: str) -> None:
    import anthropic.types.beta as types

    model = getattr(types, f"BetaManagedAgentsAgentToolset20260401{name.title()}Input")
    spec = next(spec for spec in specs() if spec.name == name)
    assert set(spec.input_schema["properties"]) == set(model.model_fields)
    required = {field for field, info in model.model_fields.items() if info.is_required()}
    assert set(spec.input_schema["required"]) == required


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("bash", {"command": "ls"}),
        ("bash", {"restart": True}),
        ("bash", {"command": "ls", "timeout_ms": 0, "restart": None}),
        ("read", {"file_path": "a", "view_range": [1, -1]}),
        ("write", {"file_path": "a", "content": "with \0 inside"}),
        ("edit", {"file_path": "a", "old_string": "a", "new_string": "", "replace_all": None}),
        ("grep", {"pattern": "a", "path": "b"}),
    ],
)
def test_good_input_is_let_through(name: str, arguments: dict[str, Any]) -> None:
    assert problem(name, arguments) is None


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("web", {}, "there is no tool 'web'"),
        ("bash", {}, "command is required"),
        ("bash", {"command": ""}, "command is required"),
        ("bash", {"command": "a\0b"}, "without NUL"),
        ("bash", {"command": 5}, "command must be text"),
        ("bash", {"command": "x", "timeout_ms": -1}, "timeout_ms must be a whole number"),
        ("bash", {"command": "x", "timeout_ms": 3_600_001}, "timeout_ms must be a whole number"),
        ("bash", {"command": "x", "timeout_ms": True}, "timeout_ms must be a whole number"),
        ("bash", {"command": "x", "restart": "yes"}, "restart must be true or false"),
        ("read", {"file_path": None}, "file_path is required"),
        ("read", {"file_path": "a", "view_range": [1]}, "view_range must be two whole numbers"),
        ("read", {"file_path": "a", "view_range": ["1", "2"]}, "view_range must be two whole numbers"),
        ("write", {"file_path": "a"}, "content is required"),
        ("write", {"file_path": "a", "content": "x" * (MOST_TEXT + 1)}, "at most"),
        ("edit", {"file_path": "a", "old_string": "b"}, "new_string is required"),
        ("glob", {"pattern": "a", "paht": "b"}, "there is no field 'paht'"),
    ],
)
def test_wrong_input_is_told_what_to_change(name: str, arguments: dict[str, Any], words: str) -> None:
    said = problem(name, arguments)
    assert said is not None
    assert words in said

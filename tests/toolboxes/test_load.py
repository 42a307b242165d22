"""Loading a tools file: what it becomes, and how a mistake in it is told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from freehold.clock import SystemClock
from freehold.errors import Misconfigured
from freehold.toolboxes.load import load_toolbox, load_toolboxes
from freehold.toolboxes.settings import ToolboxSettings

FILE = Path(__file__).with_name("company_tools.py")


def refused(path: Path) -> str:
    with pytest.raises(Misconfigured) as caught:
        load_toolbox(path, ToolboxSettings(), SystemClock())
    return caught.value.message


def written(folder: Path, text: str, name: str = "tools.py") -> Path:
    path = folder / name
    path.write_text(text, "utf-8")
    return path


async def test_names_descriptions_and_schemas_come_from_the_functions() -> None:
    toolbox = load_toolboxes(ToolboxSettings(tools=(str(FILE),)), SystemClock())["company_tools"]
    first = toolbox.tools()[0]
    assert [spec.name for spec in toolbox.tools()][:3] == ["find_user", "orders_of", "meet"]
    assert first.description == "查询用户 / look a user up."
    assert first.input_schema["required"] == ["user_id"]
    assert first.input_schema["properties"]["user_id"]["description"] == "the number of the user"


async def test_a_file_may_import_what_lies_beside_it(tmp_path: Path) -> None:
    written(tmp_path, "ANSWER = 'from beside'\n", "beside_the_tools.py")
    text = 'import beside_the_tools\nfrom anthropic import beta_tool\n@beta_tool\ndef ask() -> str:\n    """Ask."""\n'
    toolbox = load_toolbox(
        written(tmp_path, text + "    return beside_the_tools.ANSWER\n"), ToolboxSettings(), SystemClock()
    )
    assert (await toolbox.call("ask", {}, key="k")).content[0]["text"] == "from beside"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = 1\ndef broken(:\n", "tools.py:2: SyntaxError: invalid syntax"),
        ("import os\n\nos.environ['NO_SUCH']\n", "tools.py:3: KeyError: 'NO_SUCH'"),
        ("import not_installed_here\n", "tools.py:1: ModuleNotFoundError: No module named 'not_installed_here'"),
        ("raise SystemExit(1)\n", "tools.py:1: SystemExit: 1"),
        ("def f() -> str:\n    return ''\n", "tools.py: no tools in it. Decorate functions"),
        (
            "from anthropic import beta_tool\n\n@beta_tool\nasync def f() -> str:\n    'Do.'\n    return ''\n",
            "tools.py:3: decorate f with `beta_async_tool`",
        ),
        (
            "from anthropic import beta_tool\n@beta_tool\ndef f() -> str:\n    return ''\n",
            "tools.py:2: f has no docstring",
        ),
        (
            "from anthropic import beta_tool\n@beta_tool(name='a b')\ndef f() -> str:\n    'Do.'\n    return ''\n",
            "tools.py:2: the tool name 'a b' may only have",
        ),
        (
            "from anthropic import beta_tool\n@beta_tool(input_schema={'type': 'thing'})\ndef f() -> str:\n    'Do.'\n",
            "tools.py:2: f: its input_schema is not a JSON schema",
        ),
        (
            "from anthropic import beta_tool\n@beta_tool\ndef f() -> str:\n    'Do.'\n"
            "@beta_tool(name='f')\ndef g() -> str:\n    'Do.'\n",
            "tools.py: there are two tools named 'f'",
        ),
    ],
)
def test_a_mistake_in_the_file_is_told_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    message = refused(written(tmp_path, text))
    assert message.startswith(str(tmp_path))
    assert told in message


def test_a_path_that_is_no_python_file_is_refused(tmp_path: Path) -> None:
    assert "there is no such Python file" in refused(tmp_path / "missing.py")
    assert "there is no such Python file" in refused(written(tmp_path, "", "tools.txt"))
    assert "named after its file" in refused(written(tmp_path, "", "my tools.py"))


async def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    other = written(tmp_path, FILE.read_text("utf-8"), FILE.name)
    with pytest.raises(Misconfigured, match="two toolboxes named 'company_tools'"):
        load_toolboxes(ToolboxSettings(tools=(str(FILE), str(other))), SystemClock())


def test_without_toolboxes_the_sdk_is_not_imported() -> None:
    code = "import sys, freehold.toolboxes.load; sys.exit('anthropic' in sys.modules or 'pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

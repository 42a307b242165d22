"""`freehold tools`: your toolboxes as a server would load them here, without a server: listed, called, checked."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from freehold.cli.options import Json, print_json, tell
from freehold.cli.serve import ConfigFile

if TYPE_CHECKING:
    from freehold.toolboxes.base import Toolbox, ToolResult

Tools = Annotated[
    list[Path] | None, typer.Option("--tools", help="Python file of tools; may be given again.", metavar="FILE")
]
Name = Annotated[str, typer.Argument(help="TOOLBOX.TOOL, or the tool alone where only one has that name.")]


def commands() -> typer.Typer:
    """The group."""
    group = typer.Typer(help="Toolboxes as a server would load them here.", no_args_is_help=True)
    group.command("list")(list_them)
    group.command("call")(call)
    group.command("test")(test)
    return group


def list_them(tools: Tools = None, config: ConfigFile = None, as_json: Json = False) -> None:
    """List every tool with its input; --json gives what a model is shown."""

    async def run() -> None:
        async with _loaded(tools, config) as toolboxes:
            shown = [_shown(name, spec) for name, toolbox in toolboxes.items() for spec in toolbox.tools()]
            if as_json:
                print_json(shown)
                return
            for one in shown:
                print(f"{one['toolbox']}.{one['name']}({', '.join(_arguments(one['input_schema']))})")
                print(f"    {one['description'].strip().splitlines()[0]}")

    _run(run)


def call(
    name: Name,
    arguments: Annotated[str, typer.Argument(help='As JSON: \'{"user_id": "u_1"}\'.')] = "{}",
    tools: Tools = None,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Call a tool, and print what a model would read. Exit code 1 when it is an error."""
    given = _object(arguments)

    async def run() -> None:
        async with _loaded(tools, config) as toolboxes:
            result = await _call(toolboxes, name, given)
        print_json([dict(block) for block in result.content]) if as_json else print(_text(result))
        raise typer.Exit(1 if result.is_error else 0)

    _run(run)


def test(
    cases: Annotated[
        Path | None, typer.Argument(help="YAML list of calls: tool, arguments, contains (a text) or error: true.")
    ] = None,
    tools: Tools = None,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Check that all tools load and are described well enough, and run the cases. Exit code 1 on failure."""
    listed = _cases(cases)

    async def run() -> None:
        async with _loaded(tools, config) as toolboxes:
            complaints = [text for box in toolboxes.values() for spec in box.tools() for text in _complaints(box, spec)]
            failures = [text for case in listed if (text := await _failure(toolboxes, case))]
            count = sum(len(box.tools()) for box in toolboxes.values())
        lines = [*(f"hint  {text}" for text in complaints), *(f"FAIL  {text}" for text in failures)]
        held = len(listed) - len(failures)
        told = {"tools": count, "cases": len(listed), "held": held, "failures": failures, "hints": complaints}
        tell("\n".join([*lines, f"{count} tools load; {held} of {len(listed)} cases hold."]), told, as_json)
        raise typer.Exit(1 if failures else 0)

    _run(run)


@asynccontextmanager
async def _loaded(tools: list[Path] | None, config: Path | None) -> AsyncIterator[Mapping[str, Toolbox]]:
    from freehold.app.toolboxes import make_toolboxes
    from freehold.cli.settings import configured
    from freehold.clock import SystemClock
    from freehold.errors import Misconfigured
    from freehold.toolboxes.settings import ToolboxSettings

    flags = {"tools": [str(path) for path in tools] if tools else None}
    settings = configured(flags, config).section(ToolboxSettings)
    async with AsyncExitStack() as stack:
        made = await make_toolboxes(settings, SystemClock(), stack)
        for toolbox in made.values():
            stack.push_async_callback(toolbox.close)
        if not made:
            raise Misconfigured("there is no toolbox: give a file with --tools, or a --config that names some")
        yield made


def _run(work: Any) -> None:
    import asyncio

    asyncio.run(work())


async def _call(toolboxes: Mapping[str, Toolbox], name: str, arguments: Mapping[str, Any]) -> ToolResult:
    from freehold.errors import Misconfigured
    from freehold.ids import new_id

    box_name, _, tool = name.rpartition(".")
    found = [
        toolbox
        for one, toolbox in toolboxes.items()
        if box_name in ("", one) and tool in [spec.name for spec in toolbox.tools()]
    ]
    if len(found) != 1:
        known = [f"{one}.{spec.name}" for one, toolbox in toolboxes.items() for spec in toolbox.tools()]
        raise Misconfigured(f"{name}: {len(found)} tools have that name. There are: {', '.join(known)}")
    return await found[0].call(tool, arguments, key=new_id("call"))


def _object(text: str) -> dict[str, Any]:
    from freehold.errors import Misconfigured

    try:
        value = json.loads(text)
    except ValueError as error:
        raise Misconfigured(f"the arguments are not JSON: {error}") from error
    if not isinstance(value, dict):
        raise Misconfigured('the arguments must be a JSON object, such as \'{"user_id": "u_1"}\'')
    return value


def _cases(file: Path | None) -> list[dict[str, Any]]:
    if file is None:
        return []
    import yaml

    from freehold.errors import Misconfigured

    try:
        cases = yaml.safe_load(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Misconfigured(f"{file}: {error}") from error
    known = {"tool", "arguments", "contains", "error"}
    if not isinstance(cases, list) or not all(
        isinstance(one, dict) and "tool" in one and set(one) <= known for one in cases
    ):
        raise Misconfigured(f"{file}: must be a list of calls, each with tool, and arguments, contains or error")
    return cases


async def _failure(toolboxes: Mapping[str, Toolbox], case: Mapping[str, Any]) -> str | None:
    arguments = case.get("arguments") or {}
    result = await _call(toolboxes, case["tool"], arguments)
    text = _text(result)
    place = f"{case['tool']}({json.dumps(arguments, ensure_ascii=False)})"
    if result.is_error != bool(case.get("error", False)):
        return f"{place} {'failed' if result.is_error else 'did not fail'}: {text[:500]}"
    if str(case.get("contains", "")) not in text:
        return f"{place} does not contain {case['contains']!r}: {text[:500]}"
    return None


def _complaints(toolbox: Toolbox, spec: Any) -> list[str]:
    """What makes a tool harder to use than it need be."""
    place, found = f"{toolbox.name}.{spec.name}", []
    if len(spec.description) < 20:
        found.append(f"{place}: its description is so short that a model may not know when to call it")
    for name, schema in spec.input_schema.get("properties", {}).items():
        if not schema.get("description") and "enum" not in schema and name not in spec.description:
            found.append(f"{place}: {name} is not described; say in the docstring what it is")
    return found


def _shown(name: str, spec: Any) -> dict[str, Any]:
    schema = dict(spec.input_schema)
    return {"toolbox": name, "name": spec.name, "description": spec.description, "input_schema": schema}


def _arguments(schema: Mapping[str, Any]) -> list[str]:
    required = schema.get("required", ())
    return [name if name in required else f"{name}=…" for name in schema.get("properties", {})]


def _text(result: ToolResult) -> str:
    return "\n".join(
        str(block["text"]) if block["type"] == "text" else f"[{block['type']}]" for block in result.content
    )

"""The reference pages that are made from the code: commands, routes, known differences. Used by `write_docs.py`."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
_API = ROOT / "src" / "freehold" / "api"
_GENERATED = "This page is generated from the code by `make docs`."


def commands_page() -> str:
    """Every command with its options, as `--help` has them."""
    import typer

    from freehold.cli.commands import commands

    lines = ["# Commands", "", "`freehold COMMAND --help` says the same. " + _GENERATED]
    lines += ["", "`freehold --install-completion` teaches your shell to complete them."]
    for path, command in _commands(typer.main.get_command(commands()), ("freehold",)):
        arguments = " ".join(_argument(one) for one in command.params if one.param_type_name == "argument")
        lines += ["", f"## {' '.join(path)}", "", _plain(command.help or ""), ""]
        lines += ["```sh", " ".join(part for part in (*path, "[OPTIONS]", arguments) if part), "```"]
        options = [one for one in command.params if one.param_type_name == "option" and not one.hidden]
        if options:
            lines += ["", "| option | |", "|---|---|"]
            lines += [f"| `{', '.join(one.opts)}` | {_cell(one.help or '')} |" for one in options]
    return "\n".join(lines) + "\n"


def _commands(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if hasattr(command, "commands"):
        for name, one in command.commands.items():
            yield from _commands(one, (*path, name))
    else:
        yield path, command


def _argument(one: Any) -> str:
    name = str(one.metavar or one.name).strip("{}").upper()
    return name if one.required else f"[{name}]"


def routes_page() -> str:
    """Every route by the file that has it, under what that file says of itself."""
    lines = [
        "# Routes",
        "",
        "What stands under `/v1/` is Claude's own API, with its shapes ([where it differs](differences.md)); under",
        "`/freehold/v1/` stands what is ours. Every route but `/healthz` and `/readyz` wants a key, as `x-api-key` or",
        "`Authorization: Bearer`; *admin* wants that of an admin. A viewer's key may only GET. Besides there are",
        "`POST /v1/messages` and `POST /v1/messages/count_tokens`, which go past the router, and the",
        "[console](../guides/console.md) at `/console`, toolboxes over MCP at `/mcp/{toolbox}`.",
        "",
        _GENERATED,
    ]
    files = sorted(_API.rglob("*.py"))
    trees = {file.stem: ast.parse(file.read_text("utf-8")) for file in files}
    names = _all_names(trees)
    for file in files:
        found = list(_routes(trees[file.stem], names[file.stem]))
        if found:
            title = (ast.get_docstring(trees[file.stem]) or "").strip().split("\n\n")[0]
            lines += ["", f"## {file.stem.replace('_', ' ').capitalize()}", "", _plain(title), ""]
            lines += ["| | | |", "|---|---|---|", *(f"| {how} | `{path}` | {door} |" for how, path, door in found)]
    return "\n".join(lines) + "\n"


def _routes(tree: ast.Module, names: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    """Calls of `route(METHOD, PATH, …)` in that file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "route":
            method, path = (_constant(one, names) for one in node.args[:2])
            if method is not None and path is not None:
                doors = [_constant(one.value, names) or "as set" for one in node.keywords if one.arg == "door"]
                yield method, path, doors[0] if doors else ""


def _all_names(trees: dict[str, ast.Module]) -> dict[str, dict[str, str]]:
    """The constants of every file: its own, those it imports from its neighbours, and the paths they hand in."""
    found = {stem: _names(tree, {}) for stem, tree in trees.items()}
    for stem, tree in trees.items():
        for node in ast.walk(tree):
            module = (node.module or "").rpartition(".")[2] if isinstance(node, ast.ImportFrom) else ""
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("freehold."):
                theirs = found[module] if module in found else _elsewhere(str(node.module))
                found[stem] |= {one.asname or one.name: theirs[one.name] for one in node.names if one.name in theirs}
        found[stem] = _names(tree, found[stem])
    for stem, tree in trees.items():  # `documents.routes(…, ONE + "/documents")`
        for node in ast.walk(tree):
            other, _, called = ast.unparse(node.func).rpartition(".") if isinstance(node, ast.Call) else ("", "", "")
            if isinstance(node, ast.Call) and called == "routes" and other in found:
                taken = next(
                    one for one in trees[other].body if isinstance(one, ast.FunctionDef) and one.name == "routes"
                )
                given = {
                    argument.arg: value
                    for argument, one in zip(taken.args.args, node.args, strict=False)
                    if (value := _constant(one, found[stem])) is not None
                }
                found[other] = _names(trees[other], found[other] | given)
    return found


def _elsewhere(module: str) -> dict[str, str]:
    """The constants of a file of another room."""
    file = ROOT.joinpath("src", *module.split(".")).with_suffix(".py")
    return _names(ast.parse(file.read_text("utf-8")), {}) if file.exists() else {}


def _names(tree: ast.Module, known: dict[str, str]) -> dict[str, str]:
    names = dict(known)
    for node in ast.walk(tree):
        for name, value in _assigned(node):
            if (constant := _constant(value, names)) is not None:
                names[name] = constant
    return names


def _assigned(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """`a = x` and `a, b = x, y`, a name and its value at a time."""
    if not isinstance(node, ast.Assign):
        return
    target, value = node.targets[0], node.value
    pairs = (
        zip(target.elts, value.elts, strict=False)
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
        else [(target, value)]
    )
    for one, given in pairs:
        if isinstance(one, ast.Name):
            yield one.id, given


def _constant(node: ast.expr, names: dict[str, str]) -> str | None:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _constant(node.left, names), _constant(node.right, names)
        return None if left is None or right is None else left + right
    if isinstance(node, ast.JoinedStr):
        parts = [
            _constant(one.value, names) if isinstance(one, ast.FormattedValue) else _constant(one, names)
            for one in node.values
        ]
        return None if None in parts else "".join(str(part) for part in parts)
    return None


def differences_page() -> str:
    """The registry of differences as a page."""
    found = tomllib.loads((ROOT / "docs" / "reference" / "differences.toml").read_text("utf-8"))["difference"]
    told = {
        "deliberate": "Deliberate, or not built yet",
        "inferred": "Inferred: what Anthropic does there is concluded, not confirmed",
    }
    lines = ["# Differences from Anthropic's API", "", "Each is shown by a test. " + _GENERATED]
    for name, title in told.items():
        entries = [one for one in found if one["class"] == name]
        lines += ["", f"## {title}", ""]
        lines += [f"- **{one['id']}**: {_plain(one['what'])} (*{_plain(one['source'])}*)" for one in entries]
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text.replace("\b", " ")).strip()


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")

"""Writes the generated pages: the tree in ARCHITECTURE.md and the reference; `--check` only compares."""

from __future__ import annotations

import ast
import dataclasses
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from reference_pages import commands_page, differences_page, routes_page

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "freehold"
_LAYERS = (
    "errors.py ids.py clock.py money.py within.py threads.py config.py wire calls.py telemetry outbound store",
    "access ledger library",
    "upstreams environments toolboxes context jobs simulator gateway agents batches knowledge worker api console",
    "app server.py inprocess launch.py memory_tool.py bulk.py cli testing",
)
ORDER = " ".join(_LAYERS).split()


def caption(path: Path) -> str:
    """The first line of a module's docstring; a folder's is that of its `__init__`."""
    file = path / "__init__.py" if path.is_dir() else path
    text = ast.get_docstring(ast.parse(file.read_text("utf-8"))) if file.exists() else None
    return (text or "").strip().splitlines()[0] if text else ""


def tree() -> str:
    """Rooms in the order of the layers, ground first, each with its files and what they say of themselves."""
    lines = []
    present = {path.name for path in PACKAGE.iterdir() if path.suffix == ".py" or any(path.glob("*.py"))}
    missing = present - set(ORDER) - {"__init__.py", "__main__.py", "__pycache__"}
    if missing:
        raise SystemExit(f"scripts/write_docs.py does not know where these stand: {', '.join(sorted(missing))}")
    for name in [n for n in ORDER if n in present]:
        path = PACKAGE / name
        lines.append(f"{name + ('/' if path.is_dir() else ''):<28}{caption(path)}".rstrip())
        if path.is_dir():
            lines += list(inside(path, "  "))
    return "```\n" + "\n".join(lines) + "\n```\n"


def inside(folder: Path, indent: str) -> list[str]:
    """The files below a room."""
    lines = []
    for path in sorted(folder.iterdir(), key=lambda p: (p.is_dir(), p.name)):
        if path.name in {"__init__.py", "__pycache__"} or path.is_symlink():
            continue
        if path.suffix == ".py":
            lines.append(f"{indent}{path.name:<{28 - len(indent)}}{caption(path)}".rstrip())
        elif path.is_dir() and any(path.rglob("*.py")):
            lines.append(f"{indent}{path.name + '/':<{28 - len(indent)}}{caption(path)}".rstrip())
            lines += inside(path, indent + "  ")
    return lines


def settings_page() -> str:
    """Every setting with its default, unit and meaning, by the part that declares it."""
    from freehold.server import sections

    lines = [
        "# Settings",
        "",
        "Each is a line `name = value` in the TOML file given by `--config`, a variable `FREEHOLD_NAME` in the",
        "environment and, where `freehold serve --help` lists it, a flag. Flags win over the environment, which wins",
        "over the file. An unknown name stops the start. `freehold config` shows the values in force and their source.",
        "",
        "This page is generated from the code by `make docs`.",
    ]
    for section in sections():
        lines += ["", f"## {(section.__doc__ or section.__name__).strip().splitlines()[0]}", ""]
        lines += ["| name | default | unit | what it does |", "|---|---|---|---|"]
        for field in dataclasses.fields(section):
            value = field.default_factory() if callable(field.default_factory) else field.default
            shown = "(secret)" if field.metadata.get("secret") else f"`{value}`" if value not in (None, "", ()) else "–"
            doc = str(field.metadata.get("doc", "")).replace("|", "\\|")
            lines.append(f"| `{field.name}` | {shown} | {field.metadata.get('unit', '')} | {doc} |")
    return "\n".join(lines) + "\n"


def between(text: str, mark: str, new: str) -> str:
    """`text` with what stands between the two comments of `mark` replaced."""
    pattern = re.compile(rf"(<!-- {mark} -->\n).*?(<!-- end of {mark} -->)", re.S)
    if not pattern.search(text):
        raise SystemExit(f"the marks of {mark!r} are missing")
    return pattern.sub(lambda match: match.group(1) + new + match.group(2), text)


def pages() -> dict[Path, str]:
    """Every generated page as it should be."""
    architecture = ROOT / "ARCHITECTURE.md"
    return {
        architecture: between(architecture.read_text("utf-8"), "tree", tree()),
        ROOT / "docs" / "reference" / "settings.md": settings_page(),
        ROOT / "docs" / "reference" / "commands.md": commands_page(),
        ROOT / "docs" / "reference" / "api.md": routes_page(),
        ROOT / "docs" / "reference" / "differences.md": differences_page(),
    }


def main() -> int:
    """Write the pages, or with `--check` say which differ."""
    stale = [path for path, text in pages().items() if not path.exists() or path.read_text("utf-8") != text]
    if "--check" in sys.argv:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is not what the code says; run `make docs`", file=sys.stderr)
        return bool(stale)
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(pages()[path], "utf-8")
        print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

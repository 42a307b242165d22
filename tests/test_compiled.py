"""The compiled build, as `make compiled` makes it and `HATCH_BUILD_HOOKS_ENABLE=1 pip install .` installs it."""

from __future__ import annotations

import ast
import builtins
import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any, get_origin

import pytest

from benchmarks import compiled

pytestmark = pytest.mark.skipif(
    not compiled.is_current() and not os.environ.get("CI"), reason="`make compiled` was not run on these files"
)


def told(*command: str) -> str:
    """What a Python says that runs the compiled build."""
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, check=True, env=compiled.environment()
    )
    return done.stdout


def test_every_module_that_is_listed_runs_compiled() -> None:
    names = compiled.modules()
    code = "import importlib, json, sys; print(json.dumps([importlib.import_module(n).__file__ for n in sys.argv[1:]]))"
    files = [Path(file) for file in json.loads(told("-c", code, *names))]
    assert names
    for name, file in zip(names, files, strict=True):
        assert file.parent == compiled.PLACE.joinpath(*name.split(".")[:-1])
        assert file.name.removeprefix(name.rpartition(".")[2]) in EXTENSION_SUFFIXES


def nodes() -> Iterator[tuple[str, ast.AST]]:
    """All that the modules of the list are made of, each with its module's name."""
    for name in compiled.modules():
        text = compiled.ROOT.joinpath("src", *name.split(".")).with_suffix(".py").read_text("utf-8")
        yield from ((name, node) for node in ast.walk(ast.parse(text)))


def classes() -> Iterator[tuple[str, ast.ClassDef]]:
    yield from ((name, node) for name, node in nodes() if isinstance(node, ast.ClassDef))


def methods(node: ast.ClassDef) -> list[ast.FunctionDef]:
    return [part for part in node.body if isinstance(part, ast.FunctionDef)]


def test_no_coroutine_is_in_the_list() -> None:
    """One that mypyc made brought the process down when it was cancelled while it waited."""
    waits = (ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith, ast.Await)
    assert not [(name, node.lineno) for name, node in nodes() if isinstance(node, waits)]


def test_no_class_in_the_list_has_words_behind_its_bases() -> None:
    """mypyc drops them without a message: what is `frozen=True` for msgspec would not be frozen."""
    assert not [(name, node.name) for name, node in classes() if node.keywords]


def test_no_property_in_the_list_gives_what_is_called() -> None:
    """mypyc takes `answer.read()` for a call of a method: it has what the property gives, and does not call that."""
    for name, node in classes():
        known = {"None": None, **vars(builtins), **vars(importlib.import_module(name))}
        for method in methods(node):
            if any("property" in ast.unparse(decorator) for decorator in method.decorator_list):
                assert method.returns is not None
                words = re.findall(r"\w+", ast.unparse(method.returns))
                assert not [word for word in words if _is_called(known[word])], f"{name}.{node.name}.{method.name}"


def _is_called(kind: Any) -> bool:
    """Whether a type is that of functions: `Callable`, a name for one, or a class or protocol with `__call__`."""
    kind = get_origin(kind) or kind
    return kind is Callable or any("__call__" in vars(base) for base in getattr(kind, "__mro__", ()))


def test_every_class_in_the_list_that_has_a_length_says_when_it_is_true() -> None:
    """`if found:` of a `Found | None` is true for mypyc also when `len(found)` is 0."""
    for name, node in classes():
        has = {method.name for method in methods(node)}
        assert "__len__" not in has or "__bool__" in has, f"{name}.{node.name}"


def test_nothing_else_is_compiled() -> None:
    """So what is in the list is all, and nothing of an older build is left."""
    made = {path.relative_to(compiled.PLACE).parts for path in compiled.PLACE.rglob("*.so")}
    listed = {tuple(name.split(".")) for name in compiled.modules()}
    assert {(*parts[:-1], parts[-1].partition(".")[0]) for parts in made} == listed | {("freehold__mypyc",)}


def test_the_development_install_stays_interpreted() -> None:
    assert not list((compiled.ROOT / "src").rglob("*.so"))


def test_an_installation_brings_the_files_of_the_demo() -> None:
    files = Path(told("-c", "from freehold.cli.demo import FILES; print(FILES)").strip())
    assert files.is_relative_to(compiled.PLACE)
    assert sorted(files.glob("*.py")) == [files / f"{name}.py" for name in ("analyse", "company", "make_orders")]
    assert (files.parent / "hello_messages.py").is_file()


def test_the_build_is_told() -> None:
    assert told("-m", "freehold", "--version").endswith(", hot path compiled\n")

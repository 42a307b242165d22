"""The compiled build, as `make compiled` makes it and `HATCH_BUILD_HOOKS_ENABLE=1 pip install .` installs it."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

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


def test_no_class_in_the_list_has_words_behind_its_bases() -> None:
    """mypyc drops them without a message: what is `frozen=True` for msgspec would not be frozen."""
    for name in compiled.modules():
        text = compiled.ROOT.joinpath("src", *name.split(".")).with_suffix(".py").read_text("utf-8")
        classes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ClassDef)]
        assert not [(name, node.name) for node in classes if node.keywords]


def test_nothing_else_is_compiled() -> None:
    """So what is in the list is all, and nothing of an older build is left."""
    made = {path.relative_to(compiled.PLACE).parts for path in compiled.PLACE.rglob("*.so")}
    listed = {tuple(name.split(".")) for name in compiled.modules()}
    assert {(*parts[:-1], parts[-1].partition(".")[0]) for parts in made} == listed | {("freehold__mypyc",)}


def test_the_development_install_stays_interpreted() -> None:
    assert not list((compiled.ROOT / "src").rglob("*.so"))


def test_the_build_is_told() -> None:
    assert told("-m", "freehold", "--version").endswith(", hot path compiled\n")

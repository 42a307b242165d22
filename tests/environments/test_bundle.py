"""The code that goes into a box."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from freehold.environments import bundle
from freehold.environments.base import BoxFailed

HOUSE = Path(bundle.__file__).parent
HOST_ONLY = {"tools/__init__.py", "tools/specs.py", "supervisor/__init__.py"}


def test_every_module_that_runs_inside_is_in_the_bundle() -> None:
    found = {
        f"{path.parent.name}/{path.name}" for room in ("supervisor", "tools") for path in (HOUSE / room).glob("*.py")
    }
    assert {f"{name.replace('.', '/')}.py" for name in bundle.MODULES} == found - HOST_ONLY


def test_inside_only_the_standard_library_and_the_bundle_are_imported() -> None:
    inside = {name for name, _, _ in bundle.sources()}
    for name, _, text in bundle.sources():
        for node in ast.walk(ast.parse(text)):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                modules = [node.module]
            for module in modules:
                top = module.partition(".")[0]
                ours = module in inside or any(m.startswith(f"{module}.") for m in inside)
                assert top in sys.stdlib_module_names or ours, f"{name} imports {module}"


def test_starting_loads_nothing_slow() -> None:
    code = bundle.compiled([sys.executable])
    head, _, _ = bundle.START.rpartition(";")
    check = f"{head}\nprint(*sorted(sys.modules))".replace("open(int(sys.argv[2]),'rb')", "sys.stdin.buffer")
    done = subprocess.run([sys.executable, "-I", "-S", "-c", check], input=code, capture_output=True, check=True)
    loaded = set(done.stdout.decode().split())
    assert "freehold.environments.supervisor.main" in loaded
    assert not loaded & {"json", "re", "typing", "subprocess", "enum", "ctypes", "dataclasses", "pathlib"}
    assert "freehold.environments.tools.grep" not in loaded


def test_an_interpreter_that_does_not_run_is_named() -> None:
    with pytest.raises(BoxFailed, match=r"/no/such/python"):
        bundle.compiled(["/no/such/python"])
    with pytest.raises(BoxFailed, match="cannot load"):
        bundle.compiled(["/bin/false"])

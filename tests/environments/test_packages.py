"""What may be asked for, and how it is installed."""

from __future__ import annotations

from typing import Any

import pytest

from freehold.environments.packages import NPM, PIP, check_packages, layer_variables
from freehold.errors import InvalidRequest, NotBuilt


@pytest.mark.parametrize(
    "packages",
    [
        {},
        {"type": "packages", "pip": [], "apt": None},
        {"pip": ["requests", "numpy==2.1.0", "uvicorn[standard]>=0.30,<1", "zope.interface ~= 6.0", "a!=1.*"]},
        {"npm": ["semver", "semver@7.6.0", "@types/node@^22", "left-pad@latest"]},
    ],
)
def test_names_with_versions_are_taken(packages: dict[str, Any]) -> None:
    check_packages(packages)


@pytest.mark.parametrize(
    ("manager", "spec"),
    [
        *(
            ("pip", spec)
            for spec in ("", "-r x", "--index-url=http://evil", "git+https://x/y", "./local", "a; rm -rf /")
        ),
        *(("pip", spec) for spec in ("a b", "a@http://evil/x.whl", "a$(id)", "a\n--pre", "x" * 300)),
        *(("npm", spec) for spec in ("", "-g", "http://evil/x.tgz", "git@github.com:x/y", "../x", "a b", "a;id", "@x")),
    ],
)
def test_anything_else_is_refused(manager: str, spec: str) -> None:
    with pytest.raises(InvalidRequest, match=f"packages.{manager}"):
        check_packages({manager: [spec]})


@pytest.mark.parametrize("manager", ["apt", "cargo", "gem", "go"])
def test_a_manager_that_is_not_run_is_said_so(manager: str) -> None:
    with pytest.raises(NotBuilt, match=f"packages.{manager}"):
        check_packages({manager: ["x"]})


def test_a_list_without_end_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="at most"):
        check_packages({"pip": [f"p{n}" for n in range(101)]})


def test_only_one_exact_version_is_exact() -> None:
    assert [PIP.exact(spec) for spec in ("a==1.0", "a", "a>=1", "a==1.*", "a==1,!=2")] == [
        True,
        False,
        False,
        False,
        False,
    ]
    assert [NPM.exact(spec) for spec in ("a@1.2.3", "a", "a@^1.2.3", "a@latest", "@s/a@1.2.3")] == [
        *(True, False, False, False, True),
    ]


def test_options_cannot_be_smuggled_in() -> None:
    for manager in (PIP, NPM):
        command = manager.install(["a", "b"], None)
        assert command.rstrip().endswith("-- a b")


def test_packages_come_first_on_the_path() -> None:
    assert layer_variables(set(), "/usr/bin") == {"PATH": "/usr/bin"}
    both = layer_variables({"/opt/env", "/opt/npm"}, "/usr/bin")
    assert both["PATH"] == "/opt/env/bin:/opt/npm/bin:/usr/bin"
    assert both["NODE_PATH"] == "/opt/npm/lib/node_modules"

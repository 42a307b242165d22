"""What may be asked for, and how it is installed."""

from __future__ import annotations

from typing import Any

import pytest

from freehold.environments.managers import APT, BUILT, CARGO, GEM, GO, NPM, PIP
from freehold.environments.packages import check_packages, layer_variables
from freehold.errors import InvalidRequest


@pytest.mark.parametrize(
    "packages",
    [
        {},
        {"type": "packages", "pip": [], "apt": None},
        {"pip": ["requests", "numpy==2.1.0", "uvicorn[standard]>=0.30,<1", "zope.interface ~= 6.0", "a!=1.*"]},
        {"apt": ["jq", "libssl-dev=3.0.15-1~deb12u1", "g++"], "cargo": ["ripgrep", "fd-find@10.2.0"]},
        {"gem": ["rake", "rails:7.1.3"], "go": ["golang.org/x/tools/cmd/goimports@latest", "rsc.io/quote@v1.5.2"]},
        {"npm": ["semver", "semver@7.6.0", "@types/node@^22", "left-pad@latest"]},
    ],
)
def test_names_with_versions_are_taken(packages: dict[str, Any]) -> None:
    check_packages(packages, has=lambda name: True)


@pytest.mark.parametrize(
    ("manager", "spec"),
    [
        *(
            ("pip", spec)
            for spec in ("", "-r x", "--index-url=http://evil", "git+https://x/y", "./local", "a; rm -rf /")
        ),
        *(("pip", spec) for spec in ("a b", "a@http://evil/x.whl", "a$(id)", "a\n--pre", "x" * 300)),
        *(("apt", spec) for spec in ("", "jq-", "-o=x", "jq/sid", "a b", "./x.deb", "jq;id", "Jq", "=1")),
        *(("cargo", spec) for spec in ("", "--git", "a b", "a@1;id", "../a", "a=1")),
        *(("gem", spec) for spec in ("", "-v", "a b", "a:x", "a;id", "../a")),
        *(("go", spec) for spec in ("", "fmt", "./x", "../x/y", "a/b@$(id)", "-o/x", "a/b c")),
        *(("npm", spec) for spec in ("", "-g", "http://evil/x.tgz", "git@github.com:x/y", "../x", "a b", "a;id", "@x")),
    ],
)
def test_anything_else_is_refused(manager: str, spec: str) -> None:
    with pytest.raises(InvalidRequest, match=f"packages.{manager}"):
        check_packages({manager: [spec]}, has=lambda name: True)


@pytest.mark.parametrize(
    ("manager", "program", "package"),
    [("cargo", "cargo", "cargo"), ("gem", "gem", "ruby"), ("go", "go", "golang-go"), ("npm", "npm", "npm")],
)
def test_a_manager_whose_program_is_missing_says_what_to_install(manager: str, program: str, package: str) -> None:
    spec = "example.com/x" if manager == "go" else "x"
    with pytest.raises(InvalidRequest, match=rf"packages.{manager}: there is no `{program}`.*apt install {package}"):
        check_packages({manager: [spec]}, has=lambda name: name == "apt-get")
    check_packages({manager: [spec], "apt": [f"{package}=1.0"]}, has=lambda name: name == "apt-get")
    check_packages({manager: [spec]}, has=lambda name: True)


def test_a_server_that_has_no_apt_says_so() -> None:
    with pytest.raises(InvalidRequest, match=r"packages\.apt: there is no `apt-get`"):
        check_packages({"apt": ["jq"]}, has=lambda name: False)


def test_a_list_without_end_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="at most"):
        check_packages({"pip": [f"p{n}" for n in range(101)]}, has=lambda name: True)


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
    for manager in (PIP, NPM, CARGO):
        command = manager.install(["a", "b"], None)
        assert command.rstrip().endswith("-- a b")
    assert "install -- a b" in APT.install(["a", "b"], None)
    for manager in BUILT.values():
        assert not any(manager.spec.fullmatch(spec) for spec in ("-a", "--a", "a;b", "a b", "$(a)", "`a`", "a\n-b"))
    assert "GOPROXY=http://own" in GO.install(["a/b"], "http://own") and "a/b@latest" in GO.install(["a/b"], None)
    assert "--clear-sources --source http://own" in GEM.install(["a"], "http://own")
    assert "replace-with" in CARGO.install(["a"], "sparse+http://own/")


def test_packages_come_first_on_the_path() -> None:
    more = layer_variables({"/opt/cargo", "/opt/gem", "/opt/go"}, "/usr/bin")
    assert more == {"PATH": "/opt/go/bin:/opt/gem/bin:/opt/cargo/bin:/usr/bin", "GEM_PATH": "/opt/gem"}
    assert layer_variables(set(), "/usr/bin") == {"PATH": "/usr/bin"}
    both = layer_variables({"/opt/env", "/opt/npm"}, "/usr/bin")
    assert both["PATH"] == "/opt/env/bin:/opt/npm/bin:/usr/bin"
    assert both["NODE_PATH"] == "/opt/npm/lib/node_modules"

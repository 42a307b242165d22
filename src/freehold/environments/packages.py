"""The `packages` of an environment: which can be had, what they are called, and how each manager installs them.

    {"type": "packages", "pip": ["requests==2.32.3", "numpy"], "npm": ["semver@7"]}

This module knows commands; it runs none.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from freehold.config import setting
from freehold.errors import InvalidRequest, NotBuilt

MANAGERS = ("apt", "cargo", "gem", "go", "npm", "pip")
"""In the order in which they are installed."""
MOST_PACKAGES = 100
_MOST_CHARACTERS = 200
_VERSION = r"(?:===?|~=|!=|<=|>=|<|>)\s*[A-Za-z0-9.*+!_-]+"
_PIP = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]*(?:\[[A-Za-z0-9,._-]+\])?\s*(?:{_VERSION}(?:\s*,\s*{_VERSION})*)?")
_NPM = re.compile(r"(?:@[a-z0-9~-][a-z0-9._~-]*/)?[a-z0-9~][a-z0-9._~-]*(?:@[A-Za-z0-9.^~<>=*-]+)?")
_NPM_EXACT = re.compile(r".+@\d+\.\d+\.\d+[A-Za-z0-9.+-]*")


@dataclass(frozen=True, slots=True)
class LayerSettings:
    """Where packages come from, and how long the newest is the newest."""

    layer_pip_index: str | None = setting(None, "The URL of a package index of your own, instead of the public one.")
    layer_npm_registry: str | None = setting(None, "The URL of an npm registry of your own, instead of the public one.")
    layer_fresh_days: int = setting(7, "Packages without an exact version are resolved anew after so many days.")
    layer_kept_days: int = setting(30, "Installed packages that no box was opened with for so many days are removed.")


@dataclass(frozen=True, slots=True)
class Manager:
    """How one package manager fills a folder, which boxes then see at `target`."""

    name: str
    target: str
    spec: re.Pattern[str]

    def exact(self, spec: str) -> bool:
        """Whether the spec can only ever mean one version."""
        if self.name == "pip":
            return "==" in spec and "*" not in spec and "," not in spec
        return _NPM_EXACT.fullmatch(spec) is not None

    def install(self, specs: Sequence[str], source: str | None) -> str:
        """The command that installs into `target`. `source`: the index, when it is not the public one."""
        wanted = " ".join(shlex.quote(spec.replace(" ", "")) for spec in specs)
        where = shlex.quote(source) if source else ""
        if self.name == "pip":
            index = f"--index-url {where} {_trusted(source)}" if source else ""
            return (
                f"python3 -m venv --without-pip --system-site-packages {self.target} && python3 -m pip "
                f"--python {self.target}/bin/python install --no-input --no-cache-dir --disable-pip-version-check "
                f"--progress-bar off {index} -- {wanted}"
            )
        registry = f"--registry {where}" if where else ""
        return (
            f"npm install --global --prefix {self.target} --no-audit --no-fund --no-update-notifier --no-progress "
            f"--cache /tmp/npm {registry} -- {wanted}"
        )

    def listing(self) -> str:
        """The command that prints what was installed, one `name==version` or `name@version` a line."""
        if self.name == "pip":
            where = f"{self.target}/lib/python3*/site-packages"
            return f"python3 -m pip list --disable-pip-version-check --format freeze --path {where}"
        return f"npm ls --global --prefix {self.target} --depth 0 --parseable --long | cut -d: -f2"


def _trusted(index: str) -> str:
    """An index without TLS is one that the operator has set; pip wants to be told."""
    parts = urlsplit(index)
    return f"--trusted-host {shlex.quote(parts.netloc)}" if parts.scheme == "http" else ""


PIP = Manager("pip", "/opt/env", _PIP)
NPM = Manager("npm", "/opt/npm", _NPM)
BUILT = {"npm": NPM, "pip": PIP}


def check_packages(packages: Mapping[str, Any]) -> None:
    """For the API: whether these packages can be asked for.

    Raises:
        NotBuilt: of a manager that this server does not run.
        InvalidRequest: names the entry that is no package.
    """
    for name in MANAGERS:
        specs = packages.get(name) or []
        if specs and name not in BUILT:
            raise NotBuilt(f"packages.{name}: this server installs {' and '.join(BUILT)} packages only.")
        if len(specs) > MOST_PACKAGES:
            raise InvalidRequest(f"packages.{name}: at most {MOST_PACKAGES} packages, not {len(specs)}")
        for spec in specs:
            if len(spec) > _MOST_CHARACTERS or not BUILT[name].spec.fullmatch(spec):
                raise InvalidRequest(
                    f"packages.{name}: {spec[:_MOST_CHARACTERS]!r} is not a package name with versions"
                )


def layer_variables(targets: Set[str], path: str) -> dict[str, str]:
    """What makes programs find the packages that are mounted at those places, before all others."""
    found = {}
    if NPM.target in targets:
        path = f"{NPM.target}/bin:{path}"
        found["NODE_PATH"] = f"{NPM.target}/lib/node_modules"
    if PIP.target in targets:
        path = f"{PIP.target}/bin:{path}"
        found["VIRTUAL_ENV"] = PIP.target
    return {"PATH": path, **found}

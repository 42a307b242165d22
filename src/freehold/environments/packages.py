"""The `packages` of an environment: which can be had here, and where they come from.

{"type": "packages", "apt": ["jq"], "pip": ["requests==2.32.3", "numpy"], "npm": ["semver@7"]}
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from freehold.config import setting
from freehold.environments.managers import BUILT, CARGO, GEM, GO, NPM, PIP, Manager
from freehold.errors import InvalidRequest

MANAGERS = tuple(BUILT)
"""In the order in which they are installed."""
MOST_PACKAGES = 100
_MOST_CHARACTERS = 200
_BASE_PATH = "/usr/local/bin:/usr/bin"


@dataclass(frozen=True, slots=True)
class LayerSettings:
    """Where packages come from, and how long the newest is the newest."""

    layer_apt_sources: tuple[str, ...] = setting(
        (), "Lines of an apt sources.list (`deb https://… …`) for boxes, instead of the host's own sources."
    )
    layer_cargo_index: str | None = setting(None, "The index of a cargo registry of your own (`sparse+https://…/`).")
    layer_gem_source: str | None = setting(None, "The URL of a gem server of your own, instead of the public one.")
    layer_go_proxy: str | None = setting(None, "The URL of a Go module proxy of your own, instead of the public one.")
    layer_pip_index: str | None = setting(None, "The URL of a package index of your own, instead of the public one.")
    layer_npm_registry: str | None = setting(None, "The URL of an npm registry of your own, instead of the public one.")
    layer_fresh_days: int = setting(7, "Packages without an exact version are resolved anew after so many days.")
    layer_kept_days: int = setting(30, "Installed packages that no box was opened with for so many days are removed.")

    def source(self, manager: str) -> str | None:
        """The one address that this manager's packages come from; `None`: the public registry, or apt's sources."""
        named = {
            "cargo": self.layer_cargo_index,
            "gem": self.layer_gem_source,
            "go": self.layer_go_proxy,
            "npm": self.layer_npm_registry,
            "pip": self.layer_pip_index,
        }
        return named.get(manager)


def in_base(program: str) -> bool:
    """Whether boxes find that program in the host's `/usr`."""
    return shutil.which(program, path=_BASE_PATH) is not None


def check_packages(packages: Mapping[str, Any], has: Callable[[str], bool] = in_base) -> None:
    """For the API: whether these packages can be asked for. `has`: whether the base of boxes has a program.

    Raises:
        InvalidRequest: names the entry that is no package, or what is missing for its manager.
    """
    for manager in BUILT.values():
        specs = packages.get(manager.name) or []
        if specs:
            _check_program(manager, packages.get("apt") or (), has)
        if len(specs) > MOST_PACKAGES:
            raise InvalidRequest(f"packages.{manager.name}: at most {MOST_PACKAGES} packages, not {len(specs)}")
        for spec in specs:
            if len(spec) > _MOST_CHARACTERS or not manager.spec.fullmatch(spec):
                raise InvalidRequest(
                    f"packages.{manager.name}: {spec[:_MOST_CHARACTERS]!r} is not a package name with versions"
                )


def _check_program(manager: Manager, apt: Sequence[str], has: Callable[[str], bool]) -> None:
    if has(manager.program) or {spec.split("=")[0] for spec in apt} & set(manager.providers):
        return
    raise InvalidRequest(f"packages.{manager.name}: {_missing(manager)}")


def _missing(manager: Manager) -> str:
    if not manager.providers:
        return f"there is no `{manager.program}` on this server; these packages need one that is based on Debian"
    package = manager.providers[0]
    return (
        f"there is no `{manager.program}` where boxes look ({_BASE_PATH}). Install it on the server "
        f'(apt install {package}), or add "{package}" to packages.apt'
    )


def layer_variables(targets: Set[str], path: str) -> dict[str, str]:
    """What makes programs find the packages that are mounted at those places, before all others."""
    found = {}
    for manager in (CARGO, GEM, GO, NPM, PIP):
        if manager.target in targets:
            path = f"{manager.target}/bin:{path}"
    if NPM.target in targets:
        found["NODE_PATH"] = f"{NPM.target}/lib/node_modules"
    if GEM.target in targets:
        found["GEM_PATH"] = GEM.target
    if PIP.target in targets:
        found["VIRTUAL_ENV"] = PIP.target
    return {"PATH": path, **found}

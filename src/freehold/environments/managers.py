"""The package managers: what each calls a package, and the commands with which it fills a folder inside a box.

This module knows commands; it runs none.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

SCRATCH = "/workspace/scratch"
"""Where builds put what nobody needs later; on the disk, so that it does not count as memory."""
APT_SOURCES = "/opt/apt-sources"
"""Where a build of apt packages finds the sources, the keys and what the base has already."""
_VERSION = r"(?:===?|~=|!=|<=|>=|<|>)\s*[A-Za-z0-9.*+!_-]+"
_PIP = rf"[A-Za-z0-9][A-Za-z0-9._-]*(?:\[[A-Za-z0-9,._-]+\])?\s*(?:{_VERSION}(?:\s*,\s*{_VERSION})*)?"
_NPM = r"(?:@[a-z0-9~-][a-z0-9._~-]*/)?[a-z0-9~][a-z0-9._~-]*(?:@[A-Za-z0-9.^~<>=*-]+)?"
_APT = r"[a-z0-9][a-z0-9+.-]*[a-z0-9+.](?:=[A-Za-z0-9.+:~-]+)?"
_CARGO = r"[A-Za-z0-9][A-Za-z0-9_-]*(?:@[A-Za-z0-9.+-]+)?"
_GEM = r"[A-Za-z0-9][A-Za-z0-9._-]*(?::\d[A-Za-z0-9.]*)?"
_GO = r"[A-Za-z0-9][A-Za-z0-9._~-]*(?:/[A-Za-z0-9._~-]+)+(?:@[A-Za-z0-9.+-]+)?"
_THREE = r"\d+\.\d+\.\d+[A-Za-z0-9.+-]*"

Install = Callable[[str, Sequence[str], str | None], str]


@dataclass(frozen=True, slots=True)
class Manager:
    """How one package manager fills a folder, which boxes then see at `target`."""

    name: str
    target: str
    spec: re.Pattern[str]
    _exact: re.Pattern[str]
    _install: Install
    _listing: str
    program: str
    """What must be there for it, in the base or among the apt packages."""
    providers: tuple[str, ...]
    """Apt packages that bring the program; the first is the one to name."""

    def exact(self, spec: str) -> bool:
        """Whether the spec can only ever mean one version."""
        return self._exact.fullmatch(spec) is not None

    def install(self, specs: Sequence[str], source: str | None) -> str:
        """The command that installs into `target`. `source`: the index, when it is not the public one."""
        return self._install(self.target, [spec.replace(" ", "") for spec in specs], source)

    def listing(self) -> str:
        """The command that prints what was installed, one `name==version` (or as the manager writes it) a line."""
        return self._listing.replace("{target}", self.target)


def _words(specs: Sequence[str]) -> str:
    return " ".join(map(shlex.quote, specs))


def _pip(target: str, specs: Sequence[str], source: str | None) -> str:
    index = f"--index-url {shlex.quote(source)} {_trusted(source)}" if source else ""
    return (
        f"python3 -m venv --without-pip --system-site-packages {target} && python3 -m pip "
        f"--python {target}/bin/python install --no-input --no-cache-dir --disable-pip-version-check "
        f"--progress-bar off {index} -- {_words(specs)}"
    )


def _trusted(index: str) -> str:
    """An index without TLS is one that the operator has set; pip wants to be told."""
    parts = urlsplit(index)
    return f"--trusted-host {shlex.quote(parts.netloc)}" if parts.scheme == "http" else ""


def _npm(target: str, specs: Sequence[str], source: str | None) -> str:
    registry = f"--registry {shlex.quote(source)}" if source else ""
    return (
        f"npm install --global --prefix {target} --no-audit --no-fund --no-update-notifier --no-progress "
        f"--cache {SCRATCH} {registry} -- {_words(specs)}"
    )


_APT_CONF = f"""
Dir::State "{SCRATCH}/state"; Dir::State::status "{APT_SOURCES}/status"; Dir::Cache "{SCRATCH}/cache";
Dir::Log "{SCRATCH}/log"; Dir::Etc::sourcelist "{APT_SOURCES}/sources.list";
Dir::Etc::sourceparts "{APT_SOURCES}/sources.list.d"; Dir::Etc::trustedparts "{APT_SOURCES}/trusted.gpg.d";
Dir::Etc::trusted "{APT_SOURCES}/trusted.gpg"; Dir::Etc::preferencesparts "{SCRATCH}/log";
Dir::Etc::parts "{SCRATCH}/log"; Dir::Etc::main "{SCRATCH}/none";
APT::Sandbox::User ""; APT::Install-Recommends "false"; Debug::NoLocking "true"; Acquire::Languages "none";
"""


def _apt(target: str, specs: Sequence[str], source: str | None) -> str:
    """Resolved by apt against what the base has, then unpacked: maintainer scripts are not run, as nobody is root."""
    archives = f"{SCRATCH}/cache/archives"
    return (
        f"mkdir -p {SCRATCH}/state/lists/partial {archives}/partial {SCRATCH}/log && "
        f"export APT_CONFIG={SCRATCH}/apt.conf && printf %s {shlex.quote(_APT_CONF)} > $APT_CONFIG && "
        f"apt-get -q update && apt-get -q -y --download-only install -- {_words(specs)} && "
        f"for one in {archives}/*.deb; do [ ! -e $one ] || dpkg-deb -x $one {target} || exit 1; done && "
        f"for name in bin sbin lib lib32 lib64; do "
        f"[ ! -d {target}/$name -o -h {target}/$name ] || {{ mkdir -p {target}/usr/$name && "
        f"cp -a {target}/$name/. {target}/usr/$name/ && rm -rf {target}/$name; }}; done"
    )


def _cargo(target: str, specs: Sequence[str], source: str | None) -> str:
    other = ""
    if source:
        lines = f'[source.crates-io]\nreplace-with = "own"\n[source.own]\nregistry = "{source}"\n'
        other = f"printf %s {shlex.quote(lines)} > $CARGO_HOME/config.toml && "
    return (
        f"export CARGO_HOME={SCRATCH}/cargo CARGO_TARGET_DIR={SCRATCH}/target && mkdir -p $CARGO_HOME && {other}"
        f"cargo install --locked --quiet --root {target} -- {_words(specs)}"
    )


def _gem(target: str, specs: Sequence[str], source: str | None) -> str:
    """Without a `--`: what follows it would go to the compiler of extensions, and no spec begins with a dash."""
    other = f"--clear-sources --source {shlex.quote(source)}" if source else ""
    return (
        f"gem install --no-document --env-shebang --install-dir {target} --bindir {target}/bin {other} {_words(specs)}"
    )


def _go(target: str, specs: Sequence[str], source: str | None) -> str:
    other = f"GOPROXY={shlex.quote(source)} GOSUMDB=off" if source else ""
    each = _words([spec if "@" in spec else f"{spec}@latest" for spec in specs])
    return (
        f"export GOPATH={SCRATCH}/go GOCACHE={SCRATCH}/gocache GOBIN={target}/bin GOTOOLCHAIN=local {other} && "
        f"for one in {each}; do go install -modcacherw $one || exit 1; done"
    )


_GO_LISTING = 'for one in {target}/bin/*; do go version -m $one | awk \'$1 == "mod" {print $2 "@" $3}\'; done'


def _manager(
    name: str, spec: str, exact: str, install: Install, listing: str, program: str, providers: tuple[str, ...]
) -> Manager:
    target = {"pip": "/opt/env"}.get(name, f"/opt/{name}")
    return Manager(name, target, re.compile(spec), re.compile(exact), install, listing, program, providers)


APT = _manager(
    *("apt", _APT, r"[^=]+=.+", _apt),
    f"for one in {SCRATCH}/cache/archives/*.deb; do [ ! -e $one ] || "
    "dpkg-deb --show --showformat='${Package}=${Version}\\n' $one; done",
    *("apt-get", ()),
)
CARGO = _manager(
    *("cargo", _CARGO, rf"[^@]+@{_THREE}", _cargo),
    "cargo install --list --root {target} | sed -n 's/^\\([^ ]*\\) v\\([^:]*\\):.*/\\1@\\2/p'",
    *("cargo", ("cargo", "rustup")),
)
GEM = _manager(
    *("gem", _GEM, r"[^:]+:\d[A-Za-z0-9.]*", _gem),
    "ls {target}/gems",
    *("gem", ("ruby", "ruby-full", "rubygems")),
)
GO = _manager(*("go", _GO, rf"[^@]+@v{_THREE}", _go), _GO_LISTING, *("go", ("golang-go", "golang")))
NPM = _manager(
    *("npm", _NPM, rf".+@{_THREE}", _npm),
    "npm ls --global --prefix {target} --depth 0 --parseable --long | tail -n +2 | cut -d: -f2",
    *("npm", ("npm", "nodejs")),
)
PIP = _manager(
    *("pip", _PIP, r"[^=,*]+===?[^,*]+", _pip),
    "python3 -m pip list --disable-pip-version-check --format freeze --path {target}/lib/python3*/site-packages",
    *("python3", ("python3",)),
)
BUILT = {manager.name: manager for manager in (APT, CARGO, GEM, GO, NPM, PIP)}
"""All of them, in the order in which they are installed."""

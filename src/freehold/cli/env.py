"""`freehold env`: what environments there are, their packages installed ahead, and a shell in a box of one."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from freehold.cli.options import Data, Json, KeyFile, Url, print_json, print_table, tell
from freehold.cli.serve import ConfigFile

if TYPE_CHECKING:
    from freehold.app.trialbox import TrialBox
    from freehold.cli.calling import Server

EnvironmentId = Annotated[str, typer.Argument(help="Id of the environment.")]
_PROGRAMS = (
    *("bash", "python3", "git", "rg", "curl", "node", "npm", "gcc", "make", "go", "cargo", "ruby", "java", "perl"),
    *("jq", "sqlite3", "ffmpeg", "pandoc", "tar", "zstd", "unzip"),
)


def commands() -> typer.Typer:
    """The group."""
    group = typer.Typer(help="Environments: what boxes have and reach.", no_args_is_help=True)
    group.command("list")(list_)
    group.command("build")(build)
    group.command("show")(show)
    group.command("shell")(shell)
    group.command("gc")(collect)
    return group


def list_(
    layers: Annotated[bool, typer.Option("--layers", help="The installed packages instead (admins only).")] = False,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """List the environments of the workspace, or with --layers what is installed on this server."""
    from freehold.cli.settings import server_of

    server = server_of(data, url, key_file)
    rows = server.get("/freehold/v1/layers")["data"] if layers else server.pages("/v1/environments")
    if as_json:
        print_json(rows)
    elif layers:
        columns = ["id", "packages", "size", "used_at"]
        print_table(columns, [_layer(row) for row in rows], "Nothing is installed.")
    else:
        columns = ["id", "name", "image", "packages", "network", "limits"]
        print_table(columns, [_environment(row) for row in rows], "There is no environment.")


def build(
    environment_id: Annotated[str | None, typer.Argument(help="Id of the environment.")] = None,
    base: Annotated[
        bool, typer.Option("--base", help="Build a Debian system on this machine instead, for boxes to stand on.")
    ] = False,
    suite: Annotated[str, typer.Option(help="Which Debian, with --base.")] = "bookworm",
    mirror: Annotated[str | None, typer.Option(help="Where it comes from, with --base.")] = None,
    config: ConfigFile = None,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Install the packages of an environment now, so that no session waits for them."""
    from freehold.cli.settings import server_of

    if base == (environment_id is not None):
        raise typer.BadParameter("name an environment, or --base")
    if environment_id is None:
        _build_base(suite, mirror, config, data, as_json)
    else:
        _build(environment_id, server_of(data, url, key_file), as_json)


def _build_base(suite: str, mirror: str | None, config: Any, data: Any, as_json: bool) -> None:
    import asyncio

    from freehold.app.basebuilding import build_base
    from freehold.cli.settings import configured
    from freehold.environments.base import BoxFailed
    from freehold.environments.images.debian import Debian

    def said(line: str) -> None:
        print(line, file=sys.stderr)

    try:
        image = asyncio.run(build_base(configured({"data": data}, config), Debian(suite, mirror), said))
    except BoxFailed as error:
        print(f"{error}", file=sys.stderr)
        raise typer.Exit(1) from error
    told = f"Boxes stand on {image.name} ({image.digest}) from now on, where their environment names no image."
    tell(told, {"type": "base", "name": image.name, "digest": image.digest}, as_json)


def _build(environment_id: str, server: Server, as_json: bool) -> None:
    last: dict[str, Any] = {}
    with _bar() as advance:
        for line in server.lines(f"/freehold/v1/environments/{environment_id}/build"):
            last = line
            if line["type"] == "progress":
                advance(line)
    if last.get("type") != "built":
        print(last.get("message", "The build broke off."), file=sys.stderr)
        raise typer.Exit(1)
    told = f"{environment_id}: {len(last['layers'])} layers are ready"
    tell(told if last["layers"] else "It has no packages to install.", last, as_json)


def collect(
    unused_days: Annotated[
        int | None, typer.Option(min=1, help="Unused for so many days; else as the server is set.")
    ] = None,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Remove installed packages that no box was opened with for long."""
    from freehold.cli.settings import server_of

    body = {} if unused_days is None else {"unused_days": unused_days}
    done = server_of(data, url, key_file).post("/freehold/v1/layers/collect", body)
    tell("\n".join(done["ids"]) or "There was nothing to remove.", done, as_json)


def show(
    environment_id: EnvironmentId,
    config: ConfigFile = None,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Open a box of it on this machine, and say what is in there."""
    script = f"cat /etc/os-release 2>/dev/null | sed -n 's/^PRETTY_NAME=//p'; {_look()}"

    async def look(box: TrialBox) -> None:
        found = str((await box.run(script)).content[0]["text"])
        told = {"base": box.base, "network": network, "found": found.splitlines()}
        tell(f"base: {box.base}, read-only\nnetwork: {network}\n{found}", told, as_json)

    environment = _config(_server(data, url, key_file), environment_id)
    network = _network(environment)
    _in_box(environment, config, data, look)


def shell(
    environment_id: EnvironmentId,
    config: ConfigFile = None,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
) -> None:
    """Type commands into a real box of it, on this machine: what an agent's bash tool would see. Files are not kept."""
    _in_box(_config(_server(data, url, key_file), environment_id), config, data, _converse)


async def _converse(box: TrialBox) -> None:
    import asyncio

    prompt = "box$ " if sys.stdin.isatty() else ""
    while True:
        try:
            line = await asyncio.to_thread(input, prompt)
        except EOFError:
            return
        if line.strip() in ("exit", "logout"):
            return
        if line.strip():
            print(str((await box.run(line)).content[0]["text"]), flush=True)


def _in_box(environment: Mapping[str, Any], config: Any, data: Any, work: Any) -> None:
    import asyncio

    from freehold.app.trialbox import trial_box
    from freehold.cli.settings import configured
    from freehold.environments.base import BoxDied, BoxFailed

    async def run() -> None:
        async with trial_box(configured({"data": data}, config), environment) as box:
            await work(box)

    try:
        asyncio.run(run())
    except (BoxFailed, BoxDied) as error:
        print(f"{error}", file=sys.stderr)
        raise typer.Exit(1) from error


def _server(data: Any, url: str | None, key_file: Any) -> Server:
    from freehold.cli.settings import server_of

    return server_of(data, url, key_file)


def _config(server: Server, environment_id: str) -> dict[str, Any]:
    config = dict(server.get(f"/v1/environments/{environment_id}")["config"])
    if config["type"] == "self_hosted":
        print(f"{environment_id} is self-hosted: it has no boxes here.", file=sys.stderr)
        raise typer.Exit(1)
    return config


def _look() -> str:
    return (
        f"for one in {' '.join(_PROGRAMS)}; do command -v $one >/dev/null && "
        'echo "$one  $(timeout 10 $one --version 2>/dev/null </dev/null | head -1 | cut -c1-60)"; done; true'
    )


@contextmanager
def _bar() -> Iterator[Any]:
    """A bar on a terminal, a line for each step elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True, highlight=False, markup=False)
    if not console.is_terminal:
        yield lambda line: console.print(_step(line))
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task("packages", total=None)

        def advance(line: Mapping[str, Any]) -> None:
            done = line["place"] - (line["state"] == "installing")
            progress.update(task, total=line["parts"], completed=done, description=_step(line)[:60])

        yield advance


def _step(line: Mapping[str, Any]) -> str:
    return f"{line['place']}/{line['parts']} {line['manager']} {line['state']}: {', '.join(line['detail'])[:500]}"


def _environment(row: Mapping[str, Any]) -> dict[str, Any]:
    config = row["config"]
    packages = [f"{name}: {' '.join(specs)}" for name, specs in config.get("packages", {}).items() if _listed(specs)]
    limits = ", ".join(f"{name}={value}" for name, value in config.get("limits", {}).items())
    return {
        **row,
        "image": config.get("image", ""),
        "packages": "; ".join(packages),
        "network": _network(config),
        "limits": limits,
    }


def _listed(specs: object) -> bool:
    return isinstance(specs, list) and bool(specs)


def _network(config: Mapping[str, Any]) -> str:
    networking = config.get("networking") or {}
    if config["type"] == "self_hosted":
        return "its workers' own"
    if networking.get("type") == "unrestricted":
        return "any public host"
    hosts = list(networking.get("allowed_hosts") or [])
    hosts += ["package registries"] if networking.get("allow_package_managers") else []
    return ", ".join(hosts) or "none"


def _layer(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "packages": " ".join(row["resolved"])[:80], "size": f"{row['size_bytes'] / 1e6:.1f} MB"}

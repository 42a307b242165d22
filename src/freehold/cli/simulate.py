"""`freehold simulate`: Claude, offline, by itself on a port; for tests of anything that calls Claude."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    import socket

    from freehold.simulator.brains.base import Brain
    from freehold.simulator.served import Served


def simulate(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 picks a free one.", min=0, max=65535)] = 8787,
    seed: Annotated[int, typer.Option(help="The same seed and the same requests give the same bytes.")] = 0,
    brain: Annotated[Literal["planner", "echo"], typer.Option(help="Who writes the answers.")] = "planner",
    first_token_s: Annotated[float, typer.Option(help="Median time to the first token, in seconds.", min=0)] = 0,
    tokens_per_s: Annotated[float | None, typer.Option(help="Median speed; at once if left out.", min=1)] = None,
    scenario: Annotated[
        Path | None, typer.Option(help="A YAML file that says what is answered to what.", metavar="FILE")
    ] = None,
    tier: Annotated[
        Literal["start", "build", "scale"] | None, typer.Option(help="Enforce the rate limits of that tier.")
    ] = None,
    exact_counts: Annotated[
        bool, typer.Option("--exact-counts", help="count_tokens is exact, not within 3 %.")
    ] = False,
    start: Annotated[str | None, typer.Option(help="What its clock shows first, as 2026-11-23T06:00:00Z.")] = None,
    stopped: Annotated[bool, typer.Option("--stopped", help="Its clock stands still until it is turned.")] = False,
) -> None:
    """Serve the simulator alone: any SDK, any key, no cost. Faults, clock and bill: /freehold/v1/simulator."""
    import asyncio

    from freehold.simulator.model.limits import TIERS
    from freehold.simulator.pace import Pace, Spread
    from freehold.simulator.served import Served, Settings

    settings = Settings(
        seed=seed,
        brain=_script(scenario) if scenario else brain,
        limits=TIERS[tier] if tier else None,
        exact_counts=exact_counts,
        pace=Pace(Spread(first_token_s), Spread(tokens_per_s) if tokens_per_s else None),
        start_us=_moment(start) if start else None,
        stopped=stopped,
    )
    served = Served(settings)
    with _listening(host, port) as listening, asyncio.Runner() as runner:
        runner.run(_serve(served, listening))


def _script(path: Path) -> Brain:
    from freehold.errors import Misconfigured
    from freehold.simulator.brains.script import BrokenScenario, Script

    try:
        return Script.load(path)
    except (BrokenScenario, OSError) as error:
        raise Misconfigured(f"--scenario: {error}") from error


def _moment(text: str) -> int:
    from freehold.clock import parse_rfc3339
    from freehold.errors import Misconfigured

    try:
        return parse_rfc3339(text)
    except ValueError as error:
        raise Misconfigured(f"--start: {text!r} is not a time such as 2026-11-23T06:00:00Z") from error


def _listening(host: str, port: int) -> socket.socket:
    import socket

    from freehold.errors import Misconfigured

    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise Misconfigured(
            f"cannot listen on {host}:{port}: {error.strerror}. `--port 0` picks a free port."
        ) from error


async def _serve(served: Served, listening: socket.socket) -> None:
    import uvicorn

    class Server(uvicorn.Server):
        """Says where it listens as soon as it does."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            host, port = listening.getsockname()[:2]
            print(f"The simulator is ready at http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)

    config = uvicorn.Config(served, http="httptools", ws="none", lifespan="off", log_config=None, access_log=False)
    await Server(config).serve(sockets=[listening])

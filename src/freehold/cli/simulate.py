"""`freehold simulate`: Claude, offline, by itself on a port; for tests of anything that calls Claude."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    import socket

    from freehold.simulator.served import Served


def simulate(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 picks a free one.", min=0, max=65535)] = 8787,
    seed: Annotated[int, typer.Option(help="The same seed and the same requests give the same bytes.")] = 0,
    brain: Annotated[Literal["planner", "echo"], typer.Option(help="Who writes the answers.")] = "planner",
    first_token_s: Annotated[float, typer.Option(help="Median time to the first token, in seconds.", min=0)] = 0,
    tokens_per_s: Annotated[float | None, typer.Option(help="Median speed; at once if left out.", min=1)] = None,
    stopped: Annotated[bool, typer.Option("--stopped", help="Its clock stands still until it is turned.")] = False,
) -> None:
    """Serve the simulator alone: any SDK, any key, no cost. Faults, clock and bill: /freehold/v1/simulator."""
    import asyncio

    from freehold.simulator.pace import Pace, Spread
    from freehold.simulator.served import Served, Settings

    pace = Pace(Spread(first_token_s), Spread(tokens_per_s) if tokens_per_s else None)
    served = Served(Settings(seed=seed, brain=brain, pace=pace, stopped=stopped))
    with _listening(host, port) as listening, asyncio.Runner() as runner:
        runner.run(_serve(served, listening))


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

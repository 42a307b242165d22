"""The few calls of the Docker Engine API (v1.40, which Podman speaks too) that boxes need, over the daemon's socket."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from freehold.environments.base import BoxFailed
from freehold.outbound.client import Client
from freehold.outbound.dial import Origin
from freehold.outbound.failures import WayOutFailed
from freehold.outbound.limits import Limits
from freehold.outbound.unix import UnixDialer

_VERSION = "/v1.40"
_LIMITS = Limits(silence_s=120.0, whole_bytes=16 << 20)


class DaemonFailed(BoxFailed):
    """The daemon refused, or is not there; the message holds its words. `status` is 0 where it did not answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Daemon:
    """One daemon, by the path of its socket."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self._client = Client(Origin("http", "localhost", 80), UnixDialer(socket), limits=_LIMITS)

    async def version(self) -> str:
        """What it calls itself: `Docker Engine 28.2.2`, `Podman Engine 4.3.1`. Raises `DaemonFailed`."""
        told = await self._json("GET", "/version")
        for part in told.get("Components") or []:
            if "Engine" in str(part.get("Name")):
                name = str(part["Name"]) if part["Name"] != "Engine" else "Docker Engine"
                return f"{name} {part.get('Version')}"
        return f"Docker Engine {told.get('Version')}"

    async def image(self, name: str, tar: bytes) -> str:
        """The id of the image of that name, made of that tar where there is none."""
        try:
            return str((await self._json("GET", f"/images/{quote(name, safe='')}/json"))["Id"])
        except DaemonFailed as error:
            if error.status != 404:
                raise
        query = urlencode({"fromSrc": "-", "repo": name, "tag": "latest"})
        said = await self._call("POST", f"/images/create?{query}", tar, "application/x-tar")
        return str(json.loads(said.strip().splitlines()[-1])["status"])

    async def create(self, body: Mapping[str, Any]) -> str:
        """A new container, not started; its id."""
        return str((await self._json("POST", "/containers/create", body))["Id"])

    async def start(self, container: str) -> None:
        """Start it."""
        await self._call("POST", f"/containers/{container}/start")

    async def state(self, container: str) -> dict[str, Any]:
        """Its `State`: `Pid`, `Running`, `OOMKilled`."""
        found: dict[str, Any] = (await self._json("GET", f"/containers/{container}/json"))["State"]
        return found

    async def words(self, container: str) -> str:
        """The last that it said."""
        said = await self._call("GET", f"/containers/{container}/logs?stdout=1&stderr=1&tail=20")
        text = said.decode("utf-8", "replace")
        return "".join(one for one in text if one.isprintable() or one == "\n").strip()[-2000:]

    async def kill(self, container: str) -> None:
        """End all of it, and wait until it has ended; nothing happens when it has."""
        for path in ("kill", "wait?condition=not-running"):
            try:
                await self._call("POST", f"/containers/{container}/{path}")
            except DaemonFailed as error:
                if not error.status:
                    raise  # else it had ended before the daemon could do that

    async def remove(self, container: str) -> None:
        """Take it away; nothing happens when it is gone."""
        try:
            await self._call("DELETE", f"/containers/{container}?force=true&v=true")
        except DaemonFailed as error:
            if error.status not in (404, 409):  # 409: somebody else removes it just now
                raise

    async def ended(self, label: str) -> list[str]:
        """The containers with that label that do not run."""
        filters = json.dumps({"label": [label], "status": ["exited", "created"]})
        found = await self._json("GET", f"/containers/json?{urlencode({'all': '1', 'filters': filters})}")
        return [str(one["Id"]) for one in found]

    async def close(self) -> None:
        """Close its connections."""
        await self._client.close()

    async def _json(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        return json.loads(await self._call(method, path, b"" if body is None else json.dumps(body).encode()))

    async def _call(self, method: str, path: str, body: bytes = b"", kind: str = "application/json") -> bytes:
        head = (
            f"{method} {_VERSION}{path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind}\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        try:
            async with self._client.exchange(head.encode("ascii"), body) as answer:
                said = await answer.read_all()
                if answer.status < 400:
                    return said
                raise DaemonFailed(_complaint(said), answer.status)
        except WayOutFailed as error:
            raise DaemonFailed(f"the daemon of containers does not answer: {error}") from error


def _complaint(said: bytes) -> str:
    try:
        return str(json.loads(said)["message"])
    except (ValueError, KeyError, TypeError):
        return said.decode("utf-8", "replace")[:500]

"""Makes what tells a collector of calls and sessions, where one is named."""

from __future__ import annotations

import asyncio

from freehold import __version__
from freehold.app.ground import Ground
from freehold.errors import Misconfigured
from freehold.outbound.client import Client
from freehold.outbound.dial import Dialer, parse_url
from freehold.outbound.failures import WayOutFailed
from freehold.telemetry.calls import CallMetrics
from freehold.telemetry.exports import Exports
from freehold.telemetry.otlp import Post, Refused
from freehold.telemetry.settings import GIVE_UP_S, TelemetrySettings, collector_of


def make_exports(ground: Ground, measured: CallMetrics) -> Exports | None:
    """`None` where no collector is named. Raises `Misconfigured` where the extra is missing."""
    settings = ground.configuration.section(TelemetrySettings)
    if settings.otlp_url is None:
        return None
    try:
        return Exports(settings, __version__, measured, ground.clock, _post(settings))
    except ImportError as error:
        raise Misconfigured("otlp_url needs the extra `otlp`: pip install 'freehold[otlp]'") from error


def _post(settings: TelemetrySettings) -> Post:
    """To the collector by our own way out; only the operator names it, so its address may be private."""
    address, headers = collector_of(settings)
    try:
        origin, prefix = parse_url(address)
    except ValueError as error:
        raise Misconfigured(f"otlp_url: {error}") from error
    client = Client(origin, Dialer(public_only=False, timeout_s=GIVE_UP_S))
    more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())

    async def post(path: str, body: bytes) -> None:
        head = (
            f"POST {prefix}{path} HTTP/1.1\r\nhost: {origin.authority}\r\ncontent-type: application/x-protobuf\r\n"
            f"user-agent: freehold\r\n{more}content-length: {len(body)}\r\n\r\n"
        )
        try:
            async with asyncio.timeout(GIVE_UP_S), client.exchange(head.encode("latin-1"), body) as answer:
                await answer.read_all()
                told = f"{origin.authority} answered {answer.status}"
                if answer.status >= 500 or answer.status in (408, 429):
                    raise OSError(told)
                if answer.status >= 400:
                    raise Refused(told)
        except WayOutFailed as error:
            raise OSError(str(error)) from error

    return post
